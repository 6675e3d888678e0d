"""Conversations: what the model is asked, what comes back, what is
remembered, what is written down.
"""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from seedcli.console import Remembering
from seedcli.data.documents.conversations import conversation_template
from seedcli.data.documents.documents import Message
from seedcli.data.documents.sequences import build_sequence, encode_prompt
from seedcli.data.images.facts import read_picture_facts
from seedcli.data.images.images import ImageError
from seedcli.data.tokens.shards import open_shards
from seedcli.errors import DataError, UsageError
from seedcli.workflows.documents import build as build_documents
from seedcli.workflows.documents.request import BuildRequest
from tests.videos import write_video


@pytest.fixture
def asked(tiny_llm, monkeypatch) -> list:
    """Prompts and options of each call of the language model."""
    calls, generate = [], tiny_llm.generate
    monkeypatch.setattr(
        tiny_llm,
        "generate",
        lambda prompts, *rest, **options: (
            calls.append((prompts, options)) or generate(prompts, *rest, **options)
        ),
    )
    return calls


def test_a_drawn_picture_is_replayed_as_codes_and_the_prompt_is_what_training_sees(
    talk, tiny_llm, picture, asked
) -> None:
    conversation = talk()
    shown = conversation.attach(picture)
    first = conversation.say("draw it again", draw=True)
    assert first.text.startswith("<image>") and len(first.codes[0]) == 32
    facts = read_picture_facts(Path(first.files[0]))
    assert facts["codes"] == first.codes[0] and facts["steps"] == 2 and facts["seed"] == 0
    second = conversation.say("now in red", draw=True)
    assert [Path(path).name for path in first.files + second.files] == [
        f"{n}.png" for n in range(len(first.files + second.files))
    ]

    assert conversation.messages[0].segments == (shown, "draw it again")
    document = conversation_template("vicuna").render(conversation.messages)
    whole = build_sequence(document, tiny_llm.text_tokenizer, tiny_llm.vocabulary, 10_000)
    [prompt] = asked[1][0]
    assert list(whole.ids[: len(prompt)]) == prompt
    assert prompt[0] == tiny_llm.vocabulary.bos and tiny_llm.vocabulary.eos not in prompt


def test_code_guidance_moves_away_from_the_same_request_without_its_words(
    talk, tiny_llm, asked
) -> None:
    shown, earlier = tuple(range(32)), tuple(range(5, 37))
    guided = talk(sampling={"code_guidance": 3.0})
    guided.messages = [
        Message("user", ("a cat",)),
        Message("assistant", ("here", earlier)),
    ]
    guided.say("make it red", images=[shown], draw=True)
    template, vocabulary = conversation_template("vicuna"), tiny_llm.vocabulary
    before = guided.messages[:2]
    for words, found in zip(
        ((shown, "make it red"), (shown,)),
        (asked[0][0][0], asked[0][1]["wordless"][0]),
        strict=True,
    ):
        document = template.prompt([*before, Message("user", words)])
        assert found == encode_prompt(document, tiny_llm.text_tokenizer, vocabulary)
    guided.reset()
    together = guided.generate(["a dog", ["a cat", shown]], draw=True, batch_size=1)
    assert [len(options["wordless"]) for _, options in asked[1:]] == [1, 1]
    assert [turn.codes for turn in together] == [
        turn.codes for turn in guided.generate(["a dog", ["a cat", shown]], draw=True)
    ]
    plain = talk()
    plain.say("a cat", draw=True)
    assert asked[-1][1]["wordless"] is None


@pytest.mark.parametrize("suits", [False, True])
def test_a_picture_that_must_come_begins_the_answer_or_not_as_suits_the_model(
    talk, tiny_llm, asked, monkeypatch, suits
) -> None:
    monkeypatch.setattr(tiny_llm, "facts", replace(tiny_llm.facts, words_first=suits))
    for words_first in (None, False, True):
        how = {"words_first": words_first, "sampling": {"max_new_tokens": 50}}
        assert talk(**how).say("a cat", draw=True).codes
    images = [options["image"] for _, options in asked]
    assert images == ["required" if suits else "first", "first", "required"]


