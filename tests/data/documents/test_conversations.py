"""Conversations are written once, for training and for prompts; own chat templates
are read, not guessed.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from jinja2 import TemplateError

from seedcli.data.documents.conversations import (
    conversation_template,
    read_prompts,
    split_turns,
    strip_segments,
)
from seedcli.data.documents.documents import Message, Piece
from seedcli.data.documents.sequences import IGNORED, build_sequence, encode_prompt
from seedcli.errors import DataError, UsageError
from seedcli.models.language.code_vocabulary import CodeVocabulary
from seedcli.models.language.text_tokenizer import extend_text_tokenizer
from seedcli.models.language.vocab import format_span

RELEASED = Path(__file__).parents[2] / "parity" / "data" / "text_tokenizer"
A, B = tuple(range(32)), tuple(range(31, -1, -1))
TALK = [
    Message("user", (A, " What is it? ")),
    Message("assistant", ("A dog.",)),
    Message("user", ("Make it red.",)),
    Message("assistant", ("Here: ", B)),
]
CHATML = (
    "{% for m in messages %}<|start|>{{ m.role }}\n{{ m.content | trim }}</s>\n{% endfor %}"
    "{% if add_generation_prompt %}<|start|>assistant\n{% endif %}"
)
LLAMA_2 = (
    "{% for m in messages %}{% if m.role == 'user' %}{{ bos_token + '[INST] ' + m.content + ' "
    "[/INST]' }}{% elif m.role == 'assistant' %}{{ ' ' + m.content + ' ' + eos_token }}{% else "
    "%}{{ raise_exception('no system message, please') }}{% endif %}{% endfor %}"
)
FORGETFUL = (
    "{% for m in messages %}{% if loop.last or m.role == 'user' %}{{ m.role }}: {{ m.content }}{% "
    "else %}...{% endif %}\n{% endfor %}"
)


@pytest.fixture
def text_tokenizer():
    return extend_text_tokenizer(RELEASED, 64)


@pytest.fixture
def vocabulary(text_tokenizer) -> CodeVocabulary:
    return CodeVocabulary.of(text_tokenizer)


def test_vicuna():
    assert conversation_template("vicuna").render(TALK) == (
        Piece(("USER: ", A, " What is it?", "\nASSISTANT:"), learned=False),
        Piece(("A dog.",), learned=True),
        Piece(("\nUSER: ", "Make it red.", "\nASSISTANT:"), learned=False),
        Piece(("Here: ", B), learned=True),
    )


def test_llama_2_with_a_system_message():
    template = conversation_template("llama-2")
    assert template.render([Message("system", ("Be kind. ",)), *TALK])[0].segments == (
        "[INST] <<SYS>>\nBe kind.\n<</SYS>>\n\n",
        A,
        " What is it?",
        " [/INST]\n",
    )
    assert template.render(TALK)[2] == Piece(
        ("\n[INST] ", "Make it red.", " [/INST]\n"), learned=False
    )


def test_published_prompts_of_one_turn(text_tokenizer, vocabulary):
    """The demo writes one string; its ids are those of our pieces."""
    span = "<img>" + "".join(f"<img_{code:05d}>" for code in A) + "</img>"
    for name, published in (
        ("vicuna", f"<s>USER: {span}What is it?\nASSISTANT:"),
        ("llama-2", f"<s>[INST] {span}What is it? [/INST]\n"),
    ):
        prompt = conversation_template(name).prompt([Message("user", (A, "What is it?"))])
        assert encode_prompt(prompt, text_tokenizer, vocabulary) == text_tokenizer.encode(
            published, add_special_tokens=False
        )


def written(messages):
    """Messages as other programs have them: pictures are their tokens' text."""
    return [
        {
            "role": message.role,
            "content": "".join(
                part if isinstance(part, str) else format_span(part) for part in message.segments
            ),
        }
        for message in messages
    ]


