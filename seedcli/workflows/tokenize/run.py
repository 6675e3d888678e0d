"""`seed tokenize`: images and videos -> 32 codes each, to a stream, to one file, or to a
folder of token shards.

Every pass through the model has one fixed, padded shape, and an image keeps its slot in it (a
failed one leaves a hole): matrix products of other shapes may differ in the last bit, which turns a
code now and then. So the same inputs give the same bytes whatever was interrupted. Output files
grow as journals in a workspace (`seedcli.data.tokens.job`) and appear whole.
"""

from __future__ import annotations

import contextlib
import dataclasses
import itertools
import re
import time
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from seedcli.console import Reporter
from seedcli.data.images.containers import count_items, expand
from seedcli.data.images.endings import VIDEO_FRAMES
from seedcli.data.images.inputs import list_inputs
from seedcli.data.images.items import Columns, Container, Item
from seedcli.data.tokens.job import PlannedShard, TokenJob, freeze_job, open_job, write_lines
from seedcli.data.tokens.outcomes import Outcome, read_journal
from seedcli.data.tokens.shards import ShardHeader, read_header, write_shard
from seedcli.engine.engines import Workers
from seedcli.engine.hold import hold_part
from seedcli.engine.workers import ask, open_workers
from seedcli.errors import DataError
from seedcli.files import json_text
from seedcli.models.weights.load import describe
from seedcli.models.weights.locate import locate
from seedcli.storage import is_url, refusals_named, remove_folder
from seedcli.workflows.tokenize.encoder import Encoder
from seedcli.workflows.tokenize.parts import (
    Describe,
    Fill,
    Found,
    OpenDesk,
    Retry,
    load_tokenizer,
)
from seedcli.workflows.tokenize.request import TokenizeRequest, check_place
from seedcli.workflows.tokenize.stages import bottleneck

TELLING_S = 10.0  # a run of this length says what held it back


@dataclass(frozen=True)
class CodeStream:
    """Codes as they are computed: `outcomes` in input order, failures among them."""

    model: str
    fingerprint: str
    outcomes: Iterator[Outcome]

    def record(self, outcome: Outcome) -> dict[str, Any]:
        """The JSON object of one image."""
        return outcome.as_record(self.model, self.fingerprint)

    def token_text(self, outcome: Outcome) -> str:
        """The image span of one image, or those of a video's frames."""
        return outcome.token_text()


@dataclass(frozen=True)
class TokenizeSummary:
    """What a run left behind: counts of the whole output (or of its part of it), and the speed of
    this run.
    """

    output: str
    images: int
    failed: int
    shards: int
    model: str
    fingerprint: str
    computed: int
    elapsed_s: float
    errors: str | None = None
    part: str | None = None

    def as_result(self) -> dict[str, Any]:
        """The object that `seed tokenize -o` prints."""
        rate = round(self.computed / self.elapsed_s, 1) if self.elapsed_s > 0 else None
        return {
            name: value for name, value in dataclasses.asdict(self).items() if value is not None
        } | {"images_per_s": rate}


@contextlib.contextmanager
def stream(
    request: TokenizeRequest, *, stdin: Iterable[str] = (), reporter: Reporter = Reporter()
) -> Iterator[CodeStream]:
    """Images -> codes one after the other; a context, since worker processes end with it.

    One image runs alone, and fewer than `batch_size` in one pass of their number; more in padded
    passes of `batch_size`.

    Raises:
        UsageError, DataError: No input, or an input, a model or a column that does not exist.
    """
    request.check()
    entries = list_inputs(request.inputs, stdin, on_passed_over=reporter.note)
    items = (
        dataclasses.replace(item, frames=request.frames or item.frames) if item.is_video else item
        for item in itertools.islice(expand(entries, request.columns), request.limit)
    )
    first = list(itertools.islice(items, request.batch_size))
    if not first:
        raise DataError("the inputs hold no image", remedy="Check the paths.")
    slots = sum(item.slots for item in first)
    micro_batch = min(slots, request.batch_size)
    tokenizer = load_tokenizer(request, reporter=reporter)
    workers = request.workers_for(slots if slots < request.batch_size else None)
    with Encoder.open(tokenizer, request.image_handling, micro_batch, workers) as encoder:
        outcomes = itertools.chain.from_iterable(encoder.encode(itertools.chain(first, items)))
        yield CodeStream(tokenizer.name, tokenizer.fingerprint, outcomes)