def test_words_and_pictures_are_heard_in_their_order(talk) -> None:
    heard = []
    turn = talk(words_first=True, sampling={"max_new_tokens": 80}).say(
        "a cat",
        draw=True,
        on_text=heard.append,
        on_picture=lambda path, codes: heard.append((str(path), list(codes))),
    )
    assert [each for each in heard if isinstance(each, tuple)] == list(
        zip(turn.files, turn.codes, strict=True)
    )
    assert "".join(each if isinstance(each, str) else "<image>" for each in heard).replace(
        " ", ""
    ) == turn.text.replace(" ", "")
    heard.clear()
    beams = talk(sampling={"num_beams": 2, "temperature": 0}).say(
        "a cat", draw=True, on_picture=lambda path, codes: heard.append(path)
    )
    assert len(heard) == len(beams.files) >= 1


def test_the_seed_decides_an_answer_and_its_pictures(talk, tmp_path) -> None:
    def answers(conversation) -> list:
        turns = [conversation.say(text, draw=True) for text in ("a dog", "the red bus")]
        return [
            (turn.text, turn.codes, [Path(path).read_bytes() for path in turn.files])
            for turn in turns
        ]

    first = answers(talk())
    assert answers(talk()) == first
    again = talk(sampling={"seed": 3})
    assert answers(again) != first
    again.reset()
    again.reseed(0)
    assert answers(again) == first


def test_a_video_is_its_frames_and_one_mark_stands_for_it(talk, picture, tmp_path) -> None:
    clip = write_video(tmp_path / "clip.mp4")
    conversation = talk(draws=False)
    still, frames = conversation.attach(picture), conversation.attach(clip)
    assert len(frames) == 4
    conversation.say("from <image> to <image>")
    assert conversation.messages[0].segments == ("from ", still, " to ", *frames)
    other = talk(draws=False)
    other.say("what happens?", images=[str(clip)])
    assert other.messages[0].segments == (*frames, "what happens?")
    (tmp_path / "none.mp4").write_bytes(b"")
    with pytest.raises(ImageError, match="is empty"):
        conversation.attach(tmp_path / "none.mp4")


def test_marks_say_where_attached_images_stand(talk, picture) -> None:
    conversation = talk(draws=False)
    codes = [conversation.attach(picture), conversation.attach(picture)]
    conversation.say("this <image> and that <image>, blended", draw=True)
    assert conversation.messages[0].segments == (
        "this ",
        codes[0],
        " and that ",
        codes[1],
        ", blended",
    )
    conversation.attach(picture)
    with pytest.raises(UsageError, match="says <image> 2 times, 1 images are attached"):
        conversation.say("<image> <image>")
    with pytest.raises(UsageError, match="nothing is said"):
        talk().say("  ")


def test_without_a_decoder_answers_stay_codes(talk, tmp_path) -> None:
    turn = talk(draws=False).say("a dog", draw=True)
    assert turn.files == [] and len(turn.codes) >= 1 and not (tmp_path / "out").exists()


def test_a_turn_that_fails_was_never_said(talk, picture, tmp_path) -> None:
    conversation = talk()
    (tmp_path / "out").write_text("in the way")
    conversation.attach(picture)
    with pytest.raises(DataError, match="is no folder"):
        conversation.say("a dog", draw=True)
    assert conversation.messages == []
    (tmp_path / "out").unlink()
    conversation.say("a dog", draw=True)
    assert (
        conversation.messages[0].segments[-1] == "a dog"
        and len(conversation.messages[0].segments) == 2
    )
    with pytest.raises(UsageError, match="words hold image tokens"):
        conversation.say("<img_00001>")


def test_another_answer_takes_the_place_of_the_last(talk, picture, monkeypatch) -> None:
    conversation = talk(draws=False)
    conversation.say("a bus")
    conversation.attach(picture)
    first = conversation.say("a dog", draw=True)
    asked, seed = conversation.messages[2], conversation.next_seed
    second = conversation.again()
    assert (
        len(second.codes) == 1
        and second.codes != first.codes
        and conversation.next_seed == seed + 1
    )
    assert len(conversation.messages) == 4 and conversation.messages[2] is asked
    assert list(conversation.messages[3].segments[0]) == second.codes[0]

    def interrupt(path, codes) -> None:
        raise KeyboardInterrupt

    before = conversation.messages
    with pytest.raises(KeyboardInterrupt):
        conversation.again(on_picture=interrupt)
    assert conversation.messages == before
    conversation.reset()
    with pytest.raises(UsageError, match="nothing was said yet"):
        conversation.again()