@pytest.mark.parametrize("system", ["", " Be kind.\n"])
@pytest.mark.parametrize("name", ["vicuna", "llama-2"])
def test_other_programs_ask_and_learn_by_the_same_ids(text_tokenizer, vocabulary, name, system):
    template = conversation_template(name)
    text_tokenizer.chat_template = template.jinja(text_tokenizer)
    opening = [Message("system", (system,))] if system else []
    more = [
        *TALK[:2],
        Message("user", ("Which  breed,\nplease?",)),
        Message("assistant", ("Big.",)),
    ]
    for length in (1, 3):
        prompt = [*opening, *more[:length]]
        ids = text_tokenizer.apply_chat_template(
            written(prompt), add_generation_prompt=True, return_dict=False
        )
        assert ids == encode_prompt(template.prompt(prompt), text_tokenizer, vocabulary)
    for talk in (TALK[:2], TALK, more):
        whole = [*opening, *talk]
        ids = text_tokenizer.apply_chat_template(written(whole), return_dict=False)
        sequence = build_sequence(template.render(whole), text_tokenizer, vocabulary, 1024)
        assert ids == list(sequence.ids)


def test_chat_template_of_a_byte_level_vocabulary_says_no_spaces():
    class Words:
        def tokenize(self, text):
            return [text]

    written = conversation_template("vicuna").jinja(Words())
    assert '"" ~ content' in written
    assert r'" \n"' not in written


def test_chat_template_refuses_what_was_never_taught(text_tokenizer):
    text_tokenizer.chat_template = conversation_template("vicuna").jinja(text_tokenizer)
    with pytest.raises(TemplateError, match="roles are user"):
        text_tokenizer.apply_chat_template(written([TALK[0], TALK[0]]))


@pytest.mark.parametrize("name", ["vicuna", "llama-2", "chatml", "own-llama-2"])
def test_a_prompt_is_the_beginning_of_what_was_learned(name, text_tokenizer, vocabulary):
    text_tokenizer.chat_template = {"chatml": CHATML, "own-llama-2": LLAMA_2}.get(name)
    template = conversation_template(
        "own" if text_tokenizer.chat_template else name, text_tokenizer
    )
    whole = build_sequence(template.render(TALK), text_tokenizer, vocabulary, 1024)
    for until in (1, 3):
        prompt = encode_prompt(template.prompt(TALK[:until]), text_tokenizer, vocabulary)
        assert whole.ids[: len(prompt)].tolist() == prompt
        assert whole.labels[len(prompt) - 1] == IGNORED and whole.labels[len(prompt)] != IGNORED
    assert whole.ids[0] == vocabulary.bos and whole.ids[-1] == whole.labels[-1] == vocabulary.eos
    assert (whole.ids == vocabulary.boi).sum() == 2 and (whole.labels == vocabulary.boi).sum() == 1


def test_own_template_learns_the_end_of_each_turn(text_tokenizer, vocabulary):
    text_tokenizer.chat_template = CHATML
    sequence = build_sequence(
        conversation_template("own", text_tokenizer).render(TALK), text_tokenizer, vocabulary, 1024
    )
    learned = text_tokenizer.decode(
        [id for id in sequence.labels if id != IGNORED and not vocabulary.is_image_token(id)]
    )
    assert learned.replace(" ", "") == "Adog.</s>\nHere:</s>"
    assert (sequence.ids == vocabulary.bos).sum() == 1


def test_own_template_of_llama_2_gives_its_own_ids(text_tokenizer, vocabulary):
    """Words only: pieces, tokenised one by one, are what the whole
    conversation is as one string.
    """
    text_tokenizer.chat_template = LLAMA_2
    talk = [
        Message("user", ("Hi.",)),
        Message("assistant", ("A dog.",)),
        Message("user", ("Why?",)),
        Message("assistant", ("It runs.",)),
    ]
    sequence = build_sequence(
        conversation_template("own", text_tokenizer).render(talk), text_tokenizer, vocabulary, 1024
    )
    text = "<s>[INST] Hi. [/INST] A dog. </s><s>[INST] Why? [/INST] It runs. </s>"
    assert sequence.ids.tolist() == text_tokenizer.encode(text, add_special_tokens=False)


