"""Image file -> what a terminal shows as a picture: the protocols of kitty, iTerm2, and sixel.
Beside the path: pictures for the eye.
"""

from __future__ import annotations

import base64
import io
from pathlib import Path
from typing import Literal

import numpy as np
from PIL import Image

PictureProtocol = Literal["kitty", "iterm", "sixel"]
SHOWN_PX = 256  # small pictures can be seen, large ones leave room for words
_CHUNK = 4096  # kitty's largest payload of one escape code
_COLORS = 255  # sixel terminals have 256 registers


def terminal_picture(path: str | Path, protocol: PictureProtocol) -> str:
    """Image file -> escape codes and a newline.

    Sources: https://sw.kovidgoyal.net/kitty/graphics-protocol/,
    https://iterm2.com/documentation-images.html, and the VT3xx graphics programming manual,
    chapter 14, for sixel.
    """
    with Image.open(path) as image:
        picture = image.convert("RGB").resize(
            (SHOWN_PX, round(SHOWN_PX * image.height / image.width)), Image.Resampling.BICUBIC
        )
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
