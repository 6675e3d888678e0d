"""How far a mean would move with another draw of the same size: bootstrap intervals of per-sample
scores. Pure functions.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from typing import Any

import numpy as np

_DIGITS, _NUM_RESAMPLES, _SHARE = 4, 2000, 0.95


def mean_metrics(
    scores: Mapping[str, Sequence[float]], groups: Sequence[Hashable] | None = None
) -> dict[str, dict[str, Any]]:
    """Scores of each sample by metric -> `metrics`, their means, and `intervals`, the 95 %
    bootstrap interval of each, in the scores' unit; four digits after the point.

    A metric without scores (say, the similarity of pictures where no answer held one) is
    None, as is its interval.

    Args:
        scores: By metric, one a sample that has it.
        groups: What each sample belongs to; see `bootstrap_interval`.
    """
    found: dict[str, dict[str, Any]] = {"metrics": {}, "intervals": {}}
    for name, each in scores.items():
        found["metrics"][name] = round(sum(each) / len(each), _DIGITS) if len(each) else None
        found["intervals"][name] = (
            [round(end, _DIGITS) for end in bootstrap_interval(each, groups)] if len(each) else None
        )
    return found


def bootstrap_interval(
    scores: Sequence[float], groups: Sequence[Hashable] | None = None
) -> tuple[float, float]:
    """Scores [N] -> the interval that holds 95 % of the means of 2,000 resamples, in the scores'
    unit.

    Args:
        scores: One a sample.
        groups: What each sample belongs to (its picture); whole groups are drawn, since questions
            about one picture are not independent.

    Raises:
        ValueError: No scores.

    Source: Efron and Tibshirani 1993, the percentile method; for groups Davison and
    Hinkley 1997, section 3.8.
    """
    if not len(scores):
        raise ValueError("an interval of no scores")
    groups = range(len(scores)) if groups is None else groups
    numbers = {group: number for number, group in enumerate(dict.fromkeys(groups))}
    members = np.array([numbers[group] for group in groups])
    sums = np.bincount(members, weights=np.asarray(scores, dtype=np.float64))
    low, high = ends_of(resample_means(sums, np.bincount(members)))
    return float(low), float(high)


def resample_means(sums: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """Sum and number of scores of each group [G] or, for M figures that share their draws, [G,M] ->
    means of resamples [R] or [R,M].
    """
    rng = np.random.default_rng(0)
    means = np.empty((_NUM_RESAMPLES, *sums.shape[1:]))
    for draw in range(_NUM_RESAMPLES):
        chosen = rng.integers(0, len(sums), len(sums))
        means[draw] = sums[chosen].sum(axis=0) / counts[chosen].sum(axis=0)
    return means


def ends_of(means: np.ndarray) -> np.ndarray:
    """Means of resamples [R, ...] -> ends of the interval that holds 95 % of them [2, ...]."""
    return np.quantile(means, [(1 - _SHARE) / 2, (1 + _SHARE) / 2], axis=0)


def as_printed(figures: Any) -> Any:
    """Figures of any nesting -> the same in eight digits: what is behind them is how binary
    fractions are written, 55.00000000000001.
    """
    match figures:
        case float():
            return float(f"{figures:.8g}")
        case Mapping():
            return {name: as_printed(value) for name, value in figures.items()}
        case list() | tuple():
            return [as_printed(value) for value in figures]
        case _:
            return figures
