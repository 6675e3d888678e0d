"""Rows of one's own conversations as a document source: their pictures, and what is refused or left
out.
"""

from __future__ import annotations

import base64
import json
import random

import pytest

from seedcli.data.documents.conversations import conversation_template
from seedcli.data.documents.left_out import add_tallies
from seedcli.data.documents.packing import PackedStream
from seedcli.data.images.video import read_pictures
from seedcli.data.mixtures.rows import LineDocuments
from seedcli.errors import DataError
from seedcli.models.language.code_vocabulary import CodeVocabulary
from seedcli.recipe.language import DocumentDataSection, DocumentSourceSection
from seedcli.training.llm_data import DocumentSamples, TokenSamples
from tests.data.mixtures.tiny_sources import HEADER, TEXT_TOKENIZER, codes_of, opened, picture
from tests.videos import write_video

EMPTY = "an assistant's message is empty"


def test_own_messages_with_pictures_by_path_and_by_codes(tmp_path):
    picture(tmp_path / "a.png", 7)
    picture(tmp_path / "b.png", 9)
    rows = [
        {
            "messages": [
                {"role": "system", "content": "Be brief."},
                {"role": "user", "content": "Before <image> between <image> after"},
                {"role": "assistant", "content": "One."},
                {
                    "role": "user",
                    "content": [
                        {"type": "text", "text": "And "},
                        {"type": "image", "image": "b.png"},
                    ],
                },
                {
                    "role": "assistant",
                    "content": [
                        {"type": "image", "image": [4, 3, 2, 1]},
                        {"type": "text", "text": "Two."},
                    ],
                },
            ],
            "images": ["a.png", [1, 2, 3, 4]],
        },
        {
            "messages": [
                {"role": "user", "content": "No picture?"},
                {"role": "assistant", "content": "None."},
            ]
        },
    ]
    (tmp_path / "rows.jsonl").write_text("\n".join(json.dumps(row) for row in rows) + "\n")
    calls = []

    def counted(pictures):
        calls.append(len(pictures))
        return codes_of(pictures)

    for _ in range(2):  # the second opening finds the codes in the cache
        source = opened(
            tmp_path / "cache", codes=counted, kind="table", path=str(tmp_path / "rows.jsonl")
        )
    assert calls == [2]
    said = [message.segments for message in source.read(0, random.Random(0)).messages]
    assert said[1] == ("Before ", (7,) * 4, " between ", (1, 2, 3, 4), " after")
    assert said[3:] == [("And ", (9,) * 4), ((4, 3, 2, 1), "Two.")]
    assert [message.role for message in source.read(1, random.Random(0)).messages] == [
        "user",
        "assistant",
    ]


def test_own_messages_with_videos_are_their_frames(tmp_path):
    write_video(tmp_path / "clip.mp4")
    rows = [
        {
            "messages": [
                {"role": "user", "content": "What is in <video>?"},
                {"role": "assistant", "content": "Light."},
                {
                    "role": "user",
                    "content": [
                        {"type": "video", "video": "clip.mp4"},
                        {"type": "text", "text": "And here?"},
                    ],
                },
                {"role": "assistant", "content": "The same."},
            ],
            "videos": ["clip.mp4"],
        },
        {"messages": [{"role": "user", "content": "<video> is a word"}]},
    ]
    (tmp_path / "rows.jsonl").write_text("\n".join(json.dumps(row) for row in rows) + "\n")
    calls = []

    def shown(pictures):
        calls.extend(pictures)
        found = [next(read_pictures(picture, 4)) for picture in pictures]
        return [(round(one.getpixel((40, 40))[0] / 8),) * 4 for one in found]

    source = opened(
        tmp_path / "cache", codes=shown, kind="table", path=str(tmp_path / "rows.jsonl")
    )
    frames = tuple((number,) * 4 for number in (3, 11, 18, 26))
    said = [message.segments for message in source.read(0, random.Random(0)).messages]
    assert said[0] == ("What is in ", *frames, "?")
    assert said[2] == (*frames, "And here?")
    assert len(calls) == 4  # each once
    rows[0]["videos"] *= 2
    (tmp_path / "rows.jsonl").write_text("\n".join(json.dumps(row) for row in rows) + "\n")
    with pytest.raises(DataError, match="2 videos, but 1 places for them"):
        opened(tmp_path / "cache", codes=shown, kind="table", path=str(tmp_path / "rows.jsonl"))


def test_pictures_may_begin_late_and_come_as_openai_has_them(tmp_path):
    """A thousand conversations of words, then one with a picture, as a data URL and by path."""
    said = [{"messages": [{"role": "user", "content": f"Say {n}."}]} for n in range(1001)]
    path = picture(tmp_path / "a.png", 1)
    url = "data:image/png;base64," + base64.b64encode(path.read_bytes()).decode()

    def row(address):
        part = {"type": "image_url", "image_url": {"url": address}}
        content = [part, {"type": "text", "text": "What?"}]
        return {"messages": [{"role": "user", "content": content}]}

    lines = [*said, row(url), row("a.png")]
    (tmp_path / "rows.jsonl").write_text("\ufeff" + "\n".join(map(json.dumps, lines)) + "\n")
    source = opened(tmp_path, kind="table", path=str(tmp_path / "rows.jsonl"), form="messages")
    late = [source.read(n, random.Random(0)).messages[0].segments for n in (1001, 1002)]
    assert late[0] == late[1] and len(late[0][0]) == 4 and late[0][1] == "What?"
    assert source.read(0, random.Random(0)).messages[0].segments == ("Say 0.",)


