"""The run folder: what a run was, and that a resumed one is the same."""

from __future__ import annotations

import json
import os
import tomllib

import pytest

from seedcli.errors import DataError, RecipeError
from seedcli.recipe.read import load_recipe
from seedcli.training import run_folder
from seedcli.training.run_folder import open_run_folder, plot_metrics, read_metrics


@pytest.fixture(autouse=True)
def released():
    """What a workflow's return does."""
    yield
    run_folder.alone(lambda: None)()


def test_recipe_and_facts_of_each_start_are_kept(tmp_path):
    open_run_folder(tmp_path, load_recipe("nano-target"), resume=False)
    longer = load_recipe("nano-target", ["optimization.steps=2000", "run.log_every_steps=5"])
    open_run_folder(tmp_path, longer, resume=True)
    starts = json.loads((tmp_path / "run.json").read_text())
    assert [start["steps"] for start in starts] == [
        load_recipe("nano-target").optimization.steps,
        2000,
    ]
    assert starts[0].keys() >= {"command", "git_commit", "packages", "python", "started"}
    resolved = (tmp_path / "recipe.resolved.toml").read_text()
    assert tomllib.loads(resolved)["optimization"]["steps"] == 2000
    assert "command line" in resolved
    assert load_recipe(tmp_path / "recipe.resolved.toml").optimization == longer.optimization


def test_a_folder_is_one_processs_at_a_time(tmp_path):
    """Two tasks that know nothing of each other, or two terminals."""
    recipe = load_recipe("nano-target")

    def another() -> int:
        if (child := os.fork()) == 0:
            run_folder._held.clear()  # of the parent
            try:
                open_run_folder(tmp_path, recipe, resume=False)
            except DataError:
                os._exit(DataError.exit_code)
            os._exit(0)
        return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])

    @run_folder.alone
    def run() -> int:
        open_run_folder(tmp_path, recipe, resume=False)
        open_run_folder(tmp_path, recipe, resume=True)
        return another()

    assert run() == 3
    assert another() == 0


def test_resuming_with_other_values_is_refused_and_each_is_named(tmp_path):
    open_run_folder(tmp_path, load_recipe("nano-target"), resume=False)
    other = load_recipe("nano-target", ["seed=9", "optimization.weight_decay=0.5"])
    with pytest.raises(
        RecipeError, match=r"optimization\.weight_decay: was .*, is 0\.5; seed: was 1, is 9"
    ):
        open_run_folder(tmp_path, other, resume=True)


def test_what_the_advice_after_nan_names_may_change_and_is_recorded(tmp_path):
    first = load_recipe("nano-target")
    open_run_folder(tmp_path, first, resume=False)
    tamer = ["optimization.learning_rate=1e-9", "optimization.gradient_clip=0.1"]
    tamer += ["losses.painting_weight=0.25"]
    open_run_folder(tmp_path, load_recipe("nano-target", tamer), resume=True)
    starts = json.loads((tmp_path / "run.json").read_text())
    was = first.optimization
    assert [start["changed"] for start in starts] == [
        {},
        {
            "losses.painting_weight": [first.losses.painting_weight, 0.25],
            "optimization.gradient_clip": [was.gradient_clip, 0.1],
            "optimization.learning_rate": [was.learning_rate, 1e-9],
        },
    ]


def test_half_a_line_of_metrics_is_no_line(tmp_path):
    assert read_metrics(tmp_path) == []
    assert plot_metrics(tmp_path) is None
    (tmp_path / "metrics.jsonl").write_text('{"step": 1, "loss": 2.0}\n{"step": 2, "lo')
    assert read_metrics(tmp_path) == [{"step": 1, "loss": 2.0}]
