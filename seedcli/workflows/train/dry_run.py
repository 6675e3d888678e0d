"""What `--dry-run` says of a training: its phases, and what it would download before its first
step; torch-free.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from seedcli.errors import DataError
from seedcli.models.weights.locate_llm import hub_role
from seedcli.models.weights.published import (
    BERT_VOCABULARY,
    BLIP_2,
    CLIP_H,
    QUANTIZER,
    SEED_LLAMA_TEXT_TOKENIZER,
    SEED_LLAMAS,
    UNCLIP,
    VIT_G,
    Role,
    Source,
)
from seedcli.recipe.drawing import UnclipRecipe
from seedcli.recipe.language import InstructRecipe, PretrainRecipe
from seedcli.recipe.sections import Recipe
from seedcli.recipe.tokenizer import CausalQFormerRecipe, CodebookRecipe


def downloads(recipe: Recipe | PretrainRecipe | InstructRecipe) -> list[dict[str, Any]]:
    """Published parts that a recipe names -> for each where it lies on this disk, or what it takes
    to fetch it and from where; the hub is asked, and nothing is downloaded.
    """
    roles = list(dict.fromkeys(_roles(recipe)))
    if not roles:
        return []
    from seedcli.models.weights.survey import survey

    return [survey(role) for role in roles]


def planned(recipe: PretrainRecipe | InstructRecipe, folder: Path, **named: str) -> dict[str, Any]:
    """What would be read, trained and downloaded, for `--dry-run`.

    Args:
        named: What the recipe builds on.
    """
    phases = []
    for name, phase in recipe.phases.items():
        optimization, sources = phase.optimization, getattr(phase, "data", recipe.data).sources
        weights = sum(source.weight for source in sources)
        phases.append(
            {
                "phase": name,
                "steps": optimization.steps,
                "rows_per_update": optimization.batch_tokens // recipe.context_length,
                "tokens": optimization.steps * optimization.batch_tokens,
                "sources": [
                    source.model_dump(include={"kind", "path", "form"})
                    | {"share": source.weight / weights}
                    for source in sources
                ],
            }
        )
    return {
        "phases": phases,
        **named,
        "downloads": downloads(recipe),
        "output": str(folder),
        "model": str(folder / "model"),
        "dry_run": True,
    }


def _roles(recipe: Recipe | PretrainRecipe | InstructRecipe) -> list[Role]:
    match recipe:
        case PretrainRecipe():
            start = None if recipe.language_model.shape else recipe.language_model.start
            return _language_model(start) + _visual_tokenizer(recipe.tokenizer)
        case InstructRecipe():
            published = recipe.start in {role.name for role in SEED_LLAMAS}
            return _language_model(recipe.start) + (
                _visual_tokenizer("seed-2") if published else []
            )
        case CausalQFormerRecipe():
            roles = [VIT_G, BLIP_2] if recipe.model.start == "blip2" else []
            return roles + ([BERT_VOCABULARY] if recipe.model.vocab == "bert" else [])
        case CodebookRecipe():
            words = [BERT_VOCABULARY] if recipe.tokenizer == "seed-2" else []
            return _visual_tokenizer(recipe.tokenizer) + words + _target(recipe.target)
        case UnclipRecipe():
            eyes = _visual_tokenizer(recipe.codes.tokenizer) if recipe.codes else []
            decoder = [UNCLIP] if recipe.start == "seed-2" else []
            return decoder + _target(recipe.target) + eyes
        case _:
            return []


def _language_model(start: str | None) -> list[Role]:
    role = hub_role(start) if start and not Path(start).expanduser().is_dir() else None
    return [role, *([SEED_LLAMA_TEXT_TOKENIZER] if role in SEED_LLAMAS else [])] if role else []


def _visual_tokenizer(model: str) -> list[Role]:
    if Path(model).expanduser().is_dir():
        return []
    if model == "seed-2":
        return [VIT_G, QUANTIZER]
    if hub_role(model) is None:
        return []
    from seedcli.models.weights.download import list_source
    from seedcli.models.weights.layout import tokenizer_roles

    try:
        return tokenizer_roles(model, list_source(Source(repo=model)))
    except DataError:
        return []  # the run itself says that there is none


def _target(target: str) -> list[Role]:
    return [CLIP_H] if target == CLIP_H.name else []
