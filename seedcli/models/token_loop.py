"""Token by token: the language model's forward pass with its KV cache, one choice a row and step. On the path: prompt ids -> written ids.

Beam search is Hugging Face's `generate`; without beams this loop does the same a little faster (`make bench` prints the ratio): it leaves
out the preparation of every step, and the EOI that must follow the last code costs no forward pass.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence

import torch
from torch import Tensor
from transformers import LogitsProcessorList, PreTrainedModel

from seedcli.errors import NumericalError
from seedcli.models.answer import open_image
from seedcli.models.text_tokenizer import CodeVocabulary


def pad_left(prompts: Sequence[Sequence[int]], pad: int) -> tuple[Tensor, Tensor]:
    """Rows of ids of any lengths -> ids [B,N] with padding before them, and the mask [B,N] of what is no padding."""
    length = max(map(len, prompts))
    input_ids = torch.full((len(prompts), length), pad, dtype=torch.long)
    mask = torch.zeros_like(input_ids)
    for row, prompt in enumerate(prompts):
        input_ids[row, length - len(prompt) :] = torch.tensor(prompt)
        mask[row, length - len(prompt) :] = 1
    return input_ids, mask


def write_tokens(
    model: PreTrainedModel,
    prompts: Sequence[Sequence[int]],
    processors: LogitsProcessorList,
    vocabulary: CodeVocabulary,
    *,
    budgets: Sequence[int],
    constrained: bool,
    on_token: Callable[[int], None] | None = None,
) -> list[list[int]]:
    """Prompt ids, B rows -> what each row writes, EOS included where it comes; the largest processed score is chosen.

    Args:
        model: The causal language model.
        prompts: Rows of any lengths.
        processors: Steer the choice; sampling is the noise that they add.
        vocabulary: Ids of codes and markers.
        budgets: Most tokens of each row.
        constrained: The processors hold the image grammar, so that EOI after Q codes needs no asking.
        on_token: Hears each token of the first row.

    Raises:
        NumericalError: A logit is not a number.
    """
    input_ids, mask = (each.to(model.device) for each in pad_left(prompts, vocabulary.pad))
    padded = not bool(mask.all())
    written: list[list[int]] = [[] for _ in prompts]
    in_image = [max(len(open_image(prompt, vocabulary)) - 1, 0) for prompt in prompts]
    done = [False] * len(prompts)
    fresh, cache_name = input_ids.shape[1], _cache_name(model)
    cache = None

    def take(tokens: list[int]) -> None:
        nonlocal input_ids, mask, fresh
        column = [vocabulary.pad if done[row] else token for row, token in enumerate(tokens)]
        input_ids = torch.cat([input_ids, torch.tensor(column, device=input_ids.device)[:, None]], 1)
        mask = torch.cat([mask, mask.new_ones(len(column), 1)], 1)
        fresh += 1
        for row, token in enumerate(column):
            if done[row]:
                continue
            written[row].append(token)
            in_image[row] = in_image[row] + 1 if 0 <= token - vocabulary.first_code < vocabulary.num_codes else 0
            done[row] = token == vocabulary.eos or len(written[row]) >= budgets[row]
            if row == 0 and on_token is not None:
                on_token(token)

    while not all(done):
        output = model(
            input_ids=input_ids[:, -fresh:],
            attention_mask=mask if padded else None,
            position_ids=(mask.cumsum(1) - 1).clamp(min=0)[:, -fresh:],
            use_cache=True,
            logits_to_keep=1,
            **{cache_name: cache},
        )
        cache, fresh = output[cache_name], 0
        scores = processors(input_ids, output.logits[:, -1].float())  # in half precision top-p would add up rounded probabilities
        best = scores.max(1)
        if not bool(best.values.isfinite().all()):
            raise NumericalError(
                f"the language model's logits are not finite in {model.dtype}",
                remedy="--dtype bfloat16 or float32: float16 overflows in some models",
            )
        take(best.indices.tolist())
        if (
            constrained
            and not all(done)
            and all(ended or codes == vocabulary.num_queries for ended, codes in zip(done, in_image, strict=True))
        ):
            take([vocabulary.eoi] * len(prompts))
    return written


def _cache_name(model: PreTrainedModel) -> str:
    """What this release of transformers calls the KV cache, going in and coming out; the later ones warn of the earlier name."""
    return "cache" if "cache" in inspect.signature(model.forward).parameters else "past_key_values"
