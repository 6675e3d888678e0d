"""What `seed detokenize` was asked for."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Literal

from seedcli.engine.engines import EngineChoice
from seedcli.errors import UsageError
from seedcli.options import (
    MAX_TOGETHER,
    RUNS,
    Argument,
    DeviceOption,
    DtypeOption,
    ForceOption,
    LimitOption,
    ModelOption,
    Option,
    SeedOption,
)

FIRST_CODES = "Pictures from their first codes"

Fill = Literal["mean", "llm"]


@dataclass(frozen=True, kw_only=True)
class DetokenizeRequest:
    """What `seed detokenize` was asked for: codes, and how they become pictures.

    `inputs` is one file or folder, `-` or nothing for standard input, or the integers themselves.
    Picture i is drawn with `seed + i`. `force` draws codes of another model, and replaces files
    that are not ours.
    """

    inputs: Annotated[
        tuple[str, ...],
        Argument(
            "JSON Lines or token text, parquet, a shard folder, or 32 integers; else stdin.",
            metavar="INPUT",
        ),
    ] = ()
    output: Annotated[
        Path | None,
        Option(
            "A .png for one image, a folder for many (named after their sources).",
            "-o",
            metavar="PATH",
        ),
    ] = None
    model: ModelOption = "seed-nano"
    steps: Annotated[
        int | None, Option("Denoising steps; default: the model's.", min=1, max=1000)
    ] = None
    guidance: Annotated[
        float | None,
        Option("How closely to follow the codes; 1 is none; default: the model's.", min=1.0),
    ] = None
    seed: SeedOption = 0
    negative: Annotated[
        Path | None,
        Option(
            "Codes of an image to move away from: one for all, or one for each.", metavar="FILE"
        ),
    ] = None
    codes_only: Annotated[
        int | None,
        Option("Keep the first K codes, fill the others.", metavar="K", min=0, panel=FIRST_CODES),
    ] = None
    fill: Annotated[
        Fill | None,
        Option(
            "What fills them: the mean code vector of each position (default), or a language "
            "model.",
            panel=FIRST_CODES,
        ),
    ] = None
    llm: Annotated[
        str | None,
        Option(
            "Language model of --fill llm; default: the one that belongs to --model.",
            metavar="MODEL",
            complete="language_models",
            panel=FIRST_CODES,
        ),
    ] = None
    batch_size: Annotated[int, Option("Images drawn together.", "-b", min=1, max=MAX_TOGETHER)] = 8
    limit: LimitOption = None
    resume: Annotated[
        bool, Option("Keep the pictures that this command has drawn before.", panel=RUNS)
    ] = False
    force: ForceOption = False
    device: DeviceOption = "auto"
    dtype: DtypeOption = "auto"
    engine: EngineChoice = field(default_factory=EngineChoice)

    def checked_output(self) -> Path:
        """Where pictures go.

        Raises:
            UsageError: Nowhere, or options that do not go together.
        """
        if self.output is None:
            raise UsageError(
                "-o says where pictures go", remedy="-o out.png for one image, -o DIR for many"
            )
        if self.fill is not None and self.codes_only is None:
            raise UsageError(
                "--fill has no effect without --codes-only",
                remedy="--codes-only 16 keeps the first 16 codes",
            )
        if self.llm is not None and self.fill != "llm":
            raise UsageError(
                "--llm has no effect without --fill llm",
                remedy="--codes-only 16 --fill llm completes the first 16 codes",
            )
        return self.output
