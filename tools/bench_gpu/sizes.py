"""How large everything is that is measured."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

from seedcli.models.language.cost import KNOWN_SHAPES, LlamaShape
from seedcli.models.visual.config import PRESETS, SeedModelConfig

SEED_2 = PRESETS["seed-2"]


@dataclass(frozen=True)
class Size:
    """How large everything is.

    Attributes:
        tokenizer: Shape of the visual tokenizer.
        language_model: Shape of the language model.
        pictures: Whose codes are compared.
        batch_sizes: Of pictures in one pass.
        seconds: Of a rate, after it has warmed up.
        new_tokens: Of an answer.
        rows: Of a training step, of `context` tokens each.
        context: Tokens of a row.
    """

    tokenizer: SeedModelConfig
    language_model: LlamaShape
    pictures: int
    batch_sizes: tuple[int, ...]
    seconds: float
    new_tokens: int
    rows: int
    context: int


def full() -> Size:
    """As published."""
    return Size(
        tokenizer=SEED_2,
        language_model=KNOWN_SHAPES["seed-llama-8b-sft"],
        pictures=512,
        batch_sizes=(1, 32, 128),
        seconds=4.0,
        new_tokens=128,
        rows=4,
        context=2048,
    )


def tiny() -> Size:
    """A few layers, for a look at whether everything runs."""
    vision = dataclasses.replace(SEED_2.vision, width=64, depth=2, num_heads=4, mlp_dim=128)
    qformer = dataclasses.replace(SEED_2.qformer, width=48, depth=2, num_heads=4, mlp_dim=96)
    generation = dataclasses.replace(SEED_2.generation, depth=1, num_heads=4, generation_dim=32)
    return Size(
        tokenizer=dataclasses.replace(
            SEED_2, name="tiny", vision=vision, qformer=qformer, generation=generation
        ),
        language_model=dataclasses.replace(
            KNOWN_SHAPES["seed-llama-8b-sft"],
            hidden_size=64,
            intermediate_size=128,
            num_layers=2,
            num_heads=4,
            num_kv_heads=4,
        ),
        pictures=8,
        batch_sizes=(1, 4),
        seconds=0.2,
        new_tokens=40,
        rows=1,
        context=64,
    )


SIZES = {"full": full, "tiny": tiny}
