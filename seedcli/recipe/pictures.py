"""Recipe sections of pictures and of every stage that is trained on them. Torch-free."""

from __future__ import annotations

from typing import ClassVar, Literal

from pydantic import model_validator

from seedcli.recipe.sections import (
    AdamWSection,
    CheckpointsSection,
    ProcessesSection,
    Recipe,
    Strict,
    comfort,
    setting,
)

Cell = str | int | float | bool


class OptimizationSection(AdamWSection):
    """AdamW over batches of images."""

    batch_size: int = setting("images per update, all processes together", ge=1)
    weight_decay: float = setting(
        "AdamW's weight decay; biases, norms and vectors are exempt", ge=0
    )


class ParallelSection(ProcessesSection):
    """How one update is spread over processes."""

    zero_stage: Literal[0, 1, 2] = comfort(
        0,
        "DeepSpeed ZeRO: 1 shards optimizer moments, 2 gradients too; 3 is not offered, for no "
        "part here is too large for one device",
    )
    find_unused_parameters: bool = comfort(
        False, "ddp only: allow parameters that a step's loss does not reach"
    )


class RunSection(CheckpointsSection):
    """What a run writes, and when; nothing here changes results."""

    log_every_steps: int = comfort(20, "updates between lines of metrics.jsonl", ge=1)
    examine_every_steps: int = comfort(
        0,
        "updates between examinations of what is held out, a multiple of log_every_steps: figures, "
        "and a sheet of pictures in sheets/; 0: after the last update alone",
        ge=0,
    )

    @model_validator(mode="after")
    def _is_logged(self) -> RunSection:
        if self.examine_every_steps % self.log_every_steps:
            raise ValueError(
                f"examine_every_steps = {self.examine_every_steps}, expected a multiple of "
                f"log_every_steps = {self.log_every_steps}"
            )
        return self


class AugmentationSection(Strict):
    """Random views of a small picture: never mirrored."""

    rotation_deg: float = setting("largest angle to either side, degrees", ge=0, le=180)
    shift: float = setting("largest shift, share of the side", ge=0, le=0.5)
    scale: tuple[float, float] = setting("smallest and largest magnification")
    brightness: float = setting("largest relative change of brightness and of contrast", ge=0, lt=1)


class PicturesSection(Strict):
    """Pictures with their words: where they are, and which columns hold what."""

    path: str = setting(
        "`emoji` (comes with the package), or yours: folder, glob, .tar, .parquet, a set that "
        "`datasets` saved, or a hub id OWNER/NAME"
    )
    split: str = comfort("", "split of `emoji` or of a hub set")
    where: dict[str, Cell] = comfort({}, "rows whose columns have these values; empty: all rows")
    image_column: str = comfort("", "column that holds the picture; empty: found by type and name")
    caption_column: str = comfort(
        "",
        "column that holds the caption or a list of them; empty: found by name. In a folder "
        "NAME.txt holds it, else the words of file and folder names",
    )
    tags_column: str = comfort("", "column of further words: a list, or parted by commas")
    group_column: str = comfort(
        "",
        "pictures with one value here show one thing; empty: those that are described alike do",
    )


class PictureDataSection(PicturesSection):
    """Pictures to train on, held in memory at one size, and their random views."""

    image_size_px: int = setting("side of the square, pixels", ge=16)
    augmentation: AugmentationSection


class ValidationSection(Strict):
    """Pictures that no update sees; figures and a sheet of 24 of them go to the run folder. Either
    a share of the training data, or pictures of their own: columns are those of the data.
    """

    share: float = comfort(
        0.0, "of the groups, chosen by their names alone: all stages hold out the same", ge=0, lt=1
    )
    path: str = comfort("", "where they are; empty: where the training data are")
    split: str = comfort("", "split of `emoji` or of a hub set")
    where: dict[str, Cell] = comfort({}, "rows whose columns have these values")

    @model_validator(mode="after")
    def _says_one_thing(self) -> ValidationSection:
        if bool(self.share) == bool(self.path or self.split or self.where):
            raise ValueError(
                "expected either a share, e.g. 0.05, or pictures of their own: path, split, where"
            )
        return self


class FeaturesSection(Strict):
    """What the frozen networks make of pictures is computed once, or streamed."""

    source: Literal["cache", "stream"] = setting(
        "cache: a fixed number of augmented views is computed before training; stream: every step "
        "computes its own"
    )
    views: int = setting(
        "augmented views of each picture in the cache; unused when streaming", ge=1
    )
    batch_size: int = comfort(
        64, "pictures a forward pass of the frozen networks while the cache is written", ge=1
    )


class TokenizerRecipe(Recipe):
    """What every stage of the visual tokenizer and of its picture decoder has."""

    command: ClassVar[str] = "train-tokenizer"

    seed: int = setting("of weights, batches, views and noise", ge=0)
    validation: ValidationSection | None = comfort(
        None, "what is held out (of sources of kind `pictures`); none: nothing"
    )
    optimization: OptimizationSection
    parallel: ParallelSection = comfort(ParallelSection(), "how an update is spread over processes")
    run: RunSection = comfort(RunSection(), "what is written, and when")

    @property
    def lengths(self) -> dict[str, OptimizationSection]:
        """What the stage says of its length."""
        return {self.stage: self.optimization}
