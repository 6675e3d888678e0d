"""Images -> what a terminal shows as a picture: the protocols of kitty, iTerm2 and sixel, or half
blocks in colour, which every terminal shows. Beside the path: pictures for the eye.
"""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import numpy as np
from PIL import Image

from seedcli.data.images.images import open_image

PictureProtocol = Literal["kitty", "iterm", "sixel", "blocks"]
SHOWN_PX = 256  # small pictures can be seen, large ones leave room for words
GAP_PX = 16  # between pictures that stand side by side
COLUMN_PX = 8  # of a picture that is drawn in half blocks: 32 columns for one of 256 pixels
_CHUNK = 4096  # kitty's largest payload of one escape code
_COLORS = 255  # sixel terminals have 256 registers


def side_by_side(paths: Sequence[str | Path], height_px: int = SHOWN_PX) -> Image.Image:
    """Image files -> one RGB image with all of them in a row, each `height_px` high, on white.

    Raises:
        ImageError: One of them is no usable image.
    """
    pictures = []
    for path in paths:
        picture = open_image(path)
        width_px = max(1, round(height_px * picture.width / picture.height))
        pictures.append(picture.resize((width_px, height_px), Image.Resampling.BICUBIC))
    gaps_px = GAP_PX * (len(pictures) - 1)
    row = Image.new("RGB", (sum(one.width for one in pictures) + gaps_px, height_px), "white")
    left = 0
    for picture in pictures:
        row.paste(picture, (left, 0))
        left += picture.width + GAP_PX
    return row


def terminal_picture(path: str | Path, protocol: PictureProtocol) -> str:
    """Image file -> escape codes of a picture `SHOWN_PX` wide, and a newline."""
    picture = open_image(path)
    height_px = max(1, round(SHOWN_PX * picture.height / picture.width))
    shown = picture.resize((SHOWN_PX, height_px), Image.Resampling.BICUBIC)
    return terminal_image(shown, protocol)


def terminal_image(picture: Image.Image, protocol: PictureProtocol) -> str:
    """RGB image -> escape codes that show it at its size, and a newline.

    Sources: https://sw.kovidgoyal.net/kitty/graphics-protocol/,
    https://iterm2.com/documentation-images.html, and the VT3xx graphics programming manual,
    chapter 14, for sixel.
    """
    if protocol == "blocks":
        return _half_blocks(picture)
    if protocol == "sixel":
        return _sixel(picture) + "\n"
    buffer = io.BytesIO()
    picture.save(buffer, format="PNG")
    data = base64.b64encode(buffer.getvalue()).decode("ascii")
    if protocol == "iterm":
        return f"\x1b]1337;File=inline=1;size={len(buffer.getvalue())}:{data}\a\n"
    chunks = [data[start : start + _CHUNK] for start in range(0, len(data), _CHUNK)]
    codes = []
    for number, chunk in enumerate(chunks):
        keys = ("a=T,f=100," if number == 0 else "") + f"m={int(number < len(chunks) - 1)}"
        codes.append(f"\x1b_G{keys};{chunk}\x1b\\")
    return "".join(codes) + "\n"


def _half_blocks(picture: Image.Image) -> str:
    """RGB image -> rows of upper half blocks: ink is the upper pixel, paper the lower one, in
    24-bit colour. A column is about half as wide as it is high, so pixels are square.
    """
    columns = max(1, round(picture.width / COLUMN_PX))
    rows = max(1, round(picture.height / COLUMN_PX / 2))
    small = picture.resize((columns, 2 * rows), Image.Resampling.LANCZOS)
    pixels = np.asarray(small.convert("RGB"))
    lines = []
    for upper, lower in zip(pixels[::2], pixels[1::2], strict=True):
        cells = (
            f"\x1b[38;2;{r};{g};{b};48;2;{red};{green};{blue}m▀"
            for (r, g, b), (red, green, blue) in zip(upper, lower, strict=True)
        )
        lines.append("".join(cells) + "\x1b[0m\n")
    return "".join(lines)


def _sixel(picture: Image.Image) -> str:
    """RGB image -> sixel: bands of six rows, in each band one run of columns a colour."""
    reduced = picture.quantize(_COLORS)
    palette = np.array(reduced.getpalette()[: 3 * _COLORS]).reshape(-1, 3)
    pixels = np.asarray(reduced)
    height, width = pixels.shape
    parts = [f'\x1bPq"1;1;{width};{height}']
    parts += [
        f"#{color};2;" + ";".join(str(round(value * 100 / 255)) for value in palette[color])
        for color in np.unique(pixels)
    ]
    weights = 1 << np.arange(6)[:, None]
    for top in range(0, height, 6):
        band = pixels[top : top + 6]
        for color in np.unique(band):
            columns = ((band == color) * weights[: len(band)]).sum(0) + 63
            parts.append(f"#{color}{_run_lengths(columns)}$")
        parts.append("-")
    return "".join(parts) + "\x1b\\"


def _run_lengths(values: np.ndarray) -> str:
    """Sixel characters by number -> text, repetitions as `!count`."""
    starts = np.flatnonzero(np.diff(values, prepend=-1))
    lengths = np.diff(np.append(starts, len(values)))
    return "".join(
        f"!{length}{chr(value)}" if length > 3 else chr(value) * length
        for value, length in zip(values[starts], lengths, strict=True)
    )
