"""`seed pretrain` under DeepSpeed and on two ranks that the command line starts: the same training,
stopped, killed and continued.
"""

from __future__ import annotations

import json
import os
import shlex
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from seedcli.training.checkpoints import newest_checkpoint
from seedcli.training.run_folder import read_metrics
from tests.workflows.tiny_runs import Fault, read_weights, run_seed


@pytest.mark.slow
@pytest.mark.timeout(400)
def test_half_precision_rounds_no_weight_that_is_saved(finished_runs, tmp_path):
    """DeepSpeed's module is bf16 then; what is saved are fp32 master weights, and the
    frozen embedding as it was.
    """
    half = ["parallel.engine=deepspeed", "parallel.zero_stage=2", "parallel.precision=bf16"]
    assert (
        run_seed(
            tmp_path, "pretrain", finished_runs / "pretrain.toml", *half, "-o", tmp_path / "run"
        ).exit_code
        == 0
    )
    before, after = (
        read_weights(tmp_path / "run" / "lora" / "model"),
        read_weights(tmp_path / "run" / "model"),
    )
    assert [name for name in before if torch.equal(before[name], after[name])] == [
        "model.embed_tokens.weight"
    ]
    rounded = [
        name
        for weights in (before, after)
        for name, tensor in weights.items()
        if torch.equal(tensor, tensor.bfloat16().float())
    ]
    assert rounded == []


@pytest.mark.slow
@pytest.mark.timeout(400)
def test_zero_3_trains_the_same_and_continues_after_a_kill(finished_runs, tmp_path):
    command = [
        "pretrain",
        finished_runs / "pretrain.toml",
        "parallel.engine=deepspeed",
        "parallel.zero_stage=3",
        "-o",
        tmp_path / "run",
    ]
    assert run_seed(tmp_path, *command, fault=Fault("lora", 4)).exit_code == -9
    assert run_seed(tmp_path, *command, "--resume", fault=Fault("full", 4)).exit_code == -9
    assert run_seed(tmp_path, *command, "--resume").exit_code == 0
    for phase in ("text", "lora", "full"):
        losses = [
            [line["loss"] for line in read_metrics(run / phase)]
            for run in (tmp_path / "run", finished_runs / "pretrain")
        ]
        # lines are rounded to six digits; sums run in another order
        assert losses[0] == pytest.approx(losses[1], rel=2e-5)
    reference = read_weights(finished_runs / "pretrain" / "model")
    after = read_weights(tmp_path / "run" / "model")
    off = torch.cat([(after[name] - reference[name]).abs().flatten() for name in reference])
    # Sums in another order. AdamW divides a gradient by its own size: where it is almost nothing,
    # its last bits are a step of up to the learning rate (1e-2). So few elements may differ much:
    # 8 of 42,272 by more than 1e-5, the largest by 1.2e-4 (by 2.5e-4 on another processor). Without
    # DeepSpeed, micro-batches of 4 rows differ from those of 2 as much: 23, and 2.0e-4.
    assert (off > 1e-5).float().mean() < 1e-3
    assert off.max() < 1e-3


@pytest.mark.slow
@pytest.mark.timeout(400)  # each rank imports torch, transformers and deepspeed
def test_two_ranks_of_the_command_line_train_as_one_process(finished_runs, tmp_path, monkeypatch):
    """Without dropout, which each rank draws for itself."""
    monkeypatch.setenv("HF_HOME", str(tmp_path / "cache"))
    recipe = [str(finished_runs / "pretrain.toml"), "lora.adapter.dropout=0.0"]
    one = run_seed(tmp_path, "pretrain", *recipe, "-o", tmp_path / "one").result
    command = [
        sys.executable,
        "-m",
        "seedcli",
        "pretrain",
        *recipe,
        "parallel.engine=deepspeed",
        "parallel.zero_stage=3",
        "-o",
        str(tmp_path / "two"),
        "--nproc",
        "2",
    ]
    done = subprocess.run(command, capture_output=True, text=True, timeout=390, check=False)
    assert done.returncode == 0, done.stderr
    two = json.loads(done.stdout)
    for phase in ("text", "lora", "full"):
        losses = [
            [line["loss"] for line in read_metrics(tmp_path / run / phase)]
            for run in ("one", "two")
        ]
        assert losses[0] == pytest.approx(losses[1], rel=2e-5)  # as above
        assert (
            one["phases"][phase]["trained_parameters"] == two["phases"][phase]["trained_parameters"]
        )


