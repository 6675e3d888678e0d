"""`seed tokenize`: images -> 32 codes each, to a stream, to one file, or to a
folder of token shards.

Every pass through the model has one fixed, padded shape, and an image keeps its slot in it (a
failed one leaves a hole): matrix products of other shapes may differ in the last bit, which turns a
code now and then. So the same inputs give the same bytes whatever was interrupted. Output files
grow as journals in a workspace (`seedcli.data.tokens.job`) and appear whole.
"""

from __future__ import annotations

import contextlib
import glob
import itertools
import json
import os
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from seedcli.console import Reporter
from seedcli.data.images.inputs import (
    Columns,
    Container,
    Item,
    count_items,
    expand,
    list_inputs,
)
from seedcli.data.tokens.job import Outcome, TokenJob, freeze_job, open_job, remove_job
from seedcli.data.tokens.shards import read_header
from seedcli.errors import DataError
from seedcli.files import json_text
from seedcli.models.language.vocab import format_span
from seedcli.models.weights.load import describe
from seedcli.models.weights.locate import locate
from seedcli.workflows.pictures import SeedTokenizer
from seedcli.workflows.tokenize.encoder import Encoder
from seedcli.workflows.tokenize.outputs import TokenizeSummary, fill_file, fill_shards, retry_failed
from seedcli.workflows.tokenize.request import TokenizeRequest, _check_place, joins_another

if TYPE_CHECKING:
    from seedcli.workflows.tokenize.ranks import Helpers


@dataclass(frozen=True)
class CodeStream:
    """Codes as they are computed: `outcomes` in input order, failures among them."""

    model: str
    fingerprint: str
    outcomes: Iterator[Outcome]

    def record(self, outcome: Outcome) -> dict[str, Any]:
        """The JSON object of one image."""
        return as_record(outcome, self.model, self.fingerprint)

    def token_text(self, outcome: Outcome) -> str:
        """The image span of one image."""
        return format_span(outcome.codes)


def as_record(outcome: Outcome, model: str, fingerprint: str) -> dict[str, Any]:
    """One image as the line that `seed tokenize` prints: source, codes, model, fingerprint, and
    what the input carried.
    """
    record = {
        "source": outcome.source,
        "codes": outcome.codes,
        "model": model,
        "fingerprint": fingerprint,
    }
    if outcome.key != Path(outcome.source).as_posix():
        record["key"] = outcome.key
    if outcome.text is not None:
        record["text"] = outcome.text
    if outcome.meta is not None:
        record["meta"] = json.loads(outcome.meta)
    return record


