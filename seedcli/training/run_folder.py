"""The run folder: what was trained, with what, and how it went.

recipe.resolved.toml   every value of the recipe, with where it came from
run.json               command line, versions, git commit, machine, one entry for each start
metrics.jsonl          one line every `run.log_every_steps` updates (written by `loop`)
losses.png             the same as curves
index.html             curves and sheets as one page, which can be taken elsewhere
held_out.json          what a share held out, for `seed eval retrieval`, where it lies in files
sheets/                held-out pictures and what was drawn of them, at the step of the name
checkpoints/           what --resume continues from
model/                 the finished part

A language model is trained in phases; each has its own folder (`text`, `lora`, `full`)
with metrics, curves and checkpoints, and, but for the last one, the model that the
next phase starts from.
"""

from __future__ import annotations

import functools
import json
import platform
import re
import subprocess
import sys
import tomllib
from collections.abc import Callable
from contextlib import AbstractContextManager
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import ParamSpec, TypeVar

from seedcli import __version__
from seedcli.engine.hold import hold
from seedcli.errors import RecipeError
from seedcli.files import parse_json, publish_json, publish_text, published, space_named
from seedcli.recipe.language import LanguageRecipe
from seedcli.recipe.pictures import TokenizerRecipe
from seedcli.recipe.read import dump_resolved, leaves
from seedcli.recipe.sections import Recipe

PACKAGES = (
    "torch",
    "transformers",
    "diffusers",
    "accelerate",
    "deepspeed",
    "tokenizers",
    "safetensors",
    "numpy",
)
# What may differ when a run is resumed: the length, because runs are cut short or prolonged, and
# what tames a run whose loss became NaN: rates, and what a loss counts. The schedule bends there,
# and run.json says so.
FREE_TO_CHANGE = re.compile(
    r"(run|parallel)\.|(\w+\.)?losses\.\w+_weight$"
    r"|(\w+\.)?optimization\.(steps|learning_rate|min_learning_rate|gradient_clip)$"
)


_held: dict[Path, AbstractContextManager] = {}
_Arguments = ParamSpec("_Arguments")
_Result = TypeVar("_Result")


def alone(run: Callable[_Arguments, _Result]) -> Callable[_Arguments, _Result]:
    """A function that opens run folders: they are its own until it returns."""

    @functools.wraps(run)
    def run_alone(*args: _Arguments.args, **kwargs: _Arguments.kwargs) -> _Result:
        try:
            return run(*args, **kwargs)
        finally:
            while _held:
                _held.popitem()[1].__exit__(None, None, None)

    return run_alone


def open_run_folder(
    folder: Path, recipe: TokenizerRecipe | LanguageRecipe, *, resume: bool
) -> None:
    """Takes the folder for this process, and writes the resolved recipe and the facts of this
    start.

    Raises:
        DataError: Another process trains in it.
        RecipeError: The run is resumed with values that change results.
    """
    folder.mkdir(parents=True, exist_ok=True)
    if folder not in _held:
        held = hold(folder)
        held.__enter__()
        _held[folder] = held
    resolved = folder / "recipe.resolved.toml"
    changed = _changes(resolved, recipe) if resume and resolved.is_file() else {}
    publish_text(resolved, dump_resolved(recipe, origins=True))
    steps = {name: optimization.steps for name, optimization in recipe.lengths.items()}
    facts_file = folder / "run.json"
    starts = parse_json(facts_file.read_bytes()) if facts_file.is_file() and resume else []
    starts.append(
        {
            "started": datetime.now(UTC).isoformat(timespec="seconds"),
            "command": sys.argv,
            "steps": steps if hasattr(recipe, "phases") else steps[recipe.stage],
            "changed": changed,
            "seedcli": __version__,
            "git_commit": _git_commit(),
            "python": platform.python_version(),
            "platform": platform.platform(),
            "packages": {name: package_version(name) for name in PACKAGES},
        }
    )
    publish_json(facts_file, starts)


def read_metrics(folder: Path) -> list[dict]:
    """Lines of `metrics.jsonl`; an incomplete last line of a killed run is left out."""
    path = folder / "metrics.jsonl"
    lines = path.read_text().splitlines() if path.is_file() else []
    return [json.loads(line) for line in lines if line.endswith("}")]


class MetricsLog:
    """`metrics.jsonl` of a folder; on resume, lines after the checkpoint are dropped, because
    their steps run again.
    """

    def __init__(self, folder: Path, step: int):
        self._path = folder / "metrics.jsonl"
        kept = [line for line in read_metrics(folder) if line["step"] <= step]
        publish_text(self._path, "".join(json.dumps(line) + "\n" for line in kept))

    def write(self, line: dict) -> None:
        """Appends a line, floats to six digits."""
        rounded = {
            name: float(f"{value:.6g}") if isinstance(value, float) else value
            for name, value in line.items()
        }
        with space_named(self._path), open(self._path, "a") as file:
            file.write(json.dumps(rounded) + "\n")


def plot_metrics(folder: Path) -> Path | None:
    """`metrics.jsonl` -> `losses.png`: one small chart for each figure; None where
    nothing was logged yet.
    """
    lines = read_metrics(folder)
    names = [
        name for name in (lines[-1] if lines else {}) if name not in ("step", "eta_s", "memory_mb")
    ]
    if not names:
        return None
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    columns = 3
    rows = -(-len(names) // columns)
    figure = Figure(figsize=(4.5 * columns, 2.8 * rows), layout="constrained")
    FigureCanvasAgg(figure)
    for index, name in enumerate(names):
        axes = figure.add_subplot(rows, columns, index + 1)
        points = [(line["step"], line[name]) for line in lines if name in line]
        axes.plot(*zip(*points, strict=True), linewidth=1.2)
        axes.set_title(name, fontsize=10)
        axes.grid(alpha=0.3)
    path = folder / "losses.png"
    with published(path) as partial:
        figure.savefig(partial, dpi=90, format="png")
    return path


def _changes(resolved: Path, recipe: Recipe) -> dict[str, list]:
    """Values that are not those of the run's start: name -> [was, is].

    Raises:
        RecipeError: One of them must not change.
    """
    before, now = (
        {name: value for name, _, value in leaves(values)}
        for values in (
            tomllib.loads(resolved.read_text()),
            recipe.model_dump(mode="json", exclude_none=True),
        )
    )
    changed = {
        name: [before.get(name), now.get(name)]
        for name in sorted(before.keys() | now.keys())
        if before.get(name) != now.get(name)
    }
    refused = [
        f"{name}: was {was!r}, is {new!r}"
        for name, (was, new) in changed.items()
        if not FREE_TO_CHANGE.match(name)
    ]
    if refused:
        raise RecipeError(
            f"{resolved.parent} was started with other values: {'; '.join(refused)}",
            remedy="resume with the same recipe, or train into a new folder",
        )
    return changed


def package_version(package: str) -> str | None:
    """Version of an installed package; None where it is not."""
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def _git_commit() -> str | None:
    """Commit of the checkout that the package lies in, `+changes` where files differ from it;
    None outside a checkout.
    """
    root = Path(__file__).resolve().parents[2]
    if not (root / ".git").exists():
        return None

    def git(*arguments: str) -> str:
        return subprocess.run(
            ["git", "-C", str(root), *arguments], capture_output=True, text=True, check=False
        ).stdout.strip()

    commit = git("rev-parse", "HEAD")
    return (
        f"{commit}+changes"
        if commit and git("status", "--porcelain", "--", "seedcli")
        else commit or None
    )
