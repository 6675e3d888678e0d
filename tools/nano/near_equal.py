"""How much two drawings differ: the share of their ink that does not lie on ink of the other.

Ink is what is not white. A drawing becomes 32 x 32 means of 2 x 2 pixels, which a shift of the
outline by half a pixel hardly moves; the distance of a and b is sum |a - b| / sum max(a, b) over
all places and colours, in percent: 0 for equal drawings, 100 where nothing overlaps. Light and dark
drawings, small and large ones are thereby measured alike, which a mean difference of grey levels
does not do.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
from PIL import Image

SIDE, COARSE_SIDE = 32, 8


def read_inks(canvases: Sequence[Image.Image]) -> np.ndarray:
    """64 x 64 RGB pictures -> ink [N, 3072], 0 (white) to 255."""
    inks = np.empty((len(canvases), SIDE * SIDE * 3), dtype=np.float32)
    for place, canvas in enumerate(canvases):
        ink = 255 - np.asarray(canvas, dtype=np.float32)
        inks[place] = ink.reshape(SIDE, 2, SIDE, 2, 3).mean(axis=(1, 3)).ravel()
    return inks


def ink_distance(one: np.ndarray, others: np.ndarray) -> np.ndarray:
    """Ink [D] and inks [N, D] -> distances [N] in percent; two empty pictures are equal."""
    apart = np.abs(others - one).sum(axis=1)
    joint = (others.sum(axis=1) + one.sum() + apart) / 2  # a + b + |a - b| = 2 max(a, b)
    return 100 * apart / np.maximum(joint, 1e-6)


def find_near(
    inks: np.ndarray, others: np.ndarray, below: float
) -> Iterator[tuple[int, int, float]]:
    """Inks [N, D] and [M, D] -> rows of both that are nearer than `below`, with their distance.

    Sums over 4 x 4 places differ by no more than these places, so they sort out most pairs.
    """
    coarse_inks, coarse_others = _coarse(inks), _coarse(others)
    for row, ink in enumerate(inks):
        near = np.flatnonzero(ink_distance(coarse_inks[row], coarse_others) < below)
        if near.size:
            distances = ink_distance(ink, others[near])
            for place in np.flatnonzero(distances < below):
                yield row, int(near[place]), float(distances[place])


def _coarse(inks: np.ndarray) -> np.ndarray:
    step = SIDE // COARSE_SIDE
    shaped = inks.reshape(-1, COARSE_SIDE, step, COARSE_SIDE, step, 3)
    return shaped.sum(axis=(2, 4)).reshape(len(inks), -1)
