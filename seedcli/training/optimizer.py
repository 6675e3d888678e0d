"""AdamW and its learning rate, from a recipe's [optimization] section."""

from __future__ import annotations

import math

import torch
from torch import nn

from seedcli.recipe.tokenizer import OptimizationSection


def build_optimizer(model: nn.Module, optimization: OptimizationSection) -> torch.optim.AdamW:
    """AdamW with weight decay only on matrices: parameters with fewer than two dimensions,
    biases and norms are exempt.

    Source: LAVIS runner_base, which SEED trains with (ndim < 2, or bias, ln or bn in the name).
    Differs from source: "norm" in the name counts too.
    """
    decayed, exempt = [], []
    for name, parameter in model.named_parameters():
        if not parameter.requires_grad:
            continue
        plain = parameter.ndim < 2 or any(word in name for word in ("bias", "norm", "ln_", "bn"))
        (exempt if plain else decayed).append(parameter)
    groups = [
        {"params": decayed, "weight_decay": optimization.weight_decay},
        {"params": exempt, "weight_decay": 0.0},
    ]
    return torch.optim.AdamW(
        [g for g in groups if g["params"]],
        lr=optimization.learning_rate,
        betas=optimization.betas,
        eps=optimization.adam_epsilon,
    )


def learning_rate_at(step: int, optimization: OptimizationSection) -> float:
    """Learning rate of update `step` (from 0): linear warm-up, then constant or cosine; by
    step, never by the clock.
    """
    peak, floor, warmup = (
        optimization.learning_rate,
        optimization.min_learning_rate,
        optimization.warmup_steps,
    )
    if step < warmup:
        return peak * (step + 1) / warmup
    match optimization.schedule:
        case "constant":
            return peak
        case "cosine":
            share = (step - warmup) / max(1, optimization.steps - warmup)
            return floor + 0.5 * (peak - floor) * (1 + math.cos(math.pi * share))