@pytest.mark.slow
@pytest.mark.timeout(400)
def test_tasks_of_srun_train_one_run(finished_runs, tmp_path, monkeypatch):
    monkeypatch.setenv("HF_HOME", str(tmp_path / "cache"))
    step = {
        "SLURM_JOB_ID": str(os.getpid()),
        "SLURM_STEP_ID": "0",
        "SLURM_STEP_NUM_TASKS": "2",
        "SLURM_STEP_NUM_NODES": "1",
        "SLURM_STEP_TASKS_PER_NODE": "2",
        "SLURM_STEP_NODELIST": "localhost",
        "SLURM_NODEID": "0",
    }
    short = [f"{phase}.optimization.steps=2" for phase in ("text", "lora", "full")]
    words = ["pretrain", str(finished_runs / "pretrain.toml"), *short, "-o", str(tmp_path / "run")]
    tasks = [
        subprocess.Popen(
            [sys.executable, "-m", "seedcli", *words],
            env=os.environ | step | {"SLURM_PROCID": task, "SLURM_LOCALID": task},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for task in "01"
    ]
    said = [task.communicate(timeout=390) for task in tasks]
    assert [task.returncode for task in tasks] == [0, 0], said
    assert json.loads(said[0][0])["model"] == str(tmp_path / "run" / "model")
    assert said[1][0] == ""
    assert len(json.loads((tmp_path / "run" / "run.json").read_text())) == 1
    assert [line["step"] for line in read_metrics(tmp_path / "run" / "full")] == [1, 2]


@pytest.mark.slow
@pytest.mark.timeout(600)  # five processes that import torch, transformers and DeepSpeed
def test_two_ranks_that_are_stopped_or_killed_continue(finished_runs, tmp_path, monkeypatch):
    monkeypatch.setenv("HF_HOME", str(tmp_path / "cache"))
    run = tmp_path / "run"
    recipe = [str(finished_runs / "pretrain.toml"), "text.optimization.steps=100000"]
    command = ["pretrain", *recipe, "-o", str(run), "--nproc", "2"]

    def stopped(*flags: str, by: signal.Signals, after: int) -> tuple[int, str]:
        """Exit code and words of the command, of which both ranks (or rank 1 alone, for a kill) get
        a signal after some updates.
        """
        process = subprocess.Popen(
            [sys.executable, "-m", "seedcli", *command, *flags], stderr=subprocess.PIPE, text=True
        )
        deadline = time.monotonic() + 200
        while not (lines := read_metrics(run / "text")) or lines[-1]["step"] < after:
            if process.poll() is not None or time.monotonic() > deadline:
                process.kill()
                pytest.fail(process.communicate()[1])
            time.sleep(0.1)
        ranks = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
        os.kill(process.pid if by == signal.SIGTERM else int(ranks[1]), by)
        said = process.communicate(timeout=150)[1]
        return process.returncode, said

    code, said = stopped(by=signal.SIGTERM, after=3)
    assert code == 130, said
    assert shlex.join(["seed", *command, "--resume"]) in said
    reached = read_metrics(run / "text")[-1]["step"]
    assert newest_checkpoint(run / "text" / "checkpoints").name == f"step-{reached:08d}"
    code, said = stopped("--resume", by=signal.SIGKILL, after=reached + 5)
    assert code == 1, said
    assert "rank 1 of 2 was killed by signal 9" in said and "--nproc 2 --resume" in said
    assert "bug" not in said  # of the rank that was left alone
    last = int(newest_checkpoint(run / "text" / "checkpoints").name.removeprefix("step-"))
    assert last > reached
    # one process
    done = run_seed(
        tmp_path,
        "pretrain",
        recipe[0],
        f"text.optimization.steps={last + 1}",
        "-o",
        run,
        "--resume",
    )
    assert done.result["phases"]["text"]["steps"] == last + 1
    assert [line["step"] for line in read_metrics(run / "text")] == list(range(1, last + 2))
