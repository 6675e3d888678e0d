"""A rank's process ends with its exit code, its output and its exit handlers, whatever a
worker thread still holds.
"""

from __future__ import annotations

import subprocess
import sys

import pytest

_RANK = """
import atexit, sys, threading, time
from concurrent.futures import ThreadPoolExecutor
from seedcli.training.ranks import end_rank
atexit.register(print, "handler", end=" ")
def write():
    time.sleep(0.2)
    print("thread", end=" ")
threading.Thread(target=write).start()
pool = ThreadPoolExecutor(1)
pool.submit(int).result()  # its thread is idle now, and would wait for more work for ever
threading.Thread(target=lambda: time.sleep(60), daemon=True).start()
end_rank({code})
"""


@pytest.mark.parametrize("code", [0, 130])
def test_rank_waits_for_its_writers_and_runs_exit_handlers(code):
    ended = subprocess.run(
        [sys.executable, "-c", _RANK.format(code=code)], capture_output=True, text=True, timeout=60
    )
    assert (ended.returncode, ended.stdout.split(), ended.stderr) == (
        code,
        ["thread", "handler"],
        "",
    )


def test_command_keeps_its_exit_code_inside_a_rank(monkeypatch):
    monkeypatch.setenv("RANK", "0")
    ended = subprocess.run(
        [sys.executable, "-m", "seedcli", "pretrain", "no-such-recipe"],
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert ended.returncode == 2 and "no-such-recipe" in ended.stderr
