"""`seed tokens build`: published sets and a user's own conversations -> token shards of documents.

Three passes, each of which a killed run takes up again: the documents are listed with the pictures
that they name; the pictures are tokenised, each once, as `seed tokenize` does it; documents and
codes are put together, shard by shard.
"""

from __future__ import annotations

import contextlib
import dataclasses
import itertools
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
    DocumentListing,
    check_listing,
    freeze_documents,
    read_pictures,
)
from seedcli.data.published_sets.picture_finder import PictureFinder
from seedcli.data.tokens.job import PlannedShard, TokenJob, open_job
from seedcli.data.tokens.known_codes import KnownCodes
from seedcli.data.tokens.outcomes import Outcome
from seedcli.data.tokens.shard_schema import UNITS
from seedcli.data.tokens.shards import ShardHeader, find_shards, read_header, write_shard
from seedcli.engine.hold import hold, in_turn
from seedcli.errors import DataError, UsageError
from seedcli.models.weights.description import ModelFacts
from seedcli.models.weights.load import describe
from seedcli.models.weights.locate import locate
from seedcli.storage import as_place, is_file, is_folder, is_url, refusals_named, remove_folder
from seedcli.workflows.documents.request import BuildRequest
from seedcli.workflows.tokenize.encoder import Encoder
from seedcli.workflows.tokenize.parts import load_tokenizer
from seedcli.workflows.tokenize.run import TokenizeSummary
from seedcli.workflows.tokenize.run import run as tokenize

COMMAND = "seed tokens build"


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
    job = _open_job(request, reporter)
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


