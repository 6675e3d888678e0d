"""JSON that is not what its reader expects: something else in place of each value."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from typing import Any

OTHERS: tuple[Any, ...] = (5, None, "x", [5], {"a": 5})


def damaged(value: Any) -> Iterator[Any]:
    """Value -> copies of it, each with one part replaced."""
    for place in _places(value):
        for other in OTHERS:
            yield _with(value, place, other)


def _places(value: Any, place: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    yield place
    if isinstance(value, dict | list):
        for name, part in value.items() if isinstance(value, dict) else enumerate(value):
            yield from _places(part, (*place, name))


def _with(value: Any, place: tuple[Any, ...], other: Any) -> Any:
    if not place:
        return other
    value = copy.deepcopy(value)
    holder = value
    for name in place[:-1]:
        holder = holder[name]
    holder[place[-1]] = other
    return value
