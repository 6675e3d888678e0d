"""What `seed eval paper` is asked for."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from seedcli.options import Option, PageOption
from seedcli.storage import as_place
from seedcli.workflows.evaluate.fields import DATA


@dataclass(frozen=True, kw_only=True)
class PaperRequest:
    """Which results stand beside the published numbers, and whether missing ones are made."""

    model: Annotated[
        str | None,
        Option(
            "Only results of this preset, folder or hub id.",
            "-m",
            metavar="MODEL",
            complete="models",
        ),
    ] = None
    results: Annotated[
        Path | None,
        Option("Folder that is searched for result.json; default runs/eval.", metavar="DIR"),
    ] = None
    output: Annotated[
        Path | None,
        Option("Also write paper.json, paper.md and paper.png there.", "-o", metavar="DIR"),
    ] = None
    page: PageOption = None
    run: Annotated[
        bool,
        Option(
            "Measure what is missing, where weights and data are on this machine; into the "
            "results folder."
        ),
    ] = False
    dataset: Annotated[
        tuple[str, ...],
        Option("Only this set; may be repeated.", metavar="NAME", panel=DATA),
    ] = ()
    data_root: Annotated[
        Path | None,
        Option("Where named sets lie, for --run.", metavar="DIR", panel=DATA, parse=as_place),
    ] = None
