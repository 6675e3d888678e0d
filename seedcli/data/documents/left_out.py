"""Rows that give nothing to train on: why, how many of which source, and how that is said."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from seedcli.errors import DataError

CUT = "end is cut off at max_tokens"
ROWS = "rows"  # beside the reasons: all rows that were drawn
Tally = dict[int, Counter[str]]  # source number -> reason, or ROWS -> how often
_SHOWN = 5


class LeftOutError(DataError):
    """A row that is left out.

    Attributes:
        reason: The message without what is this row's alone, so that rows of a kind are counted.
        source: Number of the row's source, where it is known.
    """

    def __init__(self, message: str, *, reason: str | None = None):
        super().__init__(message)
        self.reason = reason or message
        self.source = 0


@contextmanager
def of_source(number: int) -> Iterator[None]:
    """Whatever is left out within is of this source."""
    try:
        yield
    except LeftOutError as error:
        error.source = number
        raise


def add_tallies(states: Iterable[Mapping[Any, Mapping[str, int]]]) -> Tally:
    """What lanes or ranks have written down (as JSON numbers are text) -> the sum over them."""
    found: Tally = {}
    for state in states:
        for source, counts in state.items():
            found.setdefault(int(source), Counter()).update(counts)
    return dict(sorted(found.items()))


def describe_tally(name: str, counts: Mapping[str, int], *, what: str) -> str | None:
    """A source's tally -> a line that says how many rows are left out and why; None where nothing
    is lost.

    Args:
        name: The source's.
        counts: Of its reasons, and of all its rows.
        what: The rows that were counted: `rows`, `rows drawn`.
    """
    rows, cut = counts.get(ROWS, 0), counts.get(CUT, 0)
    reasons = Counter({why: n for why, n in counts.items() if why not in (ROWS, CUT)})
    told = []
    if reasons:
        each = [f"{n:,} {why}" for why, n in reasons.most_common(_SHOWN)]
        more = [f"{len(reasons) - _SHOWN} more reasons"] if len(reasons) > _SHOWN else []
        total = sum(reasons.values())
        told.append(f"{total:,} of {rows:,} {what} are left out ({'; '.join(each + more)})")
    if cut:
        told.append(f"of {cut:,} {'' if reasons else f'of {rows:,} {what} '}the {CUT}")
    return f"{name}: {', '.join(told)}" if told else None
