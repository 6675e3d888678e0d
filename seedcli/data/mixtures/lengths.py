"""How long a mixture's documents are, before a run: read from what is on disk, else assumed by
form. Torch-free; for `seed plan`.
"""

from __future__ import annotations

import contextlib
import math
import random
import statistics
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from seedcli.data.documents.conversations import ConversationTemplate
from seedcli.data.documents.documents import Codes, Document
from seedcli.data.documents.forms import build_document
from seedcli.data.documents.left_out import LeftOutError
from seedcli.data.documents.packing import PackedStream
from seedcli.data.documents.sequences import TokenSequence, build_sequence
from seedcli.data.sample_order import derived_seed
from seedcli.models.language.code_vocabulary import CodeVocabulary

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

    from seedcli.recipe.language import DocumentSourceSection

CHARACTERS_PER_TOKEN = 4.0  # of English in a Llama vocabulary; where no text tokenizer is at hand
_ROWS = 400  # rows that are read of a source
_PACKED_ROWS = 400
_SPREAD = 0.5  # standard deviation of the logarithm of assumed numbers of words

# Form -> (pictures, tokens of words) of a typical document, a conversation's wording included.
# Captions: COCO's and BLIP's have about ten words. Interleaved: MMC4 has 5.6 pictures and 425
# tokens a document, OBELISC 2.5 and 816 (their papers). The others are guesses.
TYPICAL: dict[str, tuple[int, int]] = {
    "text": (0, 600),
    "caption": (1, 14),
    "interleaved": (4, 600),
    "video-caption": (4, 16),
    "retrieval-augmented": (4, 56),
    "messages": (1, 250),
    "describe": (1, 40),
    "draw": (1, 36),
    "question": (1, 36),
    "video-question": (8, 44),
    "edit": (2, 36),
    "difference": (2, 80),
    "story": (5, 140),
}


@dataclass(frozen=True)
class SourceLengths:
    """Tokens of documents of one source, BOS and EOS included, longer ones cut;
    and what that rests on.
    """

    lengths: list[int]
    basis: str

    @property
    def mean(self) -> float:
        """Mean length in tokens."""
        return statistics.fmean(self.lengths)


@dataclass(frozen=True)
class Padding:
    """Share of positions that hold nothing: rows of one document padded to its source's
    `max_tokens`, and packed rows.
    """

    to_longest: float
    packed: float


def source_lengths(
    section: DocumentSourceSection,
    *,
    template: ConversationTemplate,
    num_queries: int,
    num_codes: int,
    text_tokenizer: PreTrainedTokenizerBase | None,
    seed: int,
) -> SourceLengths:
    """A recipe's source -> lengths of its documents: of some hundred rows where it lies on this
    disk, else typical ones of its form.

    Pictures are counted, not encoded; nothing is downloaded or written.

    Args:
        section: The recipe's section.
        template: How conversations are written.
        num_queries: Codes of a picture; 0 before there are codes.
        num_codes: Size of the codebook.
        text_tokenizer: With the codes; None: 4 characters are a token.
        seed: Of orders and wordings.

    Raises:
        DataError: The source is there and cannot be read.
    """
    rng = random.Random(seed)
    if not _files(section):
        lengths = [_typical_length(section, num_queries, rng) for _ in range(_ROWS)]
        return SourceLengths(lengths, "assumed, typical of its form")
    documents = _documents(section, template, num_queries, num_codes, rng)
    if text_tokenizer is None:
        counted = [_estimated_length(document, num_queries) for document in documents]
        basis = f"{len(counted)} rows read, {CHARACTERS_PER_TOKEN:g} characters a token"
    else:
        vocabulary = CodeVocabulary.of(text_tokenizer, num_queries) if num_queries else None
        counted = []
        for document in documents:
            with contextlib.suppress(LeftOutError):
                sequence = build_sequence(document, text_tokenizer, vocabulary, section.max_tokens)
                counted.append(len(sequence.ids))
        basis = f"{len(counted)} rows read"
    return SourceLengths([min(length, section.max_tokens) for length in counted], basis)


