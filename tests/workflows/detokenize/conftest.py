"""Requests for the tiny model."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from seedcli.workflows.detokenize.request import DetokenizeRequest


@pytest.fixture
def settings(tiny_model_folder: Path) -> Any:
    """Settings of a quick run, with some replaced."""

    def make(**replaced: Any) -> DetokenizeRequest:
        return DetokenizeRequest(
            **{
                "model": str(tiny_model_folder),
                "device": "cpu",
                "steps": 1,
                "guidance": 2.0,
                "batch_size": 2,
                **replaced,
            }
        )

    return make
