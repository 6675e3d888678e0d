"""What the commands that train share: they start this machine's ranks, or are one of them, and
rank 0 shows the result.
"""

import importlib
import os
import shlex
from pathlib import Path

from seedcli.console import console
from seedcli.errors import Interrupted, UsageError


def train_recipe(
    command: str,
    recipe: str,
    overrides: list[str] | None,
    output: Path | None,
    num_processes: int,
    num_nodes: int,
    node_rank: int,
    rendezvous: str | None,
    *,
    resume: bool,
    dry_run: bool,
) -> None:
    """Runs the workflow of `seed COMMAND` on a recipe; see the options of the commands."""
    from seedcli.recipe.read import load_recipe

    loaded = load_recipe(recipe, overrides or (), command=command)
    folder = output or Path("runs") / loaded.name
    from seedcli.training.launcher import launch, must_launch
    from seedcli.training.ranks import Ranks
    from seedcli.training.slurm import job_step

    if (step := job_step()) is not None and num_nodes == 1 and num_processes > 1:
        if step.local_world > 1:
            raise UsageError(
                f"--nproc {num_processes} in each of {step.local_world} tasks that srun started on "
                "this machine",
                remedy="leave --nproc out, or srun --ntasks-per-node=1",
            )
        num_nodes, node_rank, rendezvous = step.num_nodes, step.node, step.meeting_point
    elif step is not None and num_nodes == 1:
        os.environ.update(step.as_torchrun())
    processes = ["--nproc", str(num_processes)] if num_processes > 1 else []
    if num_nodes > 1:
        processes += [
            "--nnodes",
            str(num_nodes),
            "--node-rank",
            str(node_rank),
            *(["--rdzv", rendezvous] if rendezvous else []),
        ]
    resume_command = shlex.join(
        ["seed", command, recipe, *(overrides or ()), "-o", str(folder), *processes, "--resume"]
    )
    if must_launch(num_processes, num_nodes) and not dry_run:
        launch(
            num_processes,
            num_nodes=num_nodes,
            node_rank=node_rank,
            rendezvous=rendezvous,
            stdout=console.stdout,
            resume_command=resume_command,
        )
        return
    workflow = importlib.import_module(f"seedcli.workflows.train.{command.removeprefix('train-')}")
    try:
        result = workflow.run(
            loaded,
            folder,
            resume=resume,
            dry_run=dry_run,
            resume_command=resume_command,
            reporter=console,
        )
    except KeyboardInterrupt:  # before the first update, or while a finished phase was saved
        raise Interrupted(
            "interrupted; checkpoints and finished phases are kept", remedy=resume_command
        ) from None
    if Ranks.from_environment().rank == 0:
        console.result(result)
