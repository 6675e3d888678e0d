"""A request of `seed eval ablation` -> the ablation that it means."""

from __future__ import annotations

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
    match request.kind:
        case "prefix":
            from seedcli.workflows.evaluate.ablation.prefix import run_prefix as run
        case "lora":
            from seedcli.workflows.evaluate.ablation.lora import run_lora as run
        case "masks":
            from seedcli.workflows.evaluate.ablation.masks import run_masks as run
    return run(request, reporter or Reporter())
