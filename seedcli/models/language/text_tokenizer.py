"""Words, code tokens, BOI and EOI -> ids: the text vocabulary of a language model,
extended by the codes.

Whitespace is what released weights were trained with (AILab-CVC/SEED@93b3cf4 under
transformers 4.30.2): every stretch of words has its own leading `▁`, and whitespace beside
image tokens vanishes. Both are written into `tokenizer.json`, so that any later loader gives
the same ids without our code.
"""

from __future__ import annotations

import copy
import io
import json
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import sentencepiece
from tokenizers import Tokenizer, decoders, models, normalizers, processors
from transformers import PreTrainedTokenizerBase, PreTrainedTokenizerFast

from seedcli.errors import DataError
from seedcli.files import parse_json
from seedcli.models.language.vocab import BOI, EOI, format_code

if TYPE_CHECKING:
    import numpy as np
    import torch

_PUBLISHED_TEXT_SIZE = 32000  # AILab-CVC/SEED@93b3cf4: codes follow Llama's 32,000 pieces
_PUBLISHED_CODES = 8192
_CODE = re.compile(r"<img_(\d{5,})>")
_BYTE = re.compile(r"<0x[0-9A-F]{2}>")
_ROLES = ("bos_token", "eos_token", "unk_token", "pad_token")
_PROBES = (
    "a dog runs, 12 birds above!",
    "  two  spaces\nand a line ",
    "Straße № 7: «кот» 🐈 — ok?",
    "ALL CAPS 345",
    " ",
)
_Ids = TypeVar("_Ids", "np.ndarray", "torch.Tensor")


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
            if (match := _CODE.fullmatch(token))
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

    def is_code(self, ids: _Ids) -> _Ids:
        """Ids, any shape -> mask of the same shape: code tokens."""
        return (ids >= self.first_code) & (ids < self.first_code + self.num_codes)

    def is_image_token(self, ids: _Ids) -> _Ids:
        """Ids, any shape -> mask of the same shape: code tokens, BOI and EOI."""
        return self.is_code(ids) | (ids == self.boi) | (ids == self.eoi)


def load_text_tokenizer(folder: str | Path) -> PreTrainedTokenizerFast:
    """Folder of a language model with codes -> its text tokenizer, as `tokenizer.json` has it.

    The released folder layout (`tokenizer.model`, `added_tokens.json`) is read too. Unlike with
    AutoTokenizer, no model class rewrites the rules.

    Raises:
        DataError: The folder has neither file, or one of them is damaged.
    """
    rules, facts = _read_folder(Path(folder))
    longest = facts.get("model_max_length")
    if longest is not None and not (isinstance(longest, int | float) and longest > 0):
        raise DataError(
            f"{folder}: tokenizer_config.json says model_max_length = {str(longest)[:40]!r}, "
            "expected a number above 0"
        )
    try:
        return _build(rules, facts)
    except Exception as error:  # `tokenizers` raises nothing narrower
        raise DataError(f"{folder}: its text tokenizer is damaged ({str(error)[:200]})") from error


def extend_text_tokenizer(
    source: str | Path | PreTrainedTokenizerFast, num_codes: int
) -> PreTrainedTokenizerFast:
    """Text tokenizer of the Llama family -> the same with `num_codes` code
    tokens, then BOI and EOI.

    Codes that are there already stay where they are. Saved with `save_pretrained`,
    AutoTokenizer reads the same ids.

    Args:
        source: Folder with `tokenizer.json` or `tokenizer.model`, or a tokenizer.
        num_codes: Size of the codebook K.

    Raises:
        DataError: There is no text tokenizer, it cannot be converted, or it has
            another number of codes.
    """
    rules, facts = (
        _rules_and_facts(source)
        if isinstance(source, PreTrainedTokenizerBase)
        else _read_folder(Path(source))
    )
    known = {entry["content"] for entry in rules["added_tokens"]} | set(rules["model"]["vocab"])
    there = sum(_CODE.fullmatch(token) is not None for token in known)
    if there not in (0, num_codes):
        raise DataError(
            f"the text tokenizer has {there} code tokens already, the visual tokenizer has "
            f"{num_codes} codes"
        )
    wanted = [*(format_code(code) for code in range(num_codes)), BOI, EOI]
    following = 1 + max(
        max(rules["model"]["vocab"].values()), *(entry["id"] for entry in rules["added_tokens"])
    )
    rules["added_tokens"] += [
        {"id": following + place, "content": token}
        for place, token in enumerate(token for token in wanted if token not in known)
    ]
    return _build(rules, facts)


