"""`seed recipes`: look at recipes, copy one, compare two."""

import itertools
import json
import re
from pathlib import Path
from typing import Annotated, Any

import typer

from seedcli.console import console
from seedcli.files import publish_text
from seedcli.options import Argument, ForceOption, Option, OverridesArgument, RecipeArgument

app = typer.Typer(help="List, show, copy and compare recipes.")


@app.command("ls")
def ls() -> None:
    """List the shipped recipes.

    \b
    Example:
      seed recipes ls
    """
    from seedcli.recipe.files import find_recipe, shipped_recipes
    from seedcli.recipe.read import load_recipe

    rows = []
    for name in shipped_recipes():
        path = find_recipe(name)
        recipe = load_recipe(path)
        rows.append(
            {
                "name": name,
                "command": recipe.command,
                "stage": recipe.stage,
                "about": _about(path),
                "path": str(path),
            }
        )
    width = max((len(row["name"]) for row in rows), default=0)
    for row in rows:
        console.result(
            row,
            human=lambda row: (
                f"{row['name']:<{width}}  seed {row['command']} {row['name']}\n"
                f"{'':<{width}}  {row['about']}"
            ),
        )


@app.command("show")
def show(
    recipe: RecipeArgument,
    overrides: OverridesArgument = (),
    resolved: Annotated[bool, Option("Every value with the file and line it comes from.")] = False,
) -> None:
    """Show a recipe as it is written, or resolved: with its base, its defaults and your overrides.

    \b
    Example:
      seed recipes show nano-codebook --resolved seed=1
    """
    from seedcli.errors import UsageError
    from seedcli.recipe.files import find_recipe, read_text
    from seedcli.recipe.read import dump_resolved, leaves, load_recipe

    if overrides and not resolved:
        raise UsageError(
            "overrides only show in a resolved recipe",
            remedy=f"seed recipes show {recipe} --resolved {' '.join(overrides)}",
        )
    if not resolved:
        console.text(read_text(find_recipe(recipe)).rstrip("\n"))
        return
    loaded = load_recipe(recipe, overrides)
    if console.json:
        for path, _, value in leaves(loaded.model_dump(mode="json")):
            console.result({"key": path, "value": value, "origin": loaded.origins[path]})
    else:
        console.text(dump_resolved(loaded, origins=True).rstrip("\n"))


@app.command("keys")
def keys(
    stage: Annotated[
        str,
        Argument("The stage of a recipe, e.g. codebook.", metavar="STAGE", complete="stages"),
    ],
) -> None:
    """List what a recipe of a stage may say: each key with its meaning, unit, type and default.

    \b
    Example:
      seed recipes keys codebook
    """
    from seedcli.errors import UsageError
    from seedcli.recipe.read import describe_keys
    from seedcli.recipe.stages import STAGES

    if stage not in STAGES:
        raise UsageError(f"no stage {stage!r}", remedy=f"expected one of: {', '.join(STAGES)}")
    for row in describe_keys(STAGES[stage]):
        console.result(row, human=_describe)


@app.command("cp")
def cp(
    recipe: RecipeArgument,
    target: Annotated[Path, Argument("The new file.", metavar="FILE")],
    force: ForceOption = False,
) -> None:
    """Copy a recipe to start one of your own; its `base` still finds the shipped file.

    \b
    Example:
      seed recipes cp nano-codebook mine.toml
    """
    from seedcli.errors import UsageError
    from seedcli.recipe.files import copy_text, find_recipe

    source = find_recipe(recipe)
    if target.is_dir():
        target = target / source.name
    if target.exists() and not force:
        raise UsageError(f"{target} exists", remedy="choose another name, or --force to replace it")
    publish_text(target, copy_text(source, target))
    console.note(f"copied {source} to {target}")


@app.command("diff")
def diff(
    first: RecipeArgument,
    second: Annotated[
        str, Argument("The recipe to compare with.", metavar="OTHER", complete="recipes")
    ],
) -> None:
    """Show the resolved values in which two recipes differ.

    \b
    Example:
      seed recipes diff nano-codebook mine.toml
    """
    from seedcli.recipe.read import leaves, load_recipe

    one, two = (
        {path: value for path, _, value in leaves(load_recipe(name).model_dump(mode="json"))}
        for name in (first, second)
    )
    for key in [*one, *(key for key in two if key not in one)]:
        if (key in one) != (key in two) or one[key] != two[key]:
            row: dict[str, Any] = {"key": key, "first": one.get(key), "second": two.get(key)}
            console.result(
                row, human=lambda row: f"{row['key']}: {row['first']!r} -> {row['second']!r}"
            )


def _about(path: Path) -> str:
    """First sentences of the recipe's head that are no command: of what stands before an empty line
    the ones that are whole.
    """
    lines = path.read_text(encoding="utf-8").splitlines()
    head = [
        line.removeprefix("#").strip()
        for line in itertools.takewhile(lambda line: line.startswith("#"), lines)
    ]
    words = itertools.dropwhile(lambda line: not line or line.startswith("seed "), head)
    paragraph = " ".join(itertools.takewhile(bool, words))
    found = re.match(r"(.{0,200}[.!?])(?=\s|$)", paragraph)
    return found[1] if found else paragraph


def _toml(value: Any) -> str:
    return "none" if value is None else json.dumps(value)


def _describe(row: dict[str, Any]) -> str:
    default = "required" if row["required"] else f"default {_toml(row['default'])}"
    return f"{row['key']}  ({row['type']}, {default})\n    {row['description']}"
