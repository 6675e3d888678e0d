"""TOML -> validated recipe: `base`, command-line overrides, the origin of every value,
did-you-mean. Torch-free.

Order: command line > recipe > `base` > schema default. The environment never changes a value.
"""

from __future__ import annotations

import copy
import json
import re
import tomllib
import typing
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from seedcli.errors import RecipeError, did_you_mean
from seedcli.recipe.toml_lines import Loc, lines_of

if TYPE_CHECKING:
    from seedcli.recipe.sections import Recipe

COMMAND_LINE = "command line"
MAX_DEPTH = 50  # of a key; no schema has more than five levels
DEFAULT = "default"


def recipes_folder() -> Path:
    """The folder of the shipped recipes: `recipes/` of a checkout, else the copy inside
    the installed package.
    """
    package = Path(__file__).resolve().parents[1]
    checkout = package.parent / "recipes"
    return (
        checkout
        if checkout.is_dir() and (package.parent / "pyproject.toml").is_file()
        else package / "recipes"
    )


def shipped_recipes() -> list[str]:
    """Names of the shipped recipes, sorted: paths below the recipes folder, without suffix."""
    folder = recipes_folder()
    return sorted(
        path.relative_to(folder).with_suffix("").as_posix() for path in folder.rglob("*.toml")
    )


def find_recipe(name: str | Path) -> Path:
    """Path of a recipe given as a path, else as the name of a shipped one (`recipes/vicuna7b.toml`,
    `vicuna7b.toml`, `vicuna7b`).

    Raises:
        RecipeError: no such file and no such name; names the nearest ones.
    """
    path = Path(name).expanduser()
    if path.is_file():
        return path
    shipped = re.sub(r"^recipes/", "", Path(name).as_posix())
    shipped = shipped.removesuffix(".toml")
    if shipped in shipped_recipes():
        return recipes_folder() / f"{shipped}.toml"
    guess = did_you_mean(shipped, shipped_recipes(), most=3)
    raise RecipeError(
        f"no recipe {str(name)!r}: not a file, not a shipped name{guess}",
        remedy="list the shipped ones: seed recipes ls",
    )


def read_text(path: Path) -> str:
    """The text of a recipe's file.

    Raises:
        RecipeError: It cannot be read, or is no UTF-8.
    """
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise RecipeError(f"{_shown(path)}: cannot be read: {error}") from error


def read_toml(path: Path) -> tuple[str, dict[str, Any]]:
    """The text of a recipe's file, and what it says.

    Raises:
        RecipeError: It cannot be read, or is no TOML.
    """
    text = read_text(path)
    try:
        return text, tomllib.loads(text)
    except (ValueError, RecursionError) as error:  # TOML's own error is a ValueError
        raise RecipeError(
            f"{_shown(path)}: not valid TOML: {error}",
            remedy="strings need quotes, tables look like [name]",
        ) from error


def load_recipe(
    name: str | Path,
    overrides: Sequence[str] | Mapping[str, Any] = (),
    *,
    command: str | None = None,
) -> Recipe:
    """Read, merge and validate a recipe.

    Args:
        name: Path or shipped name.
        overrides: `dotted.key=value` in TOML's value syntax, a bare word is a string; or values
            by dotted key.
        command: The subcommand that asks, e.g. "train-tokenizer"; a recipe of
            another command is refused.

    Raises:
        RecipeError: lists every fault at once, each with file, line, dotted path and nearest name.
    """
    from seedcli.recipe.stages import STAGES

    path = find_recipe(name)
    layers = _Layers.read(path)
    layers.override(_as_lines(overrides) if isinstance(overrides, Mapping) else overrides)
    kind = _stage_of(layers, path, STAGES, command)
    recipe = _validate(kind, layers, path)
    recipe._name = path.stem
    recipe._origins = {
        leaf: layers.origin(loc) for leaf, loc, _ in leaves(recipe.model_dump(mode="json"))
    }
    return recipe


def dump_resolved(recipe: Recipe, *, origins: bool = False) -> str:
    """The recipe as TOML with every value in it, which loads again without `base`; `origins` adds
    comments with the place of each.
    """
    import tomlkit

    def fill(container: Any, data: Mapping[str, Any], path: str) -> Any:
        tables = {key: value for key, value in data.items() if isinstance(value, Mapping)}
        for key, value in data.items():
            if key in tables:
                continue
            item = tomlkit.item(value)
            if origins:
                item.comment(_origin_of(recipe.origins, f"{path}{key}"))
            container.add(key, item)
        for key, value in tables.items():
            container.add(key, fill(tomlkit.table(), value, f"{path}{key}."))
        return container

    text = tomlkit.dumps(
        fill(tomlkit.document(), recipe.model_dump(mode="json", exclude_none=True), "")
    )
    return text if text.endswith("\n") else text + "\n"


