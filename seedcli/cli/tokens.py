"""`seed tokens`: tools for token shards."""

from pathlib import Path
from typing import Annotated, Any

import typer

from seedcli.cli.tokenize import refuse_failed
from seedcli.console import console
from seedcli.errors import DataError, PartialFailure
from seedcli.options import Argument, DryRunOption, Option, PageOption
from seedcli.workflows.documents.request import BuildRequest

ShardsArgument = Annotated[
    tuple[Path, ...],
    Argument("Token shards (.parquet), or folders of them.", metavar="SHARDS"),
]

app = typer.Typer(
    help="Build token shards of documents, look into shards, check them, join them.",
    no_args_is_help=True,
)


@app.command()
def build(request: BuildRequest, dry_run: DryRunOption = False) -> None:
    """Turn a published data set, or your own conversations, into token shards that training reads.

    Every picture is tokenised once, however many documents name it; where several sets share
    pictures, as COCO's, tokenise these first and name their shards with --codes. A document with a
    picture that cannot be read is left out and named in errors.jsonl (exit code 4); pages of mmc4
    and obelics go on without the picture.

    \b
    Examples:
      seed tokens build messages examples/own-data/conversations.jsonl --images examples -o tokens/own
      seed tokens build vqa v2_OpenEnded_mscoco_train2014_questions.json \\
          v2_mscoco_train2014_annotations.json --images train2014 --model seed-2 -o tokens/vqav2
      seed tokenize train2017 --model seed-2 -o tokens/train2017
      seed tokens build llava conversation_58k.json --images train2017 --codes tokens/train2017 --model seed-2 \\
          -o tokens/llava-conversation
    """  # noqa: E501
    from seedcli.workflows.documents.listing import plan

    if dry_run:
        console.result(plan(request, reporter=console))
        return
    from seedcli.workflows.documents.build import run
    from seedcli.workflows.tokenize.run import TokenizeSummary

    summary = run(request, reporter=console)
    console.result(summary.as_result())
    if isinstance(summary, TokenizeSummary):  # of a part: pictures alone
        refuse_failed(summary, request.pictures())
    elif summary.errors:
        raise PartialFailure(
            f"{summary.failed} of {summary.rows + summary.failed} documents could not be made, "
            f"others go without {summary.left_out} pictures; {summary.errors} names them",
            remedy="Train on what there is; or fetch what is missing and build again into "
            "another folder.",
        )


@app.command()
def formats() -> None:
    """List the layouts that `seed tokens build` reads: sets, files to name, forms of a recipe's
    source, and where each is described.

    \b
    Example:
      seed tokens formats
    """
    from seedcli.workflows.documents.build import formats

    for record in formats():
        console.result(record, human=_show_format)


def _show_format(record: dict[str, Any]) -> str:
    unseen = "" if record["checked_with_real_files"] else "; not checked with real files"
    return (
        f"{record['format']:<15}  {record['sets']}: {record['files']}\n"
        f"{'':<15}  gives {', '.join(record['forms'])}; {record['source']}{unseen}"
    )


@app.command()
def info(shards: ShardsArgument) -> None:
    """Say which tokenizer made them, how, and how many images they hold.

    \b
    Example:
      seed tokens info tokens/
    """
    from seedcli.workflows.documents import inspect as tokens

    console.result(tokens.info(shards))


@app.command()
def head(
    shards: ShardsArgument,
    number: Annotated[int, Option("How many images to show.", "-n", min=1)] = 5,
) -> None:
    """Show the first images: source, codes, caption.

    \b
    Example:
      seed tokens head tokens/ -n 3
      seed tokens head tokens/ -n 1 | seed detokenize -o first.png
    """
    from seedcli.workflows.documents import inspect as tokens

    for record in tokens.head(shards, number):
        console.result(record)


@app.command()
def verify(shards: ShardsArgument) -> None:
    """Read every row and report what is wrong; exit code 3 if anything is.

    \b
    Example:
      seed tokens verify tokens/
    """
    from seedcli.workflows.documents import inspect as tokens

    report = tokens.verify(shards, reporter=console)
    console.result(report)
    if report["problems"]:
        raise DataError(
            "; ".join(report["problems"][:10]),
            remedy="Make the shards again with seed tokenize, or leave the damaged ones out.",
        )


@app.command()
def stats(shards: ShardsArgument, page: PageOption = None) -> None:
    """Count how the codebook is used.

    \b
    Examples:
      seed tokens stats tokens/
      seed tokens stats tokens/ --page codebook.html
    """
    from seedcli.workflows.documents import inspect as tokens

    console.result(tokens.stats(shards, page=page, reporter=console))


@app.command()
def merge(
    shards: ShardsArgument,
    output: Annotated[
        Path,
        Option("A .parquet file, or a folder with --shard-size.", "-o", metavar="OUT"),
    ],
    shard_size: Annotated[int | None, Option("Images in each shard of the folder.", min=1)] = None,
) -> None:
    """Join shards of one tokenizer; two fingerprints are refused.

    \b
    Example:
      seed tokens merge tokens/ -o all.parquet
    """
    from seedcli.workflows.documents import inspect as tokens

    console.result(tokens.merge(shards, output, shard_size=shard_size, reporter=console))
