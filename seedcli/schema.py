"""Every recipe section as a strict model. Torch-free.

How to add a stage:

1. A section is a class derived from `Strict`. A field that changes results has no default: `learning_rate: float = setting("...", gt=0)`.
   A comfort field (how often to log, how many workers) says so: `log_every_steps: int = comfort(10, "...", ge=1)`. Every field has a
   description, with its unit. A choice is a `Literal`.
2. A stage is a class derived from `Recipe`, with `stage: Literal["its-name"] = setting("...")`, the command that runs it as a class variable
   (`command: ClassVar[str] = "train-tokenizer"`), and its sections as fields. Shared sections are shared classes.
3. Name it in `STAGES` at the end of this file. Rules that span fields are pydantic `model_validator(mode="after")` methods that raise
   ValueError with what was found and what was expected.
"""

from __future__ import annotations

from typing import Any, ClassVar

from pydantic import BaseModel, ConfigDict, Field, PrivateAttr


class Strict(BaseModel):
    """A recipe section: unknown keys and wrong types are errors, nothing is coerced, nothing changes afterwards."""

    model_config = ConfigDict(strict=True, extra="forbid", frozen=True, allow_inf_nan=False, protected_namespaces=())


class Recipe(Strict):
    """A whole recipe: one stage of one command. `origins` says for every leaf where its value came from."""

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


def setting(description: str, **constraints: Any) -> Any:
    """A required field: it changes results, so each recipe states it. `constraints` are pydantic's (gt, ge, lt, le, min_length, ...)."""
    return Field(description=description, **constraints)


def comfort(default: Any, description: str, **constraints: Any) -> Any:
    """A field that changes no result and therefore may have a default."""
    return Field(default=default, description=description, json_schema_extra={"comfort": True}, **constraints)


STAGES: dict[str, type[Recipe]] = {}