def leaves(data: Any, loc: Loc = ()) -> Iterator[tuple[str, Loc, Any]]:
    """Every value that is not a table, as (dotted path, location, value); lists of tables are
    walked, other lists are leaves.
    """
    if isinstance(data, Mapping):
        for key, value in data.items():
            yield from leaves(value, (*loc, key))
    elif isinstance(data, list) and data and all(isinstance(item, Mapping) for item in data):
        for index, item in enumerate(data):
            yield from leaves(item, (*loc, index))
    else:
        yield dotted(loc), loc, data


def dotted(loc: Loc) -> str:
    """`("optimization", "betas", 0)` -> `optimization.betas.0`."""
    return ".".join(str(part) for part in loc)


@dataclass
class _Layers:
    """Merged values, and for every location the place where it was written last."""

    values: dict[str, Any]
    places: dict[Loc, str]

    @classmethod
    def read(cls, path: Path, ancestors: tuple[Path, ...] = ()) -> _Layers:
        """Read a file and, below it, the chain of its `base` files."""
        if path.resolve() in ancestors:
            raise RecipeError(
                f"{_shown(path)}: `base` leads back to this file",
                remedy="break the circle of `base` keys",
            )
        text, own = read_toml(path)
        places = {loc: f"{_shown(path)}:{line}" for loc, line in lines_of(text).items()}
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
                self.places = {
                    old: place for old, place in self.places.items() if old[: len(here)] != here
                }
                self.places |= {
                    new: place for new, place in places.items() if new[: len(here)] == here
                }
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
        loc = tuple(parts)
        self.places = {
            old: place for old, place in self.places.items() if old[: len(loc)] != loc
        } | {loc: COMMAND_LINE}

    def origin(self, loc: Loc) -> str:
        """Where the value at `loc` was written; "default" where it was not."""
        node: Any = self.values
        for part in loc:
            try:
                node = node[part]
            except (KeyError, IndexError, TypeError):
                return DEFAULT
        if any(
            place == COMMAND_LINE
            for below, place in self.places.items()
            if below[: len(loc)] == loc
        ):
            return COMMAND_LINE  # one element of a list was overridden
        return self.place(loc) or DEFAULT

    def place(self, loc: Loc) -> str | None:
        """The place of `loc`, else of what was first written below it, else of the
        nearest table around it.
        """
        below = (place for other, place in self.places.items() if other[: len(loc)] == loc)
        if loc not in self.places and (place := next(below, None)):
            return place
        for length in range(len(loc), 0, -1):
            if loc[:length] in self.places:
                return self.places[loc[:length]]
        return None


def _as_lines(overrides: Mapping[str, Any]) -> list[str]:
    """Values by dotted key -> the same in TOML's syntax."""
    import tomlkit

    lines, faults = [], []
    for key, value in overrides.items():
        try:
            lines.append(f"{key}={tomlkit.item(value).as_string()}")
        except ValueError:
            faults.append(f"{key} = {value!r}: a {type(value).__name__} has no place in a recipe")
    if faults:
        raise RecipeError("\n".join(faults), remedy="values are those of TOML, paths are strings")
    return lines


def _parse_value(raw: str) -> Any:
    raw = raw.strip()
    try:
        return tomllib.loads(f"value = {raw}")["value"]
    except (ValueError, RecursionError):
        if not raw or raw[0] in "[{\"'":
            raise ValueError(f"{raw!r}: not a TOML value (a list looks like [1, 2])") from None
        return raw


def _stage_of(
    layers: _Layers, path: Path, stages: Mapping[str, type[Recipe]], command: str | None
) -> type[Recipe]:
    wanted = {name: kind for name, kind in stages.items() if command in (None, kind.command)}
    stage = layers.values.get("stage")
    choices = ", ".join(wanted)
    if stage is None:
        raise RecipeError(
            f"{_shown(path)}: stage: missing",
            remedy=f"state what to train, stage = one of: {choices}",
        )
    place = layers.place(("stage",)) or _shown(path)
    if not isinstance(stage, str) or stage not in stages:
        guess = did_you_mean(str(stage), wanted)
        raise RecipeError(
            f"{place}: stage: found {stage!r}{guess}", remedy=f"expected one of: {choices}"
        )
    if stage not in wanted:
        owner = stages[stage].command
        raise RecipeError(
            f"{place}: stage {stage!r} belongs to `seed {owner}`", remedy=f"seed {owner} {path}"
        )
    return stages[stage]


def _validate(kind: type[Recipe], layers: _Layers, path: Path) -> Recipe:
    from pydantic import ValidationError

    try:
        return kind.model_validate_json(json.dumps(layers.values, default=str))
    except ValidationError as error:
        details = error.errors(include_url=False)
    faults = sorted((_fault(kind, layers, path, detail) for detail in details), key=_by_line)
    raise RecipeError(
        f"{_shown(path)}: {len(faults)} fault{'s' * (len(faults) > 1)}\n"
        + "\n".join(f"  {fault}" for fault in faults),
        remedy=f"what each key means: seed recipes keys {layers.values['stage']}",
    )


def _by_line(fault: str) -> tuple[str | int, ...]:
    place = fault.partition(": ")[0]
    file, _, line = place.rpartition(":")
    return (file, int(line)) if line.isdigit() else (place, 0)


