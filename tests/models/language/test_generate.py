"""Generation: the grammar, batches equal single prompts, seeds, budgets, streaming,
guidance, wrong special ids.
"""

from __future__ import annotations

import dataclasses
import shutil

import pytest
import torch

from seedcli.errors import UsageError
from seedcli.models.language.answer import PartReader
from seedcli.models.language.generate import SamplingSettings, SeedLlama
from seedcli.models.language.image_grammar import (
    GrammarTable,
    ImageGrammar,
    ImageGuidance,
    RowBudget,
    image_position,
    with_noise,
)
from seedcli.models.language.load import load_language_model, pick_dtype
from seedcli.models.language.vocab import format_span
from seedcli.models.weights.locate_llm import locate_llm
from tests.llm_fixture import MAX_POSITIONS, spoil_special_ids

GREEDY = SamplingSettings(temperature=0, max_new_tokens=60)
WARM = SamplingSettings(temperature=1.5, top_p=1.0, max_new_tokens=90)


def prompt_ids(llm: SeedLlama, *texts: str) -> list[list[int]]:
    return [
        [llm.vocabulary.bos, *llm.text_tokenizer.encode(text, add_special_tokens=False)]
        for text in texts
    ]


def check_spans(llm: SeedLlama, ids) -> int:
    """Every image is BOI, exactly Q codes, EOI, and nothing of it stands elsewhere;
    returns how many there are.
    """
    vocabulary, place, images = llm.vocabulary, 0, 0
    while place < len(ids):
        if ids[place] == vocabulary.boi:
            codes = ids[place + 1 : place + 1 + vocabulary.num_queries]
            assert len(codes) == vocabulary.num_queries and all(
                0 <= code - vocabulary.first_code < vocabulary.num_codes for code in codes
            )
            assert ids[place + 1 + vocabulary.num_queries] == vocabulary.eoi
            place += vocabulary.span_length
            images += 1
        else:
            assert not bool(vocabulary.is_image_token(torch.tensor(ids[place]))), place
            assert ids[place] not in (vocabulary.bos, vocabulary.eos)
            place += 1
    return images


PROMPTS = (
    "a dog",
    "the red bus waits near the bridge",
    "12 birds " + format_span(range(32)) + " a green field",
    "draw a cat",
)


@pytest.mark.parametrize("image", ["allowed", "required", "first"])
def test_every_answer_obeys_the_grammar(tiny_llm, image) -> None:
    images = 0
    for answer in tiny_llm.generate(
        prompt_ids(tiny_llm, *PROMPTS) * 6, WARM, image=image, seeds=range(24)
    ):
        found = check_spans(tiny_llm, answer.ids)
        assert sum(isinstance(part, tuple) for part in answer.segments) == found
        assert answer.malformed == 0 and len(answer.ids) <= 90
        assert found or image == "allowed"
        if image == "first":
            assert answer.ids[0] == tiny_llm.vocabulary.boi
        images += found
    assert images >= (2 if image == "allowed" else 24)


def test_an_image_that_would_not_fit_is_not_begun_and_a_required_one_comes_in_time(
    tiny_llm,
) -> None:
    prompts = prompt_ids(tiny_llm, *PROMPTS)
    for room in (34, 35, 41):
        settings = SamplingSettings(temperature=2.0, top_p=1.0, max_new_tokens=room)
        for image in ("allowed", "required"):
            for answer in tiny_llm.generate(prompts, settings, image=image, seeds=range(4)):
                assert check_spans(tiny_llm, answer.ids) >= (image == "required")
                assert len(answer.ids) <= room
    with pytest.raises(UsageError, match="an image takes 34 tokens, there is room for 33"):
        tiny_llm.generate(prompts, SamplingSettings(max_new_tokens=33), image="first")


@pytest.mark.parametrize(
    "settings",
    [
        GREEDY,
        WARM,
        SamplingSettings(temperature=0, num_beams=3, max_new_tokens=36),
        SamplingSettings(temperature=1.5, num_beams=2, max_new_tokens=36),
    ],
    ids=["greedy", "sampled", "beams", "sampled beams"],
)
@pytest.mark.parametrize("image", ["allowed", "first"])
def test_a_batch_answers_as_each_prompt_alone(tiny_llm, settings, image) -> None:
    prompts = prompt_ids(tiny_llm, *PROMPTS)
    assert len(set(map(len, prompts))) > 2
    together = tiny_llm.generate(prompts, settings, image=image, seeds=[7, 8, 9, 10])
    alone = [
        tiny_llm.generate([prompt], settings, image=image, seeds=[seed])[0]
        for prompt, seed in zip(prompts, (7, 8, 9, 10), strict=True)
    ]
    assert together == alone
    assert len({answer.ids for answer in together}) > 1


