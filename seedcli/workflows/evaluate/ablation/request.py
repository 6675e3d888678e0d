"""What `seed eval ablation` was asked for: which two models, and how they are compared."""

from __future__ import annotations

import functools
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Annotated, Literal

from seedcli.engine.engines import EngineChoice
from seedcli.errors import UsageError
from seedcli.options import DeviceOption, DtypeOption, Option, Without
from seedcli.workflows.evaluate.fields import JudgedFields, RunFields, SetFields
from seedcli.workflows.sampling import SamplingOptions

if TYPE_CHECKING:
    from seedcli.models.language.generate import SamplingSettings

MAX_NEW_TOKENS = 120  # AILab-CVC/SEED@93b3cf4:MultiModalLLM/eval/eval_caption_to_images.py
PREFIXES = "Pictures from their first codes"


def _numbers(option: str, text: str) -> tuple[int, ...]:
    """`0,1,2` -> numbers, each once.

    Raises:
        UsageError: It is no such list.
    """
    try:
        numbers = tuple(dict.fromkeys(int(each) for each in text.split(",")))
    except ValueError:
        numbers = (-1,)
    if min(numbers) < 0:
        raise UsageError(
            f"{option} {text}: expected whole numbers from 0 on with commas between them",
            remedy=f"{option} 0,1,2",
        )
    return numbers


@dataclass(frozen=True, kw_only=True)
class AblationRequest(JudgedFields, RunFields, SetFields):
    """What `seed eval ablation` was asked for: `causal` and `bilateral` masks, `lora` alone or with
    a full phase, or pictures from prefixes of their codes.
    """

    causal: Annotated[
        str | None,
        Option(
            "Language model of a causal tokenizer; with --prefix also a tokenizer alone.",
            metavar="MODEL",
            complete="models",
        ),
    ] = None
    bilateral: Annotated[
        str | None,
        Option("The same of its bilateral twin.", metavar="MODEL", complete="models"),
    ] = None
    lora: Annotated[
        str | None,
        Option(
            "Compare this language model, trained by LoRA alone, with that of --full.",
            metavar="MODEL",
            complete="language_models",
        ),
    ] = None
    full: Annotated[
        str | None,
        Option(
            "Language model with a full phase after its LoRA phase.",
            metavar="MODEL",
            complete="language_models",
        ),
    ] = None
    prefix: Annotated[
        bool, Option("How much of a picture do its first K codes hold?", panel=PREFIXES)
    ] = False
    lengths: Annotated[
        tuple[int, ...] | None,
        Option(
            "Values of K; default: 1, 2, 4, 8, 16, 24 and all.",
            metavar="K,K,...",
            panel=PREFIXES,
            parse=functools.partial(_numbers, "--lengths"),
        ),
    ] = None
    every: Annotated[bool, Option("Every K from 1 to all.", panel=PREFIXES)] = False
    seeds: Annotated[
        tuple[int, ...] | None,
        Option(
            "Seeds of generation; default: 0,1,2, with --prefix 0.",
            metavar="N,N,...",
            parse=functools.partial(_numbers, "--seeds"),
        ),
    ] = None
    sampling: Annotated[SamplingOptions, Without("num_beams max_new_tokens code_guidance seed")] = (
        field(default_factory=SamplingOptions)
    )
    decoder: Annotated[
        str | None,
        Option(
            "Whose picture decoder draws for both; default: that of --causal or --full.",
            metavar="MODEL",
            complete="tokenizers",
        ),
    ] = None
    device: DeviceOption = "auto"
    dtype: DtypeOption = "auto"
    engine: Annotated[EngineChoice, Without("part")] = field(default_factory=EngineChoice)

    @property
    def kind(self) -> Literal["masks", "lora", "prefix"]:
        """Which of the ablations."""
        return "prefix" if self.prefix else "lora" if self.lora else "masks"

    @property
    def all_seeds(self) -> tuple[int, ...]:
        """Every caption is answered, or every picture drawn, once with each of these."""
        return self.seeds or ((0,) if self.prefix else (0, 1, 2))

    def choice(self) -> SamplingSettings:
        """How tokens are chosen, but for the seed.

        Raises:
            UsageError: A setting is out of range, or asks for beams, which
                have no seed of their own.
        """
        from seedcli.models.language.generate import SamplingSettings

        chosen = SamplingSettings(**{"max_new_tokens": MAX_NEW_TOKENS} | self.sampling.given())
        if chosen.num_beams > 1:
            raise UsageError(
                "seeds of single captions and beams do not go together", remedy="--beams 1"
            )
        return chosen

    def check(self) -> None:
        """Refuses options of which one would have no effect.

        Raises:
            UsageError: There are such.
        """
        if not self.engine.part.is_whole:
            raise UsageError(
                f"--part {self.engine.part}: an ablation compares whole runs",
                remedy="--nproc N or --ray share out its answers",
            )
        if (self.lora or self.full) and (self.prefix or self.causal or self.bilateral):
            raise UsageError(
                "--lora and --full are one ablation, --causal, --bilateral and --prefix another",
                remedy="one of them at a time",
            )
        if (self.lora is None) != (self.full is None):
            raise UsageError(
                f"--{'lora' if self.lora else 'full'} alone compares nothing",
                remedy="--lora MODEL --full MODEL; seed pretrain nano-lora-only trains the first, "
                "seed pretrain nano-pretrain the second",
            )
        if self.kind == "masks" and not (self.causal and self.bilateral):
            raise UsageError(
                f"--{'bilateral' if self.causal else 'causal'} is missing: two language models "
                "are compared",
                remedy="--causal MODEL --bilateral MODEL; recipes nano-pretrain and "
                "nano-bilateral-pretrain train them, see seed recipes ls",
            )
        if not self.prefix and (self.lengths or self.every):
            raise UsageError(
                f"{'--lengths' if self.lengths else '--every'} has no effect without --prefix",
                remedy="--prefix",
            )
        if self.lengths and self.every:
            raise UsageError(
                "--every is every K, so --lengths has no effect", remedy="leave one of them out"
            )
        if self.prefix and self.sampling.given():
            raise UsageError(
                "with --prefix the language model chooses as its folder advises",
                remedy="leave --temperature, --top-k and --top-p out",
            )
