"""What the command line says of a request's fields.

A request is a frozen dataclass: what a verb was asked for, by a person or by a program. A field's
annotation carries an `Option` or an `Argument` (`Annotated[int, Option("Images in one pass")]`),
and `cli/signature.py` makes the parameters of the command from the fields. So an option is written
once: its name, type and default are the field's. What several requests share is an alias here.

This module imports nothing heavy, and neither does a module that holds a request: the parser is
built from them whenever `seed` starts.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal, get_args, get_origin

from seedcli.errors import DataError

# Panels of a help text; what names none stands among the first.
WHERE = "Where it computes"
PICTURES = "How pictures are drawn"
SHARED_OUT = "Many processes and machines"
RUNS = "Interrupted, failed and trial runs"


@dataclass(frozen=True)
class Option:
    """A field as `--name VALUE`.

    Attributes:
        help: One sentence for people.
        flags: Other names: `-m` stands beside `--FIELD-NAME`; where one of them begins with two
            dashes, all stand for it. `--yes/--no`: what sets a bool, and what unsets it.
        metavar: What the help calls the value.
        panel: Of the help text.
        min, max: Bounds of a number, both allowed.
        complete: What Tab offers: a function of `cli/completion.py`. Names with bars between them
            in `metavar` need none.
        parse: Text -> value of the field, where the type alone does not say how.
            It may raise UsageError.
        show_default: False where the help sentence says what happens without the option.

    A field that is True by default is switched off by its flag; one that is a tuple takes its
    option several times.
    """

    help: str
    flags: str = ""
    metavar: str | None = None
    panel: str | None = None
    min: float | None = None
    max: float | None = None
    complete: str | None = None
    parse: Callable[[str], Any] | None = None
    show_default: bool = True


@dataclass(frozen=True)
class Argument(Option):
    """A field as a word without a name, in the order of the fields."""


@dataclass(frozen=True)
class Without:
    """Fields of a group that a command does not offer; they keep their defaults.

    Attributes:
        names: Of the fields, with spaces between them.
    """

    names: str


def group_of(annotation: Any) -> tuple[Any, set[str]] | None:
    """Annotation of a field -> the dataclass whose fields stand in its place, and which of them are
    left out; None for a field that is an option itself.
    """
    kind, *marks = get_args(annotation) if get_origin(annotation) is Annotated else (annotation,)
    if not dataclasses.is_dataclass(kind) or any(isinstance(mark, Option) for mark in marks):
        return None
    return kind, {name for mark in marks for name in mark.names.split()}


Device = Literal["auto", "cpu", "cuda", "mps"]
Dtype = Literal["auto", "float32", "bfloat16", "float16"]

ModelOption = Annotated[
    str,
    Option(
        "A preset (seed-nano, seed-2, ...), a folder with weights, or a hub id.",
        "-m",
        metavar="MODEL",
        complete="tokenizers",
    ),
]
LanguageModelOption = Annotated[
    str,
    Option(
        "Language model: a preset (seed-nano, seed-llama-8b-sft), a folder, a hub id.",
        "-m",
        metavar="MODEL",
        complete="language_models",
    ),
]
TokenizerOption = Annotated[
    str | None,
    Option(
        "Visual tokenizer; by default the one that the language model names.",
        metavar="MODEL",
        complete="tokenizers",
    ),
]
QuantizeOption = Annotated[
    Literal["8bit", "4bit"] | None,
    Option("Smaller weights, by bitsandbytes on a GPU.", panel=WHERE),
]
PictureStepsOption = Annotated[
    int | None,
    Option("Denoising steps of a picture.", "--picture-steps", min=1, max=1000, panel=PICTURES),
]
PictureGuidanceOption = Annotated[
    float | None,
    Option(
        "How closely the picture decoder follows the codes.",
        "--picture-guidance",
        min=1.0,
        panel=PICTURES,
    ),
]
UnconstrainedOption = Annotated[
    bool, Option("Without the image grammar, for the ablation.", "--unconstrained")
]
DeviceOption = Annotated[
    Device, Option("Where to compute; auto takes a GPU if there is one.", panel=WHERE)
]
DtypeOption = Annotated[
    Dtype, Option("Number format of the weights; auto is float32 on CPU.", panel=WHERE)
]
MAX_TOGETHER = 65536  # pictures of a batch, workers, machines: far more than anyone has
MAX_PROCESSES = 1024  # of one machine, each with a model of its own

BatchSizeOption = Annotated[
    int, Option("Images in one pass through the model.", "-b", min=1, max=MAX_TOGETHER, panel=WHERE)
]
DecodersOption = Annotated[
    int | None,
    Option(
        "Processes that read and decode images, 0 for none, beside each one with a model; by "
        "default as many as cores, at most 8.",
        min=0,
        max=MAX_TOGETHER,
        panel=WHERE,
    ),
]
SeedOption = Annotated[int, Option("Seed of everything random.", min=0)]
WorkOption = Annotated[
    Path | None,
    Option(
        "Folder on this machine for what is computed of open shards; by default with the output.",
        metavar="DIR",
        panel=SHARED_OUT,
    ),
]
LimitOption = Annotated[int | None, Option("Stop after this many inputs.", min=1)]
ResumeOption = Annotated[bool, Option("Continue where an interrupted run stopped.", panel=RUNS)]
ForceOption = Annotated[bool, Option("Go on where a check would refuse.", panel=RUNS)]
DryRunOption = Annotated[
    bool,
    Option("Say what would be read, written and downloaded; do nothing.", panel=RUNS),
]


def _page(text: str) -> Path:
    page = Path(text)
    if page.is_dir():
        raise DataError(f"--page {page} is a folder", remedy="name a file: --page page.html")
    return page


PageOption = Annotated[
    Path | None,
    Option("Also make a page of pictures for people: one HTML file.", metavar="FILE", parse=_page),
]

RecipeArgument = Annotated[
    str,
    Argument(
        "A TOML file, or the name of a shipped recipe (seed recipes ls).",
        metavar="RECIPE",
        complete="recipes",
    ),
]
OverridesArgument = Annotated[
    tuple[str, ...],
    Argument(
        "Values that replace the recipe's, e.g. optimization.learning_rate=1e-4.",
        metavar="KEY=VALUE",
        complete="recipe_keys",
    ),
]