def _fault(kind: type[Recipe], layers: _Layers, path: Path, detail: Mapping[str, Any]) -> str:
    """One line about one of pydantic's findings."""
    loc = _loc_in_data(layers.values, detail["loc"], missing=detail["type"] == "missing")
    place = layers.place(loc) or _shown(path)
    name = dotted(loc)
    match detail["type"]:
        case "missing":
            field = next(
                (fields[loc[-1]] for fields in _fields_at(kind, loc[:-1]) if loc[-1] in fields),
                None,
            )
            return (
                f"{place}: {name}: "
                f"missing{f' ({field.description})' if field and field.description else ''}"
            )
        case "extra_forbidden":
            return f"{place}: {name}: unknown key{_suggestion(kind, loc)}"
        case _:
            message = re.sub(r"^(Input|Value error,) ?", "", detail["msg"]).strip()
            found = "" if isinstance(detail["input"], Mapping) else f", found {detail['input']!r}"
            return f"{place}: {name or 'recipe'}: {message}{found}"


def _loc_in_data(data: Any, loc: Loc, *, missing: bool) -> Loc:
    """Drop from pydantic's location what is no key of the data: the tags of unions."""
    real: Loc = ()
    for index, part in enumerate(loc):
        try:
            data = data[part]
        except (KeyError, IndexError, TypeError):
            if not (missing and index == len(loc) - 1):
                continue
        real = (*real, part)
    return real


def _fields_at(kind: Any, loc: Loc) -> list[dict[str, Any]]:
    """Fields of every model that may stand at `loc` (several where the schema has a union)."""
    from pydantic import BaseModel

    if isinstance(kind, type) and issubclass(kind, BaseModel):
        if not loc:
            return [kind.model_fields]
        field = kind.model_fields.get(str(loc[0]))
        return _fields_at(field.annotation, loc[1:]) if field else []
    if typing.get_origin(kind) in (list, tuple) and loc:
        loc = loc[1:]
    return [fields for argument in typing.get_args(kind) for fields in _fields_at(argument, loc)]


def _suggestion(kind: type[Recipe], loc: Loc) -> str:
    siblings = [name for fields in _fields_at(kind, loc[:-1]) for name in fields]
    if guess := did_you_mean(str(loc[-1]), siblings):
        return guess
    elsewhere = [path for path in known_keys(kind) if path.rpartition(".")[2] == loc[-1]]
    return (
        f"; {loc[-1]!r} belongs in {elsewhere[0]!r}"
        if elsewhere
        else f"; known here: {', '.join(siblings)}"
        if siblings
        else ""
    )


def known_keys(kind: Any, prefix: str = "") -> dict[str, Any]:
    """Dotted path -> pydantic field of every key that a recipe of this kind may hold, in order."""
    keys: dict[str, Any] = {}
    for fields in _fields_at(kind, ()):
        for name, field in fields.items():
            keys.setdefault(f"{prefix}{name}", field)
            keys |= {
                path: inner
                for path, inner in known_keys(
                    _element(field.annotation), f"{prefix}{name}."
                ).items()
                if path not in keys
            }
    return keys


def describe_keys(kind: type[Recipe]) -> list[dict[str, Any]]:
    """What a recipe of this kind may say: one row a key with type, default and description;
    sections appear through their keys.
    """
    return [
        {
            "key": path,
            "type": field.annotation.__name__
            if isinstance(field.annotation, type)
            else re.sub(r"\b(typing|seedcli\.schema)\.", "", str(field.annotation)),
            "required": field.is_required(),
            "default": None if field.is_required() else field.default,
            "description": field.description,
        }
        for path, field in known_keys(kind).items()
        if not _fields_at(field.annotation, ()) or typing.get_origin(field.annotation) is list
    ]


def copy_text(source: Path, target: Path) -> str:
    """Text of `source` for a copy at `target`: comments kept, `base` rewritten so that it
    still names the same file.
    """
    text, values = read_toml(source)
    base = values.get("base")
    beside = source.parent / base if isinstance(base, str) else None
    if beside is None or not beside.is_file() or source.resolve().parent == target.resolve().parent:
        return text
    try:
        name = beside.resolve().relative_to(recipes_folder().resolve()).as_posix()
    except ValueError:
        name = beside.resolve().as_posix()
    return re.sub(r"^base\s*=.*$", f"base = {json.dumps(name)}", text, count=1, flags=re.MULTILINE)


def _element(annotation: Any) -> Any:
    return (
        typing.get_args(annotation)[0]
        if typing.get_origin(annotation) in (list, tuple)
        else annotation
    )


def _origin_of(origins: Mapping[str, str], path: str) -> str:
    return origins.get(path) or next(
        (place for leaf, place in origins.items() if leaf.startswith(f"{path}.")), DEFAULT
    )


def _shown(path: Path) -> str:
    """A short name for messages: below the recipes folder as
    `recipes/...`, else as it was given.
    """
    try:
        return f"recipes/{path.resolve().relative_to(recipes_folder().resolve()).as_posix()}"
    except ValueError:
        return path.as_posix()