def test_greedy_answers_are_the_likeliest_tokens_of_a_model_without_cache_and_padding(
    tiny_llm,
) -> None:
    prompts = prompt_ids(tiny_llm, *PROMPTS)
    answers = tiny_llm.generate(
        prompts, SamplingSettings(temperature=0, max_new_tokens=12), constrained=False
    )
    for prompt, answer in zip(prompts, answers, strict=True):
        ids = list(prompt)
        for _ in range(12):
            ids.append(
                int(tiny_llm.model(torch.tensor([ids]), use_cache=False).logits[0, -1].argmax())
            )
            if ids[-1] == tiny_llm.vocabulary.eos:
                ids.pop()
                break
        assert list(answer.ids) == ids[len(prompt) :]


def test_rows_near_the_end_of_the_context_stop_there(tiny_llm) -> None:
    long = [tiny_llm.vocabulary.bos] + prompt_ids(tiny_llm, "a dog")[0][1:] * 200
    long = long[: MAX_POSITIONS - 40]
    settings = SamplingSettings(temperature=1.5, top_p=1.0, max_new_tokens=90)
    together = tiny_llm.generate([long, *prompt_ids(tiny_llm, "a dog")], settings, seeds=[3, 4])
    assert len(together[0].ids) <= 40
    assert together[0] == tiny_llm.generate([long], settings, seeds=[3])[0]
    with pytest.raises(UsageError, match="an answer takes at least 1 tokens, there is room for 0"):
        tiny_llm.generate([long + long[1:41]], settings)


def test_the_seed_decides_and_nothing_else_does(tiny_llm) -> None:
    prompt = prompt_ids(tiny_llm, "a dog")
    first = tiny_llm.generate(prompt, WARM)
    torch.manual_seed(99)
    assert tiny_llm.generate(prompt, WARM) == first
    assert tiny_llm.generate(prompt, WARM, seeds=[1]) != first
    before = torch.random.get_rng_state()
    sampled_beams = SamplingSettings(num_beams=2, top_p=0.9, max_new_tokens=40)
    assert tiny_llm.generate(prompt, sampled_beams, image="first") == tiny_llm.generate(
        prompt, sampled_beams, image="first"
    )
    assert torch.equal(torch.random.get_rng_state(), before)


def test_sampling_follows_the_probabilities() -> None:
    scores = torch.tensor([[0.0, 1.0, -torch.inf, 2.0]]).expand(20_000, 4)
    sources = [torch.Generator().manual_seed(seed) for seed in range(20_000)]
    chosen = with_noise(scores, sources).argmax(1)
    share = torch.bincount(chosen, minlength=4) / len(chosen)
    assert share[2] == 0
    # three standard deviations of a share among 20,000
    assert (share - scores[0].softmax(0)).abs().max() < 0.011


def test_top_k_leaves_the_likeliest_tokens(tiny_llm) -> None:
    """Of one token, sampling is greedy, beams or not; of all, it is sampling without top-k."""
    prompt = prompt_ids(tiny_llm, "a dog")
    greedy = tiny_llm.generate(prompt, dataclasses.replace(WARM, temperature=0))
    assert tiny_llm.generate(prompt, dataclasses.replace(WARM, top_k=1)) == greedy
    assert tiny_llm.generate(prompt, WARM) != greedy
    everything = len(tiny_llm.text_tokenizer)
    assert tiny_llm.generate(prompt, dataclasses.replace(WARM, top_k=everything)) == (
        tiny_llm.generate(prompt, WARM)
    )
    few = dataclasses.replace(WARM, top_k=3)
    written = [tiny_llm.generate(prompt, few, seeds=[seed])[0].ids for seed in range(40)]
    logits = tiny_llm.model(torch.tensor(prompt)).logits[0, -1]
    grammatical = [ids[0] for ids in written]
    assert 1 < len(set(grammatical)) <= 3
    assert max(logits[grammatical]) == logits[: tiny_llm.vocabulary.first_code].max()
    with pytest.raises(UsageError, match="top_k is -1"):
        SamplingSettings(top_k=-1)


@pytest.mark.parametrize(
    ("dtype", "kind", "advised", "expected"),
    [
        ("auto", "cpu", "float16", torch.float32),
        ("auto", "mps", None, torch.float16),
        ("float32", "cuda", "float16", torch.float32),
        ("auto", "cuda", "float16", torch.float16),
    ],
)
def test_published_weights_compute_as_the_official_code(dtype, kind, advised, expected) -> None:
    assert pick_dtype(dtype, torch.device(kind), advised=advised) is expected


