"""The two models of an ablation: found, checked to differ in what the ablation is about and in
nothing else, loaded one at a time.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from seedcli.console import Reporter
from seedcli.errors import DataError, UsageError
from seedcli.models.visual.config import config_to_dict
from seedcli.models.weights.description import ModelFacts
from seedcli.models.weights.locate import BUNDLED_NANO, DEFAULT_MODEL, locate
from seedcli.models.weights.locate_llm import LLM_FOLDER, LLM_PRESETS
from seedcli.recipe.read import leaves
from seedcli.workflows.evaluate.ablation.request import AblationRequest
from seedcli.workflows.evaluate.fields import LanguageModelFields
from seedcli.workflows.evaluate.pictures import EvalPictures
from seedcli.workflows.evaluate.speaker import Speaker

_RECIPE = "recipe.resolved.toml"
_MAY_DIFFER = re.compile(r"(tokenizer|target|model\.mask|(run|parallel)\..*)$")


class Side:
    """One of the two models.

    Attributes:
        name: What results call it: `causal`, `bilateral`, `lora`, `full`.
        model: As the user said it.
        speaks: Whether it has a language model.
    """

    def __init__(
        self,
        name: str,
        model: str,
        request: AblationRequest,
        *,
        like: Side | None = None,
        speaks: bool = True,
        reporter: Reporter,
    ):
        """Finds the model and loads nothing.

        Args:
            name: What results call it.
            model: Language model; where `speaks` is False also a visual tokenizer.
            request: What the ablations share.
            like: The other side, whose picture decoder, steps and guidance draw for this one too.
            speaks: It must be a language model.
            reporter: Hears of downloads.

        Raises:
            UsageError: No such model.
            DataError: Files are missing or do not fit.
        """
        self.name, self.model, self._dtype = name, model, request.dtype
        decoder = request.decoder and locate(request.decoder, reporter=reporter)
        how: dict[str, Any] = {
            "steps": like.pictures.steps if like else request.steps,
            "guidance": like.pictures.guidance if like else request.guidance,
            "decoder": decoder or (like.pictures.files if like else None),
            "reporter": reporter,
        }
        self.speaks = speaks or _speaks(model)
        if self.speaks:
            chosen = LanguageModelFields(model=model, device=request.device, dtype=request.dtype)
            self._speaker = Speaker(chosen, **how)
        else:
            files = locate(model, reporter=reporter)
            self._alone = EvalPictures(files, device=request.device, **how)

    @property
    def pictures(self) -> EvalPictures:
        """Its visual tokenizer, with the picture decoder that draws for both."""
        return self._speaker.pictures if self.speaks else self._alone

    @property
    def title(self) -> str:
        """Name of the model."""
        return self._speaker.facts.name if self.speaks else self.pictures.name

    @property
    def speaker(self) -> Speaker:
        """Its language model.

        Raises:
            UsageError: A visual tokenizer alone was named.
        """
        if not self.speaks:
            raise UsageError(
                f"{self.model} is a visual tokenizer without a language model",
                remedy=f"--{self.name} takes a language model",
            )
        return self._speaker

    def settings(self) -> dict[str, Any]:
        """What decides its answers, for the settings of a run."""
        speaker = self._speaker.model_settings() if self.speaks else {"dtype": self._dtype}
        return {"language_model": speaker} | self.pictures.settings()


def _speaks(model: str) -> bool:
    """Whether a name stands for a language model, or for a visual tokenizer alone."""
    path = Path(model).expanduser()
    if model == DEFAULT_MODEL and not path.is_dir():
        path = BUNDLED_NANO
    if path.is_dir():
        return any((folder / "config.json").is_file() for folder in (path, path / LLM_FOLDER))
    return model in LLM_PRESETS


def check_twins(causal: Side, bilateral: Side, reporter: Reporter) -> None:
    """Refuses two models that are no twins: the masks of their tokenizers must be as said,
    everything else of their shape alike.

    What they were trained on is compared where their run folders tell it; what differs, and what
    nobody can tell, is a warning.

    Raises:
        UsageError: A tokenizer has the other mask.
        DataError: Tokenizers of other shape, codebook or preprocessing.
    """
    for side, other in ((causal, bilateral), (bilateral, causal)):
        mask = side.pictures.config.qformer.mask
        if mask != side.name:
            raise UsageError(
                f"--{side.name} {side.model}: its tokenizer {side.pictures.files.model} is {mask}",
                remedy=f"swap --{side.name} and --{other.name}"
                if other.pictures.config.qformer.mask == side.name
                else f"--{side.name} takes a model of a {side.name} tokenizer",
            )
    if differing := _differences(_shape(causal.pictures.facts), _shape(bilateral.pictures.facts)):
        raise DataError(
            f"{causal.pictures.files.model} and {bilateral.pictures.files.model} are no twins: "
            f"{differing}",
            remedy="the twin is trained by the same recipes with another model.mask: "
            "nano-bilateral-qformer, nano-bilateral-codebook",
        )
    _compare_training(
        "tokenizers",
        training_facts(causal.pictures.files.folder),
        training_facts(bilateral.pictures.files.folder),
        reporter,
    )
    if causal.speaks and bilateral.speaks:
        _compare_training(
            "language models",
            training_facts(causal.speaker.files.folder),
            training_facts(bilateral.speaker.files.folder),
            reporter,
        )


def check_phases(lora: Side, full: Side, reporter: Reporter) -> None:
    """Refuses two models that are not what the ablation of the full phase compares.

    Raises:
        UsageError: The first had a full phase, or the second had none.
        DataError: They speak codes of different tokenizers, or words of different text tokenizers,
            so that losses cannot be compared.
    """
    from seedcli.models.language.text_tokenizer import load_text_tokenizer

    phases = {side.name: side.speaker.facts.trained.get("phases", {}) for side in (lora, full)}
    for side, wanted in ((lora, False), (full, True)):
        if not phases[side.name]:
            reporter.warn(f"{side.title} does not say by which phases it was trained")
        elif ("full" in phases[side.name]) != wanted:
            raise UsageError(
                f"--{side.name} {side.model} was trained by the phases "
                f"{', '.join(phases[side.name])}",
                remedy="--full takes the model with a full phase, --lora the one without: recipe "
                "nano-lora-only trains such a one",
            )
    fingerprints = [side.pictures.fingerprint for side in (lora, full)]
    if fingerprints[0] != fingerprints[1]:
        raise DataError(
            f"{lora.title} speaks codes of {fingerprints[0]}, {full.title} of {fingerprints[1]}",
            remedy="train both on one tokenizer",
        )
    one, other = (
        load_text_tokenizer(side.speaker.files.text_tokenizer).get_vocab() for side in (lora, full)
    )
    if one != other:
        raise DataError(
            f"{lora.title} and {full.title} split words differently, so that losses of tokens "
            "cannot be compared"
        )
    steps = {
        name: sum(
            phase.get("steps", 0) for label, phase in done.items() if label in ("lora", "full")
        )
        for name, done in phases.items()
        if done
    }
    if len(set(steps.values())) > 1:
        reporter.warn(
            f"lora was trained for {steps['lora']} updates, full for {steps['full']}: not "
            "the same budget"
        )


def _shape(visual: ModelFacts) -> dict[str, Any]:
    facts = config_to_dict(visual.config)
    return {
        loc: value
        for loc, _, value in leaves(facts)
        if loc not in ("name", "qformer.mask") and not loc.startswith("detokenize.")
    }


def _differences(one: Mapping[str, Any], other: Mapping[str, Any]) -> str:
    return "; ".join(
        f"{name} is {one.get(name)!r} and {other.get(name)!r}"
        for name in sorted(one.keys() | other.keys())
        if one.get(name) != other.get(name)
    )


def training_facts(folder: Path | None) -> dict[str, Any] | None:
    """Folder of a trained model -> values of the recipes that made it by `STAGE.key`, or None
    where nothing tells them.

    A run folder has its recipe beside `model/`, which names the run that it started from; the
    bundled model has all of them in `training/`.
    """
    if folder is None:
        return None
    bundled = sorted((folder / "training").glob(f"*/{_RECIPE}"))
    if bundled:
        recipes = [_read_recipe(path) for path in bundled]
        return {
            name: value
            for recipe in recipes
            if recipe["stage"] in ("causal-qformer", "codebook")
            for name, value in _values(recipe)
        }
    path = folder.resolve().parent / _RECIPE
    if not path.is_file():
        return None
    recipe = _read_recipe(path)
    earlier = training_facts(Path(recipe["tokenizer"])) if recipe["stage"] == "codebook" else None
    return dict(_values(recipe)) | (earlier or {})


def _read_recipe(path: Path) -> dict[str, Any]:
    try:
        recipe = tomllib.loads(path.read_text(encoding="utf-8"))
        return recipe | {"stage": str(recipe["stage"])}
    except (OSError, ValueError, KeyError) as error:
        raise DataError(f"{path} is no resolved recipe: {type(error).__name__}: {error}") from None


def _values(recipe: Mapping[str, Any]) -> list[tuple[str, Any]]:
    return [
        (f"{recipe['stage']}.{loc}", value)
        for loc, _, value in leaves(recipe)
        if not _MAY_DIFFER.match(loc)
    ]


def _compare_training(
    what: str, one: Mapping[str, Any] | None, other: Mapping[str, Any] | None, reporter: Reporter
) -> None:
    if one is None or other is None:
        reporter.warn(
            f"nothing tells how both {what} were trained (no {_RECIPE} beside them): same data, "
            "steps and seeds are not checked"
        )
        return
    shared = one.keys() & other.keys()  # a key that only one has is younger than the other's recipe
    if differing := _differences(
        *({key: recipe[key] for key in shared} for recipe in (one, other))
    ):
        reporter.warn(f"the {what} were trained differently: {differing}")
