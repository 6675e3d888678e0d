"""`seed train-tokenizer` as a user types it: mistakes, a dry run, and a run that is stopped and
continued on two ranks.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

SMALL = [
    "model.vision_width=32",
    "model.vision_depth=1",
    "model.text_width=32",
    "model.text_depth=1",
    "data.split=unseen",
    "data.where={vendor='google'}",
    "views=1",
    "model.vocab_size=600",
]
SMALL += [
    "model.embedding_dim=32",
    "model.painter_width=32",
    "optimization.batch_size=8",
    "run.log_every_steps=1",
]


def _seed(*arguments: str) -> list[str]:
    return [sys.executable, "-m", "seedcli", "train-tokenizer", *arguments]


def _run(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        _seed(*arguments), capture_output=True, text=True, timeout=390, check=False
    )


def test_unknown_key_is_exit_2_and_suggests():
    done = _run("nano-target", "optimization.learning_rat=1e-3")
    assert done.returncode == 2
    assert "did you mean learning_rate?" in done.stderr
    assert done.stdout == ""


def test_missing_part_is_exit_3_and_says_how_to_make_it(tmp_path):
    done = _run(
        "nano-unclip", "target=seed-nano", f"autoencoder={tmp_path}", "-o", str(tmp_path / "run")
    )
    assert done.returncode == 3
    assert "nano-autoencoder" in done.stderr
    assert not (tmp_path / "run").exists()


def test_two_ranks_tell_of_a_missing_model_once(tmp_path):
    run = ["nano-codebook", "tokenizer=/gone/model", "-o", str(tmp_path / "run"), "--nproc", "2"]
    done = _run(*run)
    assert done.returncode == 3
    assert (done.stdout, done.stderr.count("error:")) == ("", 1)
    assert done.stderr.count("no folder at /gone/model") == 1
    assert not (tmp_path / "run").exists()


def test_batch_that_does_not_split_is_exit_2(tmp_path, monkeypatch):
    monkeypatch.setenv("RANK", "0")
    monkeypatch.setenv("WORLD_SIZE", "3")
    done = _run("nano-target", *SMALL, "-o", str(tmp_path / "run"))
    assert done.returncode == 2
    assert "8 does not split over 3" in done.stderr


@pytest.mark.slow
@pytest.mark.timeout(400)
def test_two_ranks_stop_on_a_signal_and_continue(tmp_path):
    folder = tmp_path / "run"
    arguments = ["nano-target", *SMALL, "-o", str(folder), "--nproc", "2", "--json"]
    process = subprocess.Popen(
        _seed(*arguments, "optimization.steps=100000"),
        stderr=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    deadline = time.monotonic() + 300
    while (
        not (folder / "metrics.jsonl").is_file()
        or len((folder / "metrics.jsonl").read_text().splitlines()) < 2
    ):
        assert process.poll() is None, process.stderr.read()
        assert time.monotonic() < deadline
        time.sleep(0.2)
    os.kill(process.pid, signal.SIGTERM)
    stdout, stderr = process.communicate(timeout=120)
    assert process.returncode == 130, stderr
    assert stdout == ""
    assert "--resume" in stderr
    reached = json.loads((folder / "metrics.jsonl").read_text().splitlines()[-1])["step"]
    done = _run(*arguments, f"optimization.steps={reached + 2}", "--resume")
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout)
    assert result["steps"] == reached + 2
    assert (Path(result["model"]) / "model.safetensors").is_file()
    steps = [
        json.loads(line)["step"] for line in (folder / "metrics.jsonl").read_text().splitlines()
    ]
    assert steps == list(range(1, reached + 3))