@pytest.mark.parametrize(
    ("url", "message"),
    [("https://x/a.png", "addresses are not fetched"), ("data:image/png;base64,?", "damaged")],
)
def test_pictures_that_are_no_files(tmp_path, url, message):
    part = {"type": "image_url", "image_url": {"url": url}}
    row = {"messages": [{"role": "user", "content": [part]}]}
    (tmp_path / "rows.jsonl").write_text(json.dumps(row))
    with pytest.raises(DataError, match=message):
        opened(tmp_path, kind="table", path=str(tmp_path / "rows.jsonl"), form="messages")


def test_rows_that_are_left_out_are_told_before_training(tmp_path):
    user, answer = ({"role": role, "content": "x y"} for role in ("user", "assistant"))
    talks = [[user, answer], [answer, user, answer], [user, user, answer], [user, answer, user],
             [user, {**answer, "content": " "}], [{**user, "content": "see <img>"}, answer],
             [user, {**answer, "content": "x " * 99}],
             [{**user, "content": "x " * 99}, answer]]  # fmt: skip
    path = tmp_path / "talks.jsonl"
    path.write_text("\n".join(json.dumps({"messages": talk}) for talk in talks))
    source = opened(tmp_path, kind="table", path=str(path), form="messages")
    section = DocumentSourceSection(
        path=str(path), kind="table", form="messages", weight=1.0, max_tokens=40
    )
    documents = DocumentSamples(
        DocumentDataSection(sources=[section]),
        [source],
        template=conversation_template("vicuna"),
        seed=0,
    )
    vocabulary = CodeVocabulary.of(TEXT_TOKENIZER, 4)
    samples = TokenSamples(documents, TEXT_TOKENIZER, vocabulary, context_length=64)
    (line,) = samples.look_through()
    assert line.startswith(f"{path} (messages): 6 of 8 rows are left out (")
    for reason in (
        "1 the assistant's turn comes first",
        "1 two turns of the user in a row",
        "1 a conversation to learn from ends with the assistant's answer",
        "1 an assistant's message is empty",
        "1 words hold image tokens",
    ):
        assert reason in line
    assert line.endswith("1 more reasons), of 1 the end is cut off at max_tokens")
    rows = PackedStream(samples, context_length=64, lanes=1)
    last = [row for _, row in zip(range(9), rows, strict=False)][-1]
    tally = add_tallies([last.lane_state["tally"]])
    assert samples.lost(tally) == {f"{path} (messages)": tally[0]}
    assert tally[0]["rows"] > tally[0][EMPTY] > 0


def test_pictures_that_cannot_be_used_are_named(tmp_path):
    picture(tmp_path / "a.png", 7)
    (tmp_path / "b.png").write_bytes(b"no picture")
    for name, reason in (("b.png", "is not an image"), ("c.png", "no such file")):
        rows = [{"image": "a.png", "text": "a"}, {"image": name, "text": "b"}]
        (tmp_path / "rows.jsonl").write_text("\n".join(map(json.dumps, rows)))
        with pytest.raises(
            DataError, match=rf"1 pictures cannot be used\n.*{name}: {reason}"
        ) as raised:
            opened(
                tmp_path / "cache", kind="table", path=str(tmp_path / "rows.jsonl"), form="describe"
            )
        assert "seed tokens build" in raised.value.remedy


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ({"messages": [{"role": "user", "content": "<image>"}]}, "more places for pictures"),
        (
            {"messages": [{"role": "user", "content": "a"}], "images": [[1, 2, 3, 4]]},
            "1 pictures, but 0 places",
        ),
        ({"messages": [{"role": "human", "content": "a"}]}, "a role of system, user, assistant"),
        ({"messages": [{"role": "user", "content": [{"type": "sound"}]}]}, "a part of content"),
        ({"codes": [1, 2, 3], "text": "a"}, "3 codes, where a picture has 4"),
        ({"codes": [1, 2, 3, 4], "text": "a", "fingerprint": "e" * 16}, "codes of another model"),
        ({"codes": [1, 2, 3, 4], "text": "a", "fingerprint": 5}, "codes of another model"),
        ({"messages": [{"role": "user", "content": 5}]}, "is no row that training reads"),
    ],
)
def test_malformed_rows_are_named(tmp_path, row, message):
    (tmp_path / "rows.jsonl").write_text(json.dumps(row))
    how = {
        "num_queries": 4,
        "text_column": "text",
        "fingerprint": HEADER.fingerprint,
        "folder": tmp_path,
    }
    source = LineDocuments(str(tmp_path / "rows.jsonl"), cache=tmp_path, **how)
    with pytest.raises(DataError, match=message) as raised:
        source.read(0, random.Random(0))
    assert "rows.jsonl, row 0" in raised.value.message
