"""Which row of which source is sample `n` of a weighted mixture: a pure function of (seed, n),
without a table of rows.

So a run's position is one integer, any number of processes reads the same samples, and a resume
replays nothing. Each pass over a source is shuffled anew. Sources on disk are shuffled by blocks
(row groups of shards), a few blocks at a time, so that reading stays local.
"""

from __future__ import annotations

import math
import random
from collections.abc import Sequence

import numpy as np

from seedcli.errors import DataError

_PATTERN_LENGTH = 1000  # a mixture's shares are exact to a tenth of a percent
# blocks whose rows are mixed; a reader that keeps twice as many reads each block once a pass, but
# at the seams
BLOCKS_AT_ONCE = 4


class SampleOrder:
    """Sample number -> (source number, row).

    Args:
        sources: Rows and weight of each source; weights are shares of samples, relative. Rows are a
            number, or the sizes of the source's blocks in order where reading should be local.
        seed: Everything follows from it.

    Raises:
        DataError: No source, a weight that is not above 0, or a source without rows.
    """

    def __init__(self, sources: Sequence[tuple[int | Sequence[int], float]], *, seed: int):
        if not sources or any(weight <= 0 for _, weight in sources):
            raise DataError("a mixture needs at least one source, each with a weight above 0")
        self._seed = seed
        self._blocks = [
            None if isinstance(rows, int) else np.asarray(rows, dtype=np.int64)
            for rows, _ in sources
        ]
        self._starts = [
            None if blocks is None else np.cumsum(blocks) - blocks for blocks in self._blocks
        ]
        self._sizes = [rows if isinstance(rows, int) else sum(rows) for rows, _ in sources]
        if 0 in self._sizes:
            raise DataError(f"training source {self._sizes.index(0) + 1} holds no rows")
        total = sum(weight for _, weight in sources)
        bounds = [
            round(_PATTERN_LENGTH * sum(w for _, w in sources[: i + 1]) / total)
            for i in range(len(sources))
        ]
        pattern = [
            next(i for i, bound in enumerate(bounds) if n < bound) for n in range(_PATTERN_LENGTH)
        ]
        random.Random(seed).shuffle(pattern)
        self._pattern = pattern
        self._earlier = [pattern[:n].count(source) for n, source in enumerate(pattern)]
        self._counts = [pattern.count(i) for i in range(len(sources))]
        self._passes: dict[tuple[int, int], tuple[np.ndarray, np.ndarray]] = {}

    def __len__(self) -> int:
        """Rows of all sources; one pass over the largest of them takes at least as many samples."""
        return sum(self._sizes)

    def locate(self, n: int) -> tuple[int, int]:
        """Sample number -> (source number, row), shuffled anew on each pass over a source."""
        cycle, place = divmod(n, _PATTERN_LENGTH)
        number = self._pattern[place]
        passes, position = divmod(
            cycle * self._counts[number] + self._earlier[place], self._sizes[number]
        )
        if self._blocks[number] is None:
            return number, shuffled_index(
                position, self._sizes[number], seed=derived_seed(self._seed, number, passes)
            )
        return number, self._row_in_blocks(number, passes, position)

    def _row_in_blocks(self, number: int, passes: int, position: int) -> int:
        """Blocks come in a new order each pass; within each few of them rows are mixed."""
        sizes, starts = self._blocks[number], self._starts[number]
        assert sizes is not None and starts is not None
        if (number, passes) not in self._passes:
            order = np.random.default_rng([self._seed, number, passes]).permutation(len(sizes))
            self._passes = {
                key: value
                for key, value in self._passes.items()
                if key[0] != number or key[1] == passes - 1
            }
            self._passes[number, passes] = order, np.cumsum(sizes[order])
        order, ends = self._passes[number, passes]
        first = find_block(ends, position)[0] // BLOCKS_AT_ONCE * BLOCKS_AT_ONCE
        start = int(ends[first - 1]) if first else 0
        last = min(first + BLOCKS_AT_ONCE, len(order)) - 1
        mixed = start + shuffled_index(
            position - start,
            int(ends[last]) - start,
            seed=derived_seed(self._seed, number, passes, first),
        )
        place, within = find_block(ends, mixed)
        return int(starts[order[place]]) + within


def find_block(ends: np.ndarray, row: int) -> tuple[int, int]:
    """Ends of blocks of rows, row of all -> (block, row within it)."""
    place = int(np.searchsorted(ends, row, side="right"))
    return place, row - (int(ends[place - 1]) if place else 0)


def derived_seed(*numbers: int) -> int:
    """Numbers from 0 on, say (seed, sample number) -> seed of one generator, 0..2^63-1; the same
    under every version of Python and NumPy, and as many other numbers give another one.
    """
    return int(np.random.SeedSequence(numbers).generate_state(1, np.uint64)[0] >> 1)


def shuffled_index(position: int, size: int, *, seed: int) -> int:
    """Position -> row, a permutation of 0..size-1 for each seed, in constant memory: a Feistel
    network with cycle walking.
    """
    half = max(1, math.ceil(math.log2(max(2, size)) / 2))
    mask = (1 << half) - 1
    keys = random.Random(seed).sample(range(1, 1 << 30), 4)
    while True:
        left, right = position >> half, position & mask
        for key in keys:
            left, right = right, left ^ ((right * 0x9E3779B1 + key) * 0x85EBCA6B >> 7) & mask
        position = (left << half) | right
        if position < size:
            return position
