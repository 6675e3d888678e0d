"""Packed rows of lanes -> micro-batches of one rank, in the order of the updates, with
the position after them.

A lane is a row of every update and reads its own samples, so rows depend neither on the number of
processes nor on how many of them a process computes at once. Micro-batch k of a rank holds the rows
of k-th share of its lanes; a reading process serves whole micro-batches.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Protocol

import numpy as np
import torch
import torch.distributed
from torch.utils.data import IterableDataset, get_worker_info

from seedcli.data.documents.packing import PackedRow
from seedcli.training.readers import read_ahead

LaneStates = Mapping[int, dict[str, Any]]


class RowSource(Protocol):
    """Opens the endless rows of share `rank` of `world` shares of the lanes, from the positions in
    `state` or from the start: `PackedStream`, all but its arguments given.
    """

    def __call__(
        self, *, lanes: int, rank: int, world: int, state: LaneStates | None
    ) -> Iterable[PackedRow]: ...


class PackedBatches(IterableDataset):
    """Micro-batches of one rank.

    Args:
        rows: Where rows come from.
        lanes: Rows of an update, all ranks together.
        rank: This process.
        world: Number of processes.
        accumulation: Micro-batches of this rank in an update.
        state: Positions of all lanes, as `all_lanes` gave them.
    """

    def __init__(
        self,
        rows: RowSource,
        *,
        lanes: int,
        rank: int,
        world: int,
        accumulation: int,
        state: Sequence[dict] | None = None,
    ):
        self._rows, self._lanes = rows, lanes
        self._rank, self._world, self.accumulation = rank, world, accumulation
        self._positions: dict[int, dict[str, Any]] = dict(enumerate(state)) if state else {}
        self._start = dict(self._positions) or None

    def read_ahead(self, *, workers: int, pin_memory: bool) -> Iterator[dict[str, Any]]:
        """Micro-batches from at most `workers` processes that read ahead; each serves whole ones,
        so their number divides them.
        """
        processes = max(
            (count for count in range(1, workers + 1) if self.accumulation % count == 0), default=0
        )
        return read_ahead(self, workers=processes, pin_memory=pin_memory)

    def __iter__(self) -> Iterator[dict[str, Any]]:
        worker = get_worker_info()
        first, readers = (worker.id, worker.num_workers) if worker else (0, 1)
        shares = self._world * self.accumulation
        streams = [
            iter(
                self._rows(
                    lanes=self._lanes,
                    rank=self._rank * self.accumulation + number,
                    world=shares,
                    state=self._start,
                )
            )
            for number in range(first, self.accumulation, readers)
        ]
        while True:
            for stream in streams:
                yield collate([next(stream) for _ in range(self._lanes // shares)])

    def moved(self, lanes: LaneStates) -> None:
        """Takes note of the positions after a micro-batch that is trained on."""
        self._positions |= lanes

    def all_lanes(self) -> list[dict[str, Any]]:
        """Positions of all lanes of all ranks; every rank calls this."""
        share = self._lanes // self._world
        own = range(self._rank * share, (self._rank + 1) * share)
        positions = {lane: state for lane, state in self._positions.items() if lane in own}
        if self._world > 1:
            parts: list[dict] = [{} for _ in range(self._world)]
            torch.distributed.all_gather_object(parts, positions)
            positions = {lane: state for part in parts for lane, state in part.items()}
        return [positions[lane] for lane in range(self._lanes)]


def collate(rows: Sequence[PackedRow]) -> dict[str, Any]:
    """Rows -> int64 tensors [B,L], the lanes' positions after them, and summed counts."""
    counts: Counter[str] = Counter()
    for row in rows:
        counts.update(row.counts)
    return {
        name: torch.from_numpy(np.stack([getattr(row, name) for row in rows])).long()
        for name in ("input_ids", "labels", "position_ids")
    } | {"lanes": {row.lane: row.lane_state for row in rows}, "counts": dict(counts)}
