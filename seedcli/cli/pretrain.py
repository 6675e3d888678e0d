"""`seed pretrain`: teach a language model to read and write codes."""

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


def pretrain(
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
    """Pretrain a language model on text and codes: words only (where the recipe asks for it), LoRA,
    merge, everything but the embedding.

    \b
    Example:
      seed pretrain nano-pretrain -o runs/nano-pretrain text.optimization.steps=100
      seed pretrain nano-pretrain -o runs/nano-pretrain --resume
    """
    train_recipe(
        "pretrain",
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
