"""`seed eval paper`: the published tables beside what was measured here."""

from pathlib import Path
from typing import Annotated, Any

import typer

from seedcli.console import console
from seedcli.errors import PartialFailure


def paper(
    model: Annotated[
        str | None,
        typer.Option(
            "--model",
            "-m",
            metavar="MODEL",
            help="Only results of this preset, folder or hub id.",
            show_default=False,
        ),
    ] = None,
    results: Annotated[
        Path | None,
        typer.Option(
            "--results",
            metavar="DIR",
            help="Folder that is searched for result.json; default runs/eval.",
        ),
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option(
            "--output",
            "-o",
            metavar="DIR",
            help="Also write paper.json, paper.md and paper.png there.",
        ),
    ] = None,
    run: Annotated[
        bool,
        typer.Option(
            "--run",
            help="Measure what is missing, where weights and data are on this machine; into the "
            "results folder.",
        ),
    ] = False,
    dataset: Annotated[
        list[str] | None,
        typer.Option(
            "--dataset", metavar="NAME", help="Only this set; may be repeated.", show_default=False
        ),
    ] = None,
    data_root: Annotated[
        Path | None,
        typer.Option("--data-root", metavar="DIR", help="Where named sets lie, for --run."),
    ] = None,
) -> None:
    """Every published number beside ours: 95 % interval, and a verdict where both were measured
    alike; else why not, or what to type.

    Results of `seed eval retrieval`, `clip-similarity`, `caption`, `vqa` and `ablation` are
    read, not computed anew. A result that differs from the published measurement in model,
    split, prompt, preprocessing or decoding gets no verdict. Published numbers that are known
    from memory only ([M]) never count as reached. Numbers of seed-nano are of emoji and stand
    beside, for themselves.

    \b
    Example:
      seed eval paper
      seed eval paper --model seed-nano --run -o runs/paper
      seed eval paper --model seed-2 --dataset coco --dataset flickr30k --data-root ~/data --run --json
    """  # noqa: E501
    from seedcli.workflows.evaluate.paper import run_paper

    card = run_paper(
        model=model,
        results=results,
        output=output,
        run=run,
        datasets=dataset or (),
        data_root=data_root,
        reporter=console,
    )
    console.result(card, human=_show_card)
    if card["failed"]:
        named = "".join(f"\n  {one['command']}: {one['reason']}" for one in card["failed"])
        raise PartialFailure(
            f"{len(card['failed'])} of the measurements failed:{named}",
            remedy="each of the commands can be typed alone",
        )


def _show_card(card: dict[str, Any]) -> str:
    from seedcli.benchmarks.scorecard import ScoreRow, by_table
    from seedcli.workflows.evaluate.scorecard_page import HEAD, card_lines, legend

    rows = [ScoreRow(**row) for row in card["rows"]]
    counts = ", ".join(f"{number} {verdict}" for verdict, number in card["verdicts"].items())
    lines = [f"{card['num_results']} results in {card['results']}; numbers: {counts}"]
    for title, part in by_table(rows).items():
        shown = card_lines(part)
        widths = [
            max(len(cells[column]) for cells in (HEAD, *(line.cells for line in shown)))
            for column in range(len(HEAD))
        ]
        lines += ["", title, _padded(HEAD, widths)]
        for line in shown:
            why = [*line.reasons, *([line.command] if line.command else [])]
            lines += [_padded(line.cells, widths), *(f"    {text}" for text in why)]
    return "\n".join([*lines, "", *legend(rows), *card["files"]])


def _padded(cells: tuple[str, ...], widths: list[int]) -> str:
    return "  ".join(cell.ljust(width) for cell, width in zip(cells, widths, strict=True)).rstrip()
