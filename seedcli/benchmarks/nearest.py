"""Is the nearest the right one? Pure scoring of drawn pictures and written
captions among candidates.
"""

from __future__ import annotations

from torch import Tensor


def right_ranks(similarity: Tensor, right: Tensor) -> Tensor:
    """Similarities [N,C] and which candidates are right [N,C] bool -> rank of the best right one
    [N], 0 for the nearest.

    A wrong candidate that is exactly as near counts as nearer, so that answers which are
    all alike score nothing.

    Raises:
        ValueError: A row has no right candidate.
    """
    if not bool(right.any(1).all()):
        raise ValueError("a row has no right candidate")
    best = similarity.masked_fill(~right, float("-inf")).amax(1, keepdim=True)
    return ((similarity >= best) & ~right).sum(1)


def top_shares(ranks: Tensor, tops: tuple[int, ...] = (1, 5)) -> dict[str, float]:
    """Ranks [N] -> percent of them below each of `tops`."""
    return {f"top{top}": round(100 * float((ranks < top).float().mean()), 1) for top in tops}


def chance_shares(right: Tensor, tops: tuple[int, ...] = (1, 5)) -> dict[str, float]:
    """Which candidates are right [N,C] -> what a random order of them would score, percent."""
    total, rights = right.shape[1], right.sum(1).double()
    miss = dict.fromkeys(tops, rights * 0 + 1)
    for top in tops:
        for place in range(min(top, total)):
            miss[top] = miss[top] * ((total - rights - place).clamp(min=0) / (total - place))
    return {f"top{top}": round(100 * float((1 - miss[top]).mean()), 2) for top in tops}
