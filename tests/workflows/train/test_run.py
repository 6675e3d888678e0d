"""What holds for every training, whatever its recipe."""

from __future__ import annotations

import os

from seedcli.workflows.train.request import TrainRequest
from seedcli.workflows.train.run import run


def test_kernels_that_are_kept_are_bounded(monkeypatch, tmp_path) -> None:
    bound, request = "ONEDNN_PRIMITIVE_CACHE_CAPACITY", TrainRequest(recipe="nano-target")
    for given, holds in ((None, "100"), ("7", "7")):  # a user's own bound stays
        monkeypatch.setenv(bound, given or "")
        if given is None:
            monkeypatch.delenv(bound)
        run("train-tokenizer", request, dry_run=True)
        assert os.environ[bound] == holds
