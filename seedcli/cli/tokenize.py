"""`seed tokenize`: images -> codes."""

import sys
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from seedcli.cli.options import (
    ActorsOption,
    BatchSizeOption,
    DeviceOption,
    DryRunOption,
    DtypeOption,
    ForceOption,
    LimitOption,
    ModelOption,
    NprocOption,
    PartOption,
    RayAddressOption,
    RayOption,
    ResumeOption,
    engine_choice,
)
from seedcli.console import console
from seedcli.errors import PartialFailure

SHOWN = 5  # failed inputs in the last line; each has had a line of its own, unless --quiet

InputsArgument = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="INPUT...",
        help="Images, videos, folders, globs, - for paths on stdin, .tar shards with "
        "{000..127} ranges, parquet, or a folder saved by datasets; addresses (s3://, gs://, "
        "hf://, https://) too.",
    ),
]
OutputOption = Annotated[
    str | None,
    typer.Option(
        "--output",
        "-o",
        metavar="OUT",
        help="A .jsonl or .parquet file (.txt for token text), or a folder of token shards; an "
        "address (s3://, gs://, hf://) does as well.",
    ),
]
WorkOption = Annotated[
    Path | None,
    typer.Option(
        "--work",
        metavar="DIR",
        help="Folder on this machine for what is computed of open shards; by default with the "
        "output.",
    ),
]
FormatOption = Annotated[
    Literal["json", "tokens"],
    typer.Option("--format", help="JSON Lines, or token text: <img><img_01335>...</img>."),
]
HandlingOption = Annotated[
    Literal["seed", "official"],
    typer.Option(
        "--image-handling",
        help="official ignores EXIF, drops alpha and saturates 16-bit, as the official code; for "
        "matching its codes.",
    ),
]
NumericsOption = Annotated[
    Literal["default", "official-fp16"],
    typer.Option(
        "--numerics",
        help="official-fp16 computes as the official script does on a GPU; not run "
        "on a GPU so far.",
    ),
]
WorkersOption = Annotated[
    int | None,
    typer.Option(
        "--workers",
        min=0,
        help="Processes that read and decode images, 0 for none, beside each one with a model; by "
        "default as many as cores, at most 8.",
    ),
]
ShardSizeOption = Annotated[
    int,
    typer.Option(
        "--shard-size", min=1, help="Images in a token shard, where the input is no shard itself."
    ),
]
RetryOption = Annotated[
    bool,
    typer.Option(
        "--retry-failed",
        help="Only what errors.jsonl in -o DIR names; what succeeds goes to "
        "NAME.retry-001.parquet.",
    ),
]
OverwriteOption = Annotated[
    bool, typer.Option("--overwrite", help="Replace the file that -o names, if there is one.")
]
ImageColumnOption = Annotated[
    str | None,
    typer.Option(
        "--image-column", help="Column of a table that holds the image; found by its type."
    ),
]
TextColumnOption = Annotated[
    str | None,
    typer.Option(
        "--text-column",
        help="Column of a table, or field of a tar's JSON, that holds the caption; "
        "found by its name.",
    ),
]
FramesOption = Annotated[
    int | None,
    typer.Option(
        "--frames", min=1, help="Frames of each video, uniformly spaced; 4 where nothing is said."
    ),
]


def tokenize(
    inputs: InputsArgument = None,
    output: OutputOption = None,
    output_format: FormatOption = "json",
    model: ModelOption = "seed-nano",
    image_handling: HandlingOption = "seed",
    numerics: NumericsOption = "default",
    device: DeviceOption = "auto",
    dtype: DtypeOption = "auto",
    batch_size: BatchSizeOption = 32,
    workers: WorkersOption = None,
    nproc: NprocOption = "1",
    ray: RayOption = False,
    ray_address: RayAddressOption = None,
    actors: ActorsOption = None,
    part: PartOption = None,
    work: WorkOption = None,
    limit: LimitOption = None,
    shard_size: ShardSizeOption = 10_000,
    image_column: ImageColumnOption = None,
    text_column: TextColumnOption = None,
    frames: FramesOption = None,
    resume: ResumeOption = False,
    retry_failed: RetryOption = False,
    overwrite: OverwriteOption = False,
    force: ForceOption = False,
    dry_run: DryRunOption = False,
) -> None:
    """Turn images, and frames of videos, into 32 codes each.

    \b
    Examples:
      seed tokenize photo.jpg
      seed tokenize photo.jpg | seed detokenize -o out.png
      seed tokenize photos/ -o codes.jsonl
      seed tokenize clip.mp4 --frames 8
      seed tokenize 'laion/{00000..00127}.tar' -o tokens/ --resume
    """
    from seedcli.data.images.inputs import Columns
    from seedcli.storage import as_place
    from seedcli.workflows.tokenize.request import TokenizeRequest
    from seedcli.workflows.tokenize.run import plan, run, stream

    request = TokenizeRequest(
        inputs=tuple(inputs or ()),
        output=None if output is None else as_place(output),
        work=work,
        output_format=output_format,
        model=model,
        device=device,
        dtype=dtype,
        numerics=numerics,
        image_handling=image_handling,
        batch_size=batch_size,
        workers=workers,
        limit=limit,
        shard_size=shard_size,
        columns=Columns(image_column, text_column),
        frames=frames,
        resume=resume,
        retry_failed=retry_failed,
        overwrite=overwrite,
        force=force,
        engine=engine_choice(nproc, ray, ray_address, actors, part),
    )
    if dry_run:
        console.result(plan(request, stdin=sys.stdin))
        return
    if output is not None:
        summary = run(request, stdin=sys.stdin, reporter=console)
        console.result(summary.as_result())
        if summary.failed:
            raise PartialFailure(
                f"{summary.failed} of {summary.images + summary.failed} images failed; "
                f"{summary.errors} names them",
                remedy="Try them again with --retry-failed." if request.writes_shards else None,
            )
        return
    total = failed = 0
    first_failed: list[str] = []
    with stream(request, stdin=sys.stdin, reporter=console) as codes:
        for outcome in codes.outcomes:
            total += 1
            if outcome.reason is not None:
                failed += 1
                first_failed += [outcome.source] if len(first_failed) < SHOWN else []
                console.warn(f"{outcome.source}: {outcome.reason}")
            elif output_format == "tokens":
                console.text(codes.token_text(outcome))
            else:
                console.result(codes.record(outcome), human=_listing)
    if failed:
        named = ", ".join(first_failed) + (f" and {failed - SHOWN} more" if failed > SHOWN else "")
        raise PartialFailure(f"{failed} of {total} images failed: {named}")


def _listing(record: dict[str, Any]) -> str:
    """For people: the name, and the codes beneath."""
    lines = [record["source"]]
    for frame in record.get("frames", [record]):
        codes = frame["codes"]
        lines += [f"  {frame['time_s']:.3f} s"] if "time_s" in frame else []
        rows = (codes[start : start + 16] for start in range(0, len(codes), 16))
        lines += ("  " + " ".join(f"{code:5d}" for code in row) for row in rows)
    return "\n".join(lines)