def plan(request: BuildRequest, *, reporter: Reporter = Reporter()) -> dict[str, Any]:
    """What `run` would do, without torch: the inputs are read, the pictures looked
    for, nothing is written.

    Raises:
        UsageError, DataError: As `run`.
    """
    with refusals_named(request.output):
        _check_place(request)
    facts = describe(locate(request.model, reporter=reporter))
    listing = _listing(request, facts)
    codes = _known_codes(request, facts)
    documents = problems = 0
    for line in _lines(request, listing, facts):
        documents += 1
        problems += "problem" in line
    check_listing(listing, num_documents=documents)
    known = sum(1 for _ in codes.rows(listing.pictures.values())) if codes else 0
    missing = listing.missing
    return {
        "format": request.format,
        "forms": list(set_format(request.format).forms),
        "model": facts.config.name,
        "fingerprint": facts.fingerprint,
        "output": str(request.output),
        UNITS[set_format(request.format).content]: documents - problems,
        "unreadable": problems,
        "pictures": len(listing.pictures),
        "pictures_to_tokenize": len(listing.pictures) - known - len(listing.missing),
        "pictures_missing": len(missing),
        "first_missing": missing[0].source if missing else None,
        "shards": -(-documents // request.shard_size),
        "resumes": (request.workspace / "manifest.json").exists(),
    }


def _check_place(request: BuildRequest) -> None:
    """What can be refused before anything is read."""
    set_format(request.format)
    if request.output.suffix in (".jsonl", ".json", ".parquet", ".txt", ".tar"):
        raise UsageError(
            f"-o {request.output}: the output is a folder of shards",
            remedy=f"Say -o {request.output.with_suffix('')}",
        )
    if (request.workspace / "manifest.json").exists():
        # tasks of an array job find the manifest of the first of them
        if not request.resume and request.engine.part.is_whole:
            raise DataError(
                f"{request.output} holds a run of seed already",
                remedy="--resume continues it; or name another folder with -o.",
            )
    elif any(request.output.glob("*.parquet")):
        raise DataError(
            f"{request.output} holds parquet files that this command did not plan",
            remedy="Name a new folder with -o.",
        )


def _open_job(request: BuildRequest, reporter: Reporter) -> TokenJob:
    """The frozen job: read where there is one, else listed now; tasks of an array job wait for the
    first of them, or at an address write the same as it.
    """
    with refusals_named(request.output):
        _check_place(request)
    if request.engine.part.is_whole or is_url(request.output):
        return _read_or_list(request, reporter)
    with in_turn(request.workspace, "listing"):
        return _read_or_list(request, reporter)


def _read_or_list(request: BuildRequest, reporter: Reporter) -> TokenJob:
    settings = {
        "command": COMMAND,
        "format": request.format,
        "inputs": list(request.inputs),
        "images": [str(place) for place in request.images],
        "codes": [str(place) for place in request.codes],
        "model": request.model,
        "batch_size": request.batch_size,
        "frames": request.frames,
        "limit": request.limit,
        "shard_size": request.shard_size,
    }
    job = open_job(request.workspace)
    if job is None:
        facts = describe(locate(request.model, reporter=reporter))
        listing = _listing(request, facts, request.inline)
        codes = _known_codes(request, facts)
        with reporter.progress("list documents") as progress:

            def counted() -> Iterator[dict[str, Any]]:
                for line in _lines(request, listing, facts):
                    yield line
                    progress.advance()

            return freeze_documents(
                request.workspace,
                listing,
                counted(),
                settings,
                name=request.name,
                shard_size=request.shard_size,
                codes=codes,
            )
    job.refuse_other_settings(settings, request.output)
    return job


def _listing(
    request: BuildRequest, facts: ModelFacts, inline: Path | None = None
) -> DocumentListing:
    config = facts.config
    beside = dict.fromkeys(as_place(one).parent for one in request.inputs)
    places = [as_place(one) for one in request.images] or list(beside)
    finder = PictureFinder(
        [place for place in places if request.images or is_folder(str(place))], request.frames
    )
    sizes = {"num_queries": config.qformer.num_queries, "num_codes": config.codebook.num_codes}
    return DocumentListing(
        set_format(request.format), finder, name=request.name, inline=inline, **sizes
    )


def _known_codes(request: BuildRequest, facts: ModelFacts) -> KnownCodes | None:
    """The codes that are there already, if they are the model's."""
    if not request.codes:
        return None
    codes, fingerprint = KnownCodes(request.codes), facts.fingerprint
    if fingerprint not in (None, codes.header.fingerprint):
        raise DataError(
            f"--codes {request.codes[0]}: codes of {codes.header.tokenizer} "
            f"({codes.header.fingerprint[:12]}), but the model at hand is {request.model} "
            f"({fingerprint[:12]})",
            remedy=f"Say --model {codes.header.tokenizer}, or leave --codes out.",
        )
    return codes


def _lines(
    request: BuildRequest, listing: DocumentListing, facts: ModelFacts
) -> Iterator[dict[str, Any]]:
    paths = [as_place(one) for one in request.inputs]
    if not paths:
        raise UsageError(
            "no INPUT", remedy="Name the set's annotation files; which, says: seed tokens formats"
        )
    gone = [str(path) for path in paths if not is_file(path)]
    if gone:
        raise DataError(
            f"no such file: {', '.join(gone[:5])}",
            remedy="Check the path; which files a format reads, says: seed tokens formats",
        )
    if len(set(paths)) < len(paths):
        raise UsageError("an INPUT is named twice", remedy="Name each file once.")
    yield from itertools.islice(listing.lines(paths), request.limit)
    if facts.fingerprint:
        refuse_other_codes(listing.fingerprints, facts.fingerprint, model=request.model)


def refuse_other_codes(found: Any, fingerprint: str, *, model: str) -> None:
    """Refuses rows that carry codes of another tokenizer.

    Raises:
        DataError: Some do.
    """
    others = sorted(set(found) - {fingerprint})
    if others:
        raise DataError(
            f"rows carry codes of another model ({others[0][:12]}), the model at hand is {model} "
            f"({fingerprint[:12]})",
            remedy="Name that model with --model, or the pictures by path instead of codes.",
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
