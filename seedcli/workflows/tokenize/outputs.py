"""Where codes go on disk: a folder of shards, one file, or the shard of what a second try
recovered; and what a run says of it.
"""

from __future__ import annotations

import contextlib
import dataclasses
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from seedcli.data.images.inputs import Item
from seedcli.data.tokens.job import (
    Outcome,
    PlannedShard,
    ShardJournal,
    TokenJob,
    read_journal,
    write_lines,
)
from seedcli.data.tokens.shards import ShardHeader, read_header, write_shard
from seedcli.errors import DataError
from seedcli.workflows.tokenize.encoder import Encoder

POLL_S = 0.5  # between looks at shards that others hold

Count = Callable[[Sequence[Outcome]], None]  # told of every computed image
Skip = Callable[[int], None]  # told of how many were found done


@dataclass(frozen=True)
class TokenizeSummary:
    """What a run left behind: counts of the whole output, and the speed of this run."""

    output: str
    images: int
    failed: int
    shards: int
    model: str
    fingerprint: str
    computed: int
    elapsed_s: float
    errors: str | None = None

    def as_result(self) -> dict[str, Any]:
        """The object that `seed tokenize -o` prints."""
        rate = round(self.computed / self.elapsed_s, 1) if self.elapsed_s > 0 else None
        return {
            name: value for name, value in dataclasses.asdict(self).items() if value is not None
        } | {"images_per_s": rate}


def fill_shards(
    job: TokenJob, folder: Path, encoder: Encoder, header: ShardHeader, count: Count, skip: Skip
) -> None:
    """Computes every shard that nobody has finished or holds; returns when all are
    finished, by whomever.

    A shard whose holder dies is taken over: its lock is gone with it, and its journal is continued.
    """
    waiting = list(job.shards)
    while waiting:
        left = []
        for shard in waiting:
            path = folder / f"{shard.name}.parquet"
            if path.exists():
                continue
            with _claimed(job, shard) as journal:
                if journal is None:
                    left.append(shard)
                elif path.exists():  # finished between the look and the lock
                    journal.remove()
                else:
                    skip(journal.num_done + journal.num_failed)
                    compute(job, shard, journal, encoder, count)
                    _finish_shard(job, shard, journal, path, header)
        if len(left) == len(waiting):
            time.sleep(POLL_S)
        waiting = left


@contextlib.contextmanager
def _claimed(job: TokenJob, shard: PlannedShard) -> Iterator[ShardJournal | None]:
    journal = ShardJournal.claim(job.journal_path(shard))
    try:
        yield journal
    finally:
        if journal is not None:
            journal.close()


def compute(
    job: TokenJob, shard: PlannedShard, journal: ShardJournal, encoder: Encoder, count: Count
) -> None:
    """Continues a shard's journal to its end."""
    if journal.ended:
        return
    for outcomes in encoder.encode(
        job.items(shard, skip=journal.num_batches * encoder.micro_batch)
    ):
        journal.add(outcomes)
        count(outcomes)
    journal.end()


def _finish_shard(
    job: TokenJob, shard: PlannedShard, journal: ShardJournal, path: Path, header: ShardHeader
) -> None:
    """Journal -> errors and shard, in this order: where a shard is, its errors are."""
    job.write_errors(
        shard.name,
        ((index, one) for index, one in enumerate(journal.outcomes()) if one.reason is not None),
    )
    made_from = shard.made_from() | {"num_items": journal.num_done + journal.num_failed}
    rows = (outcome.as_row() for outcome in journal.outcomes() if outcome.reason is None)
    write_shard(path, dataclasses.replace(header, made_from=made_from), rows)
    journal.remove()


