"""`seed tokens`: tools for token shards."""

from pathlib import Path
from typing import Annotated

import typer

from seedcli.cli import completion
from seedcli.cli.options import (
    ActorsOption,
    BatchSizeOption,
    DeviceOption,
    DryRunOption,
    DtypeOption,
    LimitOption,
    ModelOption,
    NprocOption,
    RayAddressOption,
    RayOption,
    ResumeOption,
    engine_choice,
)
from seedcli.console import console
from seedcli.errors import DataError, PartialFailure

ShardsArgument = Annotated[
    list[Path],
    typer.Argument(metavar="SHARDS...", help="Token shards (.parquet), or folders of them."),
]

FormatArgument = Annotated[
    str,
    typer.Argument(
        metavar="FORMAT",
        help="Layout of a published set, or messages: see seed tokens formats.",
        autocompletion=completion.set_formats,
    ),
]
AnnotationsArgument = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="INPUT...",
        help="Its annotation files: .json, .jsonl, .csv, .parquet, .txt; also .gz, .zip.",
    ),
]
ShardsFolderOption = Annotated[
    Path, typer.Option("--output", "-o", metavar="DIR", help="Folder of token shards.")
]
ImagesOption = Annotated[
    list[Path] | None,
    typer.Option(
        "--images",
        metavar="DIR",
        help="Where pictures and videos (files, or folders of frames) lie; may be given again. "
        "Default: beside INPUT.",
    ),
]
CodesOption = Annotated[
    list[Path] | None,
    typer.Option(
        "--codes",
        metavar="SHARDS",
        help="Token shards of pictures (seed tokenize) that need no second time; may "
        "be given again.",
    ),
]
FramesOption = Annotated[
    int | None,
    typer.Option(
        "--frames", min=1, help="Frames of each video; by default 4 or 8, as its set has it."
    ),
]
WorkersOption = Annotated[
    int | None,
    typer.Option(
        "--workers",
        min=0,
        help="Processes that decode pictures, 0 for none; by default as many as cores, at most 8.",
    ),
]
ShardSizeOption = Annotated[
    int, typer.Option("--shard-size", min=1, help="Documents in a token shard.")
]

app = typer.Typer(
    help="Build token shards of documents, look into shards, check them, join them.",
    no_args_is_help=True,
)


@app.command()
def build(
    set_format: FormatArgument,
    inputs: AnnotationsArgument = None,
    *,
    output: ShardsFolderOption,
    images: ImagesOption = None,
    codes: CodesOption = None,
    model: ModelOption = "seed-nano",
    frames: FramesOption = None,
    device: DeviceOption = "auto",
    dtype: DtypeOption = "auto",
    batch_size: BatchSizeOption = 32,
    workers: WorkersOption = None,
    nproc: NprocOption = "1",
    ray: RayOption = False,
    ray_address: RayAddressOption = None,
    actors: ActorsOption = None,
    limit: LimitOption = None,
    shard_size: ShardSizeOption = 10_000,
    resume: ResumeOption = False,
    dry_run: DryRunOption = False,
) -> None:
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
    from seedcli.workflows.documents.build import BuildRequest, plan, run
    from seedcli.workflows.tokenize.outputs import TokenizeSummary

    request = BuildRequest(
        format=set_format,
        inputs=tuple(inputs or ()),
        output=output,
        images=tuple(images or ()),
        codes=tuple(codes or ()),
        model=model,
        device=device,
        dtype=dtype,
        batch_size=batch_size,
        workers=workers,
        engine=engine_choice(nproc, ray, ray_address, actors),
        frames=frames,
        limit=limit,
        shard_size=shard_size,
        resume=resume,
    )
    if dry_run:
        console.result(plan(request, reporter=console))
        return
    summary = run(request, reporter=console)
    console.result(summary.as_result())
    if isinstance(summary, TokenizeSummary):
        if summary.failed:
            raise PartialFailure(f"{summary.failed} images failed; {summary.errors} names them")
        return
    if summary.errors:
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
        console.result(record)


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
    number: Annotated[
        int, typer.Option("--number", "-n", min=1, help="How many images to show.")
    ] = 5,
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
def stats(shards: ShardsArgument) -> None:
    """Count how the codebook is used.

    \b
    Example:
      seed tokens stats tokens/
    """
    from seedcli.workflows.documents import inspect as tokens

    console.result(tokens.stats(shards, reporter=console))


@app.command()
def merge(
    shards: ShardsArgument,
    output: Annotated[
        Path,
        typer.Option(
            "--output", "-o", metavar="OUT", help="A .parquet file, or a folder with --shard-size."
        ),
    ],
    shard_size: Annotated[
        int | None, typer.Option("--shard-size", min=1, help="Images in each shard of the folder.")
    ] = None,
) -> None:
    """Join shards of one tokenizer; two fingerprints are refused.

    \b
    Example:
      seed tokens merge tokens/ -o all.parquet
    """
    from seedcli.workflows.documents import inspect as tokens

    console.result(tokens.merge(shards, output, shard_size=shard_size, reporter=console))
