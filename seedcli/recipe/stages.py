"""Stage name -> the class of its recipe: what `stage = "..."` in a recipe may say. Torch-free."""

from __future__ import annotations

from seedcli.recipe.drawing import AutoencoderRecipe, JudgeRecipe, TargetRecipe, UnclipRecipe
from seedcli.recipe.language import InstructRecipe, PretrainRecipe
from seedcli.recipe.sections import Recipe
from seedcli.recipe.tokenizer import CausalQFormerRecipe, CodebookRecipe

STAGES: dict[str, type[Recipe]] = {
    "target": TargetRecipe,
    "causal-qformer": CausalQFormerRecipe,
    "codebook": CodebookRecipe,
    "autoencoder": AutoencoderRecipe,
    "unclip": UnclipRecipe,
    "judge": JudgeRecipe,
    "pretrain": PretrainRecipe,
    "instruct": InstructRecipe,
}
