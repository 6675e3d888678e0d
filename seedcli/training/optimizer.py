"""AdamW, or Muon beside it, and the learning rate, from a recipe's [optimization] section."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import nn

from seedcli.errors import UsageError
from seedcli.recipe.language import LlmParallelSection, TokenOptimizationSection
from seedcli.recipe.pictures import OptimizationSection


def build_stage_optimizer(model: nn.Module, optimization: OptimizationSection) -> torch.optim.AdamW:
    """AdamW with weight decay only on matrices: parameters with fewer than two dimensions,
    biases and norms are exempt.

    Source: LAVIS runner_base, which SEED trains with (ndim < 2, or bias, ln or bn in the name).
    Differs from source: "norm" in the name counts too.
    """

    def exempt(name: str, parameter: nn.Parameter) -> bool:
        return parameter.ndim < 2 or any(word in name for word in ("bias", "norm", "ln_", "bn"))

    return torch.optim.AdamW(_groups(model, optimization, exempt), **_settings(optimization))


def build_phase_optimizer(
    model: nn.Module, optimization: TokenOptimizationSection, parallel: LlmParallelSection
) -> torch.optim.Optimizer:
    """AdamW over a language model; with moments in the host's memory DeepSpeed's, which computes
    there. `optimizer = "muon"` gives the matrices of the decoder layers to Muon.

    `decay_norms` decays everything, as the official run did (Hugging Face 4.30 exempted
    only nn.LayerNorm and biases, which Llama does not have); without it norms, embeddings
    and biases are exempt.

    Raises:
        UsageError: This torch has no Muon.
    """
    embeddings = {
        id(module.weight) for module in model.modules() if isinstance(module, nn.Embedding)
    }

    def exempt(name: str, parameter: nn.Parameter) -> bool:
        # ZeRO 3 leaves empty parameters that know their shape
        shape = getattr(parameter, "ds_shape", parameter.shape)
        return not optimization.decay_norms and (len(shape) < 2 or id(parameter) in embeddings)

    groups, settings = _groups(model, optimization, exempt), _settings(optimization)
    if parallel.engine == "deepspeed" and parallel.offload_optimizer:
        from deepspeed.ops.adam import DeepSpeedCPUAdam

        return DeepSpeedCPUAdam(groups, adamw_mode=True, **settings)
    if optimization.optimizer == "muon":
        if not hasattr(torch.optim, "Muon"):
            raise UsageError(
                f'optimizer = "muon" needs torch 2.9, and this is {torch.__version__}',
                remedy='pip install --upgrade torch torchvision; or optimizer = "adamw"',
            )
        return MuonAndAdamW(groups, matrices_of_layers(model), settings)
    return torch.optim.AdamW(groups, fused=True, **settings)


def matrices_of_layers(model: nn.Module) -> list[nn.Parameter]:
    """What Muon is made for: the trained matrices of a stack of layers, not embeddings and head."""
    return [
        parameter
        for stack in model.modules()
        if isinstance(stack, nn.ModuleList)
        for parameter in stack.parameters()
        if parameter.requires_grad and parameter.ndim == 2
    ]


class MuonAndAdamW(torch.optim.Optimizer):
    """Both of torch as one: one list of groups, one state.

    Muon's steps are scaled to the size of AdamW's (`match_rms_adamw`, arXiv 2502.16982), so one
    learning rate and one weight decay serve both.

    Args:
        groups: Parameters in groups with their weight decay, as AdamW takes them.
        matrices: Those that Muon trains.
        settings: AdamW's.
    """

    def __init__(
        self,
        groups: list[dict[str, Any]],
        matrices: list[nn.Parameter],
        settings: dict[str, Any],
    ):
        by_muon = {id(parameter) for parameter in matrices}

        def of(muon: bool) -> list[dict[str, Any]]:
            parts = [
                group | {"params": [one for one in group["params"] if (id(one) in by_muon) is muon]}
                for group in groups
            ]
            return [part for part in parts if part["params"]]

        self._parts: dict[str, torch.optim.Optimizer] = {}
        if theirs := of(True):
            self._parts["muon"] = torch.optim.Muon(
                theirs, lr=settings["lr"], adjust_lr_fn="match_rms_adamw"
            )
        if rest := of(False):
            self._parts["adamw"] = torch.optim.AdamW(rest, fused=True, **settings)
        super().__init__(groups, settings)
        self._take_groups()

    def step(self, closure: Callable[[], float] | None = None) -> None:
        """One update of all parameters."""
        for part in self._parts.values():
            part.step(closure)

    def state_dict(self) -> dict[str, Any]:
        """Name of a part -> its state."""
        return {name: part.state_dict() for name, part in self._parts.items()}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """What `state_dict` gave."""
        for name, part in self._parts.items():
            part.load_state_dict(state_dict[name])
        self._take_groups()

    def _take_groups(self) -> None:
        # the parts' own: whoever sets a rate sets theirs
        self.param_groups = [group for part in self._parts.values() for group in part.param_groups]


def learning_rate_at(
    step: int, optimization: OptimizationSection | TokenOptimizationSection
) -> float:
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


def _groups(
    model: nn.Module,
    optimization: OptimizationSection | TokenOptimizationSection,
    exempt: Callable[[str, nn.Parameter], bool],
) -> list[dict[str, Any]]:
    """What is trained, in two groups: with weight decay, and without; an empty one is left out."""
    decayed: list[nn.Parameter] = []
    spared: list[nn.Parameter] = []
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            (spared if exempt(name, parameter) else decayed).append(parameter)
    groups = (
        {"params": decayed, "weight_decay": optimization.weight_decay},
        {"params": spared, "weight_decay": 0.0},
    )
    return [group for group in groups if group["params"]]


def _settings(optimization: OptimizationSection | TokenOptimizationSection) -> dict[str, Any]:
    return {
        "lr": optimization.learning_rate,
        "betas": optimization.betas,
        "eps": optimization.adam_epsilon,
    }
