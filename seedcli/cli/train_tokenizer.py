"""`seed train-tokenizer`: train a part of the visual tokenizer, or of its image decoder."""

from pathlib import Path
from typing import Annotated

import typer

from seedcli.cli.options import DryRunOption, OverridesArgument, RecipeArgument, ResumeOption
from seedcli.console import console


def train_tokenizer(
    recipe: RecipeArgument,
    overrides: OverridesArgument = None,
    output: Annotated[Path | None, typer.Option("--output", "-o", metavar="DIR", help="Run folder; default runs/RECIPE.")] = None,
    num_processes: Annotated[
        int, typer.Option("--nproc", min=1, help="Processes to start on this machine; under torchrun leave it out.")
    ] = 1,
    num_nodes: Annotated[int, typer.Option("--nnodes", min=1, help="Machines; run the same command on each.")] = 1,
    node_rank: Annotated[int, typer.Option("--node-rank", min=0, help="Which of the machines this is.")] = 0,
    rendezvous: Annotated[
        str | None, typer.Option("--rdzv", metavar="HOST:PORT", help="Address of machine 0; for more than one machine.")
    ] = None,
    resume: ResumeOption = False,
    dry_run: DryRunOption = False,
) -> None:
    """Train one stage: target, causal-qformer, codebook, autoencoder or unclip, as the recipe's `stage` says.

    \b
    Example:
      seed train-tokenizer nano-target -o runs/nano-target optimization.steps=100
      seed train-tokenizer nano-target -o runs/nano-target --resume
    """
    from seedcli.recipe import load_recipe

    loaded = load_recipe(recipe, overrides or (), command="train-tokenizer")
    folder = output or Path("runs") / loaded.name
    from seedcli.training.launcher import launch, must_launch

    if must_launch(num_processes, num_nodes) and not dry_run:
        launch(num_processes, num_nodes=num_nodes, node_rank=node_rank, rendezvous=rendezvous, stdout=console.stdout)
        return
    from seedcli.workflows.train_tokenizer import run

    words = [
        "seed train-tokenizer",
        recipe,
        *(overrides or ()),
        "-o",
        str(folder),
        *(["--nproc", str(num_processes)] if num_processes > 1 else []),
    ]
    command = " ".join([*words, "--resume"])
    result = run(loaded, folder, resume=resume, dry_run=dry_run, resume_command=command, reporter=console)
    from seedcli.training.ranks import Ranks

    if Ranks.from_environment().rank == 0:
        console.result(result)
