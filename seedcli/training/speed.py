"""How fast a device multiplies matrices, and what a token costs: together the share of the machine that a training uses."""

from __future__ import annotations

import time

import torch
from torch import nn


def matmul_rate(device: torch.device, precision: str) -> float:
    """Floating-point operations a second of square matrix products, best of five, as this process gets them now."""
    dtype = {"bf16": torch.bfloat16, "fp16": torch.float16}.get(precision, torch.float32)
    size, repeats = (4096, 10) if device.type == "cuda" else (1024, 2)
    matrix = torch.ones(size, size, dtype=dtype, device=device)
    best = 0.0
    for _ in range(6):  # the first one warms up
        began = time.perf_counter()
        for _ in range(repeats):
            torch.mm(matrix, matrix)
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        best = max(best, 2 * size**3 * repeats / (time.perf_counter() - began))
    return best


def training_flops_per_token(model: nn.Module) -> float:
    """Operations of forward and backward pass for one token, linear layers only; recomputation is not counted, attention scores neither.

    Two for every weight forward, two for the gradient of its input, two for its own gradient where it is trained.
    """
    total = 0.0
    for module in model.modules():
        if isinstance(module, nn.Linear):
            weights = getattr(module.weight, "ds_numel", module.weight.numel())
            total += weights * (6 if module.weight.requires_grad else 4)
    return total
