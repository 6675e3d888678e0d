"""A weighted mixture of documents -> token sequences by number, and the rows
that are packed from them.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from seedcli.data.documents.conversations import ConversationTemplate
from seedcli.data.documents.documents import Document
from seedcli.data.documents.forms import build_document
from seedcli.data.documents.packing import PackedRow, PackedStream
from seedcli.data.documents.sequences import TokenSequence, build_sequence, replace_read_codes
from seedcli.data.mixtures.documents import DocumentMixture, DocumentSource
from seedcli.data.sample_order import derived_seed
from seedcli.models.language.text_tokenizer import CodeVocabulary
from seedcli.recipe.language import DocumentDataSection
from seedcli.training.llm_batches import LaneStates

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

_WORDING, _NOISE = 1, 2  # purposes of random numbers
_TEXTS = 30_000  # documents that a text vocabulary is learned from, at most


class DocumentSamples:
    """Documents of a mixture by number: a pure function of (seed, n).

    Args:
        data: The recipe's section.
        sources: Its sources, opened, in its order.
        template: How conversations are written.
        seed: Of the order and of everything that a source or form leaves open.
    """

    def __init__(
        self,
        data: DocumentDataSection,
        sources: Sequence[DocumentSource],
        *,
        template: ConversationTemplate,
        seed: int,
    ):
        self.sections, self.template, self._seed = data.sources, template, seed
        self._mixture = DocumentMixture(
            [
                (source, section.weight)
                for source, section in zip(sources, data.sources, strict=True)
            ],
            seed=seed,
        )

    def __len__(self) -> int:
        """Rows of all sources."""
        return len(self._mixture)

    def document(self, n: int) -> tuple[int, Document | None]:
        """Sample number -> (source number, document); None where the row makes none."""
        number, sample = self._mixture.sample(n)
        return number, build_document(
            sample, self.sections[number], self.rng(n, _WORDING), self.template
        )

    def rng(self, n: int, purpose: int) -> random.Random:
        """Random numbers of a sample, for one purpose."""
        return random.Random(derived_seed(self._seed, n, purpose))

    def texts(self) -> Iterator[str]:
        """Words of as many documents as there are rows, for learning a text vocabulary."""
        for n in range(min(len(self), _TEXTS)):
            _, document = self.document(n)
            for piece in document or ():
                yield from (segment for segment in piece.segments if isinstance(segment, str))


class TokenSamples:
    """The same as token sequences; what `data.packing` reads."""

    def __init__(
        self,
        documents: DocumentSamples,
        text_tokenizer: PreTrainedTokenizerBase,
        vocabulary: CodeVocabulary | None,
        *,
        context_length: int,
    ):
        self._documents, self._text_tokenizer, self._vocabulary = (
            documents,
            text_tokenizer,
            vocabulary,
        )
        self._limits = [min(section.max_tokens, context_length) for section in documents.sections]

    def sample(self, n: int) -> TokenSequence | None:
        """Sample number -> ids and labels; None for a row without a
        document, or without a label.
        """
        number, document = self._documents.document(n)
        if document is None:
            return None
        sequence = build_sequence(
            document, self._text_tokenizer, self._vocabulary, self._limits[number]
        )
        noise = self._documents.sections[number].code_noise
        if sequence is None or self._vocabulary is None or not noise:
            return sequence
        return replace_read_codes(sequence, noise, self._vocabulary, self._documents.rng(n, _NOISE))


class PackedRows:
    """Opens packed rows of a share of the lanes; see `llm_batches.RowSource`."""

    def __init__(self, samples: TokenSamples, *, context_length: int):
        self._samples, self._context_length = samples, context_length

    def __call__(
        self, *, lanes: int, share: int, shares: int, states: LaneStates | None
    ) -> Iterator[PackedRow]:
        return iter(
            PackedStream(
                self._samples,
                context_length=self._context_length,
                lanes=lanes,
                rank=share,
                world=shares,
                state=states,
            )
        )
