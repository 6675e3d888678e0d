"""The library's functions do what the commands do, and say it as objects."""

from __future__ import annotations

import json
from pathlib import Path

import datasets
import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from seedcli import evaluate, load_recipe, open_tokens, plan, train
from seedcli.cli.main import app
from seedcli.errors import DataError, RecipeError, UsageError

SMALL = {
    "optimization.batch_size": 8,
    "optimization.steps": 2,
    "optimization.warmup_steps": 1,
    "run.log_every_steps": 1,
    "run.loader_workers": 0,
}


def seed(*words: object) -> dict:
    done = CliRunner().invoke(app, list(map(str, words)))
    assert done.exit_code == 0, done.stderr
    return json.loads(done.stdout)


@pytest.fixture(scope="module")
def shards(tmp_path_factory, tiny_tokenizer_folder) -> Path:
    folder = tmp_path_factory.mktemp("pictures")
    for number in range(5):
        array = np.random.default_rng(number).integers(0, 256, (20, 20, 3), dtype=np.uint8)
        Image.fromarray(array).save(folder / f"{number}.png")
        (folder / f"{number}.txt").write_text(f"picture {number}")
    output = tmp_path_factory.mktemp("tokens") / "shards"
    where = ["-o", output, "--model", tiny_tokenizer_folder, "--device", "cpu"]
    seed("tokenize", folder, *where, "--shard-size", 3)
    return output


def test_tokens_are_a_stream_and_a_dataset(shards, tiny_tokenizer_folder) -> None:
    tokens = open_tokens(shards)
    rows = list(tokens)
    assert len(tokens) == len(rows) == 5 and tokens.header.tokenizer == "tiny"
    assert [row.text for row in rows] == [f"picture {number}" for number in range(5)]
    assert rows[0].codes.shape == (32,)
    table = tokens.dataset()
    assert isinstance(table, datasets.Dataset) and table.cache_files == []
    assert table["key"][:] == [row.key for row in rows]
    assert [row["codes"] for row in table] == [row.codes.tolist() for row in rows]
    first = next(shards.glob("*.parquet"))
    assert len(open_tokens([str(first)], fingerprint=tokens.header.fingerprint)) in (2, 3)
    with pytest.raises(DataError, match="codes of tiny"):
        open_tokens(shards, fingerprint="f" * 16)


def test_overrides_are_values_or_lines() -> None:
    values = load_recipe("nano-judge", SMALL | {"run.log_every_steps": 3})
    lines = load_recipe(
        "nano-judge",
        [f"{key}={value}" for key, value in SMALL.items()] + ["run.log_every_steps=3"],
    )
    assert values == lines and values.optimization.steps == 2
    scale = load_recipe("nano-judge", {"data.augmentation.scale": [0.5, 1.5]})
    assert tuple(scale.data.augmentation.scale) == (0.5, 1.5)
    with pytest.raises(RecipeError, match="did you mean learning_rate"):
        load_recipe("nano-judge", {"optimization.learning_rat": 1e-3})
    with pytest.raises(RecipeError, match=r"stage = None: a NoneType has no place in a recipe"):
        load_recipe("nano-judge", {"stage": None})


@pytest.mark.slow
def test_training_leaves_a_folder_a_model_and_losses(tmp_path, capfd) -> None:
    told = []
    run = train(
        load_recipe("nano-judge", SMALL),
        tmp_path / "run",
        progress=lambda *heard: told.append(heard),
    )
    lines = [json.loads(line) for line in (run.folder / "metrics.jsonl").read_text().splitlines()]
    assert run.folder == tmp_path / "run" and run.model.is_dir()
    last = [line for line in lines if line.get("step") == 2][-1]
    assert run.losses and {name: round(value, 4) for name, value in run.losses.items()} == {
        name: round(last[name], 4) for name in run.losses
    }
    assert told and told[-1][1:] == (2, 2)
    assert capfd.readouterr().out == ""
    with pytest.raises(UsageError, match="already holds a run"):
        train(load_recipe("nano-judge", SMALL), tmp_path / "run")


@pytest.mark.parametrize(
    ("benchmark", "options"),
    [
        ("retrieval", {"feature": "codes"}),
        ("caption", {"seed": 3}),
        ("vqa", {"temperature": 0.5, "top_p": 0.9}),
        ("clip-similarity", {"temperature": 1.0, "num_beams": 1, "steps": 1, "seed": 2}),
    ],
)
def test_measurements_are_those_of_the_command(
    benchmark, options, tiny_tokenizer_folder, tiny_llm_folder, tmp_path
) -> None:
    """A run's folder refuses other settings, so that one that goes on has the same."""
    model = tiny_tokenizer_folder if benchmark == "retrieval" else tiny_llm_folder
    named = {"num_beams": "beams", "steps": "picture-steps"}
    typed = [
        word
        for name, value in options.items()
        for word in (f"--{named.get(name, name.replace('_', '-'))}", value)
    ]
    where = ["--model", model, "--limit", 2, "-o", tmp_path / "run", "--device", "cpu"]
    printed = seed("eval", benchmark, "--dataset", "emoji", *where, *typed)
    found = evaluate(
        benchmark,
        dataset="emoji",
        model=str(model),
        limit=2,
        output=str(tmp_path / "run"),
        device="cpu",
        **options,
    )
    assert found.result["settings_digest"] == printed["settings_digest"]
    assert (found.metrics, found.intervals) == (printed["metrics"], printed["intervals"])
    assert found.folder == tmp_path / "run" and found.benchmark == printed["benchmark"]
    assert found.result["num_reused"] == 2


def test_options_that_do_not_exist_are_refused() -> None:
    with pytest.raises(UsageError, match="vqa has no option 'temprature'; did you mean temp"):
        evaluate("vqa", temprature=1)
    with pytest.raises(UsageError, match="retrieval has no option 'quantize'"):
        evaluate("retrieval", quantize="8bit")
    with pytest.raises(UsageError, match="no benchmark is called 'vqla'"):
        evaluate("vqla")


def test_a_plan_is_what_the_command_prints() -> None:
    printed = seed(
        "plan", "nano-instruct", "--gpus", "cpu:2", "full.optimization.steps=7", "--json"
    )
    recipe = load_recipe("nano-instruct", {"full.optimization.steps": 7})
    assert json.loads(json.dumps(plan(recipe, gpus="cpu:2"))) == printed
    assert json.loads(json.dumps(plan("nano-judge", gpus="cpu:2"))) == seed(
        "plan", "nano-judge", "--gpus", "cpu:2", "--json"
    )
