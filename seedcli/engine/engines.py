"""Where the parts of a long job are computed: in this process, in processes of this machine, or on
a Ray cluster.

A part is a pure function of its inputs that publishes one file whole, so that who computes it, and
how often, leaves no trace in the result. A job gives the engine a worker to open (it holds the
model) and the parts; it gets back what the workers say of them, as they say it. This room knows
nothing of pictures or models: `seed tokenize`, `seed detokenize`, `seed tokens build` and
`seed eval` run on the same engines.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Annotated, Any, Generic, Literal, Protocol, TypeVar

from seedcli.console import Reporter
from seedcli.errors import UsageError
from seedcli.options import MAX_PROCESSES, MAX_TOGETHER, SHARED_OUT, Option

P = TypeVar("P")
T = TypeVar("T")

# A part that ends the worker that computes it is given to a fresh one; then it is named as lost.
TRIES = 3
MAX_CORES_PER_WORKER = 4  # of a CPU; more threads in one process gain less than another process


@dataclass(frozen=True)
class Slice:
    """Every N-th part, from the I-th on: what one task of an array job computes."""

    index: int = 0
    count: int = 1

    @classmethod
    def parse(cls, text: str) -> Slice:
        """`I/N` -> slice I of 0..N-1.

        Raises:
            UsageError: It is no such pair.
        """
        index, _, count = text.partition("/")
        if not (index.isdecimal() and count.isdecimal() and int(index) < int(count)):
            raise UsageError(
                f"--part {text}: expected I/N with I in 0..N-1",
                remedy="In an array job: --part $SLURM_ARRAY_TASK_ID/$SLURM_ARRAY_TASK_COUNT "
                "(--array 0-63)",
            )
        return cls(int(index), int(count))

    def of(self, parts: Sequence[T]) -> Sequence[T]:
        """The parts that are its own."""
        return parts[self.index :: self.count]

    @property
    def is_whole(self) -> bool:
        """Whether nothing is left to other tasks."""
        return self.count == 1

    def __str__(self) -> str:
        return f"{self.index}/{self.count}"


def _number_of_processes(text: str) -> int | Literal["auto"]:
    if text == "auto":
        return "auto"
    if not (text.isdecimal() and len(text) < 6 and 0 < int(text) <= MAX_PROCESSES):
        raise UsageError(
            f"--nproc {text[:80]}: expected 1 to {MAX_PROCESSES:,} processes, or auto",
            remedy="--nproc auto",
        )
    return int(text)


@dataclass(frozen=True, kw_only=True)
class EngineChoice:
    """Which engine, as it was asked for; `ray_address` implies `ray`."""

    nproc: Annotated[
        int | Literal["auto"],
        Option(
            "Processes of this machine with a model each; auto takes one for each GPU, else one "
            "for every two cores.",
            metavar="N",
            panel=SHARED_OUT,
            parse=_number_of_processes,
        ),
    ] = 1
    ray: Annotated[
        bool,
        Option(
            "Compute on a Ray cluster: the one that --ray-address or RAY_ADDRESS names, else one "
            "on this machine.",
            panel=SHARED_OUT,
        ),
    ] = False
    ray_address: Annotated[
        str | None,
        Option("Head of a running Ray cluster, or auto.", metavar="HOST:PORT", panel=SHARED_OUT),
    ] = None
    actors: Annotated[
        int | None,
        Option(
            "Workers on the Ray cluster; by default one for each GPU, else for every 4 cores.",
            min=1,
            max=MAX_TOGETHER,
            panel=SHARED_OUT,
        ),
    ] = None
    part: Annotated[
        Slice,
        Option(
            "Only every N-th part of the work, from the I-th on: "
            "$SLURM_ARRAY_TASK_ID/$SLURM_ARRAY_TASK_COUNT in an array job.",
            metavar="I/N",
            panel=SHARED_OUT,
            parse=Slice.parse,
        ),
    ] = Slice()

    @property
    def uses_ray(self) -> bool:
        """Whether the parts go to a Ray cluster."""
        return self.ray or self.ray_address is not None

    @property
    def is_this_process(self) -> bool:
        """Whether this process computes all by itself."""
        return self.nproc == 1 and not self.uses_ray

    def check(self) -> None:
        """Refuses what cannot be meant.

        Raises:
            UsageError: Two engines at once.
        """
        if self.uses_ray and self.nproc != 1:
            raise UsageError(
                f"--nproc {self.nproc} and --ray are two engines",
                remedy="Say --actors N for the number of workers on a Ray cluster.",
            )
        if self.actors is not None and not self.uses_ray:
            raise UsageError(
                f"--actors {self.actors} are workers on a Ray cluster", remedy="Add --ray"
            )


@dataclass(frozen=True)
class Place:
    """Where a worker computes.

    Attributes:
        name: What people call it: `process 2`, `actor 17 on 10.0.0.5`.
        cores: Of the machine, for threads and children of this worker. Where it has a GPU of its
            own, it sees no other: `cuda` is that one.
        alone: It is the only worker, in the process of the user.
    """

    name: str
    cores: int
    alone: bool = False


@dataclass(frozen=True)
class Report(Generic[P]):
    """What a worker said of a part.

    Attributes:
        part: Which.
        state: `running` carries what the worker said; `finished` comes last; `lost` comes last
            where the part ended its worker `TRIES` times.
        worker: Name of its place.
        said: What the worker yielded, or why the part is lost.
    """

    part: P
    state: Literal["running", "finished", "lost"]
    worker: str
    said: Any = None


# Opens a worker at a place: a context that gives a function from a part to what it has to say.
# It travels to other processes, so it is a function of a module or a dataclass with `__call__`.
OpenWorker = Callable[[Place, Reporter], AbstractContextManager[Callable[[P], Iterable[Any]]]]


class Workers(Protocol):
    """An engine at work; it ends with its context."""

    def run(self, parts: Iterable[P]) -> Iterator[Report[P]]:
        """Parts -> what is said of them, interleaved; a part is taken when a worker is free.

        What a part raises ends the run, and is raised here. May be called again.
        """


def cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def use_threads(place: Place) -> None:
    """Leaves torch the place's share of the cores, where others compute beside it."""
    if not place.alone:
        import torch

        torch.set_num_threads(place.cores)