def test_words_and_images_are_streamed_as_they_come(tiny_llm) -> None:
    prompt = prompt_ids(tiny_llm, "draw a cat")
    for seed in range(2):
        parts = []
        answer = tiny_llm.generate(
            prompt, WARM, image="required", seeds=[seed], on_part=parts.append
        )[0]
        joined = []
        for part in parts:
            if isinstance(part, str) and joined and isinstance(joined[-1], str):
                joined[-1] += part
            else:
                joined.append(part)
        assert tuple(joined) == answer.segments
    assert len(parts) > len(joined)
    with pytest.raises(UsageError, match="one prompt without beams"):
        tiny_llm.generate(prompt * 2, WARM, on_part=parts.append)


def test_an_open_image_is_completed(tiny_llm) -> None:
    vocabulary = tiny_llm.vocabulary
    given = [5, 6, 7]
    prompts = [
        [vocabulary.bos, vocabulary.boi, *(vocabulary.first_code + code for code in given[:length])]
        for length in range(4)
    ]
    settings = SamplingSettings(temperature=0, max_new_tokens=33)
    for length, answer in enumerate(tiny_llm.generate(prompts, settings)):
        (codes,) = [part for part in answer.segments if isinstance(part, tuple)]
        assert codes[:length] == tuple(given[:length]) and len(codes) == 32


def test_markers_that_must_come_cost_no_forward_pass_and_change_no_sample(tiny_llm) -> None:
    """The first token of `first` against the same image asked for behind the BOI; the seed's noise
    of BOI is drawn all the same.
    """
    passes = []
    counter = tiny_llm.model.register_forward_hook(lambda *_: passes.append(1))
    try:
        prompts = prompt_ids(tiny_llm, *PROMPTS[:2])
        image = SamplingSettings(temperature=1.5, top_p=1.0, max_new_tokens=34)
        answers = tiny_llm.generate(prompts, image, image="first", seeds=[3, 4])
        assert len(passes) == 32
    finally:
        counter.remove()
    for prompt, seed, answer in zip(prompts, (3, 4), answers, strict=True):
        sources, ids = [torch.Generator().manual_seed(seed)], [*prompt, tiny_llm.vocabulary.boi]
        codes = slice(tiny_llm.vocabulary.first_code, tiny_llm.vocabulary.first_code + 64)
        with_noise(torch.zeros(1, tiny_llm.model.config.vocab_size), sources)
        for _ in range(32):
            scores = torch.full((1, tiny_llm.model.config.vocab_size), -torch.inf)
            scores[:, codes] = (
                tiny_llm.model(torch.tensor([ids]), use_cache=False).logits[:, -1, codes].detach()
                / 1.5
            )
            ids.append(int(with_noise(scores, sources).argmax()))
        assert list(answer.ids) == [*ids[len(prompt) :], tiny_llm.vocabulary.eoi]


def test_without_the_grammar_malformed_spans_are_counted_and_left_out(tiny_llm) -> None:
    vocabulary = tiny_llm.vocabulary
    word = tiny_llm.text_tokenizer.encode("dog", add_special_tokens=False)
    codes = list(range(vocabulary.first_code, vocabulary.first_code + 32))
    good = [vocabulary.boi, *codes, vocabulary.eoi]
    cases = {
        "short": [vocabulary.boi, *codes[:31], vocabulary.eoi],
        "interrupted": [vocabulary.boi, *codes[:4], *word, *codes[4:], vocabulary.eoi],
        "stray": codes[:3],
        "open": [vocabulary.boi, *codes[:3]],
        "alone": [vocabulary.eoi],
        "doubled": [vocabulary.boi, *codes[:3], *good],
    }
    for name, ids in cases.items():
        reader = PartReader(tiny_llm.text_tokenizer, tiny_llm.vocabulary)
        parts = [part for token in [*good, *word, *ids] for part in reader.read(token)] + list(
            reader.end()
        )
        assert reader.malformed == 1, name
        images = 2 if name == "doubled" else 1
        assert sum(isinstance(part, tuple) for part in parts) == images, name
        assert "".join(part for part in parts if isinstance(part, str)) == "dog", name


def test_words_round_trip_byte_by_byte(tiny_llm) -> None:
    text = "a small dog — 🐈 12!"
    reader = PartReader(tiny_llm.text_tokenizer, tiny_llm.vocabulary)
    parts = [
        part
        for token in tiny_llm.text_tokenizer.encode(text, add_special_tokens=False)
        for part in reader.read(token)
    ]
    assert "".join([*parts, *reader.end()]) == text
    assert not any("\N{REPLACEMENT CHARACTER}" in part for part in parts)


