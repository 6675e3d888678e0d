"""How alike generated pictures, true pictures and captions are under a CLIP model: the paper's
measure of generation. Pure functions.
"""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np


def pack_feature(feature: np.ndarray) -> str:
    """A feature [F] -> text for a line of JSON: base64 of little-endian fp16."""
    return base64.b64encode(np.asarray(feature, dtype="<f2").tobytes()).decode()


def unpack_features(texts: Sequence[str]) -> np.ndarray:
    """Packed features, N of them -> [N,F] fp64, L2-normalised again after their rounding."""
    features = np.stack(
        [np.frombuffer(base64.b64decode(text), dtype="<f2") for text in texts]
    ).astype(np.float64)
    return features / np.linalg.norm(features, axis=1, keepdims=True)


def pair_similarity(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    """L2-normalised features [N,F], [N,F] -> cosine of each pair [N], times 100.

    Source: the measure of GILL (Koh et al. 2023), as SEED-LLaMA's table prints it; there of a
    picture and its true picture only.
    """
    return 100.0 * (np.asarray(one, np.float64) * np.asarray(other, np.float64)).sum(1)


def shuffled_similarity(one: np.ndarray, other: np.ndarray) -> float | None:
    """L2-normalised features [N,F], [N,F] -> mean cosine of all pairs that do not belong together,
    times 100; None where N < 2.

    What a picture of something else from the same set would score: cosines of CLIP are far
    from 0 there, so that this is the level to compare with. It is the expectation over all
    shuffles, so nothing is drawn.
    """
    number = len(one)
    if number < 2:
        return None
    one, other = np.asarray(one, np.float64), np.asarray(other, np.float64)
    together = float((one * other).sum())
    return 100.0 * (float(one.sum(0) @ other.sum(0)) - together) / (number * (number - 1))


def similarity_scores(
    lines: Sequence[Mapping[str, Any]],
) -> tuple[dict[str, list[float]], dict[str, float | None]]:
    """Judged lines -> scores by metric, and what chance reaches in each.

    `clip_i`: drawn to true picture; `clip_t`: drawn picture to caption; `truth_clip_t`: true
    picture to caption, what a perfect picture would be given. All are x100 and of the samples
    that have a drawn picture.

    Args:
        lines: `drawn`, `truth` and `caption` of each, packed features; `drawn` is None
            where there is no picture.
    """
    have = [line for line in lines if line["drawn"] is not None]
    if not have:
        return {"clip_i": [], "clip_t": [], "truth_clip_t": []}, {}
    drawn, truth, caption = (
        unpack_features([line[name] for line in have]) for name in ("drawn", "truth", "caption")
    )
    pairs = {"clip_i": (drawn, truth), "clip_t": (drawn, caption), "truth_clip_t": (truth, caption)}
    scores = {name: pair_similarity(*pair).tolist() for name, pair in pairs.items()}
    chance = {name: shuffled_similarity(*pair) for name, pair in pairs.items()}
    return scores, {
        name: None if value is None else round(value, 4) for name, value in chance.items()
    }
