"""The token loop: rows that join and leave at any step answer as they do alone."""

from __future__ import annotations

import dataclasses

import pytest
import torch

from seedcli.errors import NumericalError
from seedcli.models.language.generate import SamplingSettings, SeedLlama
from seedcli.models.language.image_grammar import ImageGuidance
from seedcli.models.language.rows import Row
from seedcli.models.language.token_loop import TokenLoop

WARM = SamplingSettings(temperature=1.5, top_p=1.0, max_new_tokens=50)
GREEDY = SamplingSettings(temperature=0, max_new_tokens=40)
TEXTS = (
    "a dog",
    "the red bus waits near the bridge and 12 birds",
    "draw",
    "USER: draw a cat\nASSISTANT:",
)


def prompt(llm: SeedLlama, text: str) -> list[int]:
    return [llm.vocabulary.bos, *llm.text_tokenizer.encode(text, add_special_tokens=False)]


def rows(llm: SeedLlama) -> list[Row]:
    """Rows of unlike lengths, settings and needs."""
    asked = [
        (WARM, "never", 3),
        (GREEDY, "allowed", 0),
        (dataclasses.replace(WARM, top_p=0.9, temperature=1.0), "first", 4),
        (dataclasses.replace(WARM, code_guidance=3.0), "required", 5),
        (dataclasses.replace(WARM, top_k=5), "allowed", 6),
        (dataclasses.replace(GREEDY, code_guidance=2.0), "first", 0),
    ]
    return [
        llm.open_row(prompt(llm, TEXTS[number % 4]), settings, image=need, seed=seed)
        for number, (settings, need, seed) in enumerate(asked)
    ]


def test_rows_that_join_at_any_step_answer_as_they_do_alone(tiny_llm) -> None:
    alone = []
    for row in rows(tiny_llm):
        loop = tiny_llm.open_loop()
        loop.join([row])
        while loop.rows or loop.waiting:
            loop.step()
        alone.append(row.written)
    together, loop = rows(tiny_llm), tiny_llm.open_loop()
    arrivals: dict[int, list[Row]] = {step: [] for step in (0, 3, 7, 20, 60)}
    for step, row in zip((0, 0, 3, 7, 20, 60), together, strict=True):
        arrivals[step].append(row)
    for step in range(200):
        loop.join(arrivals.get(step, []))
        loop.step()
    assert [row.written for row in together] == alone
    assert all(row.done for row in together) and not loop.rows


@pytest.mark.parametrize("mergeable", [True, False], ids=["merged", "read-again"])
def test_twins_guide_as_uncached_passes_do(tiny_llm, monkeypatch, mergeable) -> None:
    """Every code is the one that beam search's processor makes likeliest, from ids alone; also
    with a cache that nothing can be merged into, as one with a sliding window.
    """
    if not mergeable:
        monkeypatch.setattr(TokenLoop, "_can_merge", lambda self: False)
    vocabulary, settings = tiny_llm.vocabulary, dataclasses.replace(GREEDY, code_guidance=3.0)
    prompts = [prompt(tiny_llm, text) for text in TEXTS]
    wordless = [[vocabulary.bos, 12 + number] for number in range(len(prompts))]
    for need in ("first", "required"):
        answers = tiny_llm.generate(prompts, settings, image=need, wordless=wordless)
        for asked, without, answer in zip(prompts, wordless, answers, strict=True):
            guidance = ImageGuidance(tiny_llm.model, vocabulary, scale=3.0, wordless=[without])
            begun = answer.ids.index(vocabulary.boi) + 1
            for place in range(begun, begun + vocabulary.num_queries):
                ids = torch.tensor([[*asked, *answer.ids[:place]]])
                with torch.no_grad():
                    scores = guidance(ids, tiny_llm.model(ids).logits[:, -1])[0]
                codes = scores[vocabulary.first_code :][: vocabulary.num_codes]
                chosen = codes[answer.ids[place] - vocabulary.first_code]
                # measured: equal, or 6e-6 below where two codes are as likely
                # measured: equal; two codes as likely may round otherwise elsewhere
                assert chosen >= codes.max() - 1e-4


