"""How fast a device multiplies matrices, and what a token costs: together the share of the
machine that a training uses; and layers compiled, which use more of it.
"""

from __future__ import annotations

import os
import shutil
import time
from dataclasses import dataclass

import torch
from torch import nn

from seedcli.errors import UsageError


def matmul_rate(device: torch.device, precision: str) -> float:
    """Floating-point operations a second of square matrix products, best of five, as this
    process gets them now.
    """
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


@dataclass(frozen=True)
class TrainingFlops:
    """Operations of a forward and a backward pass: of the layers for a token, of the output layer
    for a token that is learned.
    """

    layers: float
    head: float

    def of(self, tokens: float, *, learned: float) -> float:
        """Operations for `tokens` tokens, `learned` of which are learned."""
        return self.layers * tokens + self.head * learned


def training_flops(model: nn.Module) -> TrainingFlops:
    """What a token of a language model costs, linear layers only; recomputation is not counted,
    attention scores neither.

    Two for every weight forward, two for the gradient of its input, two for its own gradient
    where it is trained. Of an output layer that PEFT trains whole, the frozen original is
    not run and not counted.
    """
    head = model.get_output_embeddings()
    in_head = {id(module) for module in head.modules()}
    layers = sum(
        _flops(module)
        for module in model.modules()
        if isinstance(module, nn.Linear) and id(module) not in in_head
    )
    return TrainingFlops(
        layers, max(_flops(module) for module in head.modules() if isinstance(module, nn.Linear))
    )


def _flops(layer: nn.Linear) -> float:
    weights = getattr(layer.weight, "ds_numel", layer.weight.numel())
    return weights * (6.0 if layer.weight.requires_grad else 4.0)


def compile_layers(model: nn.Module, device: torch.device) -> None:
    """Compiles, in place, the layers that learn of every stack (`nn.ModuleList`); their names in
    checkpoints stay.

    Layers and not the whole: those of a stack are compiled once for all, and what stands between
    them may be any Python.

    Raises:
        UsageError: On a CPU without a C++ compiler.
    """
    if device.type == "cpu" and not shutil.which(os.environ.get("CXX", "g++")):
        raise UsageError(
            "parallel.compile needs a C++ compiler, found none",
            remedy="install g++, or name another in CXX; or parallel.compile=false",
        )
    for part in model.children():
        for layer in part if isinstance(part, nn.ModuleList) else ():
            if any(parameter.requires_grad for parameter in layer.parameters()):
                layer.compile()
        if not isinstance(part, nn.ModuleList):
            compile_layers(part, device)
