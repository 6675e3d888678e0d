"""What a server counts, as Prometheus reads it."""

from __future__ import annotations

from typing import Any

from prometheus_client import CONTENT_TYPE_LATEST as CONTENT_TYPE
from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    ProcessCollector,
    generate_latest,
)

_SECONDS = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300)

__all__ = ["CONTENT_TYPE", "Metrics"]


class Metrics:
    """Counters of one server; no two servers of a process share them.

    Attributes:
        requests: Answered, by route and status.
        waiting: Answers that wait for a place in the batch.
        writing: Answers that are being written.
        undrawn: Images that wait to be drawn.
        tokens: Written.
        drawn: Pictures drawn.
        left: Answers whose clients left while they were written.
    """

    def __init__(self) -> None:
        self._registry = CollectorRegistry()
        ProcessCollector(registry=self._registry)  # memory and files, on Linux
        here: dict[str, Any] = {"registry": self._registry, "namespace": "seed"}
        self.requests = Counter("requests", "Requests answered", ["route", "status"], **here)
        self.waiting = Gauge("answers_waiting", "Answers that wait for a place", **here)
        self.writing = Gauge("answers_writing", "Answers that are being written", **here)
        self.undrawn = Gauge("pictures_waiting", "Images that wait to be drawn", **here)
        self.tokens = Counter("tokens_written", "Tokens written", **here)
        self.drawn = Counter("pictures_drawn", "Pictures drawn", **here)
        self.left = Counter("answers_left", "Answers whose client left before the end", **here)
        self._stages = Histogram(
            "stage_seconds",
            "Seconds of a stage: queue, read, write, draw_queue, draw",
            ["stage"],
            buckets=_SECONDS,
            **here,
        )

    def stage(self, name: str, seconds: float) -> None:
        """One passage of a stage."""
        self._stages.labels(name).observe(seconds)

    def text(self) -> bytes:
        """Everything in Prometheus' text format."""
        return generate_latest(self._registry)