def train_text_tokenizer(texts: Iterable[str], vocab_size: int) -> PreTrainedTokenizerFast:
    """Texts -> Llama's kind of vocabulary: BPE with byte fallback, digits apart, `<unk>` 0, `<s>`
    1, `</s>` 2; the same in every process.

    Args:
        texts: What pieces are learned from; lines are learned apart.
        vocab_size: Pieces, with the three special ones and 256 bytes; a small text may give fewer.

    Raises:
        DataError: There is no text, or `vocab_size` has no room for the bytes and characters.
    """
    lines = [line for text in texts for line in text.splitlines() if line.strip()]
    if not lines:
        raise DataError("a text vocabulary is learned from words, and there are none")
    trained = io.BytesIO()
    try:
        sentencepiece.SentencePieceTrainer.train(
            sentence_iterator=iter(lines),
            model_writer=trained,
            vocab_size=vocab_size,
            model_type="bpe",
            byte_fallback=True,
            split_digits=True,
            allow_whitespace_only_pieces=True,
            normalization_rule_name="identity",
            remove_extra_whitespaces=False,
            character_coverage=0.99995,
            max_sentence_length=1 << 20,
            unk_id=0,
            bos_id=1,
            eos_id=2,
            pad_id=-1,
            num_threads=1,
            hard_vocab_limit=False,
            minloglevel=2,
        )
    except RuntimeError as error:
        raise DataError(
            f"a vocabulary of {vocab_size} pieces cannot be learned from {len(lines)} "
            f"lines: {error}"
        ) from error
    return _build(_convert_sentencepiece(trained.getvalue(), "the learned vocabulary"), {})


def _read_folder(folder: Path) -> tuple[dict[str, Any], dict[str, Any]]:
    """Folder -> the rules of `tokenizer.json` and the facts of `tokenizer_config.json`."""
    quick, slow = folder / "tokenizer.json", folder / "tokenizer.model"
    try:
        if quick.is_file():
            rules = parse_json(quick.read_bytes())
            if "vocab" not in rules["model"]:
                raise KeyError("vocab")
        elif slow.is_file():
            rules = _convert_sentencepiece(slow.read_bytes(), str(slow))
            added = folder / "added_tokens.json"
            later = parse_json(added.read_bytes()) if added.is_file() else {}
            known = {entry["content"] for entry in rules["added_tokens"]}
            rules["added_tokens"] += [
                {"id": id, "content": token}
                for token, id in sorted(later.items(), key=lambda item: item[1])
                if token not in known
            ]
        else:
            raise DataError(
                f"{folder} has neither tokenizer.json nor tokenizer.model: no text tokenizer"
            )
        config = folder / "tokenizer_config.json"
        facts = parse_json(config.read_bytes()) if config.is_file() else {}
        template = folder / "chat_template.jinja"
        if template.is_file():
            facts["chat_template"] = template.read_text(encoding="utf-8")
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DataError(f"the text tokenizer in {folder} cannot be read: {error}") from error
    return rules, facts


def _rules_and_facts(
    text_tokenizer: PreTrainedTokenizerBase,
) -> tuple[dict[str, Any], dict[str, Any]]:
    backend = getattr(text_tokenizer, "backend_tokenizer", None)
    if backend is None:
        raise DataError(
            f"{type(text_tokenizer).__name__} has no tokenizer.json rules; give its folder instead"
        )
    facts = {role: getattr(text_tokenizer, role) for role in _ROLES}
    return json.loads(backend.to_str()), facts | {
        "chat_template": text_tokenizer.chat_template,
        "model_max_length": text_tokenizer.model_max_length,
    }


