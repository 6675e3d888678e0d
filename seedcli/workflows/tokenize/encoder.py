"""Items -> codes: decoding workers feeding one tokenizer, every pass through
it of one fixed shape.
"""

from __future__ import annotations

import contextlib
from collections import deque
from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np

from seedcli.data.images.images import ImageHandling
from seedcli.data.images.items import Item
from seedcli.data.images.loader import DecodedBatch, ImageLoader
from seedcli.data.tokens.outcomes import Outcome
from seedcli.data.tokens.shards import ShardHeader
from seedcli.workflows.pictures import SeedTokenizer
from seedcli.workflows.tokenize.stages import StageClock


class Encoder:
    """A loaded tokenizer with its loader: items -> outcomes.

    A pass has `micro_batch` slots. An image sits in the slot of its position, an image that failed
    leaves a hole, and the last pass is padded: matrix products of other shapes may differ in the
    last bit, which turns a code now and then. The frames of a video sit beside each other; where
    they do not fit any more, a pass ends before them, and what fits into none takes several alone.
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
        chunks = in_passes(self.clock.waiting("read", items), self.micro_batch)
        begun: deque[DecodedBatch] = deque()

        def squares() -> Iterator[np.ndarray]:
            for decoded in self.clock.waiting("decode", self.loader.batches(chunks)):
                begun.append(decoded)
                if None in decoded.reasons:
                    for start in range(0, len(decoded.squares), self.micro_batch):
                        yield decoded.squares[start : start + self.micro_batch]

        passes = self.tokenizer.encode_ahead(squares(), self.micro_batch)
        codes: list[list[int]] = []
        for found in self.clock.waiting("encode", passes):
            while None not in begun[0].reasons:  # nothing of it could be encoded
                yield list(_outcomes(begun.popleft(), []))
            codes += found.tolist()
            if len(codes) == len(begun[0].squares):  # else a video of several passes goes on
                yield list(_outcomes(begun.popleft(), codes))
                codes = []
        while begun:
            yield list(_outcomes(begun.popleft(), []))

    def header(self, **made: Any) -> ShardHeader:
        """What shards of these codes say of their tokenizer, and what else is known of them:
        `made_from`, `content`.
        """
        size_px = self.tokenizer.config.preprocess.codes.image_size_px
        return ShardHeader(
            tokenizer=self.tokenizer.name,
            fingerprint=self.tokenizer.fingerprint,
            num_queries=self.tokenizer.num_queries,
            num_codes=self.tokenizer.num_codes,
            image_handling=self.loader.handling,
            numerics=self.tokenizer.numerics,
            dtype=str(self.tokenizer.model.compute_dtype).removeprefix("torch."),
            micro_batch=(self.micro_batch, 3, size_px, size_px),
            **made,
        )


def _outcomes(decoded: DecodedBatch, codes: list[list[int]]) -> Iterator[Outcome]:
    slot = 0
    for item, reason, times_s in zip(decoded.items, decoded.reasons, decoded.times_s, strict=True):
        own: Any = None
        if reason is None:
            own = codes[slot] if times_s is None else codes[slot : slot + item.slots]
        slot += item.slots
        yield Outcome(item.key, item.source, own, item.text, item.meta, reason, times_s)


def in_passes(items: Iterable[Item], slots: int) -> Iterator[list[Item]]:
    """Lists of items that fit into a pass together, or one alone that does not."""
    chunk: list[Item] = []
    taken = 0
    for item in items:
        if chunk and taken + item.slots > slots:
            yield chunk
            chunk, taken = [], 0
        chunk.append(item)
        taken += item.slots
        if taken >= slots:  # at once, so that reading is not ahead
            yield chunk
            chunk, taken = [], 0
    if chunk:
        yield chunk
