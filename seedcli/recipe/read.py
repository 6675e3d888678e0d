"""TOML -> validated recipe: `base`, command-line overrides, the origin of every value,
did-you-mean. Torch-free.

Order: command line > recipe > `base` > schema default. The environment never changes a value.
"""

from __future__ import annotations

import json
import re
import typing
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from seedcli.errors import RecipeError, did_you_mean
from seedcli.recipe.files import find_recipe, shown_path
from seedcli.recipe.layers import DEFAULT, Layers, Loc, dotted

if TYPE_CHECKING:
    from seedcli.recipe.sections import Recipe


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
    layers = Layers.read(path)
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
                own, below = f"{path}{key}", f"{path}{key}."
                places = (place for leaf, place in recipe.origins.items() if leaf.startswith(below))
                item.comment(recipe.origins.get(own) or next(places, DEFAULT))
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


def _stage_of(
    layers: Layers, path: Path, stages: Mapping[str, type[Recipe]], command: str | None
) -> type[Recipe]:
    wanted = {name: kind for name, kind in stages.items() if command in (None, kind.command)}
    stage = layers.values.get("stage")
    choices = ", ".join(wanted)
    if stage is None:
        raise RecipeError(
            f"{shown_path(path)}: stage: missing",
            remedy=f"state what to train, stage = one of: {choices}",
        )
    place = layers.place(("stage",)) or shown_path(path)
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


def _validate(kind: type[Recipe], layers: Layers, path: Path) -> Recipe:
    from pydantic import ValidationError

    try:
        return kind.model_validate_json(json.dumps(layers.values, default=str))
    except ValidationError as error:
        details = error.errors(include_url=False)
    faults = sorted((_fault(kind, layers, path, detail) for detail in details), key=_by_line)
    raise RecipeError(
        f"{shown_path(path)}: {len(faults)} fault{'s' * (len(faults) > 1)}\n"
        + "\n".join(f"  {fault}" for fault in faults),
        remedy=f"what each key means: seed recipes keys {layers.values['stage']}",
    )


def _by_line(fault: str) -> tuple[str | int, ...]:
    place = fault.partition(": ")[0]
    file, _, line = place.rpartition(":")
    return (file, int(line)) if line.isdigit() else (place, 0)


def _fault(kind: type[Recipe], layers: Layers, path: Path, detail: Mapping[str, Any]) -> str:
    """One line about one of pydantic's findings."""
    loc = _loc_in_data(layers.values, detail["loc"], missing=detail["type"] == "missing")
    place = layers.place(loc) or shown_path(path)
    name = dotted(loc)
    match detail["type"]:
        case "missing":
            known = (fields.get(str(loc[-1])) for fields in _fields_at(kind, loc[:-1]))
            about = next((field.description for field in known if field), None)
            return f"{place}: {name}: missing{f' ({about})' if about else ''}"
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
    if elsewhere:
        return f"; {loc[-1]!r} belongs in {elsewhere[0]!r}"
    return f"; known here: {', '.join(siblings)}" if siblings else ""


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
            "type": _type_words(field.annotation),
            "required": field.is_required(),
            "default": None if field.is_required() else field.default,
            "description": field.description,
        }
        for path, field in known_keys(kind).items()
        if not _fields_at(field.annotation, ()) or typing.get_origin(field.annotation) is list
    ]


def _type_words(kind: Any) -> str:
    """Type of a key, in the terms of who writes TOML."""
    names = {int: "whole number", float: "number", str: "text", bool: "true or false"}
    inside = typing.get_args(kind)
    match typing.get_origin(kind):
        case None:
            return names.get(kind, "table")
        case typing.Annotated:
            return _type_words(inside[0])
        case typing.Literal:
            return " | ".join(map(json.dumps, inside))
        case built if built is list or Ellipsis in inside:
            words = _type_words(inside[0])
            return f"list of {words}" + "s" * words.endswith(("number", "table"))
        case built if built is tuple:
            return f"[{', '.join(map(_type_words, inside))}]"
        case built if built is dict:
            return "table"
        case _:  # a union
            return " or ".join(_type_words(each) for each in inside if each is not type(None))


def _element(annotation: Any) -> Any:
    return (
        typing.get_args(annotation)[0]
        if typing.get_origin(annotation) in (list, tuple)
        else annotation
    )
