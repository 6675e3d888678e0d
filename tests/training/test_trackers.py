"""What a tracker is told, and what is said where its package is missing."""

from __future__ import annotations

import json

import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from seedcli.console import Reporter
from seedcli.errors import UsageError
from seedcli.training.trackers import require_tracker
from tests.training.tiny_stage import RUN, train_tiny


class Listener(Reporter):
    def __init__(self) -> None:
        self.heard: list[str] = []

    def note(self, text: str) -> None:
        self.heard.append(text)


def test_tensorboard_gets_what_metrics_jsonl_gets(tmp_path):
    listener = Listener()
    run = RUN.model_copy(update={"tracker": "tensorboard"})
    train_tiny(tmp_path, run=run, reporter=listener)
    lines = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    written = EventAccumulator(str(tmp_path / "tensorboard")).Reload()
    losses = [(event.step, event.value) for event in written.Scalars("loss")]
    # float32 in the event file, six digits in the log
    assert losses == [(line["step"], pytest.approx(line["loss"], rel=1e-5)) for line in lines]
    assert {"lr", "gradient_norm", "images_per_s"} <= set(written.Tags()["scalars"])
    [header] = listener.heard
    begins = "stage tiny: 147 parameters learn, 163 are frozen; on cpu, fp32; "
    assert header == f"{begins}updates: {lines[-1]['step']}"
    train_tiny(tmp_path, run=run, reporter=listener, resume=True)
    assert listener.heard[1] == f"{begins}all {lines[-1]['step']} updates are done"


def test_a_tracker_that_is_not_installed_is_named_before_anything_is_loaded(monkeypatch):
    monkeypatch.setattr("seedcli.training.trackers.find_spec", lambda name: None)
    require_tracker("none")
    with pytest.raises(UsageError, match="needs the package wandb") as caught:
        require_tracker("wandb")
    assert caught.value.remedy.startswith("pip install wandb")
