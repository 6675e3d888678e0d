"""The loop on one process: exact resume, interruption, numerical guards, what is kept."""

from __future__ import annotations

import json
import os
import signal

import pytest
import torch

from seedcli.errors import DataError, Interrupted, NumericalError, UsageError
from seedcli.recipe.pictures import OptimizationSection, RunSection
from seedcli.training.checkpoints import changing_state, newest_checkpoint
from seedcli.training.optimizer import build_stage_optimizer, learning_rate_at
from seedcli.training.run_folder import plot_metrics, read_metrics
from tests.training.tiny_stage import OPTIMIZATION, RUN, TinyStage, train_tiny


def _weights(folder):
    return torch.load(folder / "model" / "weights.pt", weights_only=True)


def _timeless(folder):
    return [
        {
            name: value
            for name, value in line.items()
            if name not in ("images_per_s", "eta_s", "memory_mb")
        }
        for line in read_metrics(folder)
    ]


def _assert_same_run(first, second):
    one, two = _weights(first), _weights(second)
    assert one.keys() == two.keys()
    assert [name for name in one if not torch.equal(one[name], two[name])] == []
    assert _timeless(first) == _timeless(second)
    names = ("state.safetensors", "optimizer.pt")
    files = [
        [folder / "checkpoints" / "step-00000006" / name for name in names]
        for folder in (first, second)
    ]
    assert [one.read_bytes() for one in files[0]] == [one.read_bytes() for one in files[1]]


@pytest.fixture(scope="module")
def whole_run(tmp_path_factory):
    """Six steps without a break."""
    folder = tmp_path_factory.mktemp("whole")
    train_tiny(folder)
    return folder


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_interrupted_run_continues_bit_for_bit(tmp_path, whole_run, number):
    stage = TinyStage(at_step={1: lambda: os.kill(os.getpid(), number)})
    with pytest.raises(Interrupted, match="after update 2 of 6") as stopped:
        train_tiny(tmp_path, stage)
    assert stopped.value.exit_code == 130
    assert "--resume" in stopped.value.remedy
    train_tiny(tmp_path, resume=True)
    _assert_same_run(whole_run, tmp_path)


def test_killed_run_continues_from_its_checkpoint_bit_for_bit(tmp_path, whole_run):
    def crash():
        raise RuntimeError("power failure")

    with pytest.raises(RuntimeError, match="power failure"):
        train_tiny(tmp_path, TinyStage(at_step={4: crash}))
    assert [line["step"] for line in read_metrics(tmp_path)] == [1, 2, 3, 4]
    # a checkpoint that was being written counts for nothing
    (tmp_path / "checkpoints" / "partial-00000004").mkdir()
    with open(tmp_path / "metrics.jsonl", "a") as file:
        file.write('{"step": 5, "lo')
    result = train_tiny(tmp_path, resume=True)
    assert result.steps == 6
    # what gave way before the power failed counts, and once
    assert result.left_out == {1: {"rows": 6 * 9, "is empty": 6}}
    _assert_same_run(whole_run, tmp_path)


def test_training_changes_the_student_and_its_average_but_not_the_frozen_teacher(whole_run):
    before, after = TinyStage().model.state_dict(), _weights(whole_run)
    assert [
        name
        for name in before
        if name.startswith("teacher") and not torch.equal(before[name], after[name])
    ] == []
    assert [
        name
        for name in before
        if not name.startswith("teacher") and torch.equal(before[name], after[name])
    ] == []


def test_frozen_dropout_never_runs(tmp_path):
    stage = TinyStage()
    train_tiny(tmp_path, stage)
    assert not any(part.training for part in stage.model["teacher"].modules())
    assert all(part.training for part in stage.model["student"].modules())


