"""Log-likelihoods of answers: batches equal a plain loop, and greedy answers are the
likeliest first tokens.
"""

import pytest
import torch

from seedcli.errors import UsageError
from seedcli.models.language.likelihood import (
    choice_log_likelihoods,
    log_likelihoods,
    token_log_likelihoods,
)
from seedcli.models.language.vocab import format_span


def encode(llm, text, bos=False):
    return [llm.vocabulary.bos] * bos + llm.text_tokenizer.encode(text, add_special_tokens=False)


def one_by_one(llm, prompt, continuation):
    total = 0.0
    for place, token in enumerate(continuation):
        ids = torch.tensor([[*prompt, *continuation[:place]]])
        total += llm.model(input_ids=ids).logits[0, -1].float().log_softmax(-1)[token].item()
    return total


def test_a_batch_equals_a_plain_loop(tiny_llm):
    prompts = [
        encode(tiny_llm, text, bos=True)
        for text in (
            "a dog",
            format_span(range(32)) + " which animal is this?",
            "the red bus waits",
        )
    ]
    answers = [
        encode(tiny_llm, text)
        for text in ("runs", "a field with a dog and a bridge", "near 12 birds")
    ]
    with torch.inference_mode():
        expected = [one_by_one(tiny_llm, *row) for row in zip(prompts, answers, strict=True)]
    # measured worst difference: 5e-6
    assert log_likelihoods(tiny_llm, prompts, answers) == pytest.approx(expected, abs=1e-4)


def test_token_by_token(tiny_llm):
    prompts = [encode(tiny_llm, "a dog", bos=True), encode(tiny_llm, "12 birds above", bos=True)]
    answers = [encode(tiny_llm, "near the red bus"), encode(tiny_llm, "runs")]
    found = token_log_likelihoods(tiny_llm, prompts, answers)
    assert [len(row) for row in found] == [len(answer) for answer in answers]
    with torch.inference_mode():
        for place, token in enumerate(answers[0]):
            expected = one_by_one(tiny_llm, [*prompts[0], *answers[0][:place]], [token])
            # measured worst difference: 1e-6
            assert found[0][place] == pytest.approx(expected, abs=1e-4)


def test_choices_that_share_a_prompt(tiny_llm):
    prompt = encode(tiny_llm, format_span(range(32)) + " which animal is this?", bos=True)
    choices = [
        encode(tiny_llm, text)
        for text in ("runs", "a field with a dog and a bridge", "near 12 birds", "a")
    ] + [[5]]
    expected = log_likelihoods(tiny_llm, [prompt] * len(choices), choices)
    # measured worst difference 5e-6: sums of other shapes
    assert choice_log_likelihoods(tiny_llm, prompt, choices) == pytest.approx(expected, abs=1e-4)
    assert choice_log_likelihoods(tiny_llm, prompt, choices, batch_size=2) == pytest.approx(
        expected, abs=1e-4
    )
    assert choice_log_likelihoods(tiny_llm, prompt, [[5], [6]]) == pytest.approx(
        log_likelihoods(tiny_llm, [prompt] * 2, [[5], [6]])
    )
    with pytest.raises(UsageError, match="context"):
        choice_log_likelihoods(tiny_llm, prompt, [[5] * tiny_llm.max_positions])
    with pytest.raises(UsageError, match="without tokens"):
        choice_log_likelihoods(tiny_llm, prompt, [[5], []])


def test_what_cannot_be_scored(tiny_llm):
    prompt = encode(tiny_llm, "a dog", bos=True)
    with pytest.raises(UsageError, match="without tokens"):
        log_likelihoods(tiny_llm, [prompt], [[]])
    with pytest.raises(UsageError, match="context"):
        log_likelihoods(tiny_llm, [prompt], [[5] * tiny_llm.max_positions])
