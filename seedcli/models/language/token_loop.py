"""Token by token: the language model's forward pass with its KV cache, one choice a row and step.
On the path: prompt ids -> written ids.

Beam search is Hugging Face's `generate`; without beams this loop does the same faster (`make bench`
prints the ratio): it leaves out the preparation of every step, makes no tensor where a list will
do, and a BOI or EOI that must come costs no forward pass.
"""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor
from transformers import DynamicCache, LogitsProcessor, PreTrainedModel

from seedcli.errors import NumericalError
from seedcli.models.language.answer import open_image
from seedcli.models.language.text_tokenizer import CodeVocabulary


def pad_left(prompts: Sequence[Sequence[int]], pad: int) -> tuple[Tensor, Tensor]:
    """Rows of ids of any lengths -> ids [B,N] with padding before them, and the mask [B,N]
    of what is no padding.
    """
    length = max(map(len, prompts))
    input_ids = torch.full((len(prompts), length), pad, dtype=torch.long)
    mask = torch.zeros_like(input_ids)
    for row, prompt in enumerate(prompts):
        input_ids[row, length - len(prompt) :] = torch.tensor(prompt)
        mask[row, length - len(prompt) :] = 1
    return input_ids, mask


@torch.inference_mode()
def write_tokens(
    model: PreTrainedModel,
    prompts: Sequence[Sequence[int]],
    processors: Sequence[LogitsProcessor],
    vocabulary: CodeVocabulary,
    *,
    budgets: Sequence[int],
    constrained: bool,
    image_first: bool = False,
    on_token: Callable[[int], None] | None = None,
) -> list[list[int]]:
    """Prompt ids, B rows -> what each row writes, EOS included where it comes; the largest
    processed score is chosen.

    Args:
        model: The causal language model.
        prompts: Rows of any lengths.
        processors: Steer the choice; sampling is the noise that they add.
        vocabulary: Ids of codes and markers.
        budgets: Most tokens of each row.
        constrained: The processors hold the image grammar, so that EOI after Q
            codes needs no asking.
        image_first: They hold the one that begins with an image, so that BOI needs none either.
        on_token: Hears each token of the first row.

    Raises:
        NumericalError: A logit is not a number.
    """
    ids, mask = (each.to(model.device) for each in pad_left(prompts, vocabulary.pad))
    at, room = ids.shape[1], max(budgets)
    padded = not bool(mask.all())
    # Whole from the start, so that a step takes views and makes no tensor.
    ids, mask = F.pad(ids, (0, room), value=vocabulary.pad), F.pad(mask, (0, room), value=1)
    position_ids = (mask.cumsum(1) - 1).clamp(min=0)
    written: list[list[int]] = [[] for _ in prompts]
    opened = [open_image(prompt, vocabulary) for prompt in prompts]
    in_image = [max(len(image) - 1, 0) for image in opened]
    done = [False] * len(prompts)
    cache, cache_name, seen = DynamicCache(config=model.config), name_of_cache(model), 0

    def choose(scores: Tensor) -> list[int]:
        # one by one: Hugging Face's list inspects their signatures at every step
        for processor in processors:
            scores = processor(ids[:, :at], scores)
        best = scores.max(1)
        if not all(map(math.isfinite, best.values.tolist())):
            raise NumericalError(
                f"the language model's logits are not finite in {model.dtype}",
                remedy="--dtype bfloat16 or float32: float16 overflows in some models",
            )
        return best.indices.tolist()

    def take(tokens: list[int]) -> None:
        nonlocal at
        column = [vocabulary.pad if done[row] else token for row, token in enumerate(tokens)]
        ids[:, at] = torch.tensor(column, device=ids.device)
        at += 1
        for row, token in enumerate(column):
            if done[row]:
                continue
            written[row].append(token)
            in_image[row] = (
                in_image[row] + 1
                if 0 <= token - vocabulary.first_code < vocabulary.num_codes
                else 0
            )
            done[row] = token == vocabulary.eos or len(written[row]) >= budgets[row]
            if row == 0 and on_token is not None:
                on_token(token)

    if image_first and not any(opened):
        # The grammar alone decides; noise is drawn all the same, so that a seed stands for the same
        # picture as if the model were asked.
        take(choose(torch.zeros(len(prompts), model.config.vocab_size, device=ids.device)))
    while not all(done):
        output = model(
            input_ids=ids[:, seen:at],
            attention_mask=mask[:, :at] if padded else None,
            position_ids=position_ids[:, seen:at],
            use_cache=True,
            logits_to_keep=1,
            **{cache_name: cache},
        )
        seen = at
        # in half precision top-p would add up rounded probabilities
        take(choose(output.logits[:, -1].float()))
        if (
            constrained
            and not all(done)
            and all(
                ended or codes == vocabulary.num_queries
                for ended, codes in zip(done, in_image, strict=True)
            )
        ):
            take([vocabulary.eoi] * len(prompts))
    return written


def name_of_cache(model: PreTrainedModel) -> str:
    """What this release of transformers calls the KV cache; the later ones
    warn of the earlier name.
    """
    return "cache" if "cache" in inspect.signature(model.forward).parameters else "past_key_values"
