"""Which rank's end a run's end is told by."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from seedcli.training.launcher import _wait


@pytest.mark.parametrize("ends_by_itself", [False, True], ids=["one-waits", "both-ended"])
def test_a_rank_that_was_killed_is_why_the_others_failed(
    ends_by_itself: bool, tmp_path: Path
) -> None:
    """Rank 0 waits for rank 1 for ever, or has noticed the loss before anyone looks."""
    ranks = [
        subprocess.Popen([sys.executable, "-c", f"import time; time.sleep({seconds}); exit(1)"])
        for seconds in (0 if ends_by_itself else 300, 300)
    ]
    ranks[1].kill()
    while ends_by_itself and ranks[0].poll() is None:
        time.sleep(0.01)
    assert _wait(ranks, tmp_path) == (1, -signal.SIGKILL)
    assert all(process.returncode is not None for process in ranks)
