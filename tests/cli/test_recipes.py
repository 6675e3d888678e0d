"""`seed recipes`."""

from __future__ import annotations

import json
import tomllib
from pathlib import Path

from typer.testing import CliRunner, Result

from seedcli.cli.main import app
from seedcli.recipe.files import find_recipe, shipped_recipes
from seedcli.recipe.read import load_recipe

NAME = "nano-codebook"  # a recipe without a base


def seed(*arguments: str) -> Result:
    return CliRunner().invoke(app, ["recipes", *arguments])


def test_ls_names_each_recipe_and_its_command() -> None:
    rows = [json.loads(line) for line in seed("ls").stdout.splitlines()]
    assert [row["name"] for row in rows] == shipped_recipes()
    assert all(row["command"] and row["stage"] and Path(row["path"]).is_file() for row in rows)


def test_show_prints_the_file_or_the_resolved_values() -> None:
    assert (
        seed("show", NAME).stdout.strip() == find_recipe(NAME).read_text(encoding="utf-8").strip()
    )
    resolved = seed("show", NAME, "--resolved", "seed=123")
    assert "seed = 123 # command line" in resolved.stdout
    assert tomllib.loads(resolved.stdout)["seed"] == 123


def test_show_resolved_as_json_gives_key_value_and_origin() -> None:
    rows = {
        row["key"]: row
        for row in map(
            json.loads, seed("show", NAME, "--resolved", "--json", "seed=123").stdout.splitlines()
        )
    }
    assert rows["seed"] == {"key": "seed", "value": 123, "origin": "command line"}
    assert rows["stage"]["origin"].startswith(f"recipes/{NAME}.toml:")


def test_show_refuses_overrides_that_would_not_show() -> None:
    result = seed("show", NAME, "seed=1")
    assert result.exit_code == 2
    assert "--resolved seed=1" in result.stderr


def test_keys_describe_a_stage() -> None:
    stage = load_recipe(NAME).stage
    rows = {row["key"]: row for row in map(json.loads, seed("keys", stage).stdout.splitlines())}
    assert rows["seed"]["required"]
    assert rows["seed"]["type"] == "whole number"
    assert not rows["run.log_every_steps"]["required"]
    assert seed("keys", "nonsense").exit_code == 2


def test_cp_gives_a_recipe_of_the_same_values_and_replaces_nothing(tmp_path: Path) -> None:
    mine = tmp_path / "mine.toml"
    assert seed("cp", NAME, str(mine)).exit_code == 0
    assert load_recipe(mine).model_dump() == load_recipe(NAME).model_dump()
    result = seed("cp", NAME, str(mine))
    assert result.exit_code == 2
    assert "--force" in result.stderr
    assert seed("cp", NAME, str(mine), "--force").exit_code == 0
    assert seed("cp", NAME, str(tmp_path)).exit_code == 0
    assert (tmp_path / find_recipe(NAME).name).is_file()


def test_diff_shows_what_differs(tmp_path: Path) -> None:
    text = seed("show", NAME, "--resolved", "seed=123456").stdout
    (tmp_path / "mine.toml").write_text(text, encoding="utf-8")
    rows = [
        json.loads(line)
        for line in seed("diff", NAME, str(tmp_path / "mine.toml")).stdout.splitlines()
    ]
    assert rows == [{"key": "seed", "first": load_recipe(NAME).seed, "second": 123456}]
    assert seed("diff", NAME, NAME).stdout == ""


def test_a_wrong_name_is_a_usage_error() -> None:
    result = seed("show", NAME + "x")
    assert result.exit_code == 2
    assert NAME in result.stderr
    assert "Traceback" not in result.stderr
