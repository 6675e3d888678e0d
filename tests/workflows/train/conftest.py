"""What the tiny runs left behind, and a cache of one's own."""

from __future__ import annotations

from pathlib import Path

import pytest


@pytest.fixture
def cache(tmp_path, monkeypatch):
    """Codes of pictures go here and not into the user's cache."""
    monkeypatch.setenv("HF_HOME", str(tmp_path / "cache"))


@pytest.fixture(scope="module")
def model(finished_runs) -> Path:
    """The language model of the pretraining that nothing disturbed."""
    return finished_runs / "pretrain" / "model"
