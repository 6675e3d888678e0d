"""Codes as coloured tiles: near colours are near code vectors."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from torch import Tensor


def code_colors(codebook: Tensor) -> np.ndarray:
    """Codebook [K,E] -> a colour of each code, uint8 [K,3]: its place along the three directions
    in which code vectors differ most, evenly spread from 40 to 235.
    """
    vectors = codebook.detach().float().cpu().numpy()
    centered = vectors - vectors.mean(0)
    _, directions = np.linalg.eigh(centered.T @ centered)
    places = centered @ directions[:, :-4:-1]
    ranks = places.argsort(0, kind="stable").argsort(0, kind="stable")
    return (40 + 195 * ranks / max(len(vectors) - 1, 1)).astype(np.uint8)


def tile_style(color: Sequence[int] | np.ndarray) -> str:
    """A colour -> CSS of a tile, its text black or white, whichever is read more easily."""
    red, green, blue = map(int, color)
    # relative luminance of WCAG 2, at which black and white have the same contrast
    linear = [((part / 255 + 0.055) / 1.055) ** 2.4 for part in (red, green, blue)]
    light = 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2] > 0.179
    return f"background:rgb({red},{green},{blue});color:{'#000' if light else '#fff'}"


def tiles_html(codes: Sequence[int], colors: np.ndarray, *, label: str) -> str:
    """Codes [Q] and a colour of each code of the codebook -> a list of tiles."""
    tiles = "".join(f'<li style="{tile_style(colors[code])}">{code}</li>' for code in codes)
    return f'<ol class="tiles" aria-label="{escape(label)}">{tiles}</ol>'
