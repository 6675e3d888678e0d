"""How a model is asked: prompts as training writes them, answers that do not
depend on their batch.
"""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from PIL import Image

from seedcli.benchmarks.retrieval_sets import ImageRef
from seedcli.data.documents.conversations import conversation_template
from seedcli.data.documents.documents import Message
from seedcli.data.documents.sequences import build_sequence, encode_prompt
from seedcli.errors import DataError, UsageError
from seedcli.models.language.code_vocabulary import CodeVocabulary
from seedcli.models.language.likelihood import log_likelihoods
from seedcli.models.language.text_tokenizer import load_text_tokenizer
from seedcli.workflows.evaluate.asking import AskedModel, Example
from seedcli.workflows.evaluate.requests import AskSettings

DATA = Path(__file__).parents[2] / "parity" / "data"
A, B, C = (tuple((start + number) % 64 for number in range(32)) for start in (0, 7, 30))


@pytest.fixture
def asked(tiny_llm_folder):
    return lambda **changes: AskedModel(
        AskSettings(
            **{"model": str(tiny_llm_folder), "device": "cpu", "max_new_tokens": 12} | changes
        )
    )


def test_a_question_is_a_turn_as_it_was_taught(asked):
    model = asked()
    assert model.template == "vicuna"
    examples = [Example(A, "what?", "a bus")]
    messages = [
        Message("user", (A, "what?")),
        Message("assistant", ("a bus",)),
        Message("user", (B, C, "and this?")),
    ]
    expected = conversation_template("vicuna").prompt(messages)
    assert model.prompt([B, C], "and this?", examples) == encode_prompt(
        expected, model.llm.text_tokenizer, model.llm.vocabulary
    )
    whole = build_sequence(
        conversation_template("vicuna").render([*messages, Message("assistant", ("a dog",))]),
        model.llm.text_tokenizer,
        model.llm.vocabulary,
        1000,
    )
    prompt = model.prompt([B, C], "and this?", examples)
    assert whole.ids[: len(prompt)].tolist() == prompt
    assert whole.ids[len(prompt) :].tolist() == model.encode_answers(["a dog"], ended=True)[0]


def test_a_plain_few_shot_prompt_is_the_official_one(asked):
    """Against ids of the official builder, with its text tokenizer."""
    cases = json.loads((DATA / "text_sequences.json").read_text())["cases"]
    (case,) = [case for case in cases if case["builder"].endswith("decode_coco_cap_eval_data")]
    model = asked(template="plain")
    text_tokenizer = load_text_tokenizer(DATA / "text_tokenizer")
    model.llm.text_tokenizer, kept = text_tokenizer, model.llm.text_tokenizer
    model.llm.vocabulary, kept_vocabulary = (
        CodeVocabulary.of(text_tokenizer, 32),
        model.llm.vocabulary,
    )
    examples = [
        Example(tuple(one["image_ids"]), "", one["text"]) for one in case["sample"]["context"]
    ]
    assert model.prompt([tuple(case["sample"]["image_ids"])], "", examples) == case["input_ids"]
    model.llm.text_tokenizer, model.llm.vocabulary = kept, kept_vocabulary


@pytest.mark.parametrize(
    "sampling", [{}, {"num_beams": 3}, {"temperature": 1.5}, {"num_beams": 2, "temperature": 1.5}]
)
def test_answers_do_not_depend_on_their_batch(asked, sampling):
    model = asked(**sampling)
    prompts = [
        model.prompt([A], "what?"),
        model.prompt([B, C], "which of the two is the red bus near the bridge?"),
        model.prompt([C], "a"),
    ]
    keys = ["a", "b", "c"]
    together = model.write(prompts, keys)
    assert together == [
        model.write([prompt], [key])[0] for prompt, key in zip(prompts, keys, strict=True)
    ]
    assert together[::-1] == model.write(prompts[::-1], keys[::-1])
    assert all(set(line) == {"answer", "ended", "pictures"} for line in together)


def test_the_seed_moves_sampled_answers_only(asked):
    prompts = [asked().prompt([A], "what?")]
    assert asked().write(prompts, ["a"]) == asked(seed=1).write(prompts, ["a"])
    hot = {"temperature": 3.0}
    assert asked(**hot).write(prompts, ["a"]) != asked(**hot, seed=1).write(prompts, ["a"])


def test_answers_end_only_where_they_should(asked):
    model = asked()
    (open_ids,), (ended,) = (
        model.encode_answers(["a dog"], ended=False),
        model.encode_answers([" a dog "], ended=True),
    )
    assert ended == [*open_ids, model.llm.vocabulary.eos]
    prompt = model.prompt([A], "what?")
    assert (
        log_likelihoods(model.llm, [prompt], [ended])[0]
        < log_likelihoods(model.llm, [prompt], [open_ids])[0]
    )
    with pytest.raises(UsageError, match="without words"):
        model.encode_answers([" "], ended=True)


def test_settings_name_what_decides_answers_and_nothing_of_this_machine(asked, tiny_llm_folder):
    settings = asked().settings
    assert settings["decoding"] == {"temperature": 0.0, "num_beams": 1, "max_new_tokens": 12}
    warm = asked(temperature=0.5, top_p=0.9).settings["decoding"]
    assert (warm["top_k"], warm["top_p"]) == (0, 0.9)
    assert asked(temperature=0.5, top_k=7).settings["decoding"]["top_k"] == 7
    assert str(tiny_llm_folder.parent) not in json.dumps(settings)
    assert (
        settings["fingerprint"]
        and settings["template"] == "vicuna"
        and settings["preprocessing"]["geometry"] == "squash"
    )


def test_pictures_are_encoded_once(asked, tmp_path, monkeypatch):
    refs = []
    for number, colour in enumerate(("red", "blue")):
        Image.new("RGB", (30, 30), colour).save(tmp_path / f"{number}.png")
        refs.append(
            ImageRef(
                f"{number}", f"stamp {number}", lambda number=number: tmp_path / f"{number}.png"
            )
        )
    model = asked()
    red, blue, again = model.read([refs[0], refs[1], refs[0]])
    assert red == again != blue and len(red) == 32
    monkeypatch.setattr(model.pictures, "read", lambda images: pytest.fail("encoded again"))
    assert model.read(refs[::-1]) == [blue, red]


def test_a_broken_picture_is_named(asked, tmp_path):
    (tmp_path / "a.png").write_bytes(b"no picture")
    with pytest.raises(DataError, match="the broken one"):
        asked().read([ImageRef("the broken one", "s", lambda: tmp_path / "a.png")])