def run(
    request: TokenizeRequest,
    *,
    stdin: Iterable[str] = (),
    entries: Iterable[Item | Container] | None = None,
    reporter: Reporter = Reporter(),
) -> TokenizeSummary:
    """Images -> one output file, or a folder of shards; see the module.

    The shards are computed on the engine of the request. Several tasks that know nothing of each
    other may share a folder, each with its own part of the shards (`EngineChoice.part`); a last
    call without a part computes what is left, if anything is, and sums up. `entries` are taken in
    place of what `request.inputs` name.

    Raises:
        UsageError: Options that do not go together.
        DataError: Missing inputs, an output that another run left unfinished or that another
            process is at, or a resumed run whose settings differ.
    """
    request.check()
    entries = check_place(request, stdin, entries, on_passed_over=reporter.note)
    started = time.monotonic()
    # inputs travel with the job, and a worker needs none
    open_desk = OpenDesk(dataclasses.replace(request, inputs=()))
    with open_workers(
        request.engine, open_desk, device=request.device, reporter=reporter
    ) as workers:
        header: ShardHeader = ask(workers, Describe())
        request.work_folder.mkdir(parents=True, exist_ok=True)
        with (
            refusals_named(request.output),
            hold_part(request.work_folder, request.engine.part, what=str(request.output)),
        ):
            job = _open_job(request, entries, header)
            if job.content == "segments":
                reporter.note("there are videos: rows are documents of pictures and their words")
            computed = _compute(request, job, workers, reporter)
            job.publish_errors(request.errors_path)
            own = request.engine.part.of(job.shards)
            failed, shards = job.num_failed(own), []
            if request.writes_shards:
                there = _shards_there(request)
                names = [name for shard in own for name in there.get(shard.name, ())]
                shards = [request.output / name for name in names]
                images = sum(read_header(path).count for path in shards)
            else:
                images = _write_file(request, job, header)
    if not request.writes_shards or is_url(request.output):
        remove_folder(request.work_folder)
    return TokenizeSummary(
        output=str(request.output),
        images=images,
        failed=failed,
        shards=len(shards),
        model=header.tokenizer,
        fingerprint=header.fingerprint,
        computed=computed,
        elapsed_s=round(time.monotonic() - started, 2),
        errors=str(request.errors_path) if failed else None,
        part=None if request.engine.part.is_whole else str(request.engine.part),
    )


def _compute(request: TokenizeRequest, job: TokenJob, workers: Workers, reporter: Reporter) -> int:
    """Every shard that is not there, or what failed of those that are; returns how many images
    were computed.
    """
    micro_batch = request.batch_size
    if not request.writes_shards and job.num_slots is not None:
        micro_batch = min(micro_batch, job.num_slots)
    finished, parts = [], list[Fill | Retry]()
    there = _shards_there(request) if request.writes_shards else {}
    for shard in request.engine.part.of(job.shards):
        if shard.name not in there:
            parts.append(Fill(shard, micro_batch))
        elif request.retry_failed:
            parts.append(Retry(shard, micro_batch))
        else:
            finished.append(shard)
    counts = [shard.num_items for shard in request.engine.part.of(job.shards)]
    total = None if None in counts else sum(counts)
    computed, seconds = Counter[str](), Counter[str]()
    started = time.monotonic()
    with reporter.progress("tokenize", total) as progress:
        progress.resume(sum(_num_items(request, shard) for shard in finished))
        for report in workers.run(parts):
            shard = report.part.shard
            path = request.shard_path(shard)
            if report.state == "lost":
                job.write_lost(shard, report.said)
                reporter.warn(f"{shard.path or shard.name}: {report.said}")
            elif report.state == "finished" and path is not None and not path.exists():
                raise DataError(
                    f"{report.worker} wrote {path}, and it is not there",
                    remedy="Name a folder that all machines share with -o.",
                )
            elif report.state == "running" and isinstance(report.said, Found):
                progress.resume(report.said.images)
            elif report.state == "running":
                for source, reason in report.said.failures:
                    reporter.warn(f"{source}: {reason}")
                progress.advance(report.said.images)
                computed[report.worker] += report.said.images
                seconds.update(report.said.seconds)
    elapsed_s = time.monotonic() - started
    if elapsed_s >= TELLING_S:
        reporter.note(bottleneck(seconds))
        if len(computed) > 1:
            rates = sorted(number / elapsed_s for number in computed.values())
            reporter.note(
                f"{len(rates)} workers: {sum(rates):.3g} images/s together, {rates[0]:.3g} to "
                f"{rates[-1]:.3g} each"
            )
    return computed.total()