def test_guidance_moves_codes_away_from_the_unguided_picture(tiny_llm) -> None:
    """Against the definition, written out with one row a time; text rows stay as they are."""
    vocabulary = tiny_llm.vocabulary
    codes = [vocabulary.first_code + code for code in (3, 1, 4, 1)]
    rows = [
        [vocabulary.bos, 5, 6, vocabulary.boi, *codes],
        [vocabulary.bos, 5, 6, 7, 8, 9, 10, vocabulary.boi],
        [vocabulary.bos, 5, 6, 7, 8, 9, 10, 11],
    ]
    input_ids = torch.tensor(rows)
    scores = tiny_llm.model(input_ids).logits[:, -1].detach()
    wordless = [[vocabulary.bos], [vocabulary.bos, 12, 13], [vocabulary.bos]]
    guided = ImageGuidance(tiny_llm.model, vocabulary, scale=3.0, wordless=wordless)(
        input_ids, scores
    )
    place = slice(vocabulary.first_code, vocabulary.first_code + vocabulary.num_codes)
    for row, written in ((0, codes), (1, [])):
        free = (
            tiny_llm.model(torch.tensor([[*wordless[row], vocabulary.boi, *written]]))
            .logits[0, -1, place]
            .log_softmax(0)
        )
        known = scores[row, place].log_softmax(0)
        expected = (free + 3.0 * (known - free)).log_softmax(0)
        assert torch.allclose(guided[row, place].log_softmax(0), expected, atol=1e-4)
        assert torch.allclose(
            guided[row, place].logsumexp(0), scores[row, place].logsumexp(0), atol=1e-4
        )
    assert torch.equal(guided[2], scores[2])
    # of two beams a prompt, both move away from the prompt's own wordless one
    beams = ImageGuidance(tiny_llm.model, vocabulary, scale=3.0, wordless=wordless[:2])
    doubled = beams(input_ids[[0, 0, 1, 1]], scores[[0, 0, 1, 1]])
    # measured: equal; a batch of another size may round otherwise elsewhere
    assert torch.allclose(doubled, guided[[0, 0, 1, 1]], atol=1e-4)
    settings = SamplingSettings(temperature=0, code_guidance=4.0, max_new_tokens=40)
    prompts = prompt_ids(tiny_llm, *PROMPTS)
    wordless = [[vocabulary.bos, 12 + number] for number in range(len(prompts))]
    together = tiny_llm.generate(prompts, settings, image="first", wordless=wordless)
    assert together == [
        tiny_llm.generate([prompt], settings, image="first", wordless=[one])[0]
        for prompt, one in zip(prompts, wordless, strict=True)
    ]
    assert together != tiny_llm.generate(prompts, settings, image="first")
    assert together != tiny_llm.generate(
        prompts, SamplingSettings(temperature=0, max_new_tokens=40), image="first"
    )


def test_position_inside_an_image(tiny_llm) -> None:
    vocabulary = tiny_llm.vocabulary
    code = vocabulary.first_code
    ids = torch.tensor(
        [
            [1, 5, vocabulary.boi, code, code],
            [1, 5, 5, 5, vocabulary.boi],
            [1, code, code, code, code],
            [1, 5, 5, 5, vocabulary.eoi],
        ]
    )
    assert image_position(ids, vocabulary) == [2, 0, -1, -1]
    budget = RowBudget([50, 50, 50, 50], 5, vocabulary.eos)
    table = GrammarTable(vocabulary, num_tokens=len(tiny_llm.text_tokenizer))
    grammar = ImageGrammar(table, budget)
    allowed = grammar(ids, torch.zeros(4, tiny_llm.model.config.vocab_size + 3)).isfinite()
    assert allowed[:2].sum(1).tolist() == [64, 64]
    assert (
        not allowed[2:, code : code + 64].any()
        and allowed[2:, vocabulary.boi].all()
        and not allowed[2:, -3:].any()
    )


def test_wrong_special_ids_of_published_checkpoints_do_not_matter(
    tiny_llm, tiny_llm_folder, tmp_path
) -> None:
    folder = tmp_path / "spoilt"
    shutil.copytree(tiny_llm_folder, folder)
    spoil_special_ids(folder)
    spoilt = load_language_model(locate_llm(str(folder)), device="cpu")
    assert (
        spoilt.model.config.pad_token_id
        == spoilt.model.get_input_embeddings().padding_idx
        == tiny_llm.vocabulary.pad
    )
    assert spoilt.model.generation_config.eos_token_id == tiny_llm.vocabulary.eos
    prompts = prompt_ids(tiny_llm, *PROMPTS)
    assert spoilt.generate(prompts, WARM, seeds=range(4)) == tiny_llm.generate(
        prompts, WARM, seeds=range(4)
    )
    assert any(answer.ended for answer in spoilt.generate(prompts[:1] * 32, WARM, seeds=range(32)))


def test_settings_out_of_range_are_named_together() -> None:
    with pytest.raises(UsageError, match=r"temperature is -1.*top_p is 0.*code_guidance is 0.5"):
        SamplingSettings(temperature=-1, top_p=0, code_guidance=0.5)
