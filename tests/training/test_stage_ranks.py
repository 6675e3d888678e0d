"""Two gloo ranks on CPU, plain and under DeepSpeed: the same numbers as one process at
the same global batch.
"""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from seedcli.errors import UsageError
from seedcli.training.ranks import Ranks
from seedcli.training.run_folder import read_metrics
from tests.training.tiny_stage import OPTIMIZATION, TinyStage, train_tiny

ROOT = Path(__file__).parents[2]


def _run_ranks(folder: Path, parallel: dict, *flags: str, world: int = 2) -> list[str]:
    """The tiny stage on `world` processes; returns their stderr."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = str(probe.getsockname()[1])
    arguments = [
        sys.executable,
        "-m",
        "tests.training.tiny_stage",
        str(folder),
        json.dumps(parallel),
        "0.0",
        *flags,
    ]
    ranks = []
    for rank in range(world):
        place = {
            "RANK": str(rank),
            "LOCAL_RANK": str(rank),
            "WORLD_SIZE": str(world),
            "LOCAL_WORLD_SIZE": str(world),
        }
        environment = (
            os.environ
            | place
            | {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port, "OMP_NUM_THREADS": "1"}
        )
        ranks.append(
            subprocess.Popen(
                arguments,
                env=environment,
                cwd=ROOT,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.PIPE,
                text=True,
            )
        )
    messages = [process.communicate(timeout=390)[1] for process in ranks]
    assert [process.returncode for process in ranks] == [0] * world, "\n".join(messages)
    return messages


@pytest.fixture(scope="module")
def one_process(tmp_path_factory):
    """Losses of one process over the whole batch."""
    folder = tmp_path_factory.mktemp("one")
    train_tiny(folder, TinyStage(dropout=0.0))
    return [line["loss"] for line in read_metrics(folder)]


@pytest.mark.slow
@pytest.mark.timeout(400)  # each rank imports torch, accelerate and deepspeed
def test_two_ranks_train_as_one_process(tmp_path, one_process):
    _run_ranks(tmp_path, {})
    losses = [line["loss"] for line in read_metrics(tmp_path)]
    # lines are rounded to six digits; sums run in another order
    assert losses == pytest.approx(one_process, rel=2e-5)


@pytest.mark.slow
@pytest.mark.timeout(400)  # each rank imports torch, accelerate and deepspeed
def test_two_ranks_under_zero_2_train_as_one_process_and_continue(tmp_path, one_process):
    parallel = {"engine": "deepspeed", "zero_stage": 2}
    _run_ranks(tmp_path, parallel)
    assert [line["loss"] for line in read_metrics(tmp_path)] == pytest.approx(one_process, rel=2e-5)
    last = tmp_path / "checkpoints" / "step-00000006"
    # DeepSpeed's own, not the other engine's: Accelerate that is told of a CPU takes no DeepSpeed
    assert (last / "deepspeed").is_dir()
    shutil.rmtree(last)
    _run_ranks(tmp_path, parallel, "--resume")
    assert [line["loss"] for line in read_metrics(tmp_path)] == pytest.approx(one_process, rel=2e-5)


def test_a_batch_splits_evenly_or_not_at_all():
    assert [Ranks(rank, 4).rows(8) for rank in range(4)] == [
        slice(0, 2),
        slice(2, 4),
        slice(4, 6),
        slice(6, 8),
    ]
    with pytest.raises(UsageError, match="8 does not split over 3"):
        Ranks(0, 3).rows(OPTIMIZATION.batch_size)
