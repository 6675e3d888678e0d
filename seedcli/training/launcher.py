"""Many processes on one machine without typing `torchrun`: the command starts its own ranks and waits for them."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time

from seedcli.errors import Interrupted, SeedError

GRACE_S = 60.0  # what ranks get for their last checkpoint before they are killed


def must_launch(num_processes: int) -> bool:
    """Whether this process is to start ranks; inside a rank (torchrun's or ours) it is not."""
    return num_processes > 1 and "RANK" not in os.environ


def launch(num_processes: int, arguments: list[str] | None = None) -> None:
    """Starts `python -m seedcli ARGUMENTS` as ranks 0..num_processes-1 and waits; only rank 0 keeps stdout.

    Args:
        arguments: By default those of this process, `--nproc` included: ranks see RANK and do not launch again.

    Raises:
        Interrupted: A signal came; it was passed on, and the ranks wrote their checkpoint.
        SeedError: A rank failed; the others were stopped. Carries that rank's exit code.
    """
    arguments = sys.argv[1:] if arguments is None else arguments
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    ranks = []
    for rank in range(num_processes):
        environment = os.environ | {
            "RANK": str(rank),
            "LOCAL_RANK": str(rank),
            "WORLD_SIZE": str(num_processes),
            "LOCAL_WORLD_SIZE": str(num_processes),
            "MASTER_ADDR": "127.0.0.1",
            "MASTER_PORT": str(port),
        }
        quiet = {} if rank == 0 else {"stdout": subprocess.DEVNULL}
        ranks.append(subprocess.Popen([sys.executable, "-m", "seedcli", *arguments], env=environment, start_new_session=True, **quiet))
    before = {number: signal.signal(number, _pass_on(ranks)) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        codes = _wait(ranks)
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    if Interrupted.exit_code in codes:
        raise Interrupted("stopped; the ranks wrote a checkpoint", remedy="the same command with --resume")
    failed = [(rank, code) for rank, code in enumerate(codes) if code]
    if failed:
        rank, code = failed[0]
        error = SeedError(f"rank {rank} of {num_processes} ended with exit code {code}; its message is above")
        error.exit_code = code if code > 0 else SeedError.exit_code
        raise error


def _pass_on(ranks: list[subprocess.Popen]):
    def handler(number, frame):
        for process in ranks:
            if process.poll() is None:
                process.send_signal(number)

    return handler


def _wait(ranks: list[subprocess.Popen]) -> list[int]:
    """Exit codes of all ranks; when one fails, the others (which wait for it forever) are asked to end, then killed."""
    deadline = None
    while any(process.poll() is None for process in ranks):
        failed = [process for process in ranks if process.poll()]
        if failed and deadline is None:
            deadline = time.monotonic() + GRACE_S
            if failed[0].returncode != Interrupted.exit_code:
                _pass_on(ranks)(signal.SIGTERM, None)
                deadline = time.monotonic() + 5.0
        if deadline is not None and time.monotonic() > deadline:
            for process in ranks:
                process.kill()
        time.sleep(0.1)
    return [process.returncode for process in ranks]
