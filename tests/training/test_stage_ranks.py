"""Two gloo ranks on CPU, plain and under DeepSpeed: the same numbers as one process at
the same global batch.
"""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from seedcli.errors import UsageError
from seedcli.training.ranks import Ranks
from seedcli.training.run_folder import read_metrics
from tests.training.run_ranks import run_ranks
from tests.training.tiny_stage import OPTIMIZATION, TinyStage, train_tiny


def _run_ranks(folder: Path, parallel: dict) -> None:
    run_ranks("tests.training.tiny_stage", str(folder), json.dumps(parallel), "0.0")


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
def test_two_ranks_under_zero_2_train_as_one_process(tmp_path, one_process):
    """That such a run goes on is proved of the language model's phases: the loop is one."""
    _run_ranks(tmp_path, {"engine": "deepspeed", "zero_stage": 2})
    assert [line["loss"] for line in read_metrics(tmp_path)] == pytest.approx(one_process, rel=2e-5)
    # DeepSpeed's own, not the other engine's: Accelerate that is told of a CPU takes no DeepSpeed
    assert (tmp_path / "checkpoints" / "step-00000006" / "deepspeed").is_dir()


def test_a_batch_splits_evenly_or_not_at_all():
    assert [Ranks(rank, 4).rows(8) for rank in range(4)] == [
        slice(0, 2),
        slice(2, 4),
        slice(4, 6),
        slice(6, 8),
    ]
    with pytest.raises(UsageError, match="8 does not split over 3"):
        Ranks(0, 3).rows(OPTIMIZATION.batch_size)
