"""What Tab offers in a shell: our own names. `seed --install-completion` sets it up for bash, zsh
and fish; where nothing of ours fits, the shell offers files.
"""

from __future__ import annotations

import tomllib
from collections.abc import Callable, Iterable

import typer

Complete = Callable[[str], list[str]]


def one_of(metavar: str) -> Complete:
    """`emoji|coco|FILE` -> a completer of the names in it; what is in capitals is no name."""
    names = [name for name in metavar.split("|") if not name.isupper()]
    return lambda incomplete: _beginning(names, incomplete)


def tokenizers(incomplete: str) -> list[str]:
    """Presets of visual tokenizers."""
    from seedcli.models.weights.locate import PRESETS

    return _beginning(PRESETS, incomplete)


def language_models(incomplete: str) -> list[str]:
    """Presets of language models."""
    from seedcli.models.weights.locate_llm import LLM_PRESETS

    return _beginning(LLM_PRESETS, incomplete)


def models(incomplete: str) -> list[str]:
    """Presets of both."""
    return list(dict.fromkeys([*tokenizers(incomplete), *language_models(incomplete)]))


def recipes(ctx: typer.Context, incomplete: str) -> list[str]:
    """Shipped recipes; after a command that trains, those that it runs."""
    from seedcli.recipe.files import shipped_recipes
    from seedcli.recipe.stages import STAGES

    runs = {stage for stage, recipe in STAGES.items() if recipe.command == ctx.info_name}
    return [
        name
        for name in _beginning(shipped_recipes(), incomplete)
        if not runs or _stage(name) in runs
    ]


def recipe_keys(ctx: typer.Context, incomplete: str) -> list[str]:
    """`key=` of the recipe before it."""
    from seedcli.errors import SeedError
    from seedcli.recipe.read import known_keys, load_recipe

    try:
        recipe = load_recipe(ctx.params["recipe"])
    except (SeedError, KeyError):
        return []
    names = known_keys(type(recipe))
    leaves = [name for name in names if not any(key.startswith(f"{name}.") for key in names)]
    return [f"{name}=" for name in _beginning(leaves, incomplete)]


def stages(incomplete: str) -> list[str]:
    """Stages of recipes."""
    from seedcli.recipe.stages import STAGES

    return _beginning(STAGES, incomplete)


def set_formats(incomplete: str) -> list[str]:
    """Layouts of published sets."""
    from seedcli.data.published_sets.formats import FORMATS

    return _beginning(FORMATS, incomplete)


def devices(incomplete: str) -> list[str]:
    """Kinds of devices that `seed plan` knows, each as `KIND:8`."""
    from seedcli.models.language.cost import DEVICES

    return _beginning([f"{kind}:8" for kind in DEVICES], incomplete)


def _beginning(names: Iterable[str], incomplete: str) -> list[str]:
    return [name for name in names if name.startswith(incomplete)]


def _stage(recipe: str) -> str | None:
    """Stage of a shipped recipe, read from it or what it is based on, without checking either."""
    from seedcli.recipe.files import find_recipe

    path = find_recipe(recipe)
    while True:
        content = tomllib.loads(path.read_text(encoding="utf-8"))
        if "stage" in content or "base" not in content:
            return content.get("stage")
        path = find_recipe(content["base"])
