"""What the workers of `seed tokenize` do, on whatever engine: shards of a job -> files of codes.

A worker holds a tokenizer and its decoding children. A shard is written by whoever computed it,
whole or not at all; what comes back to the driver is only how far it is.
"""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from seedcli.console import Reporter
from seedcli.data.images.items import Item
from seedcli.data.images.loader import ImageLoader
from seedcli.data.tokens.job import PlannedShard, TokenJob, open_job
from seedcli.data.tokens.outcomes import Outcome, ShardJournal, read_journal
from seedcli.data.tokens.shards import ShardHeader, read_header, write_shard
from seedcli.engine.engines import Place, use_threads
from seedcli.models.weights.locate import locate
from seedcli.workflows.pictures import SeedTokenizer
from seedcli.workflows.tokenize.encoder import Encoder
from seedcli.workflows.tokenize.request import TokenizeRequest
from seedcli.workflows.tokenize.stages import StageClock


@dataclass(frozen=True)
class Found:
    """Images of a shard that an earlier run had done."""

    images: int


@dataclass(frozen=True)
class Passed:
    """One pass through the model: its images, source and reason of those that failed, and the
    seconds of each stage.
    """

    images: int
    failures: tuple[tuple[str, str], ...] = ()
    seconds: dict[str, float] = field(default_factory=dict)

    @classmethod
    def of(cls, outcomes: Sequence[Outcome], clock: StageClock) -> Passed:
        """What is to be said of outcomes."""
        failures = ((one.source, one.reason) for one in outcomes if one.reason is not None)
        return cls(len(outcomes), tuple(failures), clock.take())


@dataclass(frozen=True)
class OpenDesk:
    """Opens a worker at a place; travels to other processes."""

    request: TokenizeRequest

    @contextlib.contextmanager
    def __call__(self, place: Place, reporter: Reporter) -> Iterator[Any]:
        use_threads(place)
        with contextlib.ExitStack() as stack:
            desk = Desk(self.request, place, stack, load_tokenizer(self.request, reporter))
            yield lambda part: part.compute(desk)


class Desk:
    """A worker with its tokenizer, and what it needs to write shards."""

    def __init__(
        self,
        request: TokenizeRequest,
        place: Place,
        stack: contextlib.ExitStack,
        tokenizer: SeedTokenizer,
    ):
        self.request, self.place, self.tokenizer = request, place, tokenizer
        self._stack = stack
        self._loader: ImageLoader | None = None

    @cached_property
    def job(self) -> TokenJob:
        """The frozen job."""
        return open_job(self.request.workspace)

    def encoder(self, micro_batch: int, num_items: int | None) -> Encoder:
        """An encoder for passes of that size; its decoding children stay for the next one."""
        if self._loader is None:
            workers = self.request.workers_for(num_items, self.place)
            preprocess = self.tokenizer.config.preprocess.codes
            self._loader = self._stack.enter_context(
                ImageLoader(preprocess, self.request.image_handling, workers)
            )
        return Encoder(self.tokenizer, self._loader, micro_batch)


@dataclass(frozen=True)
class Describe:
    """Asks what codes of this worker say of themselves."""

    def compute(self, desk: Desk) -> Iterator[ShardHeader]:
        """Gives one header, without what a shard is made from."""
        preprocess = desk.tokenizer.config.preprocess.codes
        loader = ImageLoader(preprocess, desk.request.image_handling)
        yield dataclasses.replace(Encoder(desk.tokenizer, loader, 1).header(), micro_batch=())


