"""Where the time of a run goes: reading, decoding, encoding, writing; and what would help."""

from __future__ import annotations

import contextlib
import time
from collections import Counter
from collections.abc import Iterable, Iterator
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
    """Seconds that a worker has spent in each stage since it was last asked."""

    def __init__(self) -> None:
        self._seconds: Counter[str] = Counter()

    @contextlib.contextmanager
    def of(self, stage: str) -> Iterator[None]:
        """Counts what is done within."""
        started = time.perf_counter()
        try:
            yield
        finally:
            self._seconds[stage] += time.perf_counter() - started

    def waiting(self, stage: str, values: Iterable[T]) -> Iterator[T]:
        """The values, and how long each was waited for."""
        iterator = iter(values)
        while True:
            with self.of(stage):
                value = next(iterator, self)
            if value is self:
                return
            yield value

    def take(self) -> dict[str, float]:
        """Seconds by stage, from here on counted anew. Chunks are read while the next decoded one
        is waited for, so that reading is taken out of decoding.
        """
        seconds, self._seconds = self._seconds, Counter()
        seconds["decode"] = max(0.0, seconds["decode"] - seconds["read"])
        return {stage: seconds[stage] for stage in STAGES}


def bottleneck(seconds: Counter[str]) -> str:
    """Seconds of all workers by stage -> a line that says what holds the run back."""
    total = sum(seconds.values()) or 1.0
    worst = max(STAGES, key=lambda stage: seconds[stage])
    shares = ", ".join(f"{stage} {seconds[stage] / total:.0%}" for stage in STAGES)
    return f"held back by {worst} ({shares}); what helps: {_HELP[worst]}"
