"""Options of the benchmarks that ask a language model: whom, in which words, and how
its answers are written.
"""

from pathlib import Path
from typing import Annotated, Literal

import typer

AskTemplateOption = Annotated[
    Literal["vicuna", "llama-2", "own", "plain"] | None,
    typer.Option(
        "--template",
        help="How questions are written; default: as the model was taught. plain: no conversation, "
        "as pretrained.",
    ),
]
PromptOption = Annotated[
    str | None,
    typer.Option(
        "--prompt",
        metavar="TEXT",
        help="What follows the picture; default: the words of the published protocol.",
    ),
]
BeamsOption = Annotated[
    int, typer.Option("--beams", min=1, help="Beams of beam search; 1 is none.")
]
TemperatureOption = Annotated[
    float, typer.Option("--temperature", min=0.0, help="0 takes the likeliest token.")
]
TopKOption = Annotated[
    int | None,
    typer.Option(
        "--top-k",
        min=0,
        help="With a temperature: only so many likeliest tokens; 0: all. Default: the model's.",
    ),
]
TopPOption = Annotated[
    float,
    typer.Option(
        "--top-p", min=0.0, max=1.0, help="With a temperature: the likeliest of this probability."
    ),
]
MaxTokensOption = Annotated[int, typer.Option("--max-new-tokens", min=1, help="Longest answer.")]
CutOption = Annotated[
    Literal["phrase", "line", "whole"],
    typer.Option(
        "--cut",
        help="What of an answer is scored: its first line without the final period, the "
        "first line, or all.",
    ),
]
QuestionRootOption = Annotated[
    Path | None,
    typer.Option("--data-root", metavar="DIR", help="Where named sets lie; none is downloaded."),
]
