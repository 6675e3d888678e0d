"""Items -> codes: decoding workers feeding one tokenizer, every pass through
it of one fixed shape.
"""

from __future__ import annotations

import contextlib
import itertools
from collections import deque
from collections.abc import Iterable, Iterator
from typing import TypeVar

import numpy as np

from seedcli.data.images.images import ImageHandling
from seedcli.data.images.inputs import Item
from seedcli.data.images.loader import DecodedBatch, ImageLoader
from seedcli.data.tokens.job import Outcome
from seedcli.data.tokens.shards import ShardHeader
from seedcli.workflows.pictures import SeedTokenizer
from seedcli.workflows.tokenize.stages import StageClock

_T = TypeVar("_T")


class Encoder:
    """A loaded tokenizer with its loader: items -> outcomes.

    A pass has `micro_batch` slots. An image sits in the slot of its position, an image that failed
    leaves a hole, and the last pass is padded: matrix products of other shapes may differ in the
    last bit, which turns a code now and then.
    """

    def __init__(self, tokenizer: SeedTokenizer, loader: ImageLoader, micro_batch: int):
        self.tokenizer, self.loader, self.micro_batch = tokenizer, loader, micro_batch
        self.clock = StageClock()

    @classmethod
    @contextlib.contextmanager
    def open(
        cls, tokenizer: SeedTokenizer, handling: ImageHandling, micro_batch: int, workers: int
    ) -> Iterator[Encoder]:
        """An encoder whose decoding workers end with the context."""
        with ImageLoader(tokenizer.config.preprocess.codes, handling, workers) as loader:
            yield cls(tokenizer, loader, micro_batch)

    def encode(self, items: Iterable[Item]) -> Iterator[list[Outcome]]:
        """Items -> a list of outcomes for each pass, in order."""
        chunks = in_chunks(self.clock.waiting("read", items), self.micro_batch)
        begun: deque[DecodedBatch] = deque()

        def squares() -> Iterator[np.ndarray]:
            for decoded in self.clock.waiting("decode", self.loader.batches(chunks)):
                begun.append(decoded)
                if None in decoded.reasons:
                    yield decoded.squares

        passes = self.tokenizer.encode_ahead(squares(), self.micro_batch)
        for codes in self.clock.waiting("encode", passes):
            while None not in begun[0].reasons:  # nothing of it could be encoded
                yield _outcomes(begun.popleft())
            yield _outcomes(begun.popleft(), codes.tolist())
        while begun:
            yield _outcomes(begun.popleft())

    def header(self, image_handling: str, numerics: str) -> ShardHeader:
        """What shards of these codes say of their tokenizer."""
        size_px = self.tokenizer.config.preprocess.codes.image_size_px
        return ShardHeader(
            tokenizer=self.tokenizer.name,
            fingerprint=self.tokenizer.fingerprint,
            num_queries=self.tokenizer.num_queries,
            num_codes=self.tokenizer.num_codes,
            image_handling=image_handling,
            numerics=numerics,
            dtype=str(self.tokenizer.model.compute_dtype).removeprefix("torch."),
            micro_batch=(self.micro_batch, 3, size_px, size_px),
        )


def _outcomes(decoded: DecodedBatch, codes: list[list[int]] | None = None) -> list[Outcome]:
    rows = codes or [None] * len(decoded.items)
    return [
        Outcome(
            item.key, item.source, row if reason is None else None, item.text, item.meta, reason
        )
        for item, row, reason in zip(decoded.items, rows, decoded.reasons, strict=True)
    ]


def in_chunks(values: Iterable[_T], size: int) -> Iterator[list[_T]]:
    """Lists of `size` values, the last one shorter."""
    iterator = iter(values)
    while chunk := list(itertools.islice(iterator, size)):
        yield chunk
