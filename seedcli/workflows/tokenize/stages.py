"""Where the time of a run goes: reading, decoding, encoding, writing; and what would help."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterable, Iterator, Mapping
from typing import TypeVar

T = TypeVar("T")

STAGES = ("read", "decode", "encode", "write")
_HELP = {
    "read": "a faster disk or network, or more processes (--nproc, --ray)",
    "decode": "more --workers, or machines with more cores for each GPU",
    "encode": "more GPUs or processes (--nproc, --ray), or a larger --batch-size",
    "write": "a faster place for the output, or --work on a local disk",
}


class StageClock:
    """Seconds that a worker has spent in each stage since it was last asked. A stage that waits for
    another one is not counted meanwhile.
    """

    def __init__(self) -> None:
        self._seconds = dict.fromkeys(STAGES, 0.0)
        self._stages: list[str] = []  # each waits for the next one
        self._since = 0.0

    @contextlib.contextmanager
    def of(self, stage: str) -> Iterator[None]:
        """Counts what is done within."""
        self._count()
        self._stages.append(stage)
        try:
            yield
        finally:
            self._count()
            self._stages.pop()

    def _count(self) -> None:
        now = time.perf_counter()
        if self._stages:
            self._seconds[self._stages[-1]] += now - self._since
        self._since = now

    def waiting(self, stage: str, values: Iterable[T]) -> Iterator[T]:
        """The values; counts how long each is waited for."""
        iterator = iter(values)
        while True:
            with self.of(stage):
                try:
                    value = next(iterator)
                except StopIteration:
                    return
            yield value

    def take(self) -> dict[str, float]:
        """Seconds by stage, from here on counted anew."""
        seconds, self._seconds = self._seconds, dict.fromkeys(STAGES, 0.0)
        return seconds


def bottleneck(seconds: Mapping[str, float]) -> str:
    """Seconds of all workers by stage -> a line that says what holds the run back."""
    total = sum(seconds.values()) or 1.0
    worst = max(STAGES, key=lambda stage: seconds[stage])
    shares = ", ".join(f"{stage} {seconds[stage] / total:.0%}" for stage in STAGES)
    return f"held back by {worst} ({shares}); what helps: {_HELP[worst]}"
