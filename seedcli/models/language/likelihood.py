"""How likely a language model finds given answers: prompts and continuations -> log-likelihoods,
for choices that are ranked.
"""

from __future__ import annotations

import copy
import itertools
import math
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from seedcli.errors import NumericalError, UsageError
from seedcli.models.language.token_loop import name_of_cache

if TYPE_CHECKING:
    from seedcli.models.language.generate import SeedLlama


def log_likelihoods(
    llm: SeedLlama, prompts: Sequence[Sequence[int]], continuations: Sequence[Sequence[int]]
) -> list[float]:
    """Prompt ids and the ids that follow, B rows of any lengths -> log-likelihood of each
    continuation, in nats, summed over its tokens.

    Raises:
        UsageError, NumericalError: See `token_log_likelihoods`.
    """
    return [sum(row) for row in token_log_likelihoods(llm, prompts, continuations)]


@torch.inference_mode()
def token_log_likelihoods(
    llm: SeedLlama, prompts: Sequence[Sequence[int]], continuations: Sequence[Sequence[int]]
) -> list[list[float]]:
    """Prompt ids and the ids that follow, B rows of any lengths -> log-likelihood of each token of
    a continuation, in nats.

    Rows are padded on the right, where a causal model does not look.

    Raises:
        UsageError: A row is longer than the context, or a continuation is empty.
        NumericalError: A log-likelihood is not finite.
    """
    rows = [
        [*prompt, *continuation]
        for prompt, continuation in zip(prompts, continuations, strict=True)
    ]
    longest = max(map(len, rows))
    _check_lengths(llm, longest, continuations)
    input_ids = _pad_right(rows, llm.vocabulary.pad).to(llm.model.device)
    mask = _pad_right([[1] * len(ids) for ids in rows], 0).to(llm.model.device)
    # only positions from the shortest prompt's last one on predict something
    kept = longest - min(map(len, prompts)) + 1
    logits = (
        llm.model(input_ids=input_ids, attention_mask=mask, use_cache=False, logits_to_keep=kept)
        .logits[:, :-1]
        .float()
    )
    targets = input_ids[:, longest - kept + 1 :]
    each = -F.cross_entropy(logits.transpose(1, 2), targets, reduction="none")
    begin = longest - kept + 1
    found = [
        row[len(prompt) - begin : len(ids) - begin]
        for row, prompt, ids in zip(each, prompts, rows, strict=True)
    ]
    values = [row.tolist() for row in found]
    _check_finite(llm, itertools.chain.from_iterable(values))
    return values


@torch.inference_mode()
def choice_log_likelihoods(
    llm: SeedLlama, prompt: Sequence[int], choices: Sequence[Sequence[int]], *, batch_size: int = 32
) -> list[float]:
    """One prompt and C rows of ids that may follow it -> log-likelihood of each, in nats,
    summed over its tokens.

    The same as `log_likelihoods`, but the prompt, with its pictures much longer than any choice, is
    read once. Choices of like length go together, `batch_size` at a time.

    Raises:
        UsageError: Prompt and choice are longer than the context, or a choice is empty.
        NumericalError: A log-likelihood is not finite.
    """
    _check_lengths(llm, len(prompt) + max(map(len, choices)), choices)
    device = llm.model.device
    read = llm.model(
        input_ids=torch.tensor([list(prompt)], device=device), use_cache=True, logits_to_keep=1
    )
    cache_name = name_of_cache(llm.model)
    opening = read.logits[0, -1].float().log_softmax(-1)
    found = [0.0] * len(choices)
    by_length = sorted(range(len(choices)), key=lambda number: len(choices[number]))
    for start in range(0, len(choices), batch_size):
        numbers = by_length[start : start + batch_size]
        part = [choices[number] for number in numbers]
        ids = _pad_right(part, -100).to(device)  # no target, as in cross_entropy
        totals = opening[ids[:, 0]]
        if ids.shape[1] > 1:
            cache = copy.deepcopy(read[cache_name])
            cache.batch_repeat_interleave(len(part))
            shown = ids[:, :-1].masked_fill(ids[:, :-1] < 0, llm.vocabulary.pad)
            places = torch.arange(len(prompt), len(prompt) + shown.shape[1], device=device).expand(
                len(part), -1
            )
            logits = llm.model(
                input_ids=shown, position_ids=places, use_cache=True, **{cache_name: cache}
            ).logits
            totals = totals - F.cross_entropy(
                logits.float().transpose(1, 2), ids[:, 1:], reduction="none"
            ).sum(1)
        for number, total in zip(numbers, totals.tolist(), strict=True):
            found[number] = total
    _check_finite(llm, found)
    return found


def _pad_right(rows: Iterable[Sequence[int]], padding: int) -> Tensor:
    """Rows of any lengths -> [B,N]."""
    return pad_sequence([torch.tensor(row) for row in rows], True, padding)


def _check_lengths(llm: SeedLlama, longest: int, answers: Sequence[Sequence[int]]) -> None:
    if longest > llm.max_positions:
        raise UsageError(
            f"prompt and answer have {longest} tokens, the model's context has {llm.max_positions}"
        )
    if not all(answers):
        raise UsageError("an answer without tokens has no likelihood")


def _check_finite(llm: SeedLlama, found: Iterable[float]) -> None:
    if not all(map(math.isfinite, found)):
        raise NumericalError(
            f"log-likelihoods are not finite in {llm.model.dtype}",
            remedy="--dtype bfloat16 or float32",
        )
