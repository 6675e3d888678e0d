"""What becomes of an image or video, and the journal of a shard that is being computed.
Torch-free.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal, NamedTuple

from seedcli.data.documents.columns import Content, DocumentRow
from seedcli.data.tokens.shards import TokenRow
from seedcli.files import json_text, parse_json
from seedcli.journal import Journal
from seedcli.models.language.vocab import format_span


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

    def token_text(self) -> str:
        """The image span of the image, or those of the frames; only where there are codes."""
        return "".join(map(format_span, self.pictures))

    def as_record(self, model: str, fingerprint: str) -> dict[str, Any]:
        """The line that `seed tokenize` prints: source, codes (of a video `frames`, each with
        codes), model, fingerprint, and what the input carried.
        """
        record: dict[str, Any] = {"source": self.source}
        if self.times_s is None:
            record["codes"] = self.codes
        else:
            shown = zip(self.times_s, self.codes, strict=True)
            record["frames"] = [{"time_s": time_s, "codes": codes} for time_s, codes in shown]
        record |= {"model": model, "fingerprint": fingerprint}
        if self.key != Path(self.source).as_posix():
            record["key"] = self.key
        if self.text is not None:
            record["text"] = self.text
        if self.meta is not None:
            record["meta"] = json.loads(self.meta)
        return record

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
        if batch == "end":
            self.ended = True
        else:
            failed = sum(1 for outcome in batch if outcome[2] is None)
            self.num_batches += 1
            self.num_failed += failed
            self.num_done += len(batch) - failed

    def add(self, batch: list[Outcome] | Literal["end"]) -> None:
        """Adds one micro-batch, or marks the shard as computed."""
        line = [self.num_batches, batch]
        self.append(line)
        self._take(line)


def read_journal(path: Path) -> Iterator[Outcome]:
    """Everything that was computed, in order, streamed."""
    number = 0
    with open(path, "rb") as file:
        for line in map(json.loads, file):
            if line == [number, "end"]:
                return
            if line[0] == number:
                yield from (Outcome(*outcome) for outcome in line[1])
                number += 1
