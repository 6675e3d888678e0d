"""A phase on two gloo ranks, plain and under DeepSpeed: the losses of one process; checkpoints that
another number of ranks reads.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from seedcli.training.run_folder import read_metrics
from tests.training.run_ranks import run_ranks
from tests.training.tiny_llm import train_tiny


def _run_ranks(folder: Path, parallel: dict, *flags: str, world: int = 2) -> None:
    run_ranks("tests.training.tiny_llm", str(folder), json.dumps(parallel), *flags, world=world)


def _losses(folder: Path) -> list[float]:
    return [line["loss"] for line in read_metrics(folder)]


def _forget_the_end(folder: Path) -> None:
    shutil.rmtree(folder / "checkpoints" / "step-00000006")


@pytest.fixture(scope="module")
def one_process(tmp_path_factory):
    """Losses of one process over the same updates."""
    folder = tmp_path_factory.mktemp("one")
    train_tiny(folder)
    return _losses(folder)


@pytest.mark.slow
@pytest.mark.timeout(800)  # each rank imports torch, transformers and deepspeed
def test_two_ranks_under_zero_2_train_as_one_process_and_one_rank_goes_on(tmp_path, one_process):
    parallel = {"engine": "deepspeed", "zero_stage": 2}
    _run_ranks(tmp_path, parallel)
    # lines are rounded to six digits; sums run in another order
    assert _losses(tmp_path) == pytest.approx(one_process, rel=2e-5)
    _forget_the_end(tmp_path)
    _run_ranks(tmp_path, parallel, "--resume", world=1)
    assert _losses(tmp_path) == pytest.approx(one_process, rel=2e-5)


@pytest.mark.slow
@pytest.mark.timeout(800)
def test_two_plain_ranks_train_as_one_process_and_one_goes_on(tmp_path, one_process):
    _run_ranks(tmp_path, {})
    assert _losses(tmp_path) == pytest.approx(one_process, rel=2e-5)
    _forget_the_end(tmp_path)
    train_tiny(tmp_path, resume=True)
    assert _losses(tmp_path) == pytest.approx(one_process, rel=2e-5)
