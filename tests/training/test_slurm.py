"""Tasks of `srun` find their places, by the variables that SLURM sets for them."""

from __future__ import annotations

import pytest

from seedcli.errors import UsageError
from seedcli.training.slurm import job_step

BATCH = {
    "SLURM_JOB_ID": "4711",
    "SLURM_NTASKS": "5",
    "SLURM_PROCID": "0",
    "SLURM_LOCALID": "0",
    "SLURM_NODEID": "0",
    "SLURM_JOB_NODELIST": "gpu[007-008,011]",
}
STEP = BATCH | {
    "SLURM_STEP_ID": "2",
    "SLURM_STEP_NUM_TASKS": "5",
    "SLURM_STEP_NUM_NODES": "3",
    "SLURM_STEP_TASKS_PER_NODE": "2(x2),1",
    "SLURM_STEP_NODELIST": "gpu[007-008,011]",
}


def test_tasks_of_a_step_are_ranks_that_meet_on_its_first_machine():
    last = job_step(STEP | {"SLURM_PROCID": "4", "SLURM_NODEID": "2"})
    assert last.as_torchrun() == {
        "RANK": "4",
        "LOCAL_RANK": "0",
        "WORLD_SIZE": "5",
        "LOCAL_WORLD_SIZE": "1",
        "MASTER_ADDR": "gpu007",
        "MASTER_PORT": str(15_000 + (4711 * 7 + 2) % 10_000),
    }
    first = job_step(STEP)
    assert (first.rank, first.local_world, first.meeting_point) == (0, 2, last.meeting_point)


@pytest.mark.parametrize(
    ("hosts", "host"),
    [("a-1,b-2", "a-1"), ("node7", "node7"), ("n[3,5]-x", "n3"), ("gpu[09-12],login", "gpu09")],
)
def test_first_host_of_a_list(hosts, host):
    assert job_step(STEP | {"SLURM_STEP_NODELIST": hosts}).meeting_point.startswith(f"{host}:")


@pytest.mark.parametrize(
    "environment",
    [
        {},
        BATCH,
        STEP | {"SLURM_STEP_NUM_TASKS": "1"},
        STEP | {"RANK": "3"},
        {"SLURM_PROCID": "1"},
    ],
)
def test_one_process_stays_one(environment):
    assert job_step(environment) is None


def test_a_step_that_cannot_meet_is_refused():
    with pytest.raises(UsageError, match="5 tasks.*SLURM_LOCALID") as refused:
        job_step({key: value for key, value in STEP.items() if key != "SLURM_LOCALID"})
    assert "torchrun" in refused.value.remedy
