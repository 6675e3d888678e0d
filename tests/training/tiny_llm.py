"""A language model and rows small enough to train in milliseconds.

Run as a script it is one rank: `python -m tests.training.tiny_llm FOLDER '{"engine": ...}'
[--resume] [--dropout P] [--steps N]`.
"""

from __future__ import annotations

import argparse
import json
import random
from pathlib import Path
from typing import Any

import numpy as np
import torch
from transformers import LlamaConfig, LlamaForCausalLM

from seedcli.data.documents.packing import PackedRow
from seedcli.recipe.language import LlmParallelSection, LlmRunSection, TokenOptimizationSection
from seedcli.training.accelerator import build_accelerator
from seedcli.training.loop import TrainingResult
from seedcli.training.phase import train_phase
from seedcli.training.ranks import Ranks, end_rank

VOCABULARY, FIRST_CODE, CONTEXT = 96, 64, 32
OPTIMIZATION = TokenOptimizationSection(
    steps=6,
    batch_tokens=8 * CONTEXT,
    learning_rate=1e-2,
    min_learning_rate=1e-3,
    warmup_steps=2,
    schedule="cosine",
    weight_decay=0.1,
    decay_norms=False,
    betas=(0.9, 0.95),
    adam_epsilon=1e-8,
    gradient_clip=1.0,
)


def rows(*, lanes: int, rank: int, world: int, state: dict | None):
    """Endless rows: row n of a lane is a pure function of (lane, n), and its number
    is the lane's position.
    """
    size = lanes // world
    own = range(rank * size, (rank + 1) * size)
    at = {lane: state[lane]["next"] if state else 0 for lane in own}
    while True:
        for lane in own:
            rng = random.Random(lane * 10_000 + at[lane])
            cut = rng.randint(4, CONTEXT - 4)
            step = rng.choice([1, 2, 3])
            ids = (
                np.array(
                    [
                        (rng.random() < 0.1) * 7 + (start + step * n) % VOCABULARY
                        for n, start in enumerate([5] * CONTEXT)
                    ]
                )
                % VOCABULARY
            )
            labels = np.where(np.arange(CONTEXT) % 5 == lane % 5, -100, ids)
            labels[[0, cut]] = -100
            at[lane] += 1
            positions = np.concatenate([np.arange(cut), np.arange(CONTEXT - cut)])
            yield PackedRow(
                ids,
                labels,
                positions,
                lane,
                {"next": at[lane]},
                {"real_tokens": CONTEXT, "row_tokens": CONTEXT},
            )


def tiny_llama(
    *, dropout: float = 0.0, tied: bool = False, vocabulary: int = VOCABULARY
) -> LlamaForCausalLM:
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=vocabulary,
        hidden_size=32,
        intermediate_size=48,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=4,
        max_position_embeddings=64,
        attention_dropout=dropout,
        tie_word_embeddings=tied,
        bos_token_id=1,
        eos_token_id=2,
        pad_token_id=0,
    )
    return LlamaForCausalLM(config)


def train_tiny(
    folder: Path,
    *,
    model=None,
    row_source=rows,
    parallel: dict | None = None,
    resume: bool = False,
    dropout: float = 0.0,
    run: LlmRunSection | None = None,
    **optimization: Any,
) -> tuple[TrainingResult, torch.nn.Module | None]:
    """`train_phase` on the tiny model."""
    section = LlmParallelSection.model_validate(
        {"device": "cpu", "micro_batch_rows": 2, **(parallel or {})}
    )
    return train_phase(
        "tiny",
        lambda device: model or tiny_llama(dropout=dropout),
        row_source,
        build_accelerator(section),
        is_image_token=lambda ids: ids >= FIRST_CODE,
        context_length=CONTEXT,
        seed=5,
        optimization=OPTIMIZATION.model_copy(update=optimization),
        parallel=section,
        run=run or LlmRunSection(log_every_steps=1, checkpoint_every_steps=3, keep_checkpoints=2),
        folder=folder,
        resume=resume,
    )


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("folder", type=Path)
    parser.add_argument("parallel", type=json.loads)
    parser.add_argument("--resume", action="store_true")
    parser.add_argument("--steps", type=int, default=OPTIMIZATION.steps)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    _, model = train_tiny(
        arguments.folder,
        parallel=arguments.parallel,
        resume=arguments.resume,
        steps=arguments.steps,
    )
    if Ranks.from_environment().rank == 0:
        torch.save(model.state_dict(), arguments.folder / "weights.pt")
    end_rank()
