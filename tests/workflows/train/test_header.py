"""What a training says before it begins."""

from __future__ import annotations

from pathlib import Path

import pytest

from seedcli.recipe.files import shipped_recipes
from seedcli.recipe.read import load_recipe
from seedcli.workflows.train.run import header


def test_a_stage_of_the_tokenizer() -> None:
    recipe = load_recipe("nano-target", ["run.tracker=tensorboard", "optimization.steps=2000"])
    batch = recipe.optimization.batch_size
    assert header("train-tokenizer", recipe, Path("runs/mine")).splitlines() == [
        "seed train-tokenizer nano-target",
        "  data: emoji",
        f"  length: target 2,000 updates of {batch} images",
        f"  into: runs/mine, a checkpoint every {recipe.run.checkpoint_every_steps:,} updates",
        "  to look on: tensorboard --logdir runs/mine",
    ]


def test_shares_of_the_heaviest_sources() -> None:
    recipe = load_recipe("vicuna7b-instruct")
    [line] = [line for line in header("instruct", recipe, Path("x")).splitlines() if "data" in line]
    shown, more = line.rsplit(", and ", 1)
    assert shown.count("%") == 4
    assert more == f"{len(recipe.data.sources) - 4} more"


@pytest.mark.parametrize("name", shipped_recipes())
def test_every_shipped_recipe_has_one(name: str) -> None:
    recipe = load_recipe(name)
    lines = header(recipe.command, recipe, Path("x")).splitlines()
    assert len(lines) >= 4
    assert not any("None" in line or "[" in line for line in lines)