@dataclass(frozen=True)
class Fill:
    """Computes one shard: journal, errors, and the shard where the output is a folder of them.

    Attributes:
        shard: Which.
        micro_batch: Images of one pass.
    """

    shard: PlannedShard
    micro_batch: int

    def compute(self, desk: Desk) -> Iterator[Found | Passed]:
        """Continues where an earlier run was stopped."""
        shard, job = self.shard, desk.job
        path = desk.request.shard_path(shard)
        if path is not None and path.exists():
            return
        encoder = desk.encoder(self.micro_batch, job.num_items)
        desk.request.work_folder.mkdir(parents=True, exist_ok=True)
        with ShardJournal(desk.request.journal_path(shard)) as journal:
            if journal.num_batches:
                yield Found(journal.num_done + journal.num_failed)
            if not journal.ended:
                for outcomes in encoder.encode(
                    job.items(shard, skip=journal.num_done + journal.num_failed)
                ):
                    with encoder.clock.of("write"):
                        journal.add(outcomes)
                    yield Passed.of(outcomes, encoder.clock)
                journal.add("end")
        with encoder.clock.of("write"):
            self._publish(desk, encoder, journal, path)
        yield Passed.of([], encoder.clock)

    def _publish(
        self, desk: Desk, encoder: Encoder, journal: ShardJournal, path: Path | None
    ) -> None:
        """Errors and shard, in this order: where a shard is, its errors are."""
        shard, content = self.shard, desk.job.content
        done = enumerate(read_journal(journal.path))
        desk.job.write_errors(shard.name, (each for each in done if each[1].reason is not None))
        if path is None:
            return
        made_from = shard.made_from() | {"num_items": journal.num_done + journal.num_failed}
        header = encoder.header(made_from=made_from, content=content)
        rows = (one.as_row(content) for one in read_journal(journal.path) if one.reason is None)
        write_shard(path, header, rows)
        journal.path.unlink(missing_ok=True)


@dataclass(frozen=True)
class Retry:
    """Computes what failed of a shard once more; what succeeds goes to `NAME.retry-001.parquet`,
    the next try's to `-002`.

    An image takes the slot that it had in its pass, so that its codes are those it would have got
    at once. Where a tar or parquet file broke off, all that follows is read.
    """

    shard: PlannedShard
    micro_batch: int

    def compute(self, desk: Desk) -> Iterator[Passed]:
        """Gives one `Passed` of all that was tried."""
        shard, job, folder = self.shard, desk.job, desk.request.output
        errors = list(job.shard_errors(shard.name))
        earlier = list(map(read_header, sorted(folder.glob(f"{shard.name}.retry-*.parquet"))))
        recovered = {index for header in earlier for index in header.made_from["indices"]}
        wanted = {error["index"] for error in errors} - recovered
        if not wanted:
            if errors:
                job.write_errors(shard.name, ())
            return
        broken_off = [error["index"] for error in errors if error["source"] == shard.path]
        encoder = desk.encoder(self.micro_batch, job.num_items)
        again = _outcomes_at(job, shard, encoder, wanted, min(broken_off, default=None))
        outcomes = [(index, one) for index, one in again if index not in recovered]
        good = [(index, one) for index, one in outcomes if one.reason is None]
        if good:
            made_from = shard.made_from() | {
                "num_items": len(outcomes),
                "indices": [index for index, _ in good],
            }
            write_shard(
                folder / f"{shard.name}.retry-{len(earlier) + 1:03d}.parquet",
                encoder.header(made_from=made_from, content=job.content),
                (one.as_row(job.content) for _, one in good),
            )
        job.write_errors(shard.name, (each for each in outcomes if each[1].reason is not None))
        yield Passed.of([one for _, one in outcomes], encoder.clock)


def _outcomes_at(
    job: TokenJob, shard: PlannedShard, encoder: Encoder, wanted: set[int], open_end: int | None
) -> Iterator[tuple[int, Outcome]]:
    """Position and outcome of the wanted images of a shard, and of all from `open_end` on."""
    size = encoder.micro_batch
    # which pass a video is in, only all before it tell
    first = min(wanted) // size * size if job.content == "images" else 0

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


def load_tokenizer(request: TokenizeRequest, reporter: Reporter = Reporter()) -> SeedTokenizer:
    """The tokenizer of a request, ready to encode."""
    tokenizer = SeedTokenizer(
        locate(request.model, reporter=reporter),
        device=request.device,
        dtype=request.dtype,
        numerics=request.numerics,
        reporter=reporter,
    ).load()
    reporter.note(f"codes by {tokenizer.title}")
    return tokenizer
