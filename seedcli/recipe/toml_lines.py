"""Where each key of a TOML text stands, for messages and origins: `tomllib` gives values, but no
line numbers. Torch-free.
"""

from __future__ import annotations

import tomllib
from collections.abc import Iterator
from typing import Any

Loc = tuple[str | int, ...]  # ("sources", 0, "path"): keys, and indices in lists


def lines_of(text: str) -> dict[Loc, int]:
    """Line number of every key of a valid TOML text; each statement is parsed on its own to
    learn which keys it sets.
    """
    lines: dict[Loc, int] = {}
    table: Loc = ()
    counts: dict[Loc, int] = {}
    statement = ""
    start = 0
    for number, line in enumerate(text.splitlines(keepends=True), 1):
        start = start if statement else number
        statement += line
        try:
            parsed = tomllib.loads(statement)
        except tomllib.TOMLDecodeError:
            continue  # the value goes on in the next line
        if statement.lstrip().startswith("["):
            table = _table_loc(parsed, counts)
            lines.setdefault(table, start)
        else:
            for loc in _all_locs(parsed):
                lines.setdefault((*table, *loc), start)
        statement = ""
    return lines


def _table_loc(parsed: dict[str, Any], counts: dict[Loc, int]) -> Loc:
    loc: Loc = ()
    node: Any = parsed
    while isinstance(node, dict) and node:
        [(key, node)] = node.items()
        loc = (*loc, key)
        if isinstance(node, list):  # [[key]] opens the next element
            counts[loc] = counts.get(loc, -1) + 1
            loc, node = (*loc, counts[loc]), node[0]
        elif loc in counts and node:  # [key.sub] belongs to the last element of [[key]]
            loc = (*loc, counts[loc])
    return loc


def _all_locs(data: Any, loc: Loc = ()) -> Iterator[Loc]:
    items = (
        data.items()
        if isinstance(data, dict)
        else enumerate(data)
        if isinstance(data, list)
        else ()
    )
    for key, value in items:
        yield (*loc, key)
        yield from _all_locs(value, (*loc, key))