def load_tokenizer(request: TokenizeRequest, reporter: Reporter) -> SeedTokenizer:
    """The tokenizer of a request, ready to encode."""
    device = request.device
    # one GPU for each process of a machine
    if "LOCAL_RANK" in os.environ and device in ("auto", "cuda"):
        import torch

        number = torch.cuda.device_count()
        device = f"cuda:{int(os.environ['LOCAL_RANK']) % number}" if number else device
    tokenizer = SeedTokenizer(
        locate(request.model, reporter=reporter),
        device=device,
        dtype=request.dtype,
        numerics=request.numerics,
        reporter=reporter,
    ).load()
    reporter.note(f"codes by {tokenizer.title}")
    return tokenizer


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
    entries = list_inputs(request.inputs, stdin)
    items = itertools.islice(expand(entries, request.columns), request.limit)
    first = list(itertools.islice(items, request.batch_size))
    if not first:
        raise DataError("the inputs hold no image", remedy="Check the paths.")
    micro_batch = min(len(first), request.batch_size)
    tokenizer = load_tokenizer(request, reporter)
    workers = request.workers_for(len(first) if len(first) < request.batch_size else None)
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

    Several processes may run on one folder (torchrun, SLURM, or the same command on many machines
    with `--resume`): each takes shards that nobody holds. Rank 0 writes the list of inputs, the
    others wait for it. `entries` are taken in place of what `request.inputs` name.

    Raises:
        UsageError: Options that do not go together.
        DataError: Missing inputs, an output that another run left unfinished, or a resumed run
            whose settings differ.
    """
    request.check()
    entries = _check_place(request, stdin, entries)
    if request.nproc == 1:
        return _run(request, entries, reporter, None)
    from seedcli.workflows.tokenize.ranks import share_of_threads, start_helpers

    with share_of_threads(request.nproc), start_helpers(request, run) as helpers:
        return _run(request, entries, reporter, helpers)


def _run(
    request: TokenizeRequest,
    entries: Iterator[Item | Container],
    reporter: Reporter,
    helpers: Helpers | None,
) -> TokenizeSummary:
    started = time.monotonic()
    tokenizer = load_tokenizer(request, reporter)
    job = _open_job(request, entries, tokenizer)
    num_items = job.num_items
    micro_batch = (
        request.batch_size
        if request.writes_shards or num_items is None
        else min(request.batch_size, num_items)
    )
    computed = 0
    with (
        Encoder.open(
            tokenizer, request.image_handling, micro_batch, request.workers_for(num_items)
        ) as encoder,
        reporter.progress("tokenize", num_items) as progress,
    ):

        def count(outcomes: Sequence[Outcome]) -> None:
            nonlocal computed
            for outcome in outcomes:
                if outcome.reason is not None:
                    reporter.warn(f"{outcome.source}: {outcome.reason}")
            computed += len(outcomes)
            progress.advance(len(outcomes))
            if helpers is not None:
                helpers.listen(reporter, count_helpers)

        def count_helpers(number: int) -> None:
            nonlocal computed
            computed += number
            progress.advance(number)

        if request.writes_shards and not joins_another():
            finished = [
                path
                for shard in job.shards
                if (path := request.output / f"{shard.name}.parquet").exists()
            ]
            progress.resume(sum(read_header(path).made_from["num_items"] for path in finished))
        header = encoder.header(request.image_handling, request.numerics)
        if request.retry_failed:
            retry_failed(job, request.output, encoder, header, count)
        elif request.writes_shards:
            fill_shards(job, request.output, encoder, header, count, progress.advance)
        else:

            def as_line(outcome: Outcome) -> str:
                if request.output_format == "tokens":
                    return format_span(outcome.codes)
                return json_text(as_record(outcome, tokenizer.name, tokenizer.fingerprint))

            images, _ = fill_file(
                job, request.output, encoder, header, count, progress.advance, as_line
            )
        if helpers is not None:
            helpers.listen(reporter, count_helpers, to_the_end=True)
    failed = job.publish_errors(request.errors_path)
    shards = []
    if request.writes_shards:
        shards = [
            path
            for shard in job.shards
            for path in sorted(request.output.glob(f"{glob.escape(shard.name)}*.parquet"))
        ]
        images = sum(read_header(path).count for path in shards)
    else:
        remove_job(request.workspace)
    return TokenizeSummary(
        output=str(request.output),
        images=images,
        failed=failed,
        shards=len(shards),
        model=tokenizer.name,
        fingerprint=tokenizer.fingerprint,
        computed=computed,
        elapsed_s=round(time.monotonic() - started, 2),
        errors=str(request.errors_path) if failed else None,
    )


def _open_job(
    request: TokenizeRequest, entries: Iterator[Item | Container], tokenizer: SeedTokenizer
) -> TokenJob:
    """The frozen job: read where there is one, else made by rank 0."""
    settings = {
        "tokenizer": tokenizer.name,
        "fingerprint": tokenizer.fingerprint,
        "num_queries": tokenizer.num_queries,
        "num_codes": tokenizer.num_codes,
        "image_handling": request.image_handling,
        "numerics": request.numerics,
        "dtype": str(tokenizer.model.compute_dtype).removeprefix("torch."),
        "image_column": request.columns.image,
        "text_column": request.columns.text,
        "inputs": list(request.inputs),
        "limit": request.limit,
        "shard_size": request.shard_size,
        "batch_size": request.batch_size,
    }
    while (job := open_job(request.workspace)) is None:
        if not joins_another():
            return freeze_job(
                request.workspace,
                entries,
                settings,
                shard_size=request.shard_size,
                limit=request.limit,
            )
        time.sleep(0.2)
    for name, value in settings.items():
        stored = job.settings.get(name)
        if stored != value and not (name == "inputs" and not value):
            raise DataError(
                f"{request.output} was begun with {name} {stored!r}, now it is {value!r}",
                remedy="Give the same options as at the start, or write to another place with -o.",
            )
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
        else _check_place(request, stdin)
    )
    facts = describe(locate(request.model))
    images, shards, listed, tars = 0, 0, 0, []
    for entry in entries:
        if request.limit is not None and images >= request.limit:
            break
        if isinstance(entry, Item):
            images, listed = images + 1, listed + 1
        elif (rows := _count(entry, request.columns)) is None:
            tars.append(entry.path)
            shards += 1
        else:
            images += rows
            shards += -(-rows // request.shard_size) if entry.kind == "dataset" else 1
    images = images if request.limit is None else min(images, request.limit)
    codes = facts.config.qformer.num_queries
    return {
        "model": facts.config.name,
        "fingerprint": facts.fingerprint,
        "images": images,
        "tars_not_counted": len(tars),
        "output": str(request.output) if request.output is not None else "stdout",
        "shards": shards + -(-listed // request.shard_size) if request.writes_shards else 0,
        "passes_of": request.batch_size,
        "codes_per_image": codes,
        "bytes_of_codes": images * codes * 2,
        "resumes": bool(
            request.output is not None and (request.workspace / "manifest.json").exists()
        ),
    }
