"""The first pass of `seed tokens build`: annotation files -> documents and the pictures that they
name, frozen in the workspace; or only counted. Torch-free.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from seedcli.console import Reporter
from seedcli.data.published_sets.formats import set_format
from seedcli.data.published_sets.job import DocumentListing, check_listing, freeze_documents
from seedcli.data.published_sets.picture_finder import PictureFinder
from seedcli.data.tokens.job import TokenJob, open_job
from seedcli.data.tokens.known_codes import KnownCodes
from seedcli.data.tokens.shard_schema import UNITS
from seedcli.engine.hold import in_turn
from seedcli.errors import DataError, UsageError
from seedcli.models.weights.description import ModelFacts
from seedcli.models.weights.load import describe
from seedcli.models.weights.locate import locate
from seedcli.storage import as_place, is_file, is_folder, is_url, refusals_named
from seedcli.workflows.documents.request import BuildRequest


def list_documents(request: BuildRequest, reporter: Reporter) -> TokenJob:
    """The frozen job: read where there is one, else listed now; tasks of an array job wait for the
    first of them, or at an address write the same as it.

    Raises:
        UsageError: No such format, no inputs, or an output that is no folder.
        DataError: Files that are missing or unreadable, codes of another tokenizer in the rows, an
            output that another run left, or a resumed run whose settings differ.
    """
    with refusals_named(request.output):
        _check_place(request)
    if request.engine.part.is_whole or is_url(request.output):
        return _read_or_list(request, reporter)
    with in_turn(request.workspace, "listing"):
        return _read_or_list(request, reporter)


def plan(request: BuildRequest, *, reporter: Reporter = Reporter()) -> dict[str, Any]:
    """What a run would do: the inputs are read, the pictures looked for, nothing is written.

    Raises:
        UsageError, DataError: As `list_documents`.
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


def _read_or_list(request: BuildRequest, reporter: Reporter) -> TokenJob:
    settings = {
        "command": "seed tokens build",
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
        lines = _lines(request, listing, facts)
        with reporter.progress("list documents") as progress:

            def counted() -> Iterator[dict[str, Any]]:
                for line in lines:
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
    """The set's documents; its files are looked for at once."""
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

    def read() -> Iterator[dict[str, Any]]:
        yield from itertools.islice(listing.lines(paths), request.limit)
        if facts.fingerprint:
            refuse_other_codes(listing.fingerprints, facts.fingerprint, model=request.model)

    return read()
