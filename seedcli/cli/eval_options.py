"""Options that the benchmarks of `seed eval` share, and how their results are shown. One file per
benchmark has its command.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, Any

import typer

from seedcli.cli import completion
from seedcli.errors import PartialFailure

DatasetOption = Annotated[
    str,
    typer.Option(
        "--dataset",
        metavar="emoji|flickr30k|coco|FILE",
        autocompletion=completion.one_of("emoji|flickr30k|coco|FILE"),
        help="A named set, or a file of captions: Karpathy's, BLIP's, COCO's, or a table.",
    ),
]
SplitOption = Annotated[
    str | None,
    typer.Option(
        "--split",
        help="Default: unseen for emoji (also: vendor, validation, train), test for others.",
    ),
]
ImageFolderOption = Annotated[
    Path | None, typer.Option("--images", metavar="DIR", help="Where the pictures of FILE lie.")
]
DataRootOption = Annotated[
    Path | None,
    typer.Option("--data-root", metavar="DIR", help="Where named sets lie; else the hub is asked."),
]
AllowSplitOption = Annotated[
    bool, typer.Option("--allow-split", help="Accept a split whose size is not the published one.")
]
SamplesFolderOption = Annotated[
    Path | None,
    typer.Option(
        "--output",
        "-o",
        metavar="DIR",
        help="Folder of answers and result; default: one of its own for each setting "
        "under runs/eval.",
    ),
]
FirstOption = Annotated[
    int | None,
    typer.Option(
        "--limit",
        min=1,
        help="Only the first so many samples; a later run without it computes the others.",
    ),
]
SampleBatchOption = Annotated[
    int, typer.Option("--batch-size", "-b", min=1, help="Samples that are answered together.")
]


def tell_failed(result: dict[str, Any], what: str) -> None:
    """Ends the command with exit code 4 where some samples could not be asked.

    Raises:
        PartialFailure: There are such.
    """
    if result["num_failed"]:
        raise PartialFailure(
            f"{result['num_failed']} of {result[f'num_{what}']} {what} could not be asked, and "
            f"count as wrong; {result['folder']}/samples.jsonl says why (failed)"
        )


def metric_words(name: str) -> str:
    """`t2i_r10` -> `picture recall at 10`: what is found, by the other of the two."""
    if recall := re.fullmatch(r"(i2t|t2i)_r(\d+)", name):
        return f"{'text' if recall[1] == 'i2t' else 'picture'} recall at {recall[2]}"
    return {"r_mean": "mean recall"}.get(name, name.replace("_", " "))


def show_result(result: dict[str, Any]) -> str:
    """An envelope -> lines for people: each metric with its interval and, where it is known,
    what chance would reach.
    """
    counts = ", ".join(
        f"{value:,} {name.removeprefix('num_')}"
        for name, value in result.items()
        if name.startswith("num_")
    )
    lines = [f"{result['benchmark']}: {result['dataset']} {result['split']}, {counts}"]
    lines.append(
        f"{result['model']} ({result['fingerprint'] or 'without fingerprint'}), answers in "
        f"{result['folder']}"
    )
    chance = result.get("chance", {})
    lines.append(f"{'':<28}{'':>9}  {'95 % interval':>18}" + (f"{'chance':>9}" if chance else ""))
    for name, value in result["metrics"].items():
        shown = metric_words(name)
        interval = result["intervals"].get(name)
        ends = "" if interval is None else f"{interval[0]:.2f} .. {interval[1]:.2f}"
        by_chance = f"{chance[name]:>9.2f}" if chance.get(name) is not None else ""
        figure = "none" if value is None else f"{value:.2f}"
        lines.append(f"{shown:<28}{figure:>9}  {ends:>18}{by_chance}".rstrip())
    if result.get("published_split") is False:
        lines.append("not the published split: do not compare with published numbers")
    return "\n".join(lines)
