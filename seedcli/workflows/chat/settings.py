"""What a conversation is opened with."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

from seedcli.errors import DataError, UsageError
from seedcli.models.visual.config import MAX_GUIDANCE
from seedcli.models.weights.llm_description import TemplateName
from seedcli.options import (
    PICTURES,
    WHERE,
    DeviceOption,
    DtypeOption,
    LanguageModelOption,
    Option,
    PictureGuidanceOption,
    PictureStepsOption,
    QuantizeOption,
    TokenizerOption,
    UnconstrainedOption,
    Without,
)
from seedcli.workflows.sampling import SamplingOptions

UNCONDITIONAL = "unconditional"


@dataclass(frozen=True, kw_only=True)
class PictureSettings:
    """How pictures are read and drawn.

    Without an `output` no picture is kept in a file. Tokenizer and decoder compute where the
    language model does unless `device` says otherwise; `dtype` is the picture decoder's, `auto`
    float16 on a GPU, else float32.
    """

    output: Annotated[
        Path | None,
        Option(
            "Folder of drawn pictures: 0.png, 1.png, ...; none is replaced.",
            "-o",
            metavar="DIR",
            panel=PICTURES,
        ),
    ] = None
    steps: PictureStepsOption = None
    guidance: PictureGuidanceOption = None
    device: str | None = None
    dtype: str = "auto"
    offload: Annotated[
        bool,
        Option("Keep tokenizer and picture decoder off the GPU between turns.", panel=WHERE),
    ] = False

    def __post_init__(self) -> None:
        if self.guidance is not None and not 1 <= self.guidance <= MAX_GUIDANCE:
            raise UsageError(f"--picture-guidance is {self.guidance}, expected 1 to {MAX_GUIDANCE}")


def _negative(source: str) -> str:
    """A file is looked for now, before the command imports torch.

    Raises:
        DataError: It is not there.
    """
    if source != UNCONDITIONAL and not Path(source).expanduser().exists():
        raise DataError(
            f"--negative {source}: no such file",
            remedy=f"seed tokenize PICTURE > {source} makes one; or --negative {UNCONDITIONAL}",
        )
    return source


@dataclass(frozen=True, kw_only=True)
class ChatSettings:
    """What a conversation is opened with."""

    model: LanguageModelOption = "seed-nano"
    tokenizer: TokenizerOption = None
    template: Annotated[
        TemplateName | None,
        Option(
            "How the conversation is written; by default as the model was taught. own: its chat "
            "template."
        ),
    ] = None
    sampling: SamplingOptions = field(default_factory=SamplingOptions)
    constrained: UnconstrainedOption = True
    words_first: Annotated[
        bool | None,
        Option(
            "Whether an answer that must hold an image may begin with words; by default as suits "
            "the model.",
            "--words-first/--picture-first",
        ),
    ] = None
    draws: Annotated[
        bool,
        Option("Leave the images of answers as codes; needs no picture decoder.", "--codes"),
    ] = True
    pictures: Annotated[PictureSettings, Without("device dtype")] = field(
        default_factory=PictureSettings
    )
    negative: Annotated[
        str | None,
        Option(
            "Codes that pictures move away from; `unconditional`: what the model draws unasked.",
            metavar="FILE",
            panel=PICTURES,
            parse=_negative,
        ),
    ] = None
    device: DeviceOption = "auto"
    dtype: DtypeOption = "auto"
    quantize: QuantizeOption = None
