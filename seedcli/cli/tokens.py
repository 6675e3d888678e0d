"""`seed tokens`: tools for token shards."""

from pathlib import Path
from typing import Annotated

import typer

from seedcli.console import console
from seedcli.errors import DataError

ShardsArgument = Annotated[list[Path], typer.Argument(metavar="SHARDS...", help="Token shards (.parquet), or folders of them.")]

app = typer.Typer(help="Look into token shards, check them, join them.", no_args_is_help=True)


@app.command()
def info(shards: ShardsArgument) -> None:
    """Say which tokenizer made them, how, and how many images they hold.

    \b
    Example:
      seed tokens info tokens/
    """
    from seedcli.workflows import tokens

    console.result(tokens.info(shards))


@app.command()
def head(
    shards: ShardsArgument, number: Annotated[int, typer.Option("--number", "-n", min=1, help="How many images to show.")] = 5
) -> None:
    """Show the first images: source, codes, caption.

    \b
    Example:
      seed tokens head tokens/ -n 3
      seed tokens head tokens/ -n 1 | seed detokenize -o first.png
    """
    from seedcli.workflows import tokens

    for record in tokens.head(shards, number):
        console.result(record)


@app.command()
def verify(shards: ShardsArgument) -> None:
    """Read every row and report what is wrong; exit code 3 if anything is.

    \b
    Example:
      seed tokens verify tokens/
    """
    from seedcli.workflows import tokens

    report = tokens.verify(shards, reporter=console)
    console.result(report)
    if report["problems"]:
        raise DataError(
            "; ".join(report["problems"][:10]), remedy="Make the shards again with seed tokenize, or leave the damaged ones out."
        )


@app.command()
def stats(shards: ShardsArgument) -> None:
    """Count how the codebook is used.

    \b
    Example:
      seed tokens stats tokens/
    """
    from seedcli.workflows import tokens

    console.result(tokens.stats(shards, reporter=console))


@app.command()
def merge(
    shards: ShardsArgument,
    output: Annotated[Path, typer.Option("--output", "-o", metavar="OUT", help="A .parquet file, or a folder with --shard-size.")],
    shard_size: Annotated[int | None, typer.Option("--shard-size", min=1, help="Images in each shard of the folder.")] = None,
) -> None:
    """Join shards of one tokenizer; two fingerprints are refused.

    \b
    Example:
      seed tokens merge tokens/ -o all.parquet
    """
    from seedcli.workflows import tokens

    console.result(tokens.merge(shards, output, shard_size=shard_size, reporter=console))