def test_metrics_and_plot(whole_run):
    lines = read_metrics(whole_run)
    assert [line["step"] for line in lines] == [1, 2, 3, 4, 5, 6]
    assert lines[-1].keys() >= {
        "loss",
        "wanted",
        "lr",
        "images_per_s",
        "memory_mb",
        "eta_s",
        "noise",
    }
    assert lines[-1]["eta_s"] == 0
    assert plot_metrics(whole_run).stat().st_size > 1000


def test_only_the_newest_checkpoints_are_kept_and_hold_what_changes(whole_run):
    assert sorted(path.name for path in (whole_run / "checkpoints").iterdir()) == [
        "step-00000003",
        "step-00000006",
    ]
    names = changing_state(TinyStage().model)
    assert not any(name.startswith("teacher") for name in names)
    assert any(name.startswith("average") for name in names)


def test_a_folder_with_a_run_is_not_overwritten(whole_run):
    with pytest.raises(UsageError, match="already holds a run") as refused:
        train_tiny(whole_run)
    assert "--resume" in refused.value.remedy


def test_checkpoint_of_another_model_is_refused(tmp_path, whole_run):
    stage = TinyStage()
    stage.model["extra"] = torch.nn.Linear(2, 2)
    (tmp_path / "checkpoints").symlink_to(whole_run / "checkpoints")
    with pytest.raises(DataError, match="does not fit this recipe"):
        train_tiny(tmp_path, stage, resume=True)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_loss_that_is_not_finite_stops_the_run_and_names_the_last_good_checkpoint(
    tmp_path, value
):
    stage = TinyStage()
    stage.at_step[4] = lambda: stage.model["teacher"][3].bias.fill_(value)
    with pytest.raises(NumericalError, match=r"update 5: loss .*step-00000003") as failed:
        train_tiny(tmp_path, stage)
    assert failed.value.exit_code == 5
    assert "it goes on at step-00000003" in failed.value.remedy
    assert newest_checkpoint(tmp_path / "checkpoints").name == "step-00000003"


def test_weight_decay_spares_vectors_norms_and_biases():
    decayed, exempt = build_stage_optimizer(TinyStage().model, OPTIMIZATION).param_groups
    assert decayed["weight_decay"] == OPTIMIZATION.weight_decay
    assert exempt["weight_decay"] == 0
    assert {parameter.ndim for parameter in decayed["params"]} == {2}
    assert len(exempt["params"]) == 4  # two biases of layers, weight and bias of the norm


def test_learning_rate_follows_the_step():
    values = {
        **OPTIMIZATION.model_dump(),
        "steps": 110,
        "warmup_steps": 10,
        "learning_rate": 1.0,
        "min_learning_rate": 0.1,
    }
    cosine = OptimizationSection(**values)
    assert [learning_rate_at(step, cosine) for step in (0, 4, 9, 10)] == pytest.approx(
        [0.1, 0.5, 1.0, 1.0]
    )
    assert learning_rate_at(60, cosine) == pytest.approx(0.55)
    assert learning_rate_at(109, cosine) == pytest.approx(0.1, abs=1e-3)
    constant = OptimizationSection(**{**values, "schedule": "constant"})
    assert learning_rate_at(109, constant) == 1.0


def test_metrics_lines_are_json(whole_run):
    for line in (whole_run / "metrics.jsonl").read_text().splitlines():
        assert json.loads(line)["step"] >= 1


def test_what_is_held_out_is_examined_now_and_then_and_at_the_end(tmp_path):
    stage = TinyStage()
    train_tiny(tmp_path, stage, run=RUN.model_copy(update={"examine_every_steps": 4}))
    assert stage.examined == ["step-00000004.png", "step-00000006.png"]
    assert [line.get("held_out") for line in read_metrics(tmp_path)] == [
        None, None, None, 0.4, None, 0.6,
    ]  # fmt: skip


def test_an_examination_that_no_line_of_the_log_would_tell_is_refused():
    with pytest.raises(ValueError, match="expected a multiple of log_every_steps = 20"):
        RunSection(examine_every_steps=30)