def fill_file(
    job: TokenJob,
    path: Path,
    encoder: Encoder,
    header: ShardHeader,
    count: Count,
    skip: Skip,
    as_line: Callable[[Outcome], str],
) -> tuple[int, int]:
    """Computes everything, then writes one file: parquet, or a text line an image; returns how many
    images it holds and how many failed.

    Raises:
        DataError: Another process is at it.
    """
    num_done = num_failed = 0
    with job.lock() as held:
        if not held:
            raise DataError(
                f"another process is writing {path}",
                remedy="Wait for it, or name another file with -o.",
            )
        for shard in job.shards:
            with _claimed(job, shard) as journal:
                skip(journal.num_done + journal.num_failed)
                compute(job, shard, journal, encoder, count)
                num_done, num_failed = num_done + journal.num_done, num_failed + journal.num_failed
                job.write_errors(
                    shard.name,
                    (
                        (index, one)
                        for index, one in enumerate(journal.outcomes())
                        if one.reason is not None
                    ),
                )
        done = (
            one
            for shard in job.shards
            for one in read_journal(job.journal_path(shard))
            if one.reason is None
        )
        if path.suffix == ".parquet":
            made_from = {
                "kind": "inputs",
                "inputs": job.settings["inputs"],
                "num_items": num_done + num_failed,
            }
            write_shard(
                path,
                dataclasses.replace(header, made_from=made_from),
                (one.as_row() for one in done),
                overwrite=True,
            )
        else:
            write_lines(path, map(as_line, done))
    return num_done, num_failed


def retry_failed(
    job: TokenJob, folder: Path, encoder: Encoder, header: ShardHeader, count: Count
) -> None:
    """Computes what failed once more; what succeeds goes to `NAME.retry-001.parquet`,
    the next try's to `-002`.

    An image takes the slot that it had in its pass, so that its codes are those it would have got
    at once. Where a tar or parquet file broke off, all that follows is read.
    """
    for shard in job.shards:
        with _claimed(job, shard) as claim:
            if claim is None:
                continue
            errors = list(job.shard_errors(shard.name))
            earlier = [
                read_header(path) for path in sorted(folder.glob(f"{shard.name}.retry-*.parquet"))
            ]
            recovered = {index for header_ in earlier for index in header_.made_from["indices"]}
            wanted = {error["index"] for error in errors} - recovered
            if wanted:
                broken_off = [error["index"] for error in errors if error["source"] == shard.path]
                again = _outcomes_at(job, shard, encoder, wanted, min(broken_off, default=None))
                outcomes = [(index, one) for index, one in again if index not in recovered]
                count([one for _, one in outcomes])
                good = [(index, one) for index, one in outcomes if one.reason is None]
                if good:
                    made_from = shard.made_from() | {
                        "num_items": len(outcomes),
                        "indices": [index for index, _ in good],
                    }
                    path = folder / f"{shard.name}.retry-{len(earlier) + 1:03d}.parquet"
                    write_shard(
                        path,
                        dataclasses.replace(header, made_from=made_from),
                        (one.as_row() for _, one in good),
                    )
                job.write_errors(
                    shard.name, ((index, one) for index, one in outcomes if one.reason is not None)
                )
            elif errors:
                job.write_errors(shard.name, ())
            claim.remove()


def _outcomes_at(
    job: TokenJob, shard: PlannedShard, encoder: Encoder, wanted: set[int], open_end: int | None
) -> Iterator[tuple[int, Outcome]]:
    """Position and outcome of the wanted images of a shard, and of all from `open_end` on."""
    size = encoder.micro_batch
    first = min(wanted) // size * size

    def is_wanted(index: int) -> bool:
        return index in wanted or (open_end is not None and index >= open_end)

    def items() -> Iterator[Item]:
        for index, item in enumerate(job.items(shard, skip=first), start=first):
            if open_end is None and index > max(wanted):
                return
            yield (
                item
                if is_wanted(index)
                else dataclasses.replace(item, path=None, data=None, problem="not asked for")
            )

    index = first
    for outcomes in encoder.encode(items()):
        for outcome in outcomes:
            if is_wanted(index):
                yield index, outcome
            index += 1
