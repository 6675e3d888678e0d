"""Curves with their intervals, and strips of pictures: what the ablations
show beside their figures.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from PIL import Image, ImageDraw

_GAP_PX, _LABEL_PX = 4, 14


def write_curves(
    stem: Path,
    *,
    title: str,
    x: str,
    y: str,
    curves: Mapping[str, tuple[Sequence[int], Mapping[str, Sequence[Any]]]],
) -> list[Path]:
    """Curves by name, each with its places [N] and its `mean_curve` -> `STEM.png` and `STEM.svg`;
    bands are the intervals.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7.0, 4.2), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    for name, (places, curve) in curves.items():
        (line,) = axes.plot(
            list(places), curve["mean"], marker="o", markersize=3, linewidth=1.3, label=name
        )
        low, high = zip(*curve["interval"], strict=True)
        axes.fill_between(list(places), low, high, color=line.get_color(), alpha=0.18, linewidth=0)
    axes.set(title=title, xlabel=x, ylabel=y)
    axes.grid(alpha=0.3)
    axes.legend(fontsize=8)
    paths = [stem.with_name(f"{stem.name}.{ending}") for ending in ("png", "svg")]
    for path in paths:
        figure.savefig(path, dpi=120)
    return paths


def write_strip(
    path: Path,
    rows: Sequence[tuple[str, Sequence[Image.Image | None]]],
    columns: Sequence[str],
    *,
    side_px: int,
) -> None:
    """Rows of pictures with a name each, columns with theirs -> one picture; a
    missing one stays white.

    Args:
        path: Of the PNG.
        rows: Name and pictures; an empty name continues the row above.
        columns: Names above the pictures.
        side_px: Of each picture.
    """
    longest = max(
        (ImageDraw.Draw(Image.new("RGB", (1, 1))).textlength(name) for name, _ in rows), default=0
    )
    left, step = int(longest) + 2 * _GAP_PX, side_px + _GAP_PX
    sheet = Image.new("RGB", (left + step * len(columns), _LABEL_PX + step * len(rows)), "white")
    draw = ImageDraw.Draw(sheet)
    for column, name in enumerate(columns):
        draw.text((left + column * step, 1), name, fill="black")
    for number, (name, pictures) in enumerate(rows):
        top = _LABEL_PX + number * step
        draw.text((_GAP_PX, top + side_px // 2 - _LABEL_PX // 2), name, fill="black")
        for column, picture in enumerate(pictures):
            if picture is not None:
                sheet.paste(
                    picture.convert("RGB").resize((side_px, side_px)), (left + column * step, top)
                )
    sheet.save(path)
