"""Items -> codes: decoding workers feeding one tokenizer, every pass through
it of one fixed shape.
"""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, TypeVar

import numpy as np

from seedcli.data.images.images import ImageHandling, build_preprocess
from seedcli.data.images.inputs import Item
from seedcli.data.images.loader import ImageLoader
from seedcli.data.tokens.job import Outcome
from seedcli.data.tokens.shards import ShardHeader

if TYPE_CHECKING:
    from seedcli.models.visual.model import SeedModel

_T = TypeVar("_T")


class Encoder:
    """A loaded tokenizer with its loader: items -> outcomes.

    A pass has `micro_batch` slots. An image sits in the slot of its position, an image that failed
    leaves a hole, and the last pass is padded: matrix products of other shapes may differ in the
    last bit, which turns a code now and then.
    """

    def __init__(self, tokenizer: SeedModel, loader: ImageLoader, micro_batch: int):
        self.tokenizer, self.loader, self.micro_batch = tokenizer, loader, micro_batch
        self._preprocess = build_preprocess(tokenizer.config.preprocess.codes)
        self._device = next(tokenizer.parameters()).device

    @classmethod
    @contextlib.contextmanager
    def open(
        cls, tokenizer: SeedModel, handling: ImageHandling, micro_batch: int, workers: int
    ) -> Iterator[Encoder]:
        """An encoder whose decoding workers end with the context."""
        with ImageLoader(tokenizer.config.preprocess.codes, handling, workers) as loader:
            yield cls(tokenizer, loader, micro_batch)

    def encode(self, items: Iterable[Item]) -> Iterator[list[Outcome]]:
        """Items -> a list of outcomes for each pass, in order."""
        for decoded in self.loader.batches(in_chunks(items, self.micro_batch)):
            codes = (
                self._codes(decoded.squares)
                if None in decoded.reasons
                else [None] * len(decoded.items)
            )
            yield [
                Outcome(
                    item.key,
                    item.source,
                    row if reason is None else None,
                    item.text,
                    item.meta,
                    reason,
                )
                for item, row, reason in zip(decoded.items, codes, decoded.reasons, strict=True)
            ]

    def _codes(self, squares: np.ndarray) -> list[list[int]]:
        """uint8 [n,3,S,S], n <= B -> n lists of Q codes."""
        import torch

        padded = np.zeros((self.micro_batch, *squares.shape[1:]), dtype=np.uint8)
        padded[: len(squares)] = squares
        with torch.inference_mode():
            pixels = self._preprocess.normalize(torch.from_numpy(padded).to(self._device))
            return self.tokenizer.encode(pixels)[: len(squares)].tolist()

    def header(self, image_handling: str, numerics: str) -> ShardHeader:
        """What shards of these codes say of their tokenizer."""
        config = self.tokenizer.config
        size_px = config.preprocess.codes.image_size_px
        return ShardHeader(
            tokenizer=self.tokenizer.name,
            fingerprint=self.tokenizer.fingerprint,
            num_queries=config.qformer.num_queries,
            num_codes=config.codebook.num_codes,
            image_handling=image_handling,
            numerics=numerics,
            dtype=str(self.tokenizer.compute_dtype).removeprefix("torch."),
            micro_batch=(self.micro_batch, 3, size_px, size_px),
        )


def in_chunks(values: Iterable[_T], size: int) -> Iterator[list[_T]]:
    """Lists of `size` values, the last one shorter."""
    iterator = iter(values)
    while chunk := list(itertools.islice(iterator, size)):
        yield chunk
