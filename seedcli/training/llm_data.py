"""A weighted mixture of documents -> token sequences by number, and the rows
that are packed from them.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from seedcli.data.documents.conversations import ConversationTemplate
from seedcli.data.documents.documents import Document
from seedcli.data.documents.forms import build_document
from seedcli.data.documents.left_out import (
    CUT,
    ROWS,
    LeftOutError,
    Tally,
    describe_tally,
    of_source,
)
from seedcli.data.documents.sequences import TokenSequence, build_sequence, replace_read_codes
from seedcli.data.mixtures.documents import DocumentMixture, DocumentSource
from seedcli.data.sample_order import derived_seed
from seedcli.models.language.code_vocabulary import CodeVocabulary
from seedcli.recipe.language import DocumentDataSection

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

_WORDING, _NOISE = 1, 2  # purposes of random numbers
_LOOKED, _STRETCHES = 1_000, 8  # rows of a source that are looked at before training
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
        weights = [section.weight for section in data.sources]
        self._mixture = DocumentMixture(list(zip(sources, weights, strict=True)), seed=seed)

    def __len__(self) -> int:
        """Rows of all sources."""
        return len(self._mixture)

    def document(self, n: int) -> tuple[int, Document]:
        """Sample number -> (source number, document).

        Raises:
            LeftOutError: The row makes none.
        """
        number, sample = self._mixture.sample(n)
        with of_source(number):
            return number, build_document(
                sample, self.sections[number], self.rng(n, _WORDING), self.template
            )

    def row_document(self, number: int, row: int) -> Document:
        """Source and row -> document, whatever the order of training is.

        Raises:
            LeftOutError: The row makes none.
        """
        rng = random.Random(row)
        sample = self._mixture.sources[number].read(row, rng)
        return build_document(sample, self.sections[number], rng, self.template)

    def num_rows(self, number: int) -> int:
        """Rows of a source."""
        return len(self._mixture.sources[number])

    def rng(self, n: int, purpose: int) -> random.Random:
        """Random numbers of a sample, for one purpose."""
        return random.Random(derived_seed(self._seed, n, purpose))

    def texts(self) -> Iterator[str]:
        """Words of as many documents as there are rows, for learning a text vocabulary."""
        for n in range(min(len(self), _TEXTS)):
            try:
                _, document = self.document(n)
            except LeftOutError:
                continue
            for piece in document:
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
        self._documents = documents
        self._text_tokenizer, self._vocabulary = text_tokenizer, vocabulary
        self._limits = [min(section.max_tokens, context_length) for section in documents.sections]

    def sample(self, n: int) -> TokenSequence:
        """Sample number -> ids and labels.

        Raises:
            LeftOutError: A row without a document, or without a label.
        """
        number, document = self._documents.document(n)
        with of_source(number):
            sequence = self._sequence(number, document)
        noise = self._documents.sections[number].code_noise
        if self._vocabulary is None or not noise:
            return sequence
        return replace_read_codes(sequence, noise, self._vocabulary, self._documents.rng(n, _NOISE))

    def look_through(self) -> Iterator[str]:
        """A line for each source of which rows are left out or cut: how many, and why; of large
        sources some stretches are looked at.
        """
        for number in range(len(self._documents.sections)):
            counts: Counter[str] = Counter()
            total = self._documents.num_rows(number)
            for row in _spread(total):
                counts[ROWS] += 1
                try:
                    document = self._documents.row_document(number, row)
                    if self._sequence(number, document).truncated:
                        counts[CUT] += 1
                except LeftOutError as error:
                    counts[error.reason] += 1
            what = "rows" if counts[ROWS] == total else f"rows looked at (of {total:,})"
            if line := describe_tally(self._name(number), counts, what=what):
                yield line

    def lost(self, tally: Tally) -> dict[str, dict[str, int]]:
        """What training wrote down -> the sources of which rows were left out or cut, by name."""
        return {
            self._name(number): dict(counts) for number, counts in tally.items() if len(counts) > 1
        }

    def _name(self, number: int) -> str:
        section = self._documents.sections[number]
        return f"{section.path} ({section.form})"

    def _sequence(self, number: int, document: Document) -> TokenSequence:
        sequence = build_sequence(
            document, self._text_tokenizer, self._vocabulary, self._limits[number]
        )
        return replace(sequence, source=number)


def _spread(total: int) -> Iterator[int]:
    """Rows of a source that are looked at: all, or some stretches, since shards are read in
    blocks.
    """
    if total <= _LOOKED:
        yield from range(total)
        return
    length = _LOOKED // _STRETCHES
    for number in range(_STRETCHES):
        start = number * (total - length) // (_STRETCHES - 1)
        yield from range(start, start + length)
