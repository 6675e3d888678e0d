"""`srun seed pretrain`: the tasks of a job step are the ranks of one run. Torch-free.

SLURM tells each task its place under names of its own; torchrun's names are what everything else
reads. Without this every task would train the whole run by itself, all into one folder.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass

from seedcli.errors import UsageError

_HOST = re.compile(r"([^,\[]+)(?:\[(\d+))?")  # of `node[07-12,15],login1`
_TASKS = re.compile(r"(\d+)(?:\(x(\d+)\))?")  # of `2(x3),1`
_FIRST_PORT, _PORTS = 15_000, 10_000


@dataclass(frozen=True)
class Step:
    """This process's place in a job step of several tasks.

    Attributes:
        rank: Of this task.
        world: Tasks of the step.
        local_rank: Of this task on its machine.
        local_world: Tasks on this machine.
        num_nodes: Machines.
        node: Which of them this is.
        meeting_point: HOST:PORT of the first one, the same for every task of the step.
    """

    rank: int
    world: int
    local_rank: int
    local_world: int
    num_nodes: int
    node: int
    meeting_point: str

    def as_torchrun(self) -> dict[str, str]:
        """The same in torchrun's names."""
        host, _, port = self.meeting_point.rpartition(":")
        return {
            "RANK": str(self.rank),
            "LOCAL_RANK": str(self.local_rank),
            "WORLD_SIZE": str(self.world),
            "LOCAL_WORLD_SIZE": str(self.local_world),
            "MASTER_ADDR": host,
            "MASTER_PORT": port,
        }


def job_step(environment: Mapping[str, str] = os.environ) -> Step | None:
    """The step that `srun` started, where it has several tasks and nobody else has placed them
    (torchrun sets RANK); None in a batch script, which is one process whatever the job asks for.

    Raises:
        UsageError: SLURM does not say where the tasks are to meet.
    """
    world = int(environment.get("SLURM_STEP_NUM_TASKS", "1"))
    if "RANK" in environment or "SLURM_STEP_ID" not in environment or world < 2:
        return None
    try:
        nodes, node = int(environment["SLURM_STEP_NUM_NODES"]), int(environment["SLURM_NODEID"])
        hosts = environment.get("SLURM_STEP_NODELIST") or environment["SLURM_JOB_NODELIST"]
        number = int(environment["SLURM_JOB_ID"]) * 7 + int(environment["SLURM_STEP_ID"])
        return Step(
            rank=int(environment["SLURM_PROCID"]),
            world=world,
            local_rank=int(environment["SLURM_LOCALID"]),
            local_world=_tasks_of_nodes(environment["SLURM_STEP_TASKS_PER_NODE"])[node],
            num_nodes=nodes,
            node=node,
            meeting_point=f"{_first_host(hosts) if nodes > 1 else '127.0.0.1'}:"
            f"{_FIRST_PORT + number % _PORTS}",
        )
    except (KeyError, ValueError, IndexError) as error:
        raise UsageError(
            f"srun started {world} tasks, and its environment does not say how they are placed "
            f"({type(error).__name__}: {error})",
            remedy="srun --ntasks-per-node=1 torchrun --nnodes N --nproc-per-node G "
            "--rdzv-backend c10d --rdzv-endpoint HOST:29500 -m seedcli ...; or on one machine "
            "--nproc G without srun",
        ) from None


def _first_host(hosts: str) -> str:
    match = _HOST.match(hosts)
    if match is None:
        raise ValueError(f"node list {hosts!r}")
    return match[1] + (match[2] or "")


def _tasks_of_nodes(text: str) -> list[int]:
    """`2(x3),1` -> tasks of each machine."""
    return [int(match[1]) for match in _TASKS.finditer(text) for _ in range(int(match[2] or 1))]
