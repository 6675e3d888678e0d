"""Recipes as files: where the shipped ones lie, which one a name means, and a copy to change.
Torch-free.
"""

from __future__ import annotations

import json
import re
import tomllib
from pathlib import Path
from typing import Any

from seedcli.errors import RecipeError, did_you_mean


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
        raise RecipeError(f"{shown_path(path)}: cannot be read: {error}") from error


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
            f"{shown_path(path)}: not valid TOML: {error}",
            remedy="strings need quotes, tables look like [name]",
        ) from error


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


def shown_path(path: Path) -> str:
    """A short name for messages: below the recipes folder as
    `recipes/...`, else as it was given.
    """
    try:
        return f"recipes/{path.resolve().relative_to(recipes_folder().resolve()).as_posix()}"
    except ValueError:
        return path.as_posix()