def padding(
    sources: Sequence[tuple[DocumentSourceSection, SourceLengths]],
    *,
    context_length: int,
    seed: int,
) -> tuple[float, Padding]:
    """Sources and their lengths -> (mean tokens of a document, padding with and without packing),
    packed as the trainer packs.
    """
    weights = [section.weight for section, _ in sources]
    total = sum(weights)
    limits = [min(section.max_tokens, context_length) for section, _ in sources]
    mean = sum(weight * one.mean for weight, (_, one) in zip(weights, sources, strict=True)) / total
    allotted = sum(weight * limit for weight, limit in zip(weights, limits, strict=True)) / total
    stream = iter(
        PackedStream(
            _Drawn([one for _, one in sources], weights, context_length, seed),
            context_length=context_length,
            lanes=1,
        )
    )
    counts = [next(stream).counts for _ in range(_PACKED_ROWS)]
    packed = 1 - sum(count["real_tokens"] for count in counts) / sum(
        count["row_tokens"] for count in counts
    )
    return mean, Padding(1 - mean / allotted, packed)


@dataclass(frozen=True)
class _Drawn:
    """Sequences of drawn lengths, for `PackedStream`."""

    sources: Sequence[SourceLengths]
    weights: Sequence[float]
    context_length: int
    seed: int

    def sample(self, n: int) -> TokenSequence:
        rng = random.Random(derived_seed(self.seed, n))
        (source,) = rng.choices(self.sources, self.weights)
        ids = np.zeros(min(rng.choice(source.lengths), self.context_length), np.int32)
        return TokenSequence(ids, ids, image_tokens=0, dropped_images=0, truncated=False)


def _files(section: DocumentSourceSection) -> list[Path]:
    """What the section's path names on this disk, at most a few."""
    from braceexpand import braceexpand

    names = (Path(name) for _, name in zip(range(100_000), braceexpand(section.path), strict=False))
    return [path for path in names if path.exists()][:1]


def _documents(
    section: DocumentSourceSection,
    template: ConversationTemplate,
    num_queries: int,
    num_codes: int,
    rng: random.Random,
) -> list[Document]:
    """Documents of rows that are spread over the source; pictures have codes of zeros."""
    from seedcli.data.mixtures.documents import open_source

    def no_codes(pictures: Sequence[object]) -> list[Codes]:
        return [(0,) * num_queries for _ in pictures]

    fingerprint = ""
    if section.kind == "tokens":
        from seedcli.data.tokens.shards import find_shards, read_header

        fingerprint = read_header(find_shards(section.path)[0]).fingerprint
    if section.kind == "tar":
        section = section.model_copy(update={"path": str(_files(section)[0])})
    with tempfile.TemporaryDirectory() as cache:
        source = open_source(
            section,
            codes_of=no_codes if num_queries else None,
            num_queries=num_queries,
            num_codes=num_codes,
            fingerprint=fingerprint,
            cache=Path(cache),
        )
        step = max(1, len(source) // _ROWS)
        documents = []
        for row in range(0, len(source), step):
            with contextlib.suppress(LeftOutError):
                documents.append(build_document(source.read(row, rng), section, rng, template))
    return documents


def _estimated_length(document: Document, num_queries: int) -> int:
    segments = [segment for piece in document for segment in piece.segments]
    words = sum(
        math.ceil(len(segment) / CHARACTERS_PER_TOKEN)
        for segment in segments
        if isinstance(segment, str)
    )
    return 2 + words + (num_queries + 2) * sum(not isinstance(segment, str) for segment in segments)


def _typical_length(section: DocumentSourceSection, num_queries: int, rng: random.Random) -> int:
    pictures, words = TYPICAL[section.form]
    pictures = min(pictures, section.max_images or pictures)
    words = round(words * math.exp(rng.gauss(-(_SPREAD**2) / 2, _SPREAD)))
    return min(2 + pictures * (num_queries + 2) + words, section.max_tokens)
