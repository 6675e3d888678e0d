"""`seed tokenize --nproc N`: further processes on the same folder of shards,
each with its own model.

They coordinate through the folder alone (`seedcli.data.tokens.job`), as processes on other machines
do; what comes back to the first process is only what its reporter says.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import queue
import signal
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from seedcli.console import Progress, Reporter
from seedcli.errors import SeedError

if TYPE_CHECKING:
    from seedcli.workflows.tokenize.request import TokenizeRequest


class Helpers:
    """The further processes of a run; `listen` hands what they did to the first one's reporter."""

    def __init__(self, processes: list[Any], inbox: Any):
        self._processes, self._inbox = processes, inbox

    def listen(
        self, reporter: Reporter, advance: Callable[[int], None], *, to_the_end: bool = False
    ) -> None:
        """Passes on all that has arrived; `to_the_end` waits until every helper has ended."""
        while True:
            waits = to_the_end and any(process.is_alive() for process in self._processes)
            try:
                kind, value = self._inbox.get(timeout=0.1) if waits else self._inbox.get_nowait()
            except queue.Empty:
                if waits:
                    continue
                return
            if kind == "advance":
                advance(value)
            else:
                reporter.warn(value)


class _Forwarding(Reporter):
    """A helper's reporter: progress and warnings travel to the first process,
    which says the rest itself.
    """

    def __init__(self, outbox: Any):
        self._outbox = outbox

    def warn(self, text: str) -> None:
        self._outbox.put(("warn", text))

    @contextlib.contextmanager
    def progress(self, description: str, total: int | None = None) -> Iterator[Progress]:
        progress = Progress(description, total)
        progress.advance = lambda n=1, **figures: self._outbox.put(("advance", n))
        yield progress


@contextlib.contextmanager
def start_helpers(request: TokenizeRequest, run: Callable[..., Any]) -> Iterator[Helpers]:
    """Starts `nproc - 1` processes that `run` the request too; they end with the
    context, or with this process.
    """
    context = multiprocessing.get_context("spawn")
    inbox = context.Queue()
    threads = max(1, _cores() // request.nproc)
    own = replace(request, nproc=1, resume=True, workers=request.workers_for(None) // request.nproc)
    processes = [
        context.Process(target=_help, args=(run, own, rank, threads, inbox))
        for rank in range(1, request.nproc)
    ]
    try:
        for process in processes:
            process.start()
        yield Helpers(processes, inbox)
    finally:
        for process in processes:
            process.terminate()
        for process in processes:
            process.join()
        inbox.close()


@contextlib.contextmanager
def share_of_threads(nproc: int) -> Iterator[None]:
    """Leaves the other processes their share of the cores."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(max(1, _cores() // nproc))
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _help(
    run: Callable[..., Any], request: TokenizeRequest, rank: int, threads: int, outbox: Any
) -> None:
    import torch

    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the first process ends us
    threading.Thread(target=_end_with_parent, daemon=True).start()
    os.environ |= {"RANK": str(rank), "LOCAL_RANK": str(rank)}
    torch.set_num_threads(threads)
    try:
        run(request, reporter=_Forwarding(outbox))
    except SeedError as error:
        outbox.put(("warn", f"process {rank} of {request.output} ended: {error}"))


def _end_with_parent() -> None:
    multiprocessing.parent_process().join()
    os._exit(1)
