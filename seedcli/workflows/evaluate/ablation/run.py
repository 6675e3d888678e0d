"""A request of `seed eval ablation` -> the ablation that it means."""

from __future__ import annotations

import dataclasses
from typing import Any

from seedcli.console import Reporter
from seedcli.workflows.evaluate.ablation.request import AblationRequest


def run_ablation(request: AblationRequest, *, reporter: Reporter | None = None) -> dict[str, Any]:
    """Compares, as the request says.

    Returns:
        The envelope of every benchmark, and what each ablation adds.

    Raises:
        UsageError: Options that do not go together, no such set, split or model.
        DataError: Data or weights are missing or refused.
    """
    request.check()
    seeds = request.seeds or ((0,) if request.prefix else (0, 1, 2))
    settings = dataclasses.replace(request.settings, seeds=seeds)
    match request.kind:
        case "prefix":
            from seedcli.workflows.evaluate.ablation.prefix import run_prefix

            return run_prefix(
                request.causal or "seed-nano",
                request.bilateral,
                settings,
                lengths=request.lengths,
                every=request.every,
                reporter=reporter,
            )
        case "lora":
            from seedcli.workflows.evaluate.ablation.lora import run_lora

            return run_lora(request.lora, request.full, settings, reporter=reporter)
        case "masks":
            from seedcli.workflows.evaluate.ablation.masks import run_masks

            return run_masks(request.causal, request.bilateral, settings, reporter=reporter)
