"""The layers of a recipe: `base`, its own file and the command line, merged; and where each value
was written, since `tomllib` gives values, but no line numbers. Torch-free.
"""

from __future__ import annotations

import copy
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from seedcli.errors import RecipeError
from seedcli.recipe.files import find_recipe, read_toml, shown_path

Loc = tuple[str | int, ...]  # ("sources", 0, "path"): keys, and indices in lists
COMMAND_LINE = "command line"
MAX_DEPTH = 50  # of a key; no schema has more than five levels
DEFAULT = "default"


def dotted(loc: Loc) -> str:
    """`("optimization", "betas", 0)` -> `optimization.betas.0`."""
    return ".".join(str(part) for part in loc)


@dataclass
class Layers:
    """Merged values, and for every location the place where it was written last."""

    values: dict[str, Any]
    places: dict[Loc, str]

    @classmethod
    def read(cls, path: Path, ancestors: tuple[Path, ...] = ()) -> Layers:
        """Read a file and, below it, the chain of its `base` files."""
        if path.resolve() in ancestors:
            raise RecipeError(
                f"{shown_path(path)}: `base` leads back to this file",
                remedy="break the circle of `base` keys",
            )
        text, own = read_toml(path)
        places = {loc: f"{shown_path(path)}:{line}" for loc, line in lines_of(text).items()}
        base = own.pop("base", None)
        layers = cls({}, {})
        if base is not None:
            if not isinstance(base, str):
                raise RecipeError(
                    f"{places['base',]}: base: expected the path or name of one recipe, "
                    f"found {base!r}"
                )
            beside = path.parent / base
            layers = cls.read(
                beside if beside.is_file() else find_recipe(base), (*ancestors, path.resolve())
            )
        layers._merge(layers.values, own, (), places)
        return layers

    def _merge(
        self, below: dict[str, Any], above: Mapping[str, Any], loc: Loc, places: Mapping[Loc, str]
    ) -> None:
        for key, value in above.items():
            here = (*loc, key)
            if isinstance(value, Mapping) and isinstance(below.get(key), dict):
                self.places[here] = places.get(here, self.places.get(here, ""))
                self._merge(below[key], value, here, places)
            else:
                self._written_anew(here, places)
                below[key] = copy.deepcopy(value)

    def override(self, overrides: Sequence[str]) -> None:
        """Apply `dotted.key=value` arguments; reports every malformed one at once."""
        faults = []
        for text in overrides:
            try:
                self._override_one(text)
            except ValueError as error:
                faults.append(f"{COMMAND_LINE}: {error}")
        if faults:
            raise RecipeError(
                "\n".join(faults), remedy="an override looks like optimization.learning_rate=1e-4"
            )

    def _override_one(self, text: str) -> None:
        key, equals, raw = text.partition("=")
        parts: list[str | int] = [part.strip() for part in key.split(".")]
        if not equals or not all(parts):
            raise ValueError(f"{text[:80]!r}: expected key=value")
        if len(parts) > MAX_DEPTH:
            raise ValueError(f"{text[:80]!r}...: a key of {len(parts)} parts")
        node: Any = self.values
        for depth, part in enumerate(parts):
            if isinstance(node, list):
                if not str(part).isdigit() or int(part) >= len(node):
                    raise ValueError(
                        f"{text!r}: {dotted(tuple(parts[:depth]))} is a list of {len(node)}, "
                        f"expected 0..{len(node) - 1}, found {part!r}"
                    )
                parts[depth] = part = int(part)
            elif not isinstance(node, dict):
                raise ValueError(
                    f"{text!r}: {dotted(tuple(parts[:depth]))} is {node!r}, not a table"
                )
            if depth == len(parts) - 1:
                node[part] = _parse_value(raw)
            elif isinstance(node, dict):
                node = node.setdefault(part, {})
            else:
                node = node[part]
        self._written_anew(tuple(parts), {tuple(parts): COMMAND_LINE})

    def _written_anew(self, top: Loc, places: Mapping[Loc, str]) -> None:
        """Forgets where `top` and all below it was written before."""
        kept = {loc: place for loc, place in self.places.items() if loc[: len(top)] != top}
        self.places = kept | {loc: place for loc, place in places.items() if loc[: len(top)] == top}

    def _below(self, top: Loc) -> Iterator[str]:
        """Places of `top` and of all below it, in the order in which they were written."""
        return (place for loc, place in self.places.items() if loc[: len(top)] == top)

    def origin(self, loc: Loc) -> str:
        """Where the value at `loc` was written; "default" where it was not."""
        node: Any = self.values
        for part in loc:
            try:
                node = node[part]
            except (KeyError, IndexError, TypeError):
                return DEFAULT
        if COMMAND_LINE in self._below(loc):
            return COMMAND_LINE  # one element of a list was overridden
        return self.place(loc) or DEFAULT

    def place(self, loc: Loc) -> str | None:
        """The place of `loc`, else of what was first written below it, else of the
        nearest table around it.
        """
        if loc not in self.places and (place := next(self._below(loc), None)):
            return place
        for length in range(len(loc), 0, -1):
            if loc[:length] in self.places:
                return self.places[loc[:length]]
        return None


def _parse_value(raw: str) -> Any:
    raw = raw.strip()
    try:
        return tomllib.loads(f"value = {raw}")["value"]
    except (ValueError, RecursionError):
        if not raw or raw[0] in "[{\"'":
            raise ValueError(f"{raw!r}: not a TOML value (a list looks like [1, 2])") from None
        return raw


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