def test_conversations_that_share_a_model_hear_nothing_of_each_other(talk, picture) -> None:
    first, reporter = talk(draws=False), Remembering()
    first.say("a bus")
    first.attach(picture)
    second = first.another(reporter)
    assert second.messages == [] and second.next_seed == 0 and second.model is first.model
    assert second.attach(picture) == first.attach(picture)
    second.detach()
    second.reseed(7)
    second.say("a dog", draw=True)
    assert first.next_seed == 1 and len(first.messages) == 2
    assert second.messages[0].segments == ("a dog",)


def test_the_oldest_turns_are_forgotten_when_the_context_is_full(talk, tiny_llm) -> None:
    reporter = Remembering()
    conversation = talk(reporter, draws=False, sampling={"max_new_tokens": 60})
    for number in range(4):
        conversation.say(f"the red bus waits near the bridge {number}", draw=True)
    assert len(conversation.messages) == 8
    assert any("turn 1 is forgotten" in text for text in reporter.told)
    with pytest.raises(UsageError, match="there is room for"):
        conversation.say("the red bus waits near the bridge " * 30)


def test_transcripts_are_json_lines_that_are_replaced_when_saved_again(
    talk, picture, tmp_path
) -> None:
    path = tmp_path / "talks.jsonl"
    conversation = talk(draws=False)
    with pytest.raises(UsageError, match="nothing was said"):
        conversation.save(path)
    conversation.attach(picture)
    conversation.say("a dog", draw=True)
    conversation.save(path)
    conversation.say("a bus", draw=True)
    assert conversation.save(path) == 4
    other = talk(draws=False)
    other.say("a bird", draw=True)
    other.save(path)
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    assert [len(row["messages"]) for row in rows] == [4, 2]
    for row in rows:
        assert [message["role"] for message in row["messages"]] == ["user", "assistant"] * (
            len(row["messages"]) // 2
        )
        assert sum(message["content"].count("<image>") for message in row["messages"]) == len(
            row["images"]
        )
        assert all(len(image) == 32 for image in row["images"])
    path.write_text("no json")
    with pytest.raises(DataError, match="is no file of JSON lines"):
        conversation.save(path)


def test_saved_conversations_are_built_into_shards_as_they_were_said(
    talk, tiny_llm, picture, tmp_path
) -> None:
    said = []
    for words in ("a dog", "a bus"):
        conversation = talk(draws=False)
        conversation.attach(picture)
        conversation.say(words, draw=True)
        conversation.save(tmp_path / "talks.jsonl")
        said.append(tuple(conversation.messages))
    request = BuildRequest(
        format="messages",
        inputs=(str(tmp_path / "talks.jsonl"),),
        output=tmp_path / "tokens",
        model=tiny_llm.facts.visual_tokenizer,
    )
    assert build_documents.run(request).rows == 2
    assert [row.messages for row in open_shards([request.output])] == said


def test_pictures_move_away_from_negative_codes(talk, tmp_path) -> None:
    plain = talk().say("a dog", draw=True)
    (tmp_path / "negative.jsonl").write_text(json.dumps({"codes": [7] * 32}))
    moved = talk(negative=str(tmp_path / "negative.jsonl")).say("a dog", draw=True)
    assert moved.codes == plain.codes
    assert Path(moved.files[0]).read_bytes() != Path(plain.files[0]).read_bytes()
    assert read_picture_facts(Path(moved.files[0]))["negative"] == [7] * 32
    own = talk(negative="unconditional").say("a dog", draw=True)
    assert len(read_picture_facts(Path(own.files[0]))["negative"]) == 32
    (tmp_path / "negative.jsonl").write_text(json.dumps({"codes": [7] * 32, "fingerprint": "feed"}))
    with pytest.raises(DataError, match="not by"):
        talk(negative=str(tmp_path / "negative.jsonl"))


def test_what_streams_is_what_say_says(talk) -> None:
    how = {"words_first": True, "sampling": {"max_new_tokens": 80}}
    said = talk(**how).say("a cat", draw=True)
    chat = talk(**how)
    parts = list(chat.stream("a cat", draw=True))
    assert [part.codes for part in parts if not isinstance(part, str)] == [
        tuple(codes) for codes in said.codes
    ]
    streamed = "".join(part if isinstance(part, str) else "<image>" for part in parts)
    assert streamed.replace(" ", "") == said.text.replace(" ", "")
    assert len(chat.messages) == 2 and chat.next_seed == 1
    with pytest.raises(UsageError, match="nothing is said"):
        next(chat.stream(" "))
    stream = chat.stream("a dog", draw=True)
    assert next(stream)
    stream.close()
    assert len(chat.messages) == 2 and chat.next_seed == 1  # it was never said
