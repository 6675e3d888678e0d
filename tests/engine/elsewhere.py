"""An engine of one process in which everything travels, for tests of what workers compute: starting
processes with torch in them takes half a minute on a busy machine. The engines themselves are
tested with real processes.
"""

from __future__ import annotations

import pickle
from types import ModuleType
from typing import Any

import pytest

from seedcli.engine.engines import Report
from seedcli.engine.workers import ThisProcess


def travelled(value: Any) -> Any:
    """A value as another process gets it."""
    return pickle.loads(pickle.dumps(value))


class Elsewhere(ThisProcess):
    """Parts and what is said of them go through bytes, as between processes."""

    def __init__(self, open_worker: Any, reporter: Any, seen: list[Any]):
        super().__init__(open_worker, reporter)
        self._seen = seen

    def _send(self, part: Any) -> Any:
        self._seen.append(part)
        return travelled(part)

    def run(self, parts):
        for report in super().run(map(self._send, parts)):
            yield Report(report.part, report.state, report.worker, travelled(report.said))


def send_elsewhere(monkeypatch: pytest.MonkeyPatch, module: ModuleType) -> list[Any]:
    """Has `--nproc 2` of a module mean this engine; returns the parts that come to it."""
    here, seen = module.open_workers, list[Any]()

    def open_workers(choice, open_worker, *, device, reporter):
        if choice.is_this_process:
            return here(choice, open_worker, device=device, reporter=reporter)
        return Elsewhere(travelled(open_worker), reporter, seen)

    monkeypatch.setattr(module, "open_workers", open_workers)
    return seen
