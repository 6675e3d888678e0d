"""What a recipe names, found before anything is built of it: its data, and the finished models of
`seed train-tokenizer`. Torch-free.
"""

from __future__ import annotations

import glob
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePath
from typing import Any

from braceexpand import braceexpand

from seedcli.console import Reporter
from seedcli.errors import DataError
from seedcli.models.weights.load import find_autoencoder, find_decoder, find_target, find_vocab
from seedcli.models.weights.locate import ModelFiles, locate
from seedcli.models.weights.published import BLIP_2, VIT_G
from seedcli.recipe.drawing import TargetRecipe, UnclipRecipe
from seedcli.recipe.files import shipped_recipes
from seedcli.recipe.pictures import TokenizerRecipe
from seedcli.recipe.tokenizer import CausalQFormerRecipe, CodebookRecipe
from seedcli.storage import is_url

_SHOWN = 5  # missing sources; of more only the number


def require_data(recipe: Any) -> None:
    """Looks for the sources of a recipe of any training. An address, and what may be a set of the
    hub, is looked for when its turn comes.

    Raises:
        DataError: Some are not there.
    """
    if missing := [path for path, is_one in _places(recipe) if not is_one]:
        more = len(missing) - _SHOWN
        raise DataError(
            f"no such training data: {', '.join(missing[:_SHOWN])}"
            + (f" and {more} more" if more > 0 else ""),
            remedy="`path` of a source in the recipe"
            + f"; how it is made, says seed recipes show {recipe.name}"
            * (recipe.name in shipped_recipes()),
        )


def _places(recipe: Any) -> Iterator[tuple[str, bool]]:
    """Where the recipe says that data lie, each once, and whether something is there."""
    from seedcli.data.images.captioned import bundled_sets, is_hub_set
    from seedcli.data.tables import FILE_ENDINGS

    sections = [each for _, each in [("", recipe), *recipe] if hasattr(each, "data")]
    sources = [one for each in sections for one in getattr(each.data, "sources", [each.data])]
    places = {source.path: getattr(source, "kind", "pictures") for source in sources}
    if validation := getattr(recipe, "validation", None):
        places |= {validation.path: "pictures"} if validation.path else {}
    places |= {source.images: "folder" for source in sources if getattr(source, "images", None)}
    for path, kind in places.items():
        is_one = is_url(path) or (kind == "pictures" and path in bundled_sets())
        if kind in ("pictures", "table") and PurePath(path).suffix not in FILE_ENDINGS:
            is_one = is_one or is_hub_set(path)
        yield path, is_one or _is_here(path)


def _is_here(path: str) -> bool:
    """Whether a path, or all that its braces stand for, is on this disk."""
    return os.path.exists(path) or all(
        os.path.exists(one) or (glob.has_magic(one) and any(glob.iglob(one, recursive=True)))
        for one in braceexpand(path)
    )


@dataclass(frozen=True, kw_only=True)
class Parts:
    """Each is None where the recipe names none, or one that is not a model of its own.

    Attributes:
        tokenizer: Visual tokenizer that is trained further, or whose codes are drawn.
        start: Visual tokenizer whose weights stage I begins with.
        blip2: Published weights that it begins with: the ViT, and BLIP-2.
        vocab: WordPiece vocabulary of the text branch; None where it is learned, or there is none.
        pipeline: Folder of the picture decoder that is trained further.
        target: Folder of the target.
        autoencoder: Folder of the autoencoder.
    """

    tokenizer: ModelFiles | None = None
    start: ModelFiles | None = None
    blip2: tuple[Path, Path] | None = None
    vocab: Path | None = None
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
        case CausalQFormerRecipe():
            start = recipe.model.start
            vocab = _find_words(recipe, reporter)
            if start == "blip2":
                from seedcli.models.weights.download import fetch

                weights = (fetch(VIT_G, reporter=reporter), fetch(BLIP_2, reporter=reporter))
                return Parts(vocab=vocab, blip2=weights)
            return Parts(
                vocab=vocab,
                start=None
                if start == "scratch"
                else locate(start, option="model.start", reporter=reporter),
            )
        case CodebookRecipe():
            tokenizer = locate(recipe.tokenizer, option="tokenizer", reporter=reporter)
            return Parts(
                tokenizer=tokenizer,
                vocab=find_vocab(tokenizer, reporter=reporter),
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


def _find_words(recipe: CausalQFormerRecipe, reporter: Reporter) -> Path | None:
    match recipe.model.vocab:
        case "train":
            return None
        case "bert":
            preset = locate(recipe.model.preset, option="model.preset", reporter=reporter)
            return find_vocab(preset, reporter=reporter)
        case path if not Path(path).is_file():
            raise DataError(
                f"no WordPiece vocabulary at {path}",
                remedy='model.vocab = "train" learns one from the captions, "bert" takes BERT\'s',
            )
        case path:
            return Path(path)


def _find_pipeline(start: str, reporter: Reporter) -> Path | None:
    if start == "scratch":
        return None
    if Path(start).is_dir():
        return Path(start)
    return find_decoder(locate(start, option="start", reporter=reporter), reporter=reporter)
