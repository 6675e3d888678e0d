"""`seed tokens build`: published sets and a user's own conversations -> token shards of documents.

Three passes, each of which a killed run takes up again: the documents are listed with the pictures
that they name; the pictures are tokenised, each once, as `seed tokenize` does it; documents and
codes are put together, shard by shard.
"""

from __future__ import annotations

import contextlib
import dataclasses
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from seedcli.console import Reporter
from seedcli.data.documents.columns import DocumentRow
from seedcli.data.published_sets.formats import FORMATS, set_format
from seedcli.data.published_sets.job import (
    CodesOfPictures,
    read_pictures,
)
from seedcli.data.tokens.job import PlannedShard, TokenJob
from seedcli.data.tokens.known_codes import KnownCodes
from seedcli.data.tokens.outcomes import Outcome
from seedcli.data.tokens.shard_schema import UNITS
from seedcli.data.tokens.shards import ShardHeader, find_shards, read_header, write_shard
from seedcli.engine.hold import hold
from seedcli.errors import UsageError
from seedcli.storage import is_url, remove_folder
from seedcli.workflows.documents.listing import list_documents, refuse_other_codes
from seedcli.workflows.documents.request import BuildRequest
from seedcli.workflows.tokenize.encoder import Encoder
from seedcli.workflows.tokenize.parts import load_tokenizer
from seedcli.workflows.tokenize.run import TokenizeSummary
from seedcli.workflows.tokenize.run import run as tokenize


@dataclass(frozen=True)
class BuildSummary:
    """What a run left behind: counts of the whole output.

    Attributes:
        content: What a row is.
        rows: Documents or conversations written.
        pictures: Different pictures among the inputs.
        failed: Documents that could not be made.
        left_out: Pictures that documents go without.
    """

    output: str
    content: str
    rows: int
    pictures: int
    failed: int
    left_out: int
    shards: int
    model: str
    fingerprint: str
    elapsed_s: float
    errors: str | None = None

    def as_result(self) -> dict[str, Any]:
        """The object that the command prints."""
        values = {
            name: value
            for name, value in dataclasses.asdict(self).items()
            if value is not None and name not in ("content", "rows")
        }
        return {"output": values.pop("output"), UNITS[self.content]: self.rows, **values}


def formats() -> Iterator[dict[str, Any]]:
    """One record for each published layout: its format, what is in it, the files to name, forms
    that read it, and where it is described.
    """
    for name, one in FORMATS.items():
        for layout in one.layouts:
            yield {
                "format": name,
                "sets": layout.sets,
                "files": layout.files,
                "forms": list(one.forms),
                "source": layout.source,
                "checked_with_real_files": layout.checked,
            }


