"""Workers for the parts of a long job, on the engine that was asked for."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager
from typing import Any

from seedcli.console import Reporter
from seedcli.engine.engines import EngineChoice, OpenWorker, P, Place, Report, Workers, cores


class ThisProcess:
    """The parts one after the other, here."""

    def __init__(self, open_worker: OpenWorker[Any], reporter: Reporter):
        self._open, self._reporter, self._stack = open_worker, reporter, contextlib.ExitStack()
        self._compute: Callable[[Any], Iterable[Any]] | None = None

    def __enter__(self) -> ThisProcess:
        return self

    def __exit__(self, *exc_info: Any) -> bool | None:
        return self._stack.__exit__(*exc_info)

    def run(self, parts: Iterable[P]) -> Iterator[Report[P]]:
        """See `Workers`."""
        place = Place("this process", cores(), alone=True)
        for part in parts:
            if self._compute is None:
                self._compute = self._stack.enter_context(self._open(place, self._reporter))
            for said in self._compute(part):
                yield Report(part, "running", place.name, said)
            yield Report(part, "finished", place.name)


def open_workers(
    choice: EngineChoice,
    open_worker: OpenWorker[Any],
    *,
    device: str = "auto",
    reporter: Reporter | None = None,
) -> AbstractContextManager[Workers]:
    """The engine that was asked for, ready to take parts.

    Args:
        choice: Which.
        open_worker: Opens a worker; called once in each process, when its first part comes.
        device: As the user asked; decides whether workers want a GPU each.
        reporter: Hears of the engine, and of all that a worker in this process has to say.

    Raises:
        UsageError: Options that do not go together, or Ray is not installed.
        DataError: The cluster cannot be reached.
    """
    choice.check()
    reporter = reporter or Reporter()
    if choice.uses_ray:
        from seedcli.engine.ray_cluster import RayCluster

        return RayCluster(choice, open_worker, device=device, reporter=reporter)
    if choice.nproc != 1:
        from seedcli.engine.processes import Processes

        return Processes(choice.nproc, open_worker, device=device, reporter=reporter)
    return ThisProcess(open_worker, reporter)


def ask(workers: Workers, part: Any) -> Any:
    """The one thing that a worker says of a part."""
    (said,) = [report.said for report in workers.run([part]) if report.state == "running"]
    return said
