"""The scorecard for people: lines of a table, pages of Markdown and of HTML, a plot. What was not
run is one line for each row of a published table.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from io import BytesIO
from itertools import groupby
from pathlib import Path

from seedcli.benchmarks.metric_words import metric_words
from seedcli.benchmarks.paper_numbers import MARKS
from seedcli.benchmarks.scorecard import VERDICTS, ScoreRow, by_table
from seedcli.data.images.page import heading, table, wide_picture, write_page
from seedcli.files import publish_text

HEAD = ("metric", "set", "model", "published", "ours", "95 % interval", "verdict")
_ROW_INCHES = 0.28


@dataclass(frozen=True)
class CardLine:
    """A line of the scorecard as it is shown.

    Attributes:
        cells: Under HEAD.
        reasons: Why the verdict is as it is.
        command: What to type for what is missing.
    """

    cells: tuple[str, ...]
    reasons: tuple[str, ...]
    command: str | None


def card_lines(rows: Sequence[ScoreRow]) -> list[CardLine]:
    """Rows of one table -> lines; neighbours that were not run for the same reasons are one."""
    groups = groupby(enumerate(rows), key=lambda numbered: _kind(*numbered))
    return [_line([row for _, row in group]) for _, group in groups]


def legend(rows: Sequence[ScoreRow]) -> list[str]:
    """What the verdicts and marks that occur mean, and which numbers stand on assumptions."""
    found = [
        f"{name}: {text}"
        for name, text in VERDICTS.items()
        if any(row.verdict == name for row in rows)
    ]
    marks = {row.mark for row in rows}
    found += [f"[{mark}]: {text}" for mark, text in MARKS.items() if mark in marks]
    assumed = dict.fromkeys(
        f"{row.model}, {row.metric}: {', '.join(row.assumed)}" for row in rows if row.assumed
    )
    return found + [f"assumed, since it was not published: {text}" for text in assumed]


def write_markdown(rows: Sequence[ScoreRow], path: Path, *, plot: str | None = None) -> None:
    """Writes the scorecard as Markdown, a table for each table of the paper; `plot` is the name of
    the file beside it.
    """
    lines = ["# Published numbers and ours", ""]
    if plot is not None:
        lines += [f"![Published numbers and ours with their intervals]({plot})", ""]
    for title, part in by_table(rows).items():
        lines += [f"## {title}", "", markdown_row(HEAD), markdown_row(["---"] * len(HEAD))]
        for line in card_lines(part):
            why = [*line.reasons, *([f"`{line.command}`"] if line.command else [])]
            lines.append(
                markdown_row(
                    [*line.cells[:-1], line.cells[-1] + (f": {'; '.join(why)}" if why else "")]
                )
            )
        lines.append("")
    publish_text(path, "\n".join([*lines, *(f"* {text}" for text in legend(rows))]) + "\n")


def write_card_page(
    rows: Sequence[ScoreRow], path: Path, *, facts: Sequence[str], plot: bytes | None
) -> None:
    """Writes the scorecard as one HTML file, with the plot in it."""
    sections = [] if plot is None else [wide_picture(plot, "Published numbers and ours")]
    for title, part in by_table(rows).items():
        cells = [
            [*line.cells, "; ".join([*line.reasons, line.command or ""]).removesuffix("; ")]
            for line in card_lines(part)
        ]
        sections += [heading(title), table([*HEAD, "why, or what to type"], cells)]
    write_page(
        path,
        "Published numbers and ours",
        facts,
        [*sections, heading("Words and marks"), table([], [[text] for text in legend(rows)])],
    )


def markdown_row(cells: Sequence[str]) -> str:
    """Cells -> a line of a Markdown table."""
    return "| " + " | ".join(cell.replace("|", "\\|").replace("\n", " ") for cell in cells) + " |"


def plot_scorecard(rows: Sequence[ScoreRow]) -> bytes | None:
    """A chart for each table, as a PNG: our figures with their intervals, the published ones
    beside; None where nothing was measured.
    """
    tables = {
        title: part
        for title, part in by_table([row for row in rows if row.ours is not None]).items()
        if part
    }
    if not tables:
        return None
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    heights = [len(part) + 2 for part in tables.values()]
    figure = Figure(figsize=(10, _ROW_INCHES * sum(heights) + 0.6), layout="constrained")
    FigureCanvasAgg(figure)
    panels = figure.subplots(len(tables), 1, squeeze=False, height_ratios=heights)[:, 0]
    for axes, (title, part) in zip(panels, tables.items(), strict=True):
        places = range(len(part), 0, -1)
        for place, row in zip(places, part, strict=True):
            low, high = row.interval or (row.ours, row.ours)
            axes.plot(
                [low, high], [place, place], color="tab:blue", linewidth=2, solid_capstyle="butt"
            )
            axes.plot([row.ours], [place], "o", color="tab:blue", markersize=5)
            if row.published is not None:
                face = "none" if row.mark == "M" or row.verdict == "not comparable" else "tab:red"
                axes.plot(
                    [row.published],
                    [place],
                    "D",
                    color="tab:red",
                    markerfacecolor=face,
                    markersize=5,
                )
            if row.chance is not None:
                axes.plot([row.chance], [place], "|", color="grey", markersize=9)
        axes.set_yticks(
            list(places),
            [f"{metric_words(row.metric)}, {row.dataset} {row.split}, {row.model}" for row in part],
            fontsize=7,
        )
        axes.set_ylim(0.3, len(part) + 0.7)
        axes.set_title(title, fontsize=9, loc="left")
        axes.grid(alpha=0.3, axis="x")
    figure.supxlabel(
        "ours: dot and 95 % interval; published: diamond, hollow where from memory or not "
        "comparable; chance: grey line",
        fontsize=7,
    )
    drawn = BytesIO()
    figure.savefig(drawn, dpi=110, format="png")
    return drawn.getvalue()


def _kind(number: int, row: ScoreRow) -> tuple[object, ...]:
    """The same for rows that are shown as one line; a row with a verdict is alone."""
    return (
        (row.model, row.dataset, row.split, row.mark, row.reasons, row.command)
        if row.verdict == "not run"
        else (number,)
    )


def _line(rows: Sequence[ScoreRow]) -> CardLine:
    row, metrics = rows[0], [metric_words(each.metric) for each in rows]
    digits = max(row.decimals, 1)
    published = [
        f"{each.published:.{each.decimals}f}" for each in rows if each.published is not None
    ]
    cells = (
        ", ".join(metrics) if len(metrics) < 4 else f"{metrics[0]} .. {metrics[-1]}",
        f"{row.dataset} {row.split}".removesuffix(" -"),
        row.model,
        " ".join([*published, *([f"[{row.mark}]"] if row.mark else [])]),
        "" if row.ours is None else f"{row.ours:.{digits}f}",
        ""
        if row.interval is None
        else f"{row.interval[0]:.{digits}f} .. {row.interval[1]:.{digits}f}",
        row.verdict,
    )
    return CardLine(cells, row.reasons, row.command)