def run(
    request: BuildRequest, *, reporter: Reporter = Reporter()
) -> BuildSummary | TokenizeSummary:
    """Annotation files and pictures -> a folder of token shards; see the module. A task of an array
    job tokenises its part of the pictures and says so; the next call without a part does the rest.

    Raises:
        UsageError: No such format, no inputs, or a part of pictures that are all tokenised.
        DataError: Files that are missing or unreadable, no picture where they were said to be,
            codes of another tokenizer in the rows, an output that another run left unfinished, or a
            resumed run whose settings differ.
    """
    started = time.monotonic()
    layout = set_format(request.format)
    job = list_documents(request, reporter)
    open_shards = [
        shard for shard in job.shards if not (request.output / f"{shard.name}.parquet").exists()
    ]
    if open_shards and not request.engine.part.is_whole:
        return _tokenize_part(request, job, reporter)
    # what is at an address is written whole, and twice the same
    with (
        contextlib.nullcontext()
        if is_url(request.output)
        else hold(request.workspace, name="build", what=str(request.output))
    ):
        if open_shards:
            header = dataclasses.replace(
                _tokenize_pictures(request, job, reporter), content=layout.content
            )
            refuse_other_codes(
                job.settings["fingerprints"], header.fingerprint, model=header.tokenizer
            )
            codes = CodesOfPictures(request.workspace, job.settings["pictures"], header.num_queries)
            with reporter.progress(
                "put together", sum(shard.num_items for shard in open_shards)
            ) as progress:
                for shard in open_shards:
                    _write_shard(request, job, shard, header, codes, keeps_rest=layout.keeps_rest)
                    progress.advance(shard.num_items)
        job.publish_errors(request.errors_path)
        for name in ("documents.jsonl", "pictures.jsonl", "known.parquet"):
            (request.workspace / name).unlink(missing_ok=True)
        remove_folder(request.pictures().output)
        remove_folder(request.inline)
    headers = [read_header(request.output / f"{shard.name}.parquet") for shard in job.shards]
    rows = sum(header.count for header in headers)
    failed = sum(shard.num_items for shard in job.shards) - rows
    left_out = sum(header.made_from["pictures_left_out"] for header in headers)
    return BuildSummary(
        output=str(request.output),
        content=layout.content,
        rows=rows,
        pictures=job.settings["pictures"],
        failed=failed,
        left_out=left_out,
        shards=len(headers),
        model=headers[0].tokenizer,
        fingerprint=headers[0].fingerprint,
        elapsed_s=round(time.monotonic() - started, 2),
        errors=str(request.errors_path) if failed or left_out else None,
    )


def _tokenize_pictures(request: BuildRequest, job: TokenJob, reporter: Reporter) -> ShardHeader:
    """Tokenises what is not yet; returns the header of a shard of it."""
    pictures, known = request.pictures(), request.workspace / "known.parquet"
    if not job.settings["to_tokenize"] and known.exists():
        return read_header(known)
    if not job.settings["to_tokenize"]:
        tokenizer = load_tokenizer(pictures, reporter=reporter)
        with Encoder.open(
            tokenizer, pictures.image_handling, pictures.batch_size, workers=0
        ) as encoder:
            return encoder.header()
    tokenize(pictures, entries=read_pictures(request.workspace), reporter=reporter)
    header = read_header(find_shards(pictures.output)[0])
    if known.exists():
        KnownCodes([known]).refuse_other(header, name=str(request.output))
    return header


def _tokenize_part(request: BuildRequest, job: TokenJob, reporter: Reporter) -> TokenizeSummary:
    if not job.settings["to_tokenize"]:
        raise UsageError(
            f"--part {request.engine.part}: there is no picture to tokenise",
            remedy="Leave --part out: documents are put together in one call.",
        )
    entries = read_pictures(request.workspace)
    summary = tokenize(request.pictures(), entries=entries, reporter=reporter)
    return dataclasses.replace(summary, output=str(request.output))


def _write_shard(
    request: BuildRequest,
    job: TokenJob,
    shard: PlannedShard,
    header: ShardHeader,
    codes: CodesOfPictures,
    *,
    keeps_rest: bool,
) -> None:
    """Documents and codes -> errors and shard, in this order: where a shard is, its errors are."""
    failed: list[tuple[int, Outcome]] = []
    left_out = 0
    for index, line in enumerate(job.documents(shard)):
        row, problems = codes.row(line, keeps_rest=keeps_rest)
        left_out += len(problems) if row else 0
        note = " (left out)" if row else ""
        failed += [
            (index, Outcome(line["key"], line["source"], None, None, None, problem + note))
            for problem in problems
        ]
    job.write_errors(shard.name, failed)

    def rows() -> Iterator[DocumentRow]:
        for line in job.documents(shard):
            row, _ = codes.row(line, keeps_rest=keeps_rest)
            if row:
                yield row

    names = [Path(name).name for name in job.settings["inputs"]]
    made_from = shard.made_from() | {
        "format": request.format,
        "inputs": names,
        "num_items": shard.num_items,
        "pictures_left_out": left_out,
    }
    write_shard(
        request.output / f"{shard.name}.parquet",
        dataclasses.replace(header, made_from=made_from),
        rows(),
    )
