"""A recipe -> its training: this machine's ranks are started, or this process is one of them."""

from __future__ import annotations

import dataclasses
import importlib
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

from seedcli.console import Reporter
from seedcli.errors import Interrupted, UsageError
from seedcli.recipe.read import load_recipe
from seedcli.workflows.train.request import TrainRequest

_SHOWN = 4  # sources; of more the heaviest

if TYPE_CHECKING:
    from seedcli.recipe.sections import Recipe


def run(
    command: str,
    request: TrainRequest,
    *,
    dry_run: bool = False,
    stdout: TextIO | None = None,
    reporter: Reporter | None = None,
) -> dict[str, Any] | None:
    """Trains as `seed COMMAND` was asked to, in as many processes as it was asked for.

    Args:
        command: `train-tokenizer`, `pretrain` or `instruct`.
        request: Which recipe, and where.
        dry_run: Say what would be trained and downloaded.
        stdout: Where rank 0 writes its result, where ranks are started.
        reporter: Hears of progress.

    Returns:
        What a caller wants to know of the training; None in a process that has started ranks, or
        that is one but the first: rank 0 says it.

    Raises:
        RecipeError: The recipe is none, or one of another command.
        UsageError: Numbers of processes that do not go together.
        Interrupted: A signal came; what to type is the remedy.
        SeedError: As the training of the recipe.
    """
    recipe: Any = load_recipe(request.recipe, request.overrides, command=command)
    folder = run_folder(recipe, request.output)
    from seedcli.training.launcher import launch, must_launch
    from seedcli.training.ranks import Ranks
    from seedcli.training.trackers import require_tracker

    require_tracker(recipe.run.tracker)
    request = _joined(request)
    resume_command = request.resume_command(command, folder)
    if must_launch(request.num_processes, request.num_nodes) and not dry_run:
        launch(
            request.num_processes,
            num_nodes=request.num_nodes,
            node_rank=request.node_rank,
            rendezvous=request.rendezvous,
            stdout=stdout,
            resume_command=resume_command,
        )
        return None
    # oneDNN keeps compiled kernels, one a shape of a CPU's 16-bit products, which packed rows have
    # many of: its own bound, 1,024, is 7 GB a process. Read when the first product is computed.
    os.environ.setdefault("ONEDNN_PRIMITIVE_CACHE_CAPACITY", "100")
    ranks, reporter = Ranks.from_environment(), reporter or Reporter()
    if ranks.rank:
        reporter = Reporter()  # what all ranks would say, the first one says
    elif not dry_run:
        reporter.note(header(command, recipe, folder))
    try:
        result = workflow_of(recipe)(
            recipe,
            folder,
            resume=request.resume,
            dry_run=dry_run,
            resume_command=resume_command,
            reporter=reporter,
        )
    except KeyboardInterrupt:  # before the first update, or while a finished phase was saved
        raise Interrupted(
            "interrupted; checkpoints and finished phases are kept", remedy=resume_command
        ) from None
    return result if ranks.rank == 0 else None


def run_folder(recipe: Recipe, output: str | Path | None) -> Path:
    """Where a training goes: where it was told to, else a folder of the recipe's name."""
    return Path("runs") / str(recipe.name) if output is None else Path(output)


def workflow_of(recipe: Recipe) -> Any:
    """The function that trains what a recipe says."""
    name = recipe.command.removeprefix("train-")
    return importlib.import_module(f"seedcli.workflows.train.{name}").run


def _joined(request: TrainRequest) -> TrainRequest:
    """The request as a task of `srun` means it, where this process is one."""
    from seedcli.training.slurm import job_step

    step = job_step()
    if step is None or request.num_nodes > 1:
        return request
    if request.num_processes == 1:
        os.environ.update(step.as_torchrun())
        return request
    if step.local_world > 1:
        raise UsageError(
            f"--nproc {request.num_processes} in each of {step.local_world} tasks that srun "
            "started on this machine",
            remedy="leave --nproc out, or srun --ntasks-per-node=1",
        )
    return dataclasses.replace(
        request, num_nodes=step.num_nodes, node_rank=step.node, rendezvous=step.meeting_point
    )


def header(command: str, recipe: Any, folder: Path) -> str:
    """What a training says before it begins: which recipe, on what, how long, and where it goes."""
    lines = [f"seed {command} {recipe.name}"]
    for name, section in [*recipe, ("", recipe)]:
        if hasattr(section, "data"):
            lines.append(f"  data{f' of {name}' if name else ''}: {_data(section.data)}")
    lengths = [f"{name} {_length(section)}" for name, section in recipe.lengths.items()]
    lines += [
        f"  length: {', '.join(lengths)}",
        f"  into: {folder}, a checkpoint every {recipe.run.checkpoint_every_steps:,} updates",
    ]
    if recipe.run.tracker == "tensorboard":
        lines.append(f"  to look on: tensorboard --logdir {folder}")
    return "\n".join(lines)


def _length(optimization: Any) -> str:
    if hasattr(optimization, "batch_tokens"):
        return f"{optimization.steps:,} updates of {optimization.batch_tokens:,} tokens"
    return f"{optimization.steps:,} updates of {optimization.batch_size:,} images"


def _data(data: Any) -> str:
    """A data section -> its sources, with their shares where there are several."""
    sources = list(getattr(data, "sources", (data,)))
    names = [_name(source) for source in sources]
    weights = [getattr(source, "weight", 1.0) for source in sources]
    if len(names) == 1:
        return names[0]
    heaviest = sorted(zip(weights, names, strict=True), key=lambda pair: -pair[0])
    shown = [f"{name} {weight / sum(weights):.0%}" for weight, name in heaviest[:_SHOWN]]
    more = len(names) - _SHOWN
    return ", ".join(shown) + (f", and {more} more" if more > 0 else "")


def _name(source: Any) -> str:
    kind = getattr(source, "kind", "")
    return f"{kind} {source.path}" if kind.startswith("emoji") else str(source.path)
