"""One training after another in one process."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from seedcli.training.accelerator import build_accelerator


def test_each_training_of_a_process_has_its_own_precision() -> None:
    found = []
    for precision in ("bf16", "fp32", "bf16"):
        parallel: Any = SimpleNamespace(engine="ddp", precision=precision, device="cpu")
        found.append(build_accelerator(parallel).mixed_precision)
    assert found == ["bf16", "no", "bf16"]
