"""`seed detokenize`: draw pictures from codes."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from seedcli.cli.options import (
    DeviceOption,
    DryRunOption,
    DtypeOption,
    ForceOption,
    LimitOption,
    ModelOption,
    SeedOption,
)
from seedcli.cli.terminal import ShowOption, shown_by
from seedcli.console import console

if TYPE_CHECKING:
    from seedcli.data.images.terminal import PictureProtocol

SHOWN = 4  # pictures that a terminal shows of one call; the others are only named


def detokenize(
    inputs: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="INPUT",
            help="JSON Lines or token text, parquet, a shard folder, or 32 integers; else stdin.",
        ),
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option(
            "--output",
            "-o",
            metavar="PATH",
            help="A .png for one image, a folder for many (named after their sources).",
        ),
    ] = None,
    model: ModelOption = "seed-nano",
    steps: Annotated[
        int | None,
        typer.Option("--steps", min=1, max=1000, help="Denoising steps; default: the model's."),
    ] = None,
    guidance: Annotated[
        float | None,
        typer.Option(
            "--guidance",
            min=1.0,
            help="How closely to follow the codes; 1 is none; default: the model's.",
        ),
    ] = None,
    seed: SeedOption = 0,
    negative: Annotated[
        Path | None,
        typer.Option(
            "--negative",
            metavar="FILE",
            help="Codes of an image to move away from: one for all, or one for each.",
        ),
    ] = None,
    codes_only: Annotated[
        int | None,
        typer.Option(
            "--codes-only", metavar="K", min=0, help="Keep the first K codes, fill the others."
        ),
    ] = None,
    fill: Annotated[
        Literal["mean", "llm"] | None,
        typer.Option(
            "--fill",
            help="What fills them: the mean code vector of each position (default), or a "
            "language model.",
        ),
    ] = None,
    llm: Annotated[
        str | None,
        typer.Option(
            "--llm",
            metavar="MODEL",
            help="Language model of --fill llm; default: the one that belongs to --model.",
        ),
    ] = None,
    batch_size: Annotated[
        int, typer.Option("--batch-size", "-b", min=1, help="Images drawn together.")
    ] = 8,
    limit: LimitOption = None,
    resume: Annotated[
        bool, typer.Option("--resume", help="Keep the pictures that this command has drawn before.")
    ] = False,
    force: ForceOption = False,
    show: ShowOption = "auto",
    dry_run: DryRunOption = False,
    device: DeviceOption = "auto",
    dtype: DtypeOption = "auto",
) -> None:
    """Draw pictures from codes, as `seed tokenize` printed them.

    Picture i is drawn with seed + i; its PNG carries the codes, the model and the seed
    that it was drawn from.

    \b
    Example:
      seed tokenize img.jpg | seed detokenize -o out.png
      seed detokenize codes.jsonl -o pictures --steps 20 --guidance 5
      seed detokenize codes.jsonl -o completed --codes-only 8 --fill llm
    """
    from seedcli.errors import UsageError
    from seedcli.workflows.detokenize.draw import draw
    from seedcli.workflows.detokenize.run import Settings, plan

    if output is None:
        raise UsageError(
            "-o says where pictures go", remedy="-o out.png for one image, -o DIR for many"
        )
    if fill is not None and codes_only is None:
        raise UsageError(
            "--fill has no effect without --codes-only",
            remedy="--codes-only 16 keeps the first 16 codes",
        )
    if llm is not None and fill != "llm":
        raise UsageError(
            "--llm has no effect without --fill llm",
            remedy="--codes-only 16 --fill llm completes the first 16 codes",
        )
    settings = Settings(
        model=model,
        steps=steps,
        guidance=guidance,
        seed=seed,
        negative=negative,
        codes_only=codes_only,
        fill=fill or "mean",
        llm=llm,
        batch_size=batch_size,
        force=force,
        resume=resume,
        limit=limit,
    )
    planned = plan(inputs or [], output, settings, stdin=sys.stdin.buffer, reporter=console)
    if dry_run:
        console.result(planned.summary())
        return
    people = not console.results_are_json
    for number, result in enumerate(draw(planned, device=device, dtype=dtype, reporter=console)):
        if people and number < SHOWN and (protocol := shown_by(show)):
            console.stream(_before_and_after(result, protocol))
        console.result(
            result,
            human=lambda result: (
                f"{result['output']}  seed {result['seed']}"
                + ("  (kept)" if "kept" in result else "")
            ),
        )


def _before_and_after(result: dict[str, Any], protocol: "PictureProtocol") -> str:
    """A drawn picture for a terminal, beside the one that its codes were made of where it is still
    there.
    """
    from seedcli.data.images.images import ImageError
    from seedcli.data.images.terminal import side_by_side, terminal_image

    source, drawn = result["source"], result["output"]
    try:
        pictures = side_by_side([drawn] if source is None else [source, drawn])
    except ImageError:  # the source is gone, or a row of a table
        pictures = side_by_side([drawn])
    return terminal_image(pictures, protocol)
