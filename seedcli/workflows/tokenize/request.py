"""What `seed tokenize` was asked for, checked before anything is read."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from seedcli.data.images.items import Columns, ImageHandling
from seedcli.engine.engines import EngineChoice, Place, cores
from seedcli.errors import DataError, UsageError
from seedcli.models.visual.config import Numerics
from seedcli.models.weights.cache import cache_folder
from seedcli.options import (
    RUNS,
    Argument,
    BatchSizeOption,
    DecodersOption,
    DeviceOption,
    DtypeOption,
    ForceOption,
    LimitOption,
    ModelOption,
    Option,
    ResumeOption,
    WorkOption,
)
from seedcli.storage import as_place, is_url, refusals_named, remove_folder

if TYPE_CHECKING:
    from seedcli.data.images.items import Container, Item
    from seedcli.data.tokens.job import PlannedShard

FEW_IMAGES = 16  # up to here decoding in this process is over before workers are up
MAX_WORKERS = 8


@dataclass(frozen=True, kw_only=True)
class TokenizeRequest:
    """What `seed tokenize` was asked for.

    `inputs` may be empty where a manifest exists (`resume`, `retry_failed`); without an `output`
    the codes are a `stream`. Inputs that are fewer than `batch_size` run in one pass of their own
    size. `work` lies on each machine that computes, under the same name.
    """

    inputs: Annotated[
        tuple[str, ...],
        Argument(
            "Images, videos, folders, globs, - for paths on stdin, .tar shards with {000..127} "
            "ranges, parquet, or a folder saved by datasets; addresses (s3://, gs://, hf://, "
            "https://) too.",
            metavar="INPUT",
        ),
    ] = ()
    output: Annotated[
        Path | None,
        Option(
            "A .jsonl or .parquet file (.txt for token text), or a folder of token shards; an "
            "address (s3://, gs://, hf://) does as well.",
            "-o",
            metavar="OUT",
            parse=as_place,
        ),
    ] = None
    output_format: Annotated[
        Literal["json", "tokens"],
        Option("JSON Lines, or token text: <img>...</img>.", "--format"),
    ] = "json"
    model: ModelOption = "seed-nano"
    image_handling: Annotated[
        ImageHandling,
        Option(
            "official ignores EXIF, drops alpha and saturates 16-bit, as the official code; for "
            "matching its codes."
        ),
    ] = "seed"
    numerics: Annotated[
        Numerics,
        Option(
            "official-fp16 computes as the official script does on a GPU; not run on a GPU so far."
        ),
    ] = "default"
    device: DeviceOption = "auto"
    dtype: DtypeOption = "auto"
    batch_size: BatchSizeOption = 32
    workers: DecodersOption = None
    engine: EngineChoice = field(default_factory=EngineChoice)
    work: WorkOption = None
    limit: LimitOption = None
    shard_size: Annotated[
        int,
        Option("Images in a token shard, where the input is no shard itself.", min=1),
    ] = 10_000
    image_column: Annotated[
        str | None, Option("Column of a table that holds the image; found by its type.")
    ] = None
    text_column: Annotated[
        str | None,
        Option(
            "Column of a table, or field of a tar's JSON, that holds the caption; found by its "
            "name."
        ),
    ] = None
    frames: Annotated[
        int | None,
        Option("Frames of each video, uniformly spaced; 4 where nothing is said.", min=1),
    ] = None
    resume: ResumeOption = False
    retry_failed: Annotated[
        bool,
        Option(
            "Only what errors.jsonl in -o DIR names; what succeeds goes to NAME.retry-001.parquet.",
            panel=RUNS,
        ),
    ] = False
    overwrite: Annotated[
        bool, Option("Replace the file that -o names, if there is one.", panel=RUNS)
    ] = False
    force: ForceOption = False

    @property
    def columns(self) -> Columns:
        """Of tables."""
        return Columns(self.image_column, self.text_column)

    @property
    def writes_shards(self) -> bool:
        """Whether the output is a folder of shards; any path without a known ending is."""
        return self.output is not None and self.output.suffix not in (".jsonl", ".txt", ".parquet")

    @property
    def workspace(self) -> Path:
        """Where the state of the run is kept: with a folder of shards, so that others find it; a
        single file's beside it, or on this machine where that is an address.
        """
        if self.writes_shards:
            return self.output / ".seed"
        if self.work is not None or is_url(self.output):
            return self.work_folder
        return self.output.with_name(self.output.name + ".unfinished")

    @property
    def work_folder(self) -> Path:
        """Where journals are kept, always on the machine that computes."""
        if self.work is None and not is_url(self.output):
            return self.workspace
        place = str(self.output) if is_url(self.output) else os.path.abspath(self.output)
        digest = hashlib.sha256(place.encode()).hexdigest()[:16]
        return (self.work or cache_folder() / "work") / f"{self.output.name}-{digest}"

    def journal_path(self, shard: PlannedShard) -> Path:
        """Where a shard's journal is or would be."""
        return self.work_folder / f"{shard.name}.journal"

    @property
    def errors_path(self) -> Path:
        """The file that names every failed input."""
        if self.writes_shards:
            return self.output / "errors.jsonl"
        return self.output.with_suffix(".errors.jsonl")

    def shard_path(self, shard: PlannedShard) -> Path | None:
        """Where a shard goes, None where the output is one file."""
        return self.output / f"{shard.name}.parquet" if self.writes_shards else None

    def workers_for(self, num_items: int | None, place: Place | None = None) -> int:
        """Decoding processes: as asked for, else by the number of images and cores. Where others
        compute beside this process there is always one, so that an image that ends its decoder
        costs itself and not its part.
        """
        if self.workers is not None:
            return self.workers
        if place is not None and not place.alone:
            return min(place.cores, MAX_WORKERS)
        if num_items is not None and num_items <= FEW_IMAGES:
            return 0
        return min(cores(), MAX_WORKERS)

    def check(self) -> None:
        """Refuses what cannot be meant.

        Raises:
            UsageError: Options that do not go together.
        """
        output, wants_text = self.output, self.output_format == "tokens"
        suffix = output.suffix if output is not None else None
        refused = (
            (
                suffix in (".json", ".csv", ".tsv", ".png", ".jpg", ".tar", ".zip"),
                f"-o {output}: nothing can be written as {suffix}",
                "Endings: .jsonl .txt .parquet; or a folder.",
            ),
            (
                self.writes_shards and wants_text,
                "a folder of shards holds integers, not token text",
                "Leave out --format tokens, or say -o codes.txt",
            ),
            (
                suffix == ".txt" and not wants_text,
                f"-o {output}: a .txt file holds token text",
                "Add --format tokens, or name it .jsonl",
            ),
            (
                suffix == ".parquet" and wants_text,
                "a parquet file holds integers, not token text",
                "Leave out --format tokens, or say -o codes.txt",
            ),
            (
                self.retry_failed and not self.writes_shards,
                "--retry-failed works on a folder of shards",
                "Say -o DIR, the folder that holds errors.jsonl",
            ),
            (
                self.overwrite and (output is None or self.writes_shards),
                "--overwrite replaces a file, and -o names none",
                "Leave it out; --resume continues a folder of shards.",
            ),
            (
                self.resume and output is None,
                "--resume needs an output to continue",
                "Say -o FILE or -o DIR",
            ),
        )
        for is_so, message, remedy in refused:
            if is_so:
                raise UsageError(message, remedy=remedy)
        self.engine.check()
        if not self.writes_shards and not (
            self.engine.is_this_process and self.engine.part.is_whole
        ):
            raise UsageError(
                "--nproc, --ray and --part share out shards",
                remedy="Say -o DIR for a folder of shards",
            )


