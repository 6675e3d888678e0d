"""Two ways to draw images of Q codes with one language model: our token loop, and `generate` of
Hugging Face with its cache.
"""

from __future__ import annotations

import random
from typing import Literal

import torch
from transformers import GenerationConfig, LogitsProcessor, LogitsProcessorList, PreTrainedModel

from seedcli.models.language.code_vocabulary import CodeVocabulary
from seedcli.models.language.generate import SamplingSettings, SeedLlama
from seedcli.models.language.rows import pad_left

Grammar = Literal["bare", "processor", "prefix function"]


def drawing_prompts(
    vocabulary: CodeVocabulary, *, batch: int, shortest: int = 20, step: int = 3
) -> list[list[int]]:
    """Rows of BOS, words, BOI, each a little longer than the one before."""
    rng = random.Random(0)
    return [
        [
            vocabulary.bos,
            *(rng.randrange(259, vocabulary.first_code) for _ in range(shortest + step * row)),
            vocabulary.boi,
        ]
        for row in range(batch)
    ]


def draw_by_ours(
    llm: SeedLlama, prompts: list[list[int]], *, code_guidance: float = 1.0
) -> list[list[int]]:
    """As `seed chat` does, greedily: under the grammar, with the answer taken apart. Guided, codes
    move away from those of any picture.
    """
    settings = SamplingSettings(
        temperature=0,
        max_new_tokens=llm.vocabulary.num_queries + 1,
        code_guidance=code_guidance,
    )
    answers = llm.generate(prompts, settings)
    return [list(answer.ids[: llm.vocabulary.num_queries]) for answer in answers]


class OnlyCodes(LogitsProcessor):
    """Nothing but codes: the least that a grammar can cost."""

    def __init__(self, vocabulary: CodeVocabulary, width: int):
        self._forbidden = torch.ones(width, dtype=torch.bool)
        self._forbidden[vocabulary.first_code : vocabulary.first_code + vocabulary.num_codes] = (
            False
        )

    def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        return scores.masked_fill(self._forbidden, -torch.inf)


def draw_by_generate(
    model: PreTrainedModel, vocabulary: CodeVocabulary, prompts: list[list[int]], grammar: Grammar
) -> list[list[int]]:
    """Greedy, Q tokens; `bare` writes whatever is likeliest but EOS."""
    input_ids, mask = pad_left(prompts, vocabulary.pad)
    config = GenerationConfig(
        max_new_tokens=vocabulary.num_queries,
        min_new_tokens=vocabulary.num_queries if grammar == "bare" else None,
        do_sample=False,
        use_cache=True,
        bos_token_id=vocabulary.bos,
        eos_token_id=vocabulary.eos,
        pad_token_id=vocabulary.pad,
    )
    steering = {}
    match grammar:
        case "processor":
            steering["logits_processor"] = LogitsProcessorList(
                [OnlyCodes(vocabulary, model.config.vocab_size)]
            )
        case "prefix function":
            codes = list(range(vocabulary.first_code, vocabulary.first_code + vocabulary.num_codes))
            steering["prefix_allowed_tokens_fn"] = lambda row, ids: codes
    found = model.generate(input_ids, attention_mask=mask, generation_config=config, **steering)
    return found[:, input_ids.shape[1] :].tolist()
