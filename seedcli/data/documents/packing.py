"""Token sequences -> packed rows of the context length. On the path: the last step
before the language model.

Rows of one update are lanes. Lane i reads samples i, i + lanes, i + 2 lanes, ... and packs its own
rows, so any number of ranks that divides the lanes gives the same rows in the same updates, and a
run continues from the numbers that each lane wrote down.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from seedcli.data.documents.left_out import CUT, ROWS, LeftOutError, add_tallies
from seedcli.data.documents.sequences import IGNORED, TokenSequence
from seedcli.errors import DataError

LOOK_AHEAD = 16  # sequences a lane holds back because they did not fit
# samples in a row without a sequence: the source is of another kind than its form
_FRUITLESS = 10_000

# id of padding: the published one; nothing attends to it or learns it, so any other would do
PADDING = 0


@dataclass(frozen=True)
class PackedRow:
    """Documents side by side, then padding.

    Attributes:
        input_ids: Token ids [L], int32.
        labels: Learned ids [L], int32, -100 elsewhere; -100 on every document's first token, so
            that none is predicted from another.
        position_ids: Places within the document [L], int32, from 0; padding counts as a document.
        lane: Which row of the update it is.
        lane_state: The lane's position after this row, see `PackedStream`.
        counts: row_tokens, real_tokens, image_tokens, learned_tokens, documents, dropped_images,
            truncated_documents, skipped_samples.
    """

    input_ids: np.ndarray
    labels: np.ndarray
    position_ids: np.ndarray
    lane: int
    lane_state: dict[str, Any]
    counts: dict[str, int]


class SequenceSource(Protocol):
    """Token sequences by number."""

    def sample(self, n: int) -> TokenSequence:
        """Sample number -> sequence.

        Raises:
            LeftOutError: It gives none.
        """


class PackedStream:
    """Endless packed rows of one rank: for each update, one row of each of its lanes, in order.

    A lane's state is `{"next": sample number that it reads next, "held": sample numbers read and
    not yet packed, oldest first, "tally": rows that were drawn and left out by source, see
    `data.documents.left_out`}`.

    Args:
        source: Sequences by number, none longer than `context_length`.
        context_length: Tokens of a row L.
        lanes: Rows of an update, all ranks together.
        rank: This rank, 0..world-1; it has lanes rank * share .. (rank + 1) * share - 1.
        world: Number of ranks; divides `lanes`.
        state: Lane -> its state, at least for this rank's lanes; None: from the start.

    Raises:
        DataError: `world` does not divide `lanes`, or a lane has no state.
    """

    def __init__(
        self,
        source: SequenceSource,
        *,
        context_length: int,
        lanes: int,
        rank: int = 0,
        world: int = 1,
        state: Mapping[int, dict[str, Any]] | None = None,
    ):
        if lanes % world:
            raise DataError(f"an update of {lanes} rows does not split over {world} processes")
        own = range(rank * lanes // world, (rank + 1) * lanes // world)
        absent = [lane for lane in own if state is not None and lane not in state]
        if absent:
            raise DataError(
                f"the position of lanes {absent[:5]} is unknown; it is known for "
                f"{len(state or ())} of {lanes}"
            )
        self._lanes = [
            _Lane(source, context_length, lane, lanes, None if state is None else state[lane])
            for lane in own
        ]

    def __iter__(self) -> Iterator[PackedRow]:
        """Rows for ever; a second iteration goes on where the first one stopped."""
        while True:
            for lane in self._lanes:
                yield lane.pack()


class _Lane:
    """One row of every update, and what it has read but not packed."""

    def __init__(
        self,
        source: SequenceSource,
        context_length: int,
        number: int,
        lanes: int,
        state: dict[str, Any] | None,
    ):
        self._source, self._context_length, self._number, self._stride = (
            source,
            context_length,
            number,
            lanes,
        )
        self._next = number if state is None else int(state["next"])
        # a checkpoint of an earlier version has none
        self._tally = add_tallies([{} if state is None else state.get("tally", {})])
        self._held = [(n, self._read(n)) for n in ([] if state is None else state["held"])]

    def pack(self) -> PackedRow:
        """First fit: what was held back, oldest first, then new samples until the row is full
        or too many do not fit.
        """
        room, chosen, kept, skipped = self._context_length, [], [], 0
        for n, sequence in self._held:
            if len(sequence.ids) <= room:
                chosen.append(sequence)
                room -= len(sequence.ids)
            else:
                kept.append((n, sequence))
        fruitless: Counter[str] = Counter()
        while room and len(kept) < LOOK_AHEAD:
            n, self._next = self._next, self._next + self._stride
            try:
                sequence = self._source.sample(n)
            except LeftOutError as error:
                skipped += 1
                fruitless[f"source {error.source}: {error.reason}"] += 1
                self._count(error.source, error.reason)
                if fruitless.total() == _FRUITLESS:
                    told = "; ".join(f"{many:,} of {why}" for why, many in fruitless.most_common(5))
                    raise DataError(
                        f"{_FRUITLESS} samples in a row before number {n} give "
                        f"nothing to learn from ({told})",
                        remedy="look whether each source's `form` is that of its rows, and whether "
                        "`max_tokens` has room for a picture",
                    ) from None
                continue
            fruitless.clear()
            self._count(sequence.source, CUT if sequence.truncated else None)
            if len(sequence.ids) > self._context_length:
                raise DataError(
                    f"sample {n} has {len(sequence.ids)} tokens, a row {self._context_length}"
                )
            if len(sequence.ids) <= room:
                chosen.append(sequence)
                room -= len(sequence.ids)
            else:
                kept.append((n, sequence))
        self._held = kept
        return self._row(chosen, room, skipped)

    def _count(self, source: int, reason: str | None) -> None:
        self._tally.setdefault(source, Counter())[ROWS] += 1
        if reason:
            self._tally[source][reason] += 1

    def _read(self, n: int) -> TokenSequence:
        try:
            return self._source.sample(n)
        except LeftOutError as error:
            raise DataError(
                f"sample {n} was held back and is gone ({error.message}): the training data or "
                "its options have changed since the checkpoint"
            ) from None

    def _row(self, sequences: list[TokenSequence], padding: int, skipped: int) -> PackedRow:
        lengths = [len(sequence.ids) for sequence in sequences] + [padding]
        learned = np.concatenate(
            [sequence.labels for sequence in sequences] + [np.full(padding, IGNORED, np.int32)]
        )
        return PackedRow(
            input_ids=np.concatenate(
                [sequence.ids for sequence in sequences] + [np.full(padding, PADDING, np.int32)]
            ),
            labels=learned,
            position_ids=np.concatenate([np.arange(length, dtype=np.int32) for length in lengths]),
            lane=self._number,
            lane_state={
                "next": self._next,
                "held": [n for n, _ in self._held],
                "tally": {str(number): dict(counts) for number, counts in self._tally.items()},
            },
            counts={
                "row_tokens": self._context_length,
                "real_tokens": self._context_length - padding,
                "image_tokens": sum(sequence.image_tokens for sequence in sequences),
                "learned_tokens": int((learned != IGNORED).sum()),
                "documents": len(sequences),
                "dropped_images": sum(sequence.dropped_images for sequence in sequences),
                "truncated_documents": sum(sequence.truncated for sequence in sequences),
                "skipped_samples": skipped,
            },
        )
