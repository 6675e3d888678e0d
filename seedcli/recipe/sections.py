"""What every recipe section is made of, and the sections that both kinds of training share.
Torch-free.

How to add a stage:

1. A section is a class derived from `Strict`. A field that changes results has no default:
   `learning_rate: float = setting("...", gt=0)`. A comfort field (how often to log, how many
   workers) says so: `log_every_steps: int = comfort(10, "...", ge=1)`. Every field has a
   description, with its unit. A choice is a `Literal`.
2. A stage is a class derived from `Recipe`, with `stage: Literal["its-name"] = setting("...")`, the
   command that runs it as a class variable (`command: ClassVar[str] = "train-tokenizer"`), and its
   sections as fields. Shared sections are shared classes.
3. Name it in `STAGES` of `recipe/stages.py`. Rules that span fields are pydantic
   `model_validator(mode="after")` methods that raise ValueError with what was found
   and what was expected.
"""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, PrivateAttr, model_validator


class Strict(BaseModel):
    """A recipe section: unknown keys and wrong types are errors, nothing is coerced,
    nothing changes afterwards.
    """

    model_config = ConfigDict(
        strict=True, extra="forbid", frozen=True, allow_inf_nan=False, protected_namespaces=()
    )

    @model_validator(mode="after")
    def _fits_a_machine(self) -> Self:
        """Integers that no generator and no array takes."""
        for name, value in self:
            if type(value) is int and not -(1 << 63) <= value < 1 << 63:
                raise ValueError(f"{name} is an integer of {len(str(value))} digits, expected 18")
        return self


class Recipe(Strict):
    """A whole recipe: one stage of one command. `origins` says for every leaf
    where its value came from.
    """

    command: ClassVar[str]

    stage: str

    _origins: dict[str, str] = PrivateAttr(default_factory=dict)
    _name: str = PrivateAttr(default="")

    @property
    def origins(self) -> dict[str, str]:
        """Dotted path of every leaf -> "default", "FILE:LINE" or "command line"."""
        return self._origins

    @property
    def name(self) -> str:
        """The recipe's file name without suffix; empty for a recipe that was made in Python."""
        return self._name


# AdamW's moment decay rate; from 1 on its moments never settle.
DecayRate = Annotated[float, Field(ge=0, lt=1)]
MAX_LEARNING_RATE = 100.0  # 1e38 overflows with the first update, and the message would be NaN's


def setting(description: str, **constraints: Any) -> Any:
    """A required field: it changes results, so each recipe states it. `constraints` are pydantic's
    (gt, ge, lt, le, min_length, ...).
    """
    return Field(description=description, **constraints)


def comfort(default: Any, description: str, **constraints: Any) -> Any:
    """A field that changes no result and therefore may have a default."""
    return Field(
        default=default, description=description, json_schema_extra={"comfort": True}, **constraints
    )


class AdamWSection(Strict):
    """AdamW, its schedule and its length; what a batch is belongs to the kind of training."""

    steps: int = setting("number of optimizer updates", ge=1)
    learning_rate: float = setting("peak learning rate", gt=0, le=MAX_LEARNING_RATE)
    min_learning_rate: float = setting("where the cosine ends", ge=0, le=MAX_LEARNING_RATE)
    warmup_steps: int = setting("updates of linear warm-up", ge=0)
    schedule: Literal["cosine", "constant"] = setting(
        "course of the learning rate after the warm-up"
    )
    betas: tuple[DecayRate, DecayRate] = setting("AdamW's moment decay rates")
    adam_epsilon: float = setting("AdamW's epsilon", gt=0)
    gradient_clip: float = setting("largest gradient norm; 0 turns clipping off", ge=0)


class ProcessesSection(Strict):
    """How one update is spread over processes."""

    engine: Literal["ddp", "deepspeed"] = comfort(
        "ddp", "what averages gradients; one process needs neither"
    )
    offload_optimizer: bool = comfort(
        False, "DeepSpeed keeps optimizer moments in the host's memory"
    )
    precision: Literal["fp32", "bf16", "fp16"] = comfort(
        "fp32", "autocast type of the forward pass; master weights stay fp32"
    )
    device: Literal["auto", "cpu"] = comfort("auto", "auto takes a GPU where there is one")
    compile: bool = comfort(
        False,
        "torch.compile of the layers that learn: faster, after a minute or two at the start; needs "
        "a C++ compiler, or a GPU",
    )


class CheckpointsSection(Strict):
    """What a run writes, and when; nothing here changes results."""

    checkpoint_every_steps: int = comfort(500, "updates between checkpoints", ge=1)
    keep_checkpoints: int = comfort(2, "newest checkpoints to keep", ge=1)
    tracker: Literal["none", "tensorboard", "wandb", "trackio"] = comfort(
        "none",
        "who else gets what metrics.jsonl gets; tensorboard: files in the run folder, for "
        "tensorboard --logdir",
    )
    loader_workers: int = comfort(
        0, "processes a rank that read and prepare ahead; 0: in the training process", ge=0
    )