def test_a_row_that_leaves_changes_no_other_and_frees_its_place(tiny_llm) -> None:
    staying, leaving = rows(tiny_llm)[0], rows(tiny_llm)[1]
    expected = rows(tiny_llm)[0]
    for together, gone in (([expected], []), ([staying, leaving], [leaving])):
        loop = tiny_llm.open_loop()
        loop.join(together)
        for _ in range(5):
            loop.step()
        loop.leave(gone)
        assert loop.rows == together[:1]
        while loop.rows:
            loop.step()
    assert staying.written == expected.written
    assert len(leaving.written) == 5


def test_words_alone_and_one_picture_alone(tiny_llm) -> None:
    settings = dataclasses.replace(WARM, max_new_tokens=120)
    vocabulary = tiny_llm.vocabulary
    wordy = [
        tiny_llm.open_row(prompt(tiny_llm, TEXTS[0]), settings, image="never", seed=seed)
        for seed in range(12)
    ]
    one = [
        tiny_llm.open_row(
            prompt(tiny_llm, TEXTS[0]), settings, image="required", seed=seed, last_image=1
        )
        for seed in range(12)
    ]
    loop = tiny_llm.open_loop()
    loop.join([*wordy, *one])
    while loop.rows or loop.waiting:
        loop.step()
    assert not any(vocabulary.boi in row.written for row in wordy)
    assert [row.written.count(vocabulary.eoi) for row in one] == [1] * 12
    assert all(row.written[-1] == vocabulary.eoi for row in one)


def test_likelihoods_are_those_of_the_grammar_before_sampling(tiny_llm) -> None:
    row = tiny_llm.open_row(
        prompt(tiny_llm, TEXTS[0]), WARM, image="required", seed=1, num_likeliest=3
    )
    loop = tiny_llm.open_loop()
    loop.join([row])
    while loop.rows or loop.waiting:
        loop.step()
    vocabulary = tiny_llm.vocabulary
    assert len(row.likelihoods) == len(row.written)
    logits = tiny_llm.model(torch.tensor([[*row.prompt, *row.written]])).logits[0].detach()
    first = logits[len(row.prompt) - 1].clone()
    first[vocabulary.first_code : vocabulary.first_code + vocabulary.num_codes] = -torch.inf
    first[[vocabulary.eoi, vocabulary.bos, vocabulary.eos]] = -torch.inf
    first[len(tiny_llm.text_tokenizer) :] = -torch.inf
    known = first.log_softmax(0)
    # float32 twice through the model, alone and with a cache: measured 2e-6
    assert row.likelihoods[0].chosen == pytest.approx(float(known[row.written[0]]), abs=1e-4)
    likeliest = [token for token, _ in row.likelihoods[0].likeliest]
    assert likeliest == known.topk(3).indices.tolist()
    forced = [
        each.chosen
        for token, each in zip(row.written, row.likelihoods, strict=True)
        if token == vocabulary.eoi
    ]
    assert forced and set(forced) == {0.0}


def test_a_row_whose_logits_are_not_finite_fails_alone(tiny_llm) -> None:
    good, bad = rows(tiny_llm)[0], rows(tiny_llm)[4]
    expected = rows(tiny_llm)[0]
    loop = tiny_llm.open_loop()
    loop.join([expected])
    while loop.rows or loop.waiting:
        loop.step()

    def spoil(_module, _inputs, output):
        if bad in loop.rows and len(bad.written) == 3:
            output.logits[loop.rows.index(bad)] = torch.nan
        return output

    hook = tiny_llm.model.register_forward_hook(spoil)
    try:
        loop.join([good, bad])
        while loop.rows or loop.waiting:
            loop.step()
    finally:
        hook.remove()
    assert good.written == expected.written
    with pytest.raises(NumericalError, match="not finite"):
        tiny_llm.close_row(bad)
    assert len(bad.written) == 3
