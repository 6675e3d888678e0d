"""What happens to files that others wrote: bytes that change, values that are not what they should
be. Strategies of hypothesis, so that a seed names a whole run.
"""

from __future__ import annotations

import copy
import json
from typing import Any

from hypothesis import strategies as st

Edit = tuple[str, float, bytes]  # what, where as a share of the file, with what

NASTY: list[Any] = [
    None, True, 0, -1, 1, 7, 10**6, 10**12, 10**30, -(10**18), 0.5, 1e38, float("nan"),
    float("inf"), "", "x", "8", "\ud800", "a\0b", "../../etc/passwd", "é" * 300, "x" * 5000,
    "<img><img_00001>", "</s>", [], [[]], [1, "a"], {}, {"a": 1}, [None] * 40, "[" * 50_000,
]  # fmt: skip


def deep() -> list[Any]:
    """A list nested as deep as JSON's writer allows."""
    value: list[Any] = []
    for _ in range(400):
        value = [value]
    return value


def edits() -> st.SearchStrategy[list[Edit]]:
    """One to four changes of a file's bytes."""
    one = st.tuples(
        st.sampled_from(["flip", "cut", "insert", "zero", "repeat", "replace"]),
        st.one_of(st.floats(0, 1), st.sampled_from([0.0, 0.999, 1.0])),
        st.binary(min_size=1, max_size=16),
    )
    return st.lists(one, min_size=1, max_size=4)


def edited(data: bytes, changes: list[Edit]) -> bytes:
    """Bytes after the changes."""
    changed = bytearray(data)
    for what, share, new in changes:
        at = int(share * len(changed))
        match what:
            case "flip" if changed:
                changed[min(at, len(changed) - 1)] ^= new[0] or 1
            case "cut":
                del changed[at:]
            case "insert":
                changed[at:at] = new
            case "zero":
                changed[at : at + 64] = bytes(len(changed[at : at + 64]))
            case "repeat":
                changed[at:at] = changed[at : at + 512]
            case "replace":
                changed[at : at + len(new)] = new
    return bytes(changed)


def value_changes() -> st.SearchStrategy[list[tuple[int, Any]]]:
    """Which leaf or branch of a JSON value becomes what; `"drop"` removes it."""
    new = st.one_of(st.sampled_from(NASTY), st.just("drop"), st.just("deep"), st.integers(-9, 9))
    return st.lists(st.tuples(st.integers(0, 10**6), new), min_size=1, max_size=2)


def changed_value(value: Any, changes: list[tuple[int, Any]]) -> Any:
    """A copy with other values at the chosen places."""
    value = copy.deepcopy(value)
    for number, new in changes:
        places = _places(value)
        if not places:
            break
        holder, key = places[number % len(places)]
        if isinstance(new, str) and new == "drop":
            del holder[key]
        else:
            holder[key] = deep() if isinstance(new, str) and new == "deep" else new
    return value


def _places(value: Any) -> list[tuple[Any, Any]]:
    if not isinstance(value, (dict, list)):
        return []
    found: list[tuple[Any, Any]] = []
    for key in value if isinstance(value, dict) else range(len(value)):
        found.append((value, key))
        found += _places(value[key])
    return found


def as_json(value: Any) -> bytes:
    """JSON as a hostile writer has it: NaN, halves of surrogate pairs, any depth."""
    return json.dumps(value).encode()