def check_place(
    request: TokenizeRequest,
    stdin: Iterable[str],
    entries: Iterable[Item | Container] | None = None,
    *,
    on_passed_over: Callable[[str], None] | None = None,
) -> Iterator[Item | Container]:
    """What can be refused before a model is loaded; returns the listing of
    the inputs, not begun.
    """
    from seedcli.data.images.inputs import list_inputs  # Pillow; the parser need not wait for it

    with refusals_named(request.output):
        manifest = request.workspace / "manifest.json"
        # tasks that share out a folder find the manifest of the first of them
        joins = request.resume or request.retry_failed or not request.engine.part.is_whole
        if manifest.exists() and not joins:
            if request.writes_shards:
                raise DataError(
                    f"{request.output} holds a run of seed tokenize already",
                    remedy="--resume continues it; or name another folder with -o.",
                )
            if not request.force:
                raise DataError(
                    f"an interrupted run left {request.workspace}",
                    remedy="--resume continues it, --force starts over.",
                )
            remove_folder(request.workspace)
        if manifest.exists() and not (request.force and not request.writes_shards):
            return iter(())
        if request.retry_failed:
            raise DataError(
                f"{request.output} holds no run of seed tokenize to retry",
                remedy="Run it without --retry-failed first.",
            )
        if (
            request.writes_shards
            and not manifest.exists()
            and any(request.output.glob("*.parquet"))
        ):
            raise DataError(
                f"{request.output} holds parquet files that this command did not plan",
                remedy="Name a new folder with -o.",
            )
        if not request.writes_shards and request.output.is_dir():
            raise DataError(
                f"{request.output} is a folder",
                remedy="Name a file, or a folder without an ending.",
            )
        if not (request.writes_shards or request.overwrite or joins) and request.output.exists():
            raise DataError(
                f"{request.output} exists",
                remedy="--overwrite replaces it; or name another file with -o.",
            )
    if entries is not None:
        return iter(entries)
    return list_inputs(request.inputs, stdin, on_passed_over=on_passed_over)
