"""A recipe against the log of the run that it made."""

from __future__ import annotations

import json

import pytest

from seedcli.recipe.read import load_recipe
from seedcli.workflows.train.tokenizer import run
from tools.nano.first_losses import compare, find_log, main, read_first

TINY = [
    "optimization.steps=3",
    "optimization.batch_size=8",
    "optimization.warmup_steps=1",
    "model.vision_width=8",
    "model.text_width=32",
    "model.text_depth=1",
    "model.embedding_dim=16",
    "model.vocab_size=600",
    "data.split=vendor",
    "run.log_every_steps=1",
    'optimization.schedule="constant"',
]


def log(path, *lines, rest=""):
    path.parent.mkdir(parents=True, exist_ok=True)
    text = "".join(json.dumps({"step": step, "loss": loss}) + "\n" for step, loss in lines)
    path.write_text(text + rest)


def test_the_first_20_updates_or_the_first_line_are_read(tmp_path):
    log(tmp_path / "a.jsonl", (10, 3.0), (20, 2.0), (30, 1.0))
    assert read_first(tmp_path / "a.jsonl") == {10: 3.0, 20: 2.0}
    log(tmp_path / "b.jsonl", (100, 3.0), (200, 2.0))
    assert read_first(tmp_path / "b.jsonl") == {100: 3.0}
    log(tmp_path / "c.jsonl", (10, 3.0), rest='{"step": 20, "lo')
    assert read_first(tmp_path / "c.jsonl") == {10: 3.0}


def test_the_first_phase_is_found_in_run_folders_and_in_the_bundle(tmp_path):
    for name in ("run/lora/metrics.jsonl", "run/full/metrics.jsonl", "kept/full.metrics.jsonl"):
        log(tmp_path / name, (10, 1.0))
    assert find_log(tmp_path / "run") == tmp_path / "run/lora/metrics.jsonl"
    assert find_log(tmp_path / "kept") == tmp_path / "kept/full.metrics.jsonl"
    with pytest.raises(FileNotFoundError, match="no log"):
        find_log(tmp_path)


def test_differences_are_relative_and_the_tolerance_is_one_in_a_hundred():
    assert compare({10: 2.0, 20: 1.0}, {10: 2.0, 20: 1.009})["repeats"]
    result = compare({10: 2.0, 20: 1.0}, {10: 2.04, 20: 1.0})
    assert not result["repeats"] and result["largest_difference"] == 0.02
    with pytest.raises(ValueError, match="logged at"):
        compare({10: 2.0}, {20: 2.0})


@pytest.mark.slow
def test_a_recipe_repeats_its_run(tmp_path, monkeypatch, capsys):
    folder = tmp_path / "nano-judge"
    run(load_recipe("nano-judge", TINY, command="train-tokenizer"), folder)
    # so long that it must be stopped
    monkeypatch.setattr("sys.argv", ["first_losses", str(folder), *TINY, "optimization.steps=500"])
    assert main() == 0
    result = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert result["repeats"] and sorted(result["run"]) == ["1", "2", "3"]
