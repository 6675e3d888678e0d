"""Which files a `--model` means; torch-free. Asked once, at the edge of a command; from there
on the files travel.

`--model` is a preset, a folder of ours (`seed_tokenizer.json` + `model.safetensors`), a folder with
the two released files (`eva_vit_g.pth`, `seed_quantizer.pt`, or the same as .safetensors; with a
`seed_tokenizer.json` beside them if they are not seed-2's size), or a hub id with either layout. On
the path: before everything else.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from seedcli.console import Reporter
from seedcli.errors import DataError, SeedError, UsageError, did_you_mean
from seedcli.models.visual.config import PRESETS, SeedModelConfig
from seedcli.models.weights.description import read_model_facts
from seedcli.models.weights.layout import RELEASED_FILES, tokenizer_roles
from seedcli.models.weights.published import QUANTIZER, VIT_G, Source

BUNDLED_NANO = Path(__file__).parents[2] / "bundled" / "nano"
DEFAULT_MODEL = "seed-nano"
_HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*/[\w.-]+")


@dataclass(frozen=True)
class ModelFiles:
    """The files behind one `--model`.

    Attributes:
        model: What the user said.
        folder: The model's own folder, or None for files from several places.
        weights: Our `model.safetensors`; or the ViT's file and the quantizer's; empty for seed-2,
            whose weights are fetched by `with_weights` when they are wanted.
        config: What its `seed_tokenizer.json` states, else that of seed-2.
        stated: Everything in that file; empty where there is none.
    """

    model: str
    folder: Path | None
    weights: tuple[Path, ...]
    config: SeedModelConfig = PRESETS["seed-2"]
    stated: dict[str, Any] = field(default_factory=dict)

    def __reduce__(self) -> tuple[Any, ...]:
        """In another process they are looked for anew: it may be on another machine."""
        return locate, (self.model,)

    @property
    def released(self) -> bool:
        """Whether the weights are the two released files."""
        return len(self.weights) != 1


def locate(
    model: str = DEFAULT_MODEL, *, option: str = "--model", reporter: Reporter | None = None
) -> ModelFiles:
    """Finds the files of a model and reads its description; downloads what a hub id lacks.

    Args:
        model: Preset, folder or hub id.
        option: What the user says it with, for messages: an option, or a key of a recipe.
        reporter: Hears of downloads.

    Raises:
        UsageError: No preset, folder or hub id has this name.
        DataError: The folder holds no model, its description is unreadable, or nothing could be
            downloaded.
    """
    reporter = reporter or Reporter()
    path = Path(model).expanduser()
    if model in PRESETS and not path.is_dir():
        if model == "seed-2":
            return ModelFiles(model, None, ())
        if not (BUNDLED_NANO / "seed_tokenizer.json").is_file():
            raise DataError(
                f"this installation has no bundled {model} (looked in {BUNDLED_NANO})",
                remedy="seed train-tokenizer writes a model folder that --model takes; or say "
                "--model seed-2 for the published weights",
            )
        return _locate_folder(BUNDLED_NANO, model)
    if path.is_dir():
        return _locate_folder(path, model)
    if names_a_repository(model):
        return _locate_hub(model, reporter)
    raise nowhere(model, "model", PRESETS, option)


def names_a_repository(model: str) -> bool:
    """What stands for a model may be a hub id, and is nothing on this disk."""
    is_id = _HUB_ID.fullmatch(model) and not names_a_path(model)
    return bool(is_id) and not Path(model).expanduser().exists()


def nowhere(model: str, what: str, presets: Iterable[str], option: str) -> SeedError:
    """Why a name is neither preset, folder nor hub id, and what to type.

    Args:
        model: What the user said.
        what: `model`, `language model`.
        presets: Names that come with the package.
        option: What the user says it with.
    """
    path, presets = Path(model).expanduser(), list(presets)
    expected = f"{option} takes a preset ({', '.join(presets)}), a folder or a hub id"
    if path.exists():
        return DataError(
            f"{option} {model} is a file, expected a folder", remedy=f"{option} {path.parent}"
        )
    if names_a_path(model):
        return DataError(f"no folder at {path}", remedy=made_by_a_recipe(path) or expected)
    return UsageError(
        f"no {what} is called {model!r}{did_you_mean(model, presets)}",
        remedy=f"{expected} (owner/name)",
    )


def with_weights(files: ModelFiles, *, reporter: Reporter | None = None) -> ModelFiles:
    """The same files with their weights on this disk.

    Raises:
        DataError: They could not be downloaded.
    """
    if files.weights:
        return files
    from seedcli.models.weights.download import fetch

    reporter = reporter or Reporter()
    return replace(
        files, weights=(fetch(VIT_G, reporter=reporter), fetch(QUANTIZER, reporter=reporter))
    )


def names_a_path(model: str) -> bool:
    """What stands for a model can only be a path on this disk."""
    return model.startswith((".", "/", "~")) or model.count("/") > 1 or os.sep + os.sep in model


def made_by_a_recipe(path: Path) -> str | None:
    """What to do where a run folder is missing, `runs/NAME` or in it: train what NAME names, or go
    on with it.
    """
    from seedcli.recipe.files import shipped_recipes

    if path.parts[:1] != ("runs",) or len(path.parts) < 2:
        return None
    run = Path(*path.parts[:2])
    if (run / "recipe.resolved.toml").is_file():
        return f"the training in {run} has not ended: its command with --resume finishes it"
    if run.name not in shipped_recipes():
        return None
    return (
        f"a training leaves it there: seed recipes show {run.name} says how; or name the folder of "
        "your own run"
    )


def _locate_folder(folder: Path, model: str) -> ModelFiles:
    config = PRESETS["seed-2"]
    stated: dict[str, Any] = {}
    if described := (folder / "seed_tokenizer.json").is_file():
        config, stated = read_model_facts(folder)
    if described and (folder / "model.safetensors").is_file():
        return ModelFiles(model, folder, (folder / "model.safetensors",), config, stated)
    released = [
        next((folder / name for name in names if (folder / name).is_file()), None)
        for names in RELEASED_FILES
    ]
    if released[0] and released[1]:
        return ModelFiles(model, folder, (released[0], released[1]), config, stated)
    here = ", ".join(sorted(path.name for path in folder.iterdir())[:12]) or "nothing"
    if any(released):
        absent = next(
            names[0] for names, path in zip(RELEASED_FILES, released, strict=True) if path is None
        )
        raise DataError(
            f"{folder} has one of the two released files but no {absent}; found {here}",
            remedy=f"the published weights are two files; seed models ls says where {absent} is",
        )
    raise DataError(
        f"{folder} holds no model: expected seed_tokenizer.json + model.safetensors, or "
        f"eva_vit_g.pth + seed_quantizer.pt; found {here}",
        remedy="seed models pull seed-2 --to FOLDER lays out the published weights",
    )


def _locate_hub(repo: str, reporter: Reporter) -> ModelFiles:
    from seedcli.models.weights.download import fetch, list_source

    names = list_source(Source(repo=repo))
    paths = [fetch(role, reporter=reporter) for role in tokenizer_roles(repo, names)]
    if len(paths) == 1:
        return _locate_folder(paths[0], repo)
    if paths:
        return ModelFiles(repo, None, tuple(paths))
    here = ", ".join(sorted(names)[:12]) or "nothing"
    raise DataError(
        f"hub repository {repo} holds no tokenizer: expected seed_tokenizer.json + "
        f"model.safetensors, or seed_quantizer.pt; found {here}",
        remedy=f"--model takes a preset ({', '.join(PRESETS)}), a folder or a hub id",
    )
