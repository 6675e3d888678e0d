"""`seed train-tokenizer`, `seed pretrain` and `seed instruct`: one command, by three names for
three kinds of recipes.
"""

from collections.abc import Callable

from seedcli.console import console
from seedcli.options import DryRunOption
from seedcli.workflows.train.request import TrainRequest


def _command(name: str, about: str) -> Callable[..., None]:
    def train(request: TrainRequest, dry_run: DryRunOption = False) -> None:
        from seedcli.workflows.train.run import run

        result = run(name, request, dry_run=dry_run, stdout=console.stdout, reporter=console)
        if result is not None:
            console.result(result)

    train.__doc__ = about
    return train


train_tokenizer = _command(
    "train-tokenizer",
    """Train one stage: target, causal-qformer, codebook, autoencoder or unclip, as the
    recipe's `stage` says.

    \b
    Example:
      seed train-tokenizer nano-target -o runs/nano-target optimization.steps=100
      seed train-tokenizer nano-target -o runs/nano-target --resume
    """,
)
pretrain = _command(
    "pretrain",
    """Pretrain a language model on text and codes: words only (where the recipe asks for it), LoRA,
    merge, everything but the embedding.

    \b
    Example:
      seed pretrain nano-pretrain -o runs/nano-pretrain text.optimization.steps=100
      seed pretrain nano-pretrain -o runs/nano-pretrain --resume
    """,
)
instruct = _command(
    "instruct",
    """Tune a pretrained language model on conversations with pictures: by LoRA, or whole.

    \b
    Example:
      seed instruct nano-instruct -o runs/nano-instruct full.optimization.steps=100
      seed instruct nano-instruct -o runs/nano-instruct --resume
    """,
)