def _shards_there(request: TokenizeRequest) -> dict[str, list[str]]:
    """Name of a finished shard -> its files: itself, and what second tries recovered of it; by one
    look at the folder, since a look for each file takes long in a bucket.
    """
    found: dict[str, list[str]] = {}
    for name in sorted(path.name for path in request.output.glob("*.parquet")):
        found.setdefault(re.sub(r"(\.retry-\d+)?\.parquet$", "", name), []).append(name)
    return found


def _num_items(request: TokenizeRequest, shard: PlannedShard) -> int:
    if shard.num_items is not None:
        return shard.num_items
    return read_header(request.shard_path(shard)).made_from["num_items"]


def _write_file(request: TokenizeRequest, job: TokenJob, header: ShardHeader) -> int:
    """Journals -> one file, parquet or a text line an image; returns how many images it holds."""
    path = request.output

    def outcomes() -> Iterator[Outcome]:
        for shard in job.shards:
            yield from read_journal(request.journal_path(shard))

    done = (one for one in outcomes() if one.reason is None)
    if request.output_format == "tokens":
        return write_lines(path, (one.token_text() for one in done))
    if path.suffix != ".parquet":
        records = (one.as_record(header.tokenizer, header.fingerprint) for one in done)
        return write_lines(path, map(json_text, records))
    made_from = {
        "kind": "inputs",
        "inputs": job.settings["inputs"],
        "num_items": sum(1 for _ in outcomes()),
    }
    header = dataclasses.replace(header, made_from=made_from, content=job.content)
    rows = (one.as_row(job.content) for one in done)
    return write_shard(path, header, rows, overwrite=True).count


def _open_job(
    request: TokenizeRequest, entries: Iterator[Item | Container], header: ShardHeader
) -> TokenJob:
    """The frozen job: read where there is one, else listed now."""
    settings = {
        "tokenizer": header.tokenizer,
        "fingerprint": header.fingerprint,
        "num_queries": header.num_queries,
        "num_codes": header.num_codes,
        "image_handling": request.image_handling,
        "numerics": request.numerics,
        "dtype": header.dtype,
        "image_column": request.columns.image,
        "text_column": request.columns.text,
        "inputs": list(request.inputs),
        "limit": request.limit,
        "frames": request.frames,
        "shard_size": request.shard_size,
        "batch_size": request.batch_size,
    }
    job = open_job(request.workspace) or freeze_job(
        request.workspace, entries, settings, shard_size=request.shard_size, limit=request.limit
    )
    job.refuse_other_settings(settings, request.output)
    return job


def _count(container: Container, columns: Columns) -> int | None:
    """As `count_items`; a failed image for what was found in a folder and cannot be read."""
    try:
        return count_items(container, columns)
    except DataError:
        if not container.found:
            raise
        return 1


def plan(request: TokenizeRequest, *, stdin: Iterable[str] = ()) -> dict[str, Any]:
    """What `run` or `stream` would do, without torch: images counted, tars named, shards and bytes
    to be written, the model.

    Raises:
        UsageError, DataError: As `run`.
    """
    request.check()
    entries = (
        list_inputs(request.inputs, stdin)
        if request.output is None
        else check_place(request, stdin)
    )
    facts = describe(locate(request.model))
    images, videos, shards, listed, tars = 0, 0, 0, 0, []
    for entry in entries:
        if request.limit is not None and images >= request.limit:
            break
        if isinstance(entry, Item):
            images, listed, videos = images + 1, listed + 1, videos + entry.is_video
        elif (rows := _count(entry, request.columns)) is None:
            tars.append(entry.path)
            shards += 1
        else:
            images += rows
            shards += -(-rows // request.shard_size) if entry.kind == "dataset" else 1
    images = images if request.limit is None else min(images, request.limit)
    codes = facts.config.qformer.num_queries
    pictures = images + videos * ((request.frames or VIDEO_FRAMES) - 1)
    return {
        "model": facts.config.name,
        "fingerprint": facts.fingerprint,
        "images": images,
        **({"videos": videos} if videos else {}),
        "tars_not_counted": len(tars),
        "output": str(request.output) if request.output is not None else "stdout",
        "shards": shards + -(-listed // request.shard_size) if request.writes_shards else 0,
        "passes_of": request.batch_size,
        "codes_per_image": codes,
        "bytes_of_codes": pictures * codes * 2,
        "resumes": bool(
            request.output is not None and (request.workspace / "manifest.json").exists()
        ),
    }
