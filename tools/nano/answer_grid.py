"""What was asked for and the pictures that came -> one picture of them all, as the README shows."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence
from pathlib import Path

from PIL import Image, ImageDraw

# What was asked, the picture that was shown with it, if any, and the one that came.
Cell = tuple[str, Image.Image | None, Image.Image]
NUM_COLUMNS = 8
_SIDE_PX, _BETWEEN_PX = 64, 4
_WIDTH_PX, _TEXT_PX = 2 * _SIDE_PX + 12, 34


def write_grid(shown: Mapping[str, Sequence[Cell]], path: Path) -> None:
    """Cells by task -> a PNG: rows of eight cells, each task from a row of its own on; what was
    asked stands below.
    """
    rows = [
        cells[start : start + NUM_COLUMNS]
        for cells in shown.values()
        for start in range(0, len(cells), NUM_COLUMNS)
    ]
    height_px = len(rows) * (_SIDE_PX + _TEXT_PX)
    sheet = Image.new("RGB", (NUM_COLUMNS * _WIDTH_PX, height_px), "white")
    pen = ImageDraw.Draw(sheet)
    for line, cells in enumerate(rows):
        for column, (asked, source, drawn) in enumerate(cells):
            x, y = column * _WIDTH_PX, line * (_SIDE_PX + _TEXT_PX)
            right = x
            if source is not None:
                sheet.paste(source.convert("RGB").resize((_SIDE_PX, _SIDE_PX)), (x, y))
                right += _SIDE_PX + _BETWEEN_PX
            sheet.paste(drawn.resize((_SIDE_PX, _SIDE_PX)), (right, y))
            lines = textwrap.wrap(asked, 23, break_long_words=False, break_on_hyphens=False)
            pen.text((x, y + _SIDE_PX + 1), "\n".join(lines[:3]), fill="black", font_size=9)
    path.parent.mkdir(parents=True, exist_ok=True)
    sheet.save(path, optimize=True)
