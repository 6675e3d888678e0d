"""What a user may say of how a language model chooses its tokens."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Annotated, Any

from seedcli.options import Option

SAMPLING = "How tokens are chosen"


@dataclass(frozen=True, kw_only=True)
class SamplingOptions:
    """Settings of `SamplingSettings`; what is None is left to the model."""

    temperature: Annotated[
        float | None,
        Option("0: the likeliest token. Default: the model's.", min=0.0, panel=SAMPLING),
    ] = None
    top_k: Annotated[
        int | None,
        Option(
            "Only so many likeliest tokens; 0: all. Default: the model's.", min=0, panel=SAMPLING
        ),
    ] = None
    top_p: Annotated[
        float | None,
        Option("Likeliest tokens of this probability together.", min=0.0, max=1.0, panel=SAMPLING),
    ] = None
    num_beams: Annotated[
        int | None,
        Option(
            "Beams of beam search; words then come all at once.",
            "--beams",
            min=1,
            panel=SAMPLING,
        ),
    ] = None
    max_new_tokens: Annotated[
        int | None,
        Option(
            "Longest answer; an image is 34 tokens for 32 codes, and never cut.",
            min=1,
            panel=SAMPLING,
        ),
    ] = None
    code_guidance: Annotated[
        float | None,
        Option(
            "How closely image codes follow the words of the request (classifier-free "
            "guidance); 1: no more than by themselves. Default: the model's.",
            min=1.0,
            panel=SAMPLING,
        ),
    ] = None
    seed: Annotated[
        int | None,
        Option(
            "Seed of the first answer and its first picture; then counting up.",
            min=0,
            panel=SAMPLING,
        ),
    ] = None

    def given(self) -> dict[str, Any]:
        """Those that were named."""
        return {
            name: value for name, value in dataclasses.asdict(self).items() if value is not None
        }
