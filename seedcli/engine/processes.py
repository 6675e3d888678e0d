"""Processes of this machine, each with a worker of its own.

Each is a `concurrent.futures` pool of one: when a process dies, the pool that is broken tells whose
part it was, and the others do not notice. What a worker says while it computes comes through a
pipe of its own.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import signal
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from multiprocessing.connection import Connection
from typing import Any, Literal

from seedcli.console import Reporter
from seedcli.data.images.loader import end_with_parent
from seedcli.engine.engines import TRIES, OpenWorker, P, Place, Report, cores

_HEAR_EVERY_S = 0.1  # how late the bar may be
_ENDING_S = 2.0  # for a worker that has closed to end by itself
_CLOSING_S = 10.0  # for workers to come to the end of what they last said, and to close


class Processes:
    """The engine of `--nproc N`; see `seedcli.engine.engines.Workers`."""

    def __init__(
        self,
        nproc: int | Literal["auto"],
        open_worker: OpenWorker[Any],
        *,
        device: str,
        reporter: Reporter,
    ):
        gpus = _num_gpus(device)
        number = (gpus or max(1, cores() // 2)) if nproc == "auto" else nproc
        if nproc == "auto":
            reporter.note(f"{number} processes" + (", one for each GPU" if gpus else ""))
        self._desks = [
            _Desk(
                Place(f"process {index}", max(1, cores() // number)),
                open_worker,
                _visible_gpu(index % gpus) if gpus else None,
            )
            for index in range(number)
        ]

    def __enter__(self) -> Processes:
        return self

    def __exit__(self, kind: type[BaseException] | None, *exc_info: object) -> None:
        closing = [future for desk in self._desks for future in desk.close(stops=kind is not None)]
        wait(closing, timeout=_CLOSING_S)
        for desk in self._desks:
            desk.end()

    def run(self, parts: Iterable[P]) -> Iterator[Report[P]]:
        """See `Workers`."""
        todo, again = iter(parts), deque[tuple[P, int]]()
        running: dict[Future[None], tuple[_Desk, P, int]] = {}
        idle = deque(self._desks)
        while True:
            while idle:
                following = again.popleft() if again else next(((one, 1) for one in todo), None)
                if following is None:
                    break
                desk = idle.popleft()
                running[desk.submit(following[0])] = (desk, *following)
            if not running:
                return
            ended, _ = wait(running, timeout=_HEAR_EVERY_S, return_when=FIRST_COMPLETED)
            for desk, part, _ in list(running.values()):
                for said in desk.heard():
                    yield Report(part, "running", desk.place.name, said)
            for future in ended:
                desk, part, tries = running.pop(future)
                for said in desk.heard():
                    yield Report(part, "running", desk.place.name, said)
                idle.append(desk)
                try:
                    future.result()
                except BrokenProcessPool:
                    desk.end()
                    if tries < TRIES:
                        again.append((part, tries + 1))
                    else:
                        yield Report(
                            part, "lost", desk.place.name, f"it ended {TRIES} worker processes"
                        )
                else:
                    yield Report(part, "finished", desk.place.name)


class _Desk:
    """One process and the pipe from it; a dead one is replaced at the next part."""

    def __init__(self, place: Place, open_worker: OpenWorker[Any], gpu: str | None):
        self.place, self._open, self._gpu = place, open_worker, gpu
        self._pool: ProcessPoolExecutor | None = None
        self._ears: Connection | None = None

    def submit(self, part: Any) -> Future[None]:
        if self._pool is None:
            context = multiprocessing.get_context("spawn")
            self._ears, mouth = context.Pipe()
            self._pool = ProcessPoolExecutor(
                1,
                mp_context=context,
                initializer=_start,
                initargs=(self.place, self._open, self._gpu, mouth),
            )
            future = self._pool.submit(_compute, part)
            mouth.close()  # the process has its own end; so a dead process closes the pipe
            return future
        return self._pool.submit(_compute, part)

    def heard(self) -> Iterator[Any]:
        """What was said since the last time; a process that died in the middle of a word is
        heard up to it.
        """
        with contextlib.suppress(EOFError, OSError):
            while self._ears is not None and self._ears.poll():
                yield self._ears.recv()

    def close(self, *, stops: bool) -> Iterator[Future[None]]:
        """Has the worker close when its part is done, or, where it `stops`, when it next says
        something; its decoding children go with it.
        """
        with contextlib.suppress(BrokenProcessPool, OSError):
            if self._pool is not None:
                if stops:
                    self._ears.send("stop")
                yield self._pool.submit(_close)

    def end(self) -> None:
        if self._pool is None:
            return
        # What is left has nothing to do but to give back its semaphores; clients of buckets leave
        # threads that would hold it up. Python 3.14 has terminate_workers() for this.
        processes = list((self._pool._processes or {}).values())
        self._pool.shutdown(wait=False, cancel_futures=True)
        for process in processes:
            process.join(_ENDING_S)
            process.terminate()
        self._pool.shutdown(wait=True)
        self._ears.close()
        self._pool = self._ears = None


_place: Place
_open_worker: OpenWorker[Any]
_mouth: Connection
_worker: Callable[[Any], Iterable[Any]] | None = None
_stack = contextlib.ExitStack()


def _start(place: Place, open_worker: OpenWorker[Any], gpu: str | None, mouth: Connection) -> None:
    """In a new process: end with the parent, leave Ctrl-C to it, and see one GPU alone."""
    global _place, _open_worker, _mouth
    if gpu is not None:
        os.environ["CUDA_VISIBLE_DEVICES"] = gpu  # nothing has asked CUDA for its devices yet
    end_with_parent()
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    _place, _open_worker, _mouth = place, open_worker, mouth


def _compute(part: Any) -> None:
    """Opens the worker when its first part comes: what a pool's initializer raises is lost."""
    global _worker
    if _worker is None:
        _worker = _stack.enter_context(_open_worker(_place, Reporter()))
    for said in _worker(part):
        _mouth.send(said)
        if _mouth.poll():  # the driver was interrupted
            return


def _close() -> None:
    _stack.close()


def _visible_gpu(index: int) -> str:
    """What the driver sees as GPU `index`, as CUDA_VISIBLE_DEVICES names it."""
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    return visible.split(",")[index].strip() if visible else str(index)


def _num_gpus(device: str) -> int:
    if device not in ("auto", "cuda"):
        return 0
    import torch

    return torch.cuda.device_count()
