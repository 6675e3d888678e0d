"""What `seed tokens build` was asked for."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

from seedcli.engine.engines import EngineChoice
from seedcli.options import (
    Argument,
    BatchSizeOption,
    DecodersOption,
    DeviceOption,
    DtypeOption,
    LimitOption,
    ModelOption,
    Option,
    ResumeOption,
    WorkOption,
)
from seedcli.storage import as_place, is_url
from seedcli.workflows.tokenize.request import TokenizeRequest


@dataclass(frozen=True, kw_only=True)
class BuildRequest:
    """What `seed tokens build` was asked for; `inputs` may be empty with `resume`."""

    format: Annotated[
        str,
        Argument(
            "Layout of a published set, or messages: see seed tokens formats.",
            metavar="FORMAT",
            complete="set_formats",
        ),
    ]
    inputs: Annotated[
        tuple[str, ...],
        Argument(
            "Its annotation files: .json, .jsonl, .csv, .parquet, .txt; also .gz, .zip.",
            metavar="INPUT",
        ),
    ] = ()
    output: Annotated[
        Path,
        Option(
            "Folder of token shards; an address (s3://, gs://, hf://) does as well.",
            "-o",
            metavar="DIR",
            parse=as_place,
        ),
    ]
    images: Annotated[
        tuple[str, ...],
        Option(
            "Where pictures and videos (files, or folders of frames) lie; may be given again. "
            "Default: beside INPUT.",
            metavar="DIR",
        ),
    ] = ()
    codes: Annotated[
        tuple[Path, ...],
        Option(
            "Token shards of pictures (seed tokenize) that need no second time; may be given "
            "again.",
            metavar="SHARDS",
        ),
    ] = ()
    model: ModelOption = "seed-nano"
    frames: Annotated[
        int | None,
        Option("Frames of each video; by default 4 or 8, as its set has it.", min=1),
    ] = None
    device: DeviceOption = "auto"
    dtype: DtypeOption = "auto"
    batch_size: BatchSizeOption = 32
    workers: DecodersOption = None
    engine: EngineChoice = field(default_factory=EngineChoice)
    work: WorkOption = None
    limit: LimitOption = None
    shard_size: Annotated[
        int, Option("Documents in a token shard; pictures in a part of the work.", min=1)
    ] = 10_000
    resume: ResumeOption = False

    @property
    def name(self) -> str:
        """Name of the output folder: of the shards, and of the set in the keys of documents."""
        return (self.output if is_url(self.output) else self.output.resolve()).name

    @property
    def workspace(self) -> Path:
        """Where the state of the run is kept."""
        return self.output / ".seed"

    @property
    def inline(self) -> Path:
        """Where pictures lie meanwhile that rows carry in themselves."""
        return self.workspace / "inline"

    @property
    def errors_path(self) -> Path:
        """The file that names every document that failed, and every picture
        that one goes without.
        """
        return self.output / "errors.jsonl"

    def pictures(self) -> TokenizeRequest:
        """The part that `seed tokenize` does."""
        return TokenizeRequest(
            output=self.workspace / "pictures",
            model=self.model,
            device=self.device,
            dtype=self.dtype,
            batch_size=self.batch_size,
            workers=self.workers,
            engine=self.engine,
            work=self.work,
            shard_size=self.shard_size,
            resume=True,
        )
