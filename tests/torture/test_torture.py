"""Some trials of `make torture` in every run of the tests, in one process that has imported what
commands need.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.slow
@pytest.mark.timeout(400)
@pytest.mark.parametrize(
    ("kinds", "trials"),
    [("shards|folders|tars|recipes", 1), ("faults", 3)],
)
def test_twenty_commands_keep_the_rule(kinds: str, trials: int) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "tests.torture", "--only", kinds, "--trials", str(trials)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=380,
    )
    assert done.returncode == 0, done.stdout + done.stderr
