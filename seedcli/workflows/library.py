"""The library's functions: the same workflows that commands run, with progress told to a function
and results as objects.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeVar, get_type_hints

from seedcli.console import LibraryReporter
from seedcli.data.tokens.shards import TokenShards, open_shards
from seedcli.errors import UsageError, did_you_mean
from seedcli.options import group_of
from seedcli.progress import OnProgress
from seedcli.recipe.read import load_recipe
from seedcli.storage import as_place
from seedcli.workflows.evaluate.requests import (
    CaptionRequest,
    RetrievalRequest,
    SimilaritySettings,
    VqaRequest,
)
from seedcli.workflows.evaluate.run import measure
from seedcli.workflows.train import plan as planning
from seedcli.workflows.train.run import run_folder, workflow_of

if TYPE_CHECKING:
    from seedcli.recipe.sections import Recipe

Benchmark = Literal["retrieval", "caption", "vqa", "clip-similarity"]
R = TypeVar("R")
_BENCHMARKS: dict[str, Any] = {
    "retrieval": RetrievalRequest,
    "caption": CaptionRequest,
    "vqa": VqaRequest,
    "clip-similarity": SimilaritySettings,
}
_PATHS = ("images", "data_root", "output")  # addresses too, but for the last


@dataclass(frozen=True, kw_only=True)
class TrainingRun:
    """What a training left behind.

    Attributes:
        folder: The run folder: resolved recipe, `metrics.jsonl`, checkpoints.
        model: Folder of the result, which `from_pretrained` takes.
        losses: The last ones, by name; of the last phase where there are several.
        result: All that the command would print.
    """

    folder: Path
    model: Path
    losses: dict[str, float]
    result: dict[str, Any]


@dataclass(frozen=True, kw_only=True)
class Evaluation:
    """What a benchmark measured.

    Attributes:
        benchmark: As `seed eval` calls it.
        metrics: By name, in the unit that the benchmark states.
        intervals: 95 % bootstrap interval of each metric.
        folder: Answers and pictures, a line a sample.
        result: The whole envelope, as the command prints it.
    """

    benchmark: str
    metrics: dict[str, Any]
    intervals: dict[str, Any]
    folder: Path
    result: dict[str, Any]


def open_tokens(
    inputs: str | Path | Iterable[str | Path], *, fingerprint: str | None = None
) -> TokenShards:
    """Token shards, or folders of them -> rows as a stream: `key`, `codes` (uint16 [Q]), `text`,
    `source`, `meta`; of documents `segments` or `messages` in place of codes and text.

    Args:
        inputs: One or many, all of one tokenizer.
        fingerprint: Of the tokenizer that the codes are for; None takes any.

    Raises:
        DataError: There is no shard, a file is none, or its codes are of another tokenizer.
    """
    several = [inputs] if isinstance(inputs, str | Path) else inputs
    return open_shards(several, fingerprint=fingerprint)


def train(
    recipe: Recipe | str | Path,
    output: str | Path | None = None,
    *,
    resume: bool = False,
    progress: bool | OnProgress = False,
) -> TrainingRun:
    """Trains what a recipe says, in this process, as `seed train-tokenizer`, `seed pretrain` or
    `seed instruct` do; where torchrun started this process, as one of its ranks.

    Args:
        recipe: As `load_recipe` gives it, or its name or path.
        output: The run folder; None: `runs/NAME`.
        resume: Continue the folder's run.
        progress: As for `SeedTokenizer.from_pretrained`.

    Raises:
        RecipeError: The recipe is none.
        DataError: Data or weights are missing or do not fit.
        Interrupted: Ctrl-C during a training; `resume` continues it.
        NumericalError: A loss is not finite, or the codebook collapsed.
    """
    loaded = load_recipe(recipe) if isinstance(recipe, (str, Path)) else recipe
    folder = run_folder(loaded, output)
    with contextlib.redirect_stdout(sys.stderr):  # DeepSpeed writes log lines to stdout
        result = workflow_of(loaded)(
            loaded,
            folder,
            resume=resume,
            resume_command="train(..., resume=True)",
            reporter=LibraryReporter(progress),
        )
    phases = result.get("phases", {})
    losses = list(phases.values())[-1]["losses"] if phases else result["losses"]
    return TrainingRun(folder=folder, model=Path(result["model"]), losses=losses, result=result)


def evaluate(
    benchmark: Benchmark, *, progress: bool | OnProgress = False, **options: Any
) -> Evaluation:
    """Measures a model, as `seed eval BENCHMARK` does; what was measured before is not measured
    again.

    Args:
        benchmark: `retrieval`, `caption`, `vqa` or `clip-similarity`.
        progress: As for `SeedTokenizer.from_pretrained`.
        **options: `model`, `dataset`, `split`, `limit`, `output`, `device` and whatever else the
            benchmark takes: the fields of `RetrievalRequest`, `CaptionRequest`, `VqaRequest` or
            `SimilaritySettings`, and of the groups in it (`workflows/evaluate/fields.py`).

    Raises:
        UsageError: No such benchmark, option, set, split or model.
        DataError: Data or weights are missing or refused.
    """
    options = {
        name: as_place(value).expanduser() if name in _PATHS and value is not None else value
        for name, value in options.items()
    }
    if benchmark not in _BENCHMARKS:
        raise UsageError(
            f"no benchmark is called {benchmark!r}",
            remedy=f"one of {', '.join(_BENCHMARKS)}; the others are commands: seed eval --help",
        )
    request = _request(_BENCHMARKS[benchmark](), options, benchmark)
    result = measure(request, reporter=LibraryReporter(progress))
    result = json.loads(json.dumps(result, default=str))  # as the command prints it
    return Evaluation(
        benchmark=benchmark,
        metrics=result.get("metrics", {}),
        intervals=result.get("intervals", {}),
        folder=Path(result["folder"]),
        result=result,
    )


def plan(
    recipe: Recipe | str | Path,
    *,
    gpus: str = "a100-40g:8",
    utilisation: float = planning.UTILISATION,
    progress: bool | OnProgress = False,
) -> dict[str, Any]:
    """Recipe of `seed pretrain` or `seed instruct` -> parameters, memory, tokens and hours, as
    `seed plan` prints them; loads no weights.

    Args:
        recipe: As `load_recipe` gives it, or its name or path.
        gpus: Kind and number of devices, such as `h100-80g:8`.
        utilisation: Share of the devices' peak that the arithmetic gets; an assumption.
        progress: As for `SeedTokenizer.from_pretrained`.

    Raises:
        UsageError: An unknown device, a share that is none, or a recipe of another command.
        DataError: Nobody knows the model's shape without its `config.json`.
    """
    loaded = load_recipe(recipe) if isinstance(recipe, (str, Path)) else recipe
    return planning.run(
        loaded, gpus=gpus, utilisation=utilisation, reporter=LibraryReporter(progress)
    )


def _request(request: R, options: Mapping[str, Any], benchmark: str) -> R:
    """Options by the names of fields, also of groups of fields, put into a request.

    Raises:
        UsageError: No field has a name.
    """
    places = _places(type(request))
    for name, value in options.items():
        if name not in places:
            raise UsageError(
                f"{benchmark} has no option {name!r}{did_you_mean(name, places)}",
                remedy=f"one of {', '.join(sorted(places))}",
            )
        request = _replaced(request, places[name], value)
    return request


def _places(kind: Any) -> dict[str, tuple[str, ...]]:
    """Names of the fields of a request and its groups -> where they are; of two fields of one name
    the group's.
    """
    own: dict[str, tuple[str, ...]] = {}
    inside: dict[str, tuple[str, ...]] = {}
    for name, annotation in get_type_hints(kind, include_extras=True).items():
        if (group := group_of(annotation)) is None:
            own[name] = (name,)
        else:
            inside |= {
                each: (name, *place)
                for each, place in _places(group[0]).items()
                if each not in group[1]
            }
    return own | inside


def _replaced(request: Any, place: tuple[str, ...], value: Any) -> Any:
    name, *rest = place
    if rest:
        value = _replaced(getattr(request, name), tuple(rest), value)
    return dataclasses.replace(request, **{name: value})