def _build(rules: dict[str, Any], facts: dict[str, Any]) -> PreTrainedTokenizerFast:
    """Rules of a `tokenizer.json` and facts of a `tokenizer_config.json` -> tokenizer whose
    whitespace is the published one.

    A vocabulary of another kind than SentencePiece's (byte-level) keeps its own rules for words.
    """
    rules = copy.deepcopy(rules)
    pieces = rules["model"]["vocab"]
    words_are_published = bool(rules["model"].get("byte_fallback")) and "▁" in pieces
    if words_are_published:
        rules["normalizer"] = _state(
            normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")]),
            "normalizer",
        )
        rules["pre_tokenizer"] = None
        plain = [
            decoders.Replace("▁", " "),
            decoders.ByteFallback(),
            decoders.Fuse(),
            decoders.Strip(" ", 1, 0),
        ]
        rules["decoder"] = _state(decoders.Sequence(plain), "decoder")
    names = {role: _name(facts.get(role)) for role in _ROLES}
    for role, usual in (("bos_token", "<s>"), ("eos_token", "</s>"), ("unk_token", "<unk>")):
        if names[role] is None and usual in pieces:
            names[role] = usual
    names["pad_token"] = names["pad_token"] or names["unk_token"] or names["eos_token"]
    special = {name for name in names.values() if name} | {BOI, EOI}
    for entry in rules["added_tokens"]:
        for flag in ("single_word", "lstrip", "rstrip", "normalized", "special"):
            entry.setdefault(flag, False)
        entry["special"] |= entry["content"] in special
        if words_are_published:
            entry["normalized"] = False
        if entry["content"] in (BOI, EOI) or _CODE.fullmatch(entry["content"]):
            entry |= {"normalized": False, "lstrip": True, "rstrip": True}
    return PreTrainedTokenizerFast(
        tokenizer_object=Tokenizer.from_str(json.dumps(rules)),
        **{role: name for role, name in names.items() if name},
        clean_up_tokenization_spaces=False,
        padding_side="right",
        **{key: facts[key] for key in ("model_max_length", "chat_template") if facts.get(key)},
    )


def _name(token: Any) -> str | None:
    return token["content"] if isinstance(token, dict) else token


def _state(part: Any, field: str) -> Any:
    """Part of a pipeline -> its JSON, as `tokenizer.json` writes it."""
    carrier = Tokenizer(models.BPE())
    setattr(carrier, field, part)
    return json.loads(carrier.to_str())[field]


def _convert_sentencepiece(serialized: bytes, name: str) -> dict[str, Any]:
    """SentencePiece BPE model -> rules of the same ids.

    Merges are the ways to put a piece together from two others, best piece first.

    Raises:
        DataError: Not a SentencePiece model, or one whose rules give other ids than the model
            itself (unigram, other normalisation).
    """
    try:
        model = sentencepiece.SentencePieceProcessor(model_proto=serialized)
    except RuntimeError as error:
        raise DataError(f"{name} is no SentencePiece model: {error}") from error
    ids = {model.id_to_piece(id): id for id in range(model.get_piece_size())}
    merges = [
        (-model.get_score(id), ids[piece[:cut]], ids[piece[cut:]], piece[:cut], piece[cut:])
        for piece, id in ids.items()
        if not (model.is_control(id) or model.is_unknown(id) or _BYTE.fullmatch(piece))
        for cut in range(1, len(piece))
        if piece[:cut] in ids and piece[cut:] in ids
    ]
    backend = Tokenizer(
        models.BPE(
            ids,
            [(left, right) for *_, left, right in sorted(merges)],
            unk_token=model.id_to_piece(model.unk_id()),
            byte_fallback=True,
        )
    )
    special = [
        model.id_to_piece(id)
        for id in range(len(ids))
        if model.is_control(id) or model.is_unknown(id)
    ]
    backend.add_special_tokens(special)
    bos = model.id_to_piece(model.bos_id())
    backend.post_processor = processors.TemplateProcessing(
        single=f"{bos} $A", pair=f"{bos} $A {bos} $B", special_tokens=[(bos, model.bos_id())]
    )
    rules = json.loads(backend.to_str())
    built = _build(rules, {})
    for probe in _PROBES:
        expected, found = model.encode(probe), built.encode(probe, add_special_tokens=False)
        if expected != found:
            raise DataError(
                f"{name} is no BPE of Llama's kind: {probe!r} is {expected[:8]} by it and "
                f"{found[:8]} by its converted rules"
            )
    return rules
