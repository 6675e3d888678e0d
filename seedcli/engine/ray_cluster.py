"""A Ray cluster: one actor for each GPU (or for a few cores), on as many machines as there are.

Ray starts the actors, finds them room, restarts them when a machine goes, and asks its autoscaler
for more; here is only the hand that gives each free actor its next part. An actor gets a part when
it is up, so that actors for which there is no room yet hold nothing back.
"""

from __future__ import annotations

import contextlib
import logging
import os
import socket
import sys
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from typing import Any, cast

import seedcli
from seedcli.console import Reporter
from seedcli.engine.engines import (
    MAX_CORES_PER_WORKER,
    TRIES,
    EngineChoice,
    OpenWorker,
    P,
    Place,
    Report,
)
from seedcli.errors import DataError, SeedError, UsageError

_KNOCK_S = 10.0


class RayCluster:
    """The engine of `--ray`; see `seedcli.engine.engines.Workers`."""

    def __init__(
        self, choice: EngineChoice, open_worker: OpenWorker[Any], *, device: str, reporter: Reporter
    ):
        self._choice, self._open, self._device = choice, open_worker, device
        self._reporter = reporter
        self._actors: list[Any] = []
        self._joined_before = False

    def __enter__(self) -> RayCluster:
        try:
            import ray
        except ImportError:
            raise UsageError(
                "--ray needs Ray, which is not installed",
                remedy="pip install 'seedcli[ray]'; or --nproc N for processes of this machine",
            ) from None
        self._joined_before = ray.is_initialized()
        if not self._joined_before:
            # nothing is sent to anyone, and CUDA_VISIBLE_DEVICES is left alone for actors without
            # a GPU, as newer versions of Ray do by themselves
            os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
            os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
            _check_address(self._choice.ray_address)
            try:
                ray.init(
                    address=self._choice.ray_address,
                    include_dashboard=False,
                    log_to_driver=False,
                    logging_level=logging.ERROR,
                )
            except (ConnectionError, RuntimeError, ValueError) as error:
                raise _no_cluster(self._choice.ray_address or "this machine", error) from error
        try:
            self._actors = self._start_actors()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *exc_info: object) -> None:
        import ray

        for actor in self._actors:
            with contextlib.suppress(Exception):
                ray.kill(actor)
        self._actors = []
        if not self._joined_before:
            ray.shutdown()

    def _start_actors(self) -> list[Any]:
        import ray

        nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]]
        has_gpus = [node for node in nodes if node.get("GPU")] if self._device != "cpu" else []
        if has_gpus or self._device == "cuda":
            share = min((int(node["CPU"] // node["GPU"]) for node in has_gpus), default=1)
            number = int(sum(node["GPU"] for node in has_gpus)) or 1
            options = {"num_gpus": 1, "num_cpus": max(1, share)}
        else:
            most = max((int(node.get("CPU", 0)) for node in nodes), default=1)
            share = max(1, min(MAX_CORES_PER_WORKER, most))
            number = max(1, sum(int(node.get("CPU", 0)) // share for node in nodes))
            options = {"num_cpus": share}
        number = self._choice.actors or number
        if not has_gpus and self._device != "cuda":
            # so many as were asked for fit
            all_cores = sum(int(node.get("CPU", 0)) for node in nodes)
            options["num_cpus"] = max(1, min(share, all_cores // number))
        self._reporter.note(f"Ray: {len(nodes)} machines, {number} actors of {options}")
        # No restarts by task: a part that ended its actor is counted, and handed out, by `run`.
        # Spread, since decoding wants the cores and the network of every machine.
        remote = ray.remote(_Actor).options(
            max_restarts=-1, max_task_retries=0, scheduling_strategy="SPREAD", **options
        )
        return [
            remote.remote(self._open, index, options["num_cpus"], seedcli.__version__, os.getcwd())
            for index in range(number)
        ]

    def run(self, parts: Iterable[P]) -> Iterator[Report[P]]:
        """See `Workers`."""
        import ray
        from ray.exceptions import RayActorError, RayTaskError

        todo, again = iter(parts), deque[tuple[P, int]]()
        coming = {actor.up.remote(): actor for actor in self._actors}
        names: dict[Any, tuple[str, str]] = {}  # of an actor: its name and its machine
        idle: deque[Any] = deque()
        running: dict[Any, tuple[Any, P, int]] = {}
        following = None
        while True:
            while idle:
                following = again.popleft() if again else next(((one, 1) for one in todo), None)
                if following is None:
                    break
                actor = idle.popleft()
                running[actor.compute.remote(following[0])] = (actor, *following)
            if not running and (idle or not coming):
                return
            (ready, *_), _ = ray.wait([*running, *coming], num_returns=1, fetch_local=False)
            if ready in coming:
                actor = coming.pop(ready)
                try:
                    names[actor] = ray.get(ready)
                except RayActorError:
                    coming[actor.up.remote()] = actor  # its machine went; wait for another
                except RayTaskError as error:
                    raise error.cause from _of_a_bug(error)
                else:
                    idle.append(actor)
                continue
            actor, part, tries = running[ready]
            name, node = names[actor]
            try:
                said = ray.get(next(cast(Any, ready)))
            except StopIteration:
                del running[ready]
                idle.append(actor)
                yield Report(part, "finished", name)
            except RayTaskError as error:
                raise error.cause from _of_a_bug(error)
            except RayActorError as error:
                del running[ready]
                coming[actor.up.remote()] = actor
                # that a machine went is not the part's fault
                tries -= not _is_alive(node)
                if tries < TRIES:
                    self._reporter.warn(
                        f"{name} went ({_first_line(error)}); its part starts again"
                    )
                    again.append((part, tries + 1))
                else:
                    yield Report(part, "lost", name, f"it ended {TRIES} worker processes")
            else:
                yield Report(part, "running", name, said)


class _Actor:
    """A worker on the cluster; the model is loaded when the first part comes."""

    def __init__(
        self, open_worker: OpenWorker[Any], number: int, cores: int, version: str, folder: str
    ):
        self._open, self._number, self._cores = open_worker, number, cores
        self._version, self._folder = version, folder
        # Children that decode are spawned, and would import the main module, here Ray's own. None
        # in place of its file would stop libraries that look where they are called from.
        vars(sys.modules["__main__"]).pop("__file__", None)
        self._stack = contextlib.ExitStack()
        self._worker: Callable[[Any], Iterable[Any]] | None = None

    def up(self) -> tuple[str, str]:
        """Name of the actor, and the machine that it is on; checks that this can do the work."""
        import ray

        machine = socket.gethostname()
        if seedcli.__version__ != self._version:
            raise DataError(
                f"{machine} has seedcli {seedcli.__version__}, the driver {self._version}",
                remedy="Install one version on all machines.",
            )
        try:
            os.chdir(self._folder)  # where the driver is, so that its paths mean the same here
        except OSError:
            raise DataError(
                f"{self._folder}, where the driver was started, is no folder of {machine}",
                remedy="Start it in a folder that all machines share.",
            ) from None
        self._name = f"actor {self._number} on {machine}"
        return self._name, ray.get_runtime_context().get_node_id()

    def compute(self, part: Any) -> Iterator[Any]:
        """What the worker has to say of a part, as a stream."""
        if self._worker is None:
            place = Place(self._name, self._cores)
            self._worker = self._stack.enter_context(self._open(place, Reporter()))
        yield from self._worker(part)


def _check_address(address: str | None) -> None:
    """Looks whether anybody listens there: Ray itself would wait for minutes."""
    host, _, port = (address or "").rpartition(":")
    if address in (None, "auto", "local"):
        return
    if not (host and port.isdecimal()):
        raise UsageError(f"--ray-address {address}: expected HOST:PORT, or auto")
    try:
        socket.create_connection((host, int(port)), timeout=_KNOCK_S).close()
    except OSError as error:
        raise _no_cluster(address, error) from error


def _no_cluster(place: str, error: Exception) -> DataError:
    return DataError(
        f"no Ray cluster at {place} ({error})",
        remedy="Start one with: ray start --head; or leave --ray-address out to start one on "
        "this machine.",
    )


def _is_alive(node_id: str) -> bool:
    import ray

    return any(node["Alive"] and node["NodeID"] == node_id for node in ray.nodes())


def _of_a_bug(error: Any) -> Any:
    """What a worker raised, with the traceback there: where it is no message for people."""
    return None if isinstance(error.cause, SeedError) else error


def _first_line(error: Exception) -> str:
    return str(error).strip().partition("\n")[0]
