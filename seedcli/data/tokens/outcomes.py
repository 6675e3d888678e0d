"""What becomes of an image or video, and the journal of a shard that is being computed.
Torch-free.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from seedcli.data.documents.columns import Content, DocumentRow
from seedcli.data.tokens.shards import TokenRow
from seedcli.files import json_text, parse_json
from seedcli.journal import Journal

_END = "end"


class Outcome(NamedTuple):
    """One image after its turn: `codes` (Q integers), or `reason` if it failed; of a video the
    codes of each frame, and `times_s`, when it is shown.
    """

    key: str
    source: str
    codes: Any
    text: str | None
    meta: str | None
    reason: str | None
    times_s: list[float] | None = None

    @property
    def pictures(self) -> list[list[int]]:
        """Codes of the image, or of each frame; only where there are codes."""
        return [self.codes] if self.times_s is None else self.codes

    def as_row(self, content: Content) -> TokenRow | DocumentRow:
        """The row of a shard; only where there are codes. A document is pictures and their words,
        and its `meta` says when frames are shown.
        """
        if content == "images":
            return TokenRow(self.key, self.codes, self.text, self.source, self.meta)
        segments = (*map(tuple, self.pictures), *([self.text] if self.text else ()))
        meta = self.meta
        if self.times_s is not None:
            meta = json_text(parse_json(meta or "{}") | {"time_s": self.times_s})
        return DocumentRow(self.key, segments, (), self.source, meta)


class ShardJournal(Journal):
    """What is computed of one shard, a line for each micro-batch.

    A line carries its number: should two machines write to one journal (one of them taken for
    dead), lines out of turn are told from the next ones, and are not taken.
    """

    def __init__(self, path: Path):
        """Opens a journal, new or begun; a torn last line is cut off."""
        super().__init__(path)
        self.num_batches = 0
        self.ended = False
        self.num_done = self.num_failed = 0
        self.recover(self._take, ordered=True)

    def _take(self, line: Any) -> None:
        number, batch = line
        if number != self.num_batches or self.ended:
            raise ValueError(f"line {number} in place of {self.num_batches}")
        if batch == _END:
            self.ended = True
        else:
            failed = sum(1 for outcome in batch if outcome[2] is None)
            self.num_batches += 1
            self.num_failed += failed
            self.num_done += len(batch) - failed

    def add(self, outcomes: list[Outcome]) -> None:
        """Adds one micro-batch."""
        self._add(outcomes)

    def end(self) -> None:
        """Marks the shard as computed."""
        self._add(_END)

    def _add(self, batch: Any) -> None:
        line = [self.num_batches, batch]
        self.append(line)
        self._take(line)


def read_journal(path: Path) -> Iterator[Outcome]:
    """Everything that was computed, in order, streamed."""
    number = 0
    with open(path, "rb") as file:
        for line in map(json.loads, file):
            if line == [number, _END]:
                return
            if line[0] == number:
                yield from (Outcome(*outcome) for outcome in line[1])
                number += 1
