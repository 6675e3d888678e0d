"""`seed train-tokenizer`: train a part of the visual tokenizer, or of its image decoder."""

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


def train_tokenizer(
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
    """Train one stage: target, causal-qformer, codebook, autoencoder or unclip, as the
    recipe's `stage` says.

    \b
    Example:
      seed train-tokenizer nano-target -o runs/nano-target optimization.steps=100
      seed train-tokenizer nano-target -o runs/nano-target --resume
    """
    train_recipe(
        "train-tokenizer",
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
