"""A request of `seed eval` -> what its benchmark measures. Data are looked for before torch is
loaded, so that a missing file is told at once.
"""

from __future__ import annotations

from typing import Any

from seedcli.console import Reporter
from seedcli.workflows.evaluate.ablation.request import AblationRequest
from seedcli.workflows.evaluate.requests import (
    CaptionRequest,
    RetrievalRequest,
    SimilaritySettings,
    VqaRequest,
)


def measure(
    request: RetrievalRequest | CaptionRequest | VqaRequest | SimilaritySettings | AblationRequest,
    *,
    reporter: Reporter | None = None,
) -> dict[str, Any]:
    """Measures what the request asks for.

    Returns:
        The envelope of every benchmark, and what its own adds; for a task of an array job what it
        did.

    Raises:
        UsageError: Options that do not go together, no such set, split or model.
        DataError: Data or weights are missing or refused.
    """
    reporter = reporter or Reporter()
    match request:
        case VqaRequest():
            questions = request.load_questions()
            from seedcli.workflows.evaluate.vqa import run_vqa

            return run_vqa(request, questions, reporter)
        case CaptionRequest():
            captions = request.load_captions(reporter)
            from seedcli.workflows.evaluate.caption import run_caption

            return run_caption(request, captions, reporter)
        case AblationRequest():
            request.check()
    found = request.load_set(reporter)
    match request:
        case RetrievalRequest():
            from seedcli.workflows.evaluate.retrieval import run_retrieval

            return run_retrieval(request, found, reporter)
        case SimilaritySettings():
            from seedcli.workflows.evaluate.clip_similarity import run_clip_similarity

            return run_clip_similarity(request, found, reporter)
        case AblationRequest(kind="prefix"):
            from seedcli.workflows.evaluate.ablation.prefix import run_prefix as compare
        case AblationRequest(kind="lora"):
            from seedcli.workflows.evaluate.ablation.lora import run_lora as compare
        case AblationRequest():
            from seedcli.workflows.evaluate.ablation.masks import run_masks as compare
    return compare(request, found, reporter)
