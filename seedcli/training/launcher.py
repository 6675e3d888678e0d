"""Many processes without typing `torchrun`: the command starts this machine's
ranks and waits for them.
"""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import TextIO

from seedcli.errors import Interrupted, SeedError, UsageError
from seedcli.training.ranks import OVER, SAID

GRACE_S = 60.0  # what ranks get for their last checkpoint before they are killed


def must_launch(num_processes: int, num_nodes: int = 1) -> bool:
    """Whether this process is to start ranks; inside a rank (torchrun's or ours) it is not."""
    return num_processes * num_nodes > 1 and "RANK" not in os.environ


def launch(
    num_processes: int,
    arguments: list[str] | None = None,
    *,
    num_nodes: int = 1,
    node_rank: int = 0,
    rendezvous: str | None = None,
    stdout: TextIO | None = None,
    resume_command: str = "the same command with --resume",
) -> None:
    """Starts `python -m seedcli ARGUMENTS` as this machine's ranks and waits;
    only rank 0 keeps stdout.

    Args:
        num_processes: Ranks on this machine.
        arguments: By default those of this process, `--nproc` included: ranks see RANK
            and do not launch again.
        num_nodes: Machines; each runs the same command with its own `node_rank`, 0..num_nodes-1.
        rendezvous: HOST:PORT of machine 0, which all machines reach; needed for more than one.
        stdout: Where rank 0 writes its result.
        resume_command: Shown when a rank was killed.

    Raises:
        UsageError: More than one machine and no rendezvous, or a node rank out of range.
        SeedError: A rank was killed; the others were stopped.
        SystemExit: A rank failed or was stopped by a signal, and said so; carries its exit code.
    """
    arguments = sys.argv[1:] if arguments is None else arguments
    host, port = _meeting_point(num_nodes, node_rank, rendezvous)
    with tempfile.TemporaryDirectory(prefix="seedcli-") as said:
        ranks = []
        for local_rank in range(num_processes):
            rank = node_rank * num_processes + local_rank
            environment = os.environ | {
                "RANK": str(rank),
                "LOCAL_RANK": str(local_rank),
                "WORLD_SIZE": str(num_processes * num_nodes),
                "LOCAL_WORLD_SIZE": str(num_processes),
                "MASTER_ADDR": host,
                "MASTER_PORT": port,
                SAID: said,
            }
            output = stdout if rank == 0 else subprocess.DEVNULL
            ranks.append(
                subprocess.Popen(
                    [sys.executable, "-m", "seedcli", *arguments],
                    env=environment,
                    start_new_session=True,
                    stdout=output,
                )
            )
        before = {
            number: signal.signal(number, _pass_on(ranks))
            for number in (signal.SIGTERM, signal.SIGINT)
        }
        try:
            first, code = _wait(ranks, Path(said))
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)
    if code < 0:
        raise SeedError(
            f"local rank {first} of {num_processes} was killed by signal {-code}",
            remedy=f"continue with: {resume_command}",
        )
    if code:
        raise SystemExit(code)  # the rank has said why


def _meeting_point(num_nodes: int, node_rank: int, rendezvous: str | None) -> tuple[str, str]:
    """Host and port where the ranks meet: a free port of this machine, or the
    given one of machine 0.
    """
    if not 0 <= node_rank < num_nodes:
        raise UsageError(
            f"--node-rank {node_rank} of --nnodes {num_nodes}: expected 0..{num_nodes - 1}"
        )
    if num_nodes > 1:
        host, _, port = (rendezvous or "").rpartition(":")
        if not host or not port.isdigit():
            found = f"found {rendezvous!r}" if rendezvous else "it is missing"
            raise UsageError(
                f"--nnodes {num_nodes} needs --rdzv HOST:PORT of machine 0; {found}",
                remedy="--rdzv node0.example.org:29500",
            )
        return host, port
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return "127.0.0.1", str(probe.getsockname()[1])


def _pass_on(ranks: list[subprocess.Popen]):
    def handler(number, frame):
        for process in ranks:
            if process.poll() is None:
                process.send_signal(number)

    return handler


def _wait(ranks: list[subprocess.Popen], said: Path) -> tuple[int, int]:
    """Which rank failed first, and its exit code; (0, 0) where none did. `said` is the folder of
    what ranks have told.

    When one fails, the others (which wait for it forever) are asked to end, then killed; what they
    say then is not why the run ended.
    """
    failed: tuple[int, int] | None = None
    while True:
        codes = [process.poll() for process in ranks]
        running = None in codes
        if failed is None:
            # one that was killed is why others, which lost it, failed since the last look
            failed = min(
                ((rank, code) for rank, code in enumerate(codes) if code),
                key=lambda each: each[1] > 0,
                default=None,
            )
            grace_s = GRACE_S
            if running and failed and failed[1] != Interrupted.exit_code:
                (said / OVER).touch()
                _pass_on(ranks)(signal.SIGTERM, None)
                grace_s = 5.0
            deadline = time.monotonic() + grace_s
        if not running:
            return failed or (0, 0)
        if failed and time.monotonic() > deadline:
            for process in ranks:
                process.kill()
        time.sleep(0.1)
