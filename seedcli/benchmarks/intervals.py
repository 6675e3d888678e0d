"""How far a mean would move with another draw of the same size: bootstrap intervals of per-sample
scores. Pure functions.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence

import numpy as np


def bootstrap_interval(
    scores: Sequence[float],
    groups: Sequence[Hashable] | None = None,
    *,
    share: float = 0.95,
    num_resamples: int = 2000,
    seed: int = 0,
) -> tuple[float, float]:
    """Scores [N] -> the interval that holds `share` of the means of resampled
    scores, in the scores' unit.

    Args:
        scores: One a sample.
        groups: What each sample belongs to (its picture); whole groups are drawn, since questions
            about one picture are not independent.
        share: 0..1.
        num_resamples: Draws with replacement.
        seed: Of the draws.

    Raises:
        ValueError: No scores.

    Source: Efron and Tibshirani 1993, the percentile method; for groups Davison and
    Hinkley 1997, section 3.8.
    """
    if not len(scores):
        raise ValueError("an interval of no scores")
    values = np.asarray(scores, dtype=np.float64)
    numbers = (
        {group: number for number, group in enumerate(dict.fromkeys(groups))}
        if groups is not None
        else {}
    )
    members = (
        np.arange(len(values)) if groups is None else np.array([numbers[group] for group in groups])
    )
    sums, counts = np.bincount(members, weights=values), np.bincount(members)
    low, high = ends_of(resample_means(sums, counts, num_resamples=num_resamples, seed=seed), share)
    return float(low), float(high)


def resample_means(
    sums: np.ndarray, counts: np.ndarray, *, num_resamples: int = 2000, seed: int = 0
) -> np.ndarray:
    """Sum and number of scores of each group [G] or, for M figures that share their draws, [G,M] ->
    means [num_resamples] or [.., M].
    """
    rng = np.random.default_rng(seed)
    means = np.empty((num_resamples, *sums.shape[1:]))
    for draw in range(num_resamples):
        chosen = rng.integers(0, len(sums), len(sums))
        means[draw] = sums[chosen].sum(axis=0) / counts[chosen].sum(axis=0)
    return means


def ends_of(means: np.ndarray, share: float = 0.95) -> np.ndarray:
    """Means of resamples [num_resamples, ...] -> ends of the interval that holds
    `share` of them [2, ...].
    """
    return np.quantile(means, [(1 - share) / 2, (1 + share) / 2], axis=0)
