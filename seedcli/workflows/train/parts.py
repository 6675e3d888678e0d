"""The finished models that a recipe of `seed train-tokenizer` names, found before anything is built
of them; torch-free.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from seedcli.console import Reporter
from seedcli.models.weights.load import find_autoencoder, find_decoder, find_target
from seedcli.models.weights.locate import ModelFiles, locate
from seedcli.recipe.drawing import TargetRecipe, UnclipRecipe
from seedcli.recipe.pictures import TokenizerRecipe
from seedcli.recipe.tokenizer import CausalQFormerRecipe, CodebookRecipe


@dataclass(frozen=True, kw_only=True)
class Parts:
    """Each is None where the recipe names none, or one that is not a model of its own.

    Attributes:
        tokenizer: Visual tokenizer that is trained further, or whose codes are drawn.
        start: Visual tokenizer whose weights stage I begins with.
        pipeline: Folder of the picture decoder that is trained further.
        target: Folder of the target.
        autoencoder: Folder of the autoencoder.
    """

    tokenizer: ModelFiles | None = None
    start: ModelFiles | None = None
    pipeline: Path | None = None
    target: Path | None = None
    autoencoder: Path | None = None


def find_parts(recipe: TokenizerRecipe, reporter: Reporter) -> Parts:
    """Finds what a recipe names; downloads what is published.

    Raises:
        UsageError: No preset, folder or hub id has this name.
        DataError: Nothing is there, or it is no such model, or could not be downloaded.
    """
    match recipe:
        case TargetRecipe():
            return Parts(autoencoder=find_autoencoder(recipe.autoencoder, reporter=reporter))
        case CausalQFormerRecipe() if recipe.model.start not in ("scratch", "blip2"):
            return Parts(start=locate(recipe.model.start, option="model.start", reporter=reporter))
        case CodebookRecipe():
            return Parts(
                tokenizer=locate(recipe.tokenizer, option="tokenizer", reporter=reporter),
                target=find_target(recipe.target, reporter=reporter),
            )
        case UnclipRecipe():
            return Parts(
                tokenizer=None
                if recipe.codes is None
                else locate(recipe.codes.tokenizer, option="codes.tokenizer", reporter=reporter),
                pipeline=_find_pipeline(recipe.start, reporter),
                target=None
                if recipe.target == "pipeline"
                else find_target(recipe.target, reporter=reporter),
                autoencoder=None
                if recipe.autoencoder == "pipeline"
                else find_autoencoder(recipe.autoencoder, reporter=reporter),
            )
        case _:
            return Parts()


def _find_pipeline(start: str, reporter: Reporter) -> Path | None:
    if start == "scratch":
        return None
    if Path(start).is_dir():
        return Path(start)
    return find_decoder(locate(start, option="start", reporter=reporter), reporter=reporter)