def test_private_use_characters_of_the_words_stay_words(text_tokenizer):
    """Icon fonts use them, as our stand-ins for pictures do."""
    text_tokenizer.chat_template = LLAMA_2
    words = "\ue0000\ue001 and \ue0005\ue000"
    talk = [Message("user", (A, words)), Message("assistant", ("ok \ue0a0",))]
    template = conversation_template("own", text_tokenizer)
    asked, answered = template.render(talk)
    assert asked.segments == ("[INST] ", A, f"{words} [/INST]")
    assert answered.segments == ("ok \ue0a0 ",)
    assert template.prompt(talk[:1]) == (asked,)


def test_control_tokens_are_left_out_where_a_template_writes_its_own(text_tokenizer):
    text_tokenizer.chat_template = LLAMA_2
    talk = [Message("user", ("what is </s>?",)), TALK[1]]
    with pytest.raises(UsageError, match="words hold </s>"):
        conversation_template("own", text_tokenizer).render(talk)
    assert conversation_template("vicuna").render(talk)[0].control is False


def test_own_template_is_refused_where_it_does_not_fit(text_tokenizer):
    with pytest.raises(DataError, match="has no chat template"):
        conversation_template("own", text_tokenizer)
    text_tokenizer.chat_template = FORGETFUL
    with pytest.raises(DataError, match="writes earlier turns anew"):
        conversation_template("own", text_tokenizer).render(TALK)
    text_tokenizer.chat_template = LLAMA_2
    with pytest.raises(DataError, match="no system message, please"):
        conversation_template("own", text_tokenizer).render([Message("system", ("x",)), *TALK])


@pytest.mark.parametrize(
    ("messages", "what"),
    [
        (TALK[:1], "ends with the assistant's answer"),
        ([], "ends with the assistant's answer"),
        ([TALK[0], TALK[0], TALK[1]], "two turns of the user in a row"),
        (TALK[1:2], "the assistant's turn comes first"),
        ([TALK[0], Message("system", ("x",)), TALK[1]], "a system message that is not the first"),
        ([Message("system", (A,)), *TALK], "system message holds a picture"),
        ([TALK[0], Message("assistant", (" ",))], "assistant's message is empty"),
    ],
)
def test_conversations_that_cannot_be_learned(messages, what, text_tokenizer):
    text_tokenizer.chat_template = CHATML
    for template in (conversation_template("vicuna"), conversation_template("own", text_tokenizer)):
        with pytest.raises(UsageError, match=what):
            template.render(messages)


def test_an_answered_conversation_is_no_prompt():
    with pytest.raises(UsageError, match="ends with the user's turn"):
        conversation_template("vicuna").prompt(TALK)


def test_turns_and_white_space():
    system, turns = split_turns([Message("system", (" Be ", "kind. ")), *TALK[:3]])
    assert system == "Be kind." and turns == [(TALK[0], TALK[1]), (TALK[2], None)]
    assert strip_segments((" ", A, " a", "b ", "")) == (A, " a", "b ")
    assert strip_segments(("  ",)) == ()


def test_wording_is_data_that_is_shipped_and_read_late():
    program = (
        "import sys, seedcli.data.documents.conversations as c; assert 'torch' not in sys.modules; "
        "print(c.read_prompts.cache_info().currsize)"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "0"
    requests = read_prompts()["draw"]["requests"]
    assert (
        len(requests) == 20
        and len({one["ask"] for one in requests}) == len({one["reply"] for one in requests}) == 20
    )
    assert all("{caption}" in one["ask"] and one["ask"][-1] in ".?" for one in requests)
