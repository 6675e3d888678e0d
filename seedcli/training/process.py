"""What a training loop asks of its process: to stop politely, to draw the same random numbers
again, and how much memory it takes.
"""

from __future__ import annotations

import random
import signal
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch

from seedcli.data.sample_order import derived_seed

try:
    import resource
except ImportError:  # Windows
    resource = None


@contextmanager
def stop_signals() -> Iterator[dict[str, bool]]:
    """First SIGTERM or Ctrl-C asks for a checkpoint after the step (`requested`); a
    second one ends at once.
    """
    asked = {"requested": False}

    def ask(number, frame):
        if asked["requested"]:
            raise KeyboardInterrupt
        asked["requested"] = True

    try:
        before = {number: signal.signal(number, ask) for number in (signal.SIGTERM, signal.SIGINT)}
    except ValueError:  # not the main thread: the caller keeps its own handlers
        before = {}
    try:
        yield asked
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def seed_step(seed: int, step: int, rank: int) -> None:
    """Seeds every generator for one update of one rank, so that a resumed run draws what the
    killed one would have drawn.
    """
    mixed = derived_seed(seed, step, rank)
    random.seed(mixed)
    np.random.seed(mixed % 2**32)
    torch.manual_seed(mixed)


def memory_mb() -> int | None:
    """Largest memory so far: the GPU's where there is one, else the process's; None where the
    system does not say (Windows).
    """
    if torch.cuda.is_available():
        return round(torch.cuda.max_memory_allocated() / 2**20)
    if resource is None:
        return None
    return round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**10)
