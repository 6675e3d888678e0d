"""`seed instruct`: teach a pretrained language model to follow instructions."""

from seedcli.cli.options import (
    DryRunOption,
    NodeRankOption,
    NumNodesOption,
    NumProcessesOption,
    OverridesArgument,
    RecipeArgument,
    RendezvousOption,
    ResumeOption,
    RunFolderOption,
)
from seedcli.cli.training_run import train_recipe


def instruct(
    recipe: RecipeArgument,
    overrides: OverridesArgument = None,
    output: RunFolderOption = None,
    num_processes: NumProcessesOption = 1,
    num_nodes: NumNodesOption = 1,
    node_rank: NodeRankOption = 0,
    rendezvous: RendezvousOption = None,
    resume: ResumeOption = False,
    dry_run: DryRunOption = False,
) -> None:
    """Tune a pretrained language model on conversations with pictures: LoRA, merged at the end.

    \b
    Example:
      seed instruct nano-instruct -o runs/nano-instruct lora.optimization.steps=100
      seed instruct nano-instruct -o runs/nano-instruct --resume
    """
    train_recipe(
        "instruct",
        recipe,
        overrides,
        output,
        num_processes,
        num_nodes,
        node_rank,
        rendezvous,
        resume=resume,
        dry_run=dry_run,
    )
