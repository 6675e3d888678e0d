"""Where codes and markers lie among the ids of a text vocabulary. On the path: between codes and
the language model's ids.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from seedcli.errors import DataError
from seedcli.models.language.vocab import BOI, CODE_TOKEN, EOI, format_code

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

_PUBLISHED_TEXT_SIZE = 32000  # AILab-CVC/SEED@93b3cf4: codes follow Llama's 32,000 pieces
_PUBLISHED_CODES = 8192


@dataclass(frozen=True)
class CodeVocabulary:
    """Where codes and markers lie among a text tokenizer's ids; asked from it, never assumed.

    Attributes:
        first_code: Id of code 0; code k has id `first_code + k`.
        num_codes: Size of the codebook K.
        num_queries: Codes of an image Q.
        boi: Id of `<img>`.
        eoi: Id of `</img>`.
        bos: Id that opens a sequence.
        eos: Id that ends it.
        pad: Id that fills rows; ignored by attention and loss.
    """

    first_code: int
    num_codes: int
    num_queries: int
    boi: int
    eoi: int
    bos: int
    eos: int
    pad: int

    @classmethod
    def of(cls, text_tokenizer: PreTrainedTokenizerBase, num_queries: int = 32) -> CodeVocabulary:
        """Text tokenizer -> its code vocabulary.

        Raises:
            DataError: It has no codes, they do not stand in one row, a marker is missing, or 8,192
                codes after 32,000 pieces are not laid out as in the published checkpoints.
        """
        vocabulary = text_tokenizer.get_vocab()
        numbered = {
            int(match.group(1)): id
            for token, id in vocabulary.items()
            if (match := CODE_TOKEN.fullmatch(token))
        }
        if not numbered or BOI not in vocabulary or EOI not in vocabulary:
            found = (
                f"{len(numbered)} code tokens, {BOI} {'yes' if BOI in vocabulary else 'no'}, {EOI} "
                f"{'yes' if EOI in vocabulary else 'no'}"
            )
            raise DataError(
                f"this text tokenizer of {len(vocabulary)} tokens has no image vocabulary: {found}",
                remedy="seed pretrain extends a language model by the codes",
            )
        first = numbered.get(0, -1)
        astray = [code for code in range(len(numbered)) if numbered.get(code) != first + code]
        if astray:
            raise DataError(
                f"code tokens are not one row of ids: {format_code(0)} has id {first}, "
                f"{format_code(astray[0])} has {numbered.get(astray[0], 'none')}, expected "
                f"{first + astray[0]}"
            )
        bos, eos = text_tokenizer.bos_token_id, text_tokenizer.eos_token_id
        if bos is None or eos is None:
            raise DataError(
                f"the text tokenizer names no {'BOS' if bos is None else 'EOS'} token; a sequence "
                "opens with BOS and ends with EOS"
            )
        pad = text_tokenizer.pad_token_id
        codes = cls(
            first,
            len(numbered),
            num_queries,
            vocabulary[BOI],
            vocabulary[EOI],
            bos,
            eos,
            eos if pad is None else pad,
        )
        if codes.is_published and (
            (bos, eos) != (1, 2) or {codes.boi, codes.eoi} != {40192, 40193}
        ):
            raise DataError(
                "32,000 pieces and 8,192 codes are the published layout, but BOS, EOS and both "
                f"markers are {bos}, {eos}, {codes.boi}, {codes.eoi}; expected 1, 2 and "
                "40192 with 40193"
            )
        return codes

    @property
    def is_published(self) -> bool:
        """Whether codes lie where the published SEED-LLaMA checkpoints have them."""
        return self.first_code == _PUBLISHED_TEXT_SIZE and self.num_codes == _PUBLISHED_CODES

    @property
    def size(self) -> int:
        """Rows that an embedding needs: the largest id of a code or marker, and one."""
        return max(self.first_code + self.num_codes - 1, self.boi, self.eoi) + 1

    @property
    def span_length(self) -> int:
        """Tokens of an image: BOI, the codes, EOI."""
        return self.num_queries + 2

    def codes_to_ids(self, codes: Sequence[int]) -> list[int]:
        """Codes [Q] -> ids of the image span [Q+2].

        Raises:
            DataError: Another number of codes, or a code that the codebook does not have.
        """
        if len(codes) != self.num_queries or not all(0 <= code < self.num_codes for code in codes):
            raise DataError(
                f"an image of {len(codes)} codes {list(codes)[:4]}...; expected {self.num_queries} "
                f"of 0..{self.num_codes - 1}"
            )
        return [self.boi, *(self.first_code + int(code) for code in codes), self.eoi]

    def ids_to_codes(self, ids: Sequence[int]) -> list[int]:
        """Ids of code tokens [N] -> codes [N].

        Raises:
            DataError: An id is no code token's.
        """
        codes = [int(id) - self.first_code for id in ids]
        if not all(0 <= code < self.num_codes for code in codes):
            raise DataError(
                f"ids {list(ids)[:4]}... are not all code tokens "
                f"{self.first_code}..{self.first_code + self.num_codes - 1}"
            )
        return codes

    def is_code(self, ids: Any) -> Any:
        """Ids, any shape -> mask of the same shape: code tokens; of one id whether it is one."""
        return (ids >= self.first_code) & (ids < self.first_code + self.num_codes)

    def is_image_token(self, ids: Any) -> Any:
        """Ids, any shape -> mask of the same shape: code tokens, BOI and EOI; or of one id."""
        return self.is_code(ids) | (ids == self.boi) | (ids == self.eoi)
