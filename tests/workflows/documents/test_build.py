"""`seed tokens build` below the command line: from files in every published layout to the ids that
training sees, and what fails.
"""

from __future__ import annotations

import base64
import dataclasses
import json
import random
from pathlib import Path

import pytest

from seedcli.data.documents.conversations import conversation_template
from seedcli.data.documents.forms import build_document
from seedcli.data.documents.sequences import IGNORED, build_sequence
from seedcli.data.images.images import Preprocess, open_image
from seedcli.data.mixtures.documents import open_source
from seedcli.data.published_sets.formats import FORMATS
from seedcli.data.tokens.shards import open_shards
from seedcli.errors import DataError
from seedcli.models.language.code_vocabulary import CodeVocabulary
from seedcli.models.language.text_tokenizer import extend_text_tokenizer, train_text_tokenizer
from seedcli.models.weights.load import describe, load_seed_model
from seedcli.models.weights.locate import locate
from seedcli.recipe.language import DocumentSourceSection
from seedcli.workflows.documents.build import run
from seedcli.workflows.documents.inspect import verify
from seedcli.workflows.documents.listing import plan
from seedcli.workflows.pictures import SeedTokenizer
from seedcli.workflows.tokenize import run as tokenize_images
from seedcli.workflows.tokenize.request import TokenizeRequest
from tests.llm_fixture import TEXTS
from tests.published_sets import OPTIONS, PUBLISHED
from tests.set_files import png, write_file, write_picture
from tests.tiny_shards import shard_bytes
from tests.videos import write_video


@pytest.fixture(scope="module")
def text_tokenizer():
    return extend_text_tokenizer(train_text_tokenizer(TEXTS, 320), 64)


@pytest.fixture(scope="module")
def codes_of(tiny_tokenizer_folder):
    """Name of a picture of `published_sets` -> the codes that it must get."""
    tokenizer = load_seed_model(locate(str(tiny_tokenizer_folder)))
    preprocess = Preprocess(tokenizer.config.preprocess.codes)
    return lambda name: tuple(tokenizer.encode(preprocess(open_image(png(name)))[None])[0].tolist())


def test_videos_as_they_are_downloaded(ask, tmp_path, tiny_tokenizer_folder):
    """WebVid by its page's folder, NExT-QA by name anywhere below; 4 frames and 8."""
    tokenizer = SeedTokenizer.from_pretrained(tiny_tokenizer_folder)
    for set_format, video, number, words in (
        ("webvid", "009_010/21.mp4", 4, "Waves at sea"),
        ("video-qa", "videos/1150/v_abc.mp4", 8, "is it dark? Please"),
    ):
        published = PUBLISHED["webvid" if set_format == "webvid" else "activitynet-qa"]
        (tmp_path / set_format).mkdir()
        inputs = published.write(tmp_path / set_format)
        images = tmp_path / f"{set_format}-images"
        clip = write_video(images / video)
        summary = run(
            ask(set_format, inputs, images=(images,), output=tmp_path / f"{set_format}-out")
        )
        assert (summary.rows, summary.pictures, summary.failed) == (1, number, 0)
        [row] = open_shards([tmp_path / f"{set_format}-out"])
        expected = tokenizer.encode(clip, frames=number, batch_size=4, fixed_shape=True)
        assert [list(codes) for codes in row.codes()] == expected.tolist()
        assert row.words().startswith(words)
        fewer = ask(
            set_format, inputs, images=(images,), output=tmp_path / f"{set_format}-2", frames=2
        )
        assert run(fewer).pictures == 2


def test_every_layout_has_a_file_here():
    layouts = [layout.sets for one in FORMATS.values() for layout in one.layouts]
    assert len(layouts) <= len(PUBLISHED)
    assert set(FORMATS) == {case.format for case in PUBLISHED.values()}


@pytest.mark.parametrize("name", PUBLISHED)
def test_from_published_files_to_ids(
    name, tmp_path, ask, codes_of, text_tokenizer, tiny_tokenizer_folder
):
    case = PUBLISHED[name]
    inputs = case.write(tmp_path)
    maps = tuple(tmp_path / name for name in case.extra if "/" not in name)
    summary = run(ask(case.format, inputs, images=(tmp_path / "images", *maps)))
    assert (summary.rows, summary.failed) == (len(case.documents), 0)
    assert verify([tmp_path / "out"])["problems"] == []

    def said(parts):
        return tuple(codes_of(part[1:-1]) if part.startswith("<") else part for part in parts)

    rows = list(open_shards([tmp_path / "out"]))
    if FORMATS[case.format].content == "segments":
        assert [row.segments for row in rows] == [said(parts) for parts in case.documents]
    else:
        assert [[(one.role, one.segments) for one in row.messages] for row in rows] == [
            [(role, said(parts)) for role, *parts in messages] for messages in case.documents
        ]
    assert case.form in FORMATS[case.format].forms
    vocabulary, fingerprint = (
        CodeVocabulary.of(text_tokenizer),
        describe(locate(str(tiny_tokenizer_folder))).fingerprint,
    )
    for form in FORMATS[case.format].forms:
        options = OPTIONS.get(form, {}) | (
            {"image_first": 0.5, "mask_first": False} if form == "caption" else {}
        )
        section = DocumentSourceSection(
            path=str(tmp_path / "out"),
            kind="tokens",
            form=form,
            weight=1.0,
            max_tokens=2048,
            **options,
        )
        source = open_source(
            section,
            codes_of=None,
            num_queries=32,
            num_codes=64,
            fingerprint=fingerprint,
            cache=tmp_path / "cache",
        )
        for row, parts in enumerate(case.documents):
            document = build_document(
                source.read(row, random.Random(0)),
                section,
                random.Random(0),
                conversation_template("vicuna"),
            )
            assert document is not None, (form, parts)
            sequence = build_sequence(document, text_tokenizer, vocabulary, section.max_tokens)
            flat = [
                part for one in parts for part in (one[1:] if isinstance(one, tuple) else [one])
            ]
            assert sequence.image_tokens == 34 * sum(part.startswith("<") for part in flat)
            assert not sequence.truncated
            assert (sequence.labels != IGNORED).any()


def test_shared_pictures_are_encoded_once(tmp_path, ask, encoded_shapes):
    write_picture(tmp_path / "images/a.jpg")
    turns = [{"from": "human", "value": "<image>\nWhat?"}, {"from": "gpt", "value": "A bus"}]
    write_file(
        tmp_path / "x.json",
        [{"id": str(n), "image": "a.jpg", "conversations": turns} for n in range(25)],
    )
    summary = run(ask("llava", [str(tmp_path / "x.json")], shard_size=10))
    assert (summary.rows, summary.pictures, summary.shards, len(encoded_shapes)) == (25, 1, 3, 1)
    assert [path.name for path in sorted((tmp_path / "out").glob("*"))] == [
        ".seed",
        *(f"out-{number:06d}.parquet" for number in range(3)),
    ]
    header = open_shards([tmp_path / "out"]).header
    assert header.micro_batch == (4, 3, 56, 56)
    assert header.made_from["format"] == "llava"
    assert header.made_from["inputs"] == ["x.json"]
    assert len({row.key for row in open_shards([tmp_path / "out"])}) == 25


def test_documents_with_missing_pictures_are_named_and_pages_go_on_without(tmp_path, ask):
    (tmp_path / "images").mkdir()
    (tmp_path / "images/broken.jpg").write_bytes(b"no picture")
    write_picture(tmp_path / "images/a.jpg")
    turns = [{"from": "human", "value": "<image>\nWhat?"}, {"from": "gpt", "value": "A bus"}]
    records = [
        {"image": name, "conversations": turns} for name in ("a.jpg", "gone.jpg", "broken.jpg")
    ]
    write_file(
        tmp_path / "x.json",
        [*records, {"image": "a.jpg", "conversations": turns[1:]}, {"nothing": 1}, 5],
    )
    summary = run(ask("llava", [str(tmp_path / "x.json")]))
    assert (summary.rows, summary.failed, summary.left_out) == (1, 5, 0)
    errors = [json.loads(line) for line in Path(summary.errors).read_text().splitlines()]
    assert [error["key"] for error in errors] == [f"out/x/{number}" for number in range(1, 6)]
    assert errors[0]["source"] == f"{tmp_path}/x.json[1]"
    assert errors[0]["error"] == f"picture gone.jpg: no such file below {tmp_path}/images"
    assert "broken.jpg: is not an image" in errors[1]["error"]
    assert "is no record of LLaVA" in errors[2]["error"]
    assert (
        "fields nothing; expected image_id + conversations, or conversations" in errors[3]["error"]
    )
    assert errors[4]["error"] == "is no object with fields"

    page = {
        "text_list": ["One.", "Two."],
        "image_info": [{"image_name": "a.jpg", "matched_text_index": 0}],
    }
    lost = {
        "text_list": ["One."],
        "image_info": [{"image_name": "gone.jpg", "matched_text_index": 0}],
    }
    both = {"text_list": ["One."], "image_info": page["image_info"] + lost["image_info"]}
    write_file(tmp_path / "docs.jsonl", [page, lost, both])
    summary = run(ask("mmc4", [str(tmp_path / "docs.jsonl")], output=tmp_path / "pages"))
    assert (summary.rows, summary.failed, summary.left_out) == (2, 1, 1)
    errors = map(json.loads, Path(summary.errors).read_text().splitlines())
    assert [(error["key"], error["error"].endswith("(left out)")) for error in errors] == [
        ("pages/docs/1", False),
        ("pages/docs/2", True),
    ]


def test_saved_chats_carry_codes_of_their_model_only(tmp_path, ask, tiny_tokenizer_folder):
    fingerprint = describe(locate(str(tiny_tokenizer_folder))).fingerprint
    row = {
        "key": "k",
        "messages": [
            {"role": "user", "content": "<image>Hi"},
            {"role": "assistant", "content": "Yes"},
        ],
    }
    codes = list(range(32))
    write_file(
        tmp_path / "chat.jsonl",
        [row | {"images": [codes], "model": "tiny", "fingerprint": fingerprint}],
    )
    summary = run(ask("messages", [str(tmp_path / "chat.jsonl")], images=()))
    assert (summary.rows, summary.pictures, summary.fingerprint) == (1, 0, fingerprint)
    found = next(iter(open_shards([tmp_path / "out"])))
    assert (found.key, found.messages[0].segments) == ("k", (tuple(codes), "Hi"))

    write_file(tmp_path / "other.jsonl", [row | {"images": [codes], "fingerprint": "e" * 16}])
    for act in (run, plan):
        with pytest.raises(DataError, match="codes of another model") as raised:
            act(
                ask(
                    "messages",
                    [str(tmp_path / "other.jsonl")],
                    images=(),
                    output=tmp_path / "other",
                )
            )
        assert "--model" in raised.value.remedy
    write_file(
        tmp_path / "short.jsonl",
        [
            row | {"images": [codes[:3]]},
            row | {"images": [[64] * 32]},
            row | {"images": [{"a": 1}]},
        ],
    )
    summary = run(
        ask("messages", [str(tmp_path / "short.jsonl")], images=(), output=tmp_path / "short")
    )
    assert (summary.rows, summary.failed) == (0, 3)
    reasons = Path(summary.errors).read_text()
    assert (
        "a picture of 3 codes" in reasons
        and "up to 64; expected 32 in 0..63" in reasons
        and "a path or a list of codes" in reasons
    )


def test_pictures_that_have_codes_are_not_tokenised_again(
    tmp_path, ask, monkeypatch, tiny_tokenizer_folder, many
):
    request = many
    run(request)
    model = {"model": str(tiny_tokenizer_folder), "workers": 0, "batch_size": 4}
    names = [str(tmp_path / f"images/{number}.jpg") for number in range(8)]
    tokenize_images.run(TokenizeRequest(inputs=tuple(names), output=tmp_path / "codes", **model))
    tokenize_images.run(
        TokenizeRequest(
            inputs=tuple(names), output=tmp_path / "official", image_handling="official", **model
        )
    )
    (tmp_path / "images/0.jpg").write_bytes(b"is not opened")
    with_codes = dataclasses.replace(
        request, output=tmp_path / "again" / "out", codes=(tmp_path / "codes",)
    )
    assert plan(with_codes)["pictures_to_tokenize"] == 2
    summary = run(with_codes)
    assert (summary.rows, summary.failed, summary.pictures) == (20, 0, 10)
    assert shard_bytes(with_codes.output) == shard_bytes(request.output)

    for number in range(8, 10):
        (tmp_path / f"images/{number}.jpg").unlink()
    # nothing is left that needs it
    monkeypatch.setattr("seedcli.models.weights.load.load_seed_model", None)
    write_file(tmp_path / "eight.json", json.loads((tmp_path / "x.json").read_text())[:8])
    eight = dataclasses.replace(
        with_codes, inputs=(str(tmp_path / "eight.json"),), output=tmp_path / "eight" / "out"
    )
    assert run(eight).rows == 8
    monkeypatch.undo()

    with pytest.raises(DataError, match="are of image_handling official, those of .* of seed"):
        run(
            dataclasses.replace(
                with_codes, output=tmp_path / "mixed", codes=(tmp_path / "official",)
            )
        )
    write_picture(tmp_path / "other/a.jpg")
    write_file(
        tmp_path / "a.json",
        [
            {
                "image": "a.jpg",
                "conversations": [{"from": "human", "value": "A?"}, {"from": "gpt", "value": "B"}],
            }
        ],
    )
    with pytest.raises(DataError, match="holds codes of none of the 1 pictures") as raised:
        run(
            ask(
                "llava",
                [str(tmp_path / "a.json")],
                images=(tmp_path / "other",),
                codes=(tmp_path / "codes",),
                output=tmp_path / "none",
            )
        )
    assert "in the same folder" in raised.value.remedy
    with pytest.raises(DataError, match="codes of tiny .*, but the model at hand is seed-nano"):
        plan(dataclasses.replace(with_codes, output=tmp_path / "nano", model="seed-nano"))


def test_a_set_of_nothing_but_broken_pictures_leaves_an_empty_shard_and_reasons(tmp_path, many):
    request = many
    for path in (tmp_path / "images").iterdir():
        path.write_bytes(b"no picture")
    summary = run(request)
    assert (summary.rows, summary.failed, summary.shards) == (0, 20, 3)
    assert verify([request.output])["problems"] == []


def test_conversations_that_nothing_can_be_learned_from_are_named(tmp_path, ask):
    user, answer = ({"role": role, "content": "x y"} for role in ("user", "assistant"))
    talks = [[user, answer], [answer, user, answer], [user, user, answer], [user, answer, user],
             [user, {**answer, "content": " "}], [{**user, "content": "see <img>"}, answer],
             [user, answer, {**user, "role": "system"}, user, answer]]  # fmt: skip
    write_file(tmp_path / "x.jsonl", [{"messages": talk} for talk in talks])
    summary = run(ask("messages", [str(tmp_path / "x.jsonl")], images=()))
    assert (summary.rows, summary.failed) == (1, 6)
    errors = [json.loads(line)["error"] for line in Path(summary.errors).read_text().splitlines()]
    assert [error.partition(";")[0] for error in errors] == [
        "the assistant's turn comes first",
        "two turns of the user in a row",
        "a conversation to learn from ends with the assistant's answer",
        "an assistant's message is empty",
        "words hold <img>, which only pictures may have",
        "a system message that is not the first",
    ]


def test_pictures_as_data_urls(tmp_path, ask, codes_of):
    """OpenAI's parts: each picture once, and nothing is left of them beside the shards."""
    url = "data:image/png;base64," + base64.b64encode(png("a.png")).decode()
    part = {"type": "image_url", "image_url": {"url": url}}
    asked = {"role": "user", "content": [part, {"type": "text", "text": "What?"}]}
    talk = {"messages": [asked, {"role": "assistant", "content": "a dog"}]}
    write_file(tmp_path / "x.jsonl", [talk, talk])
    request = ask("messages", [str(tmp_path / "x.jsonl")], images=())
    assert plan(request)["pictures_to_tokenize"] == 1
    summary = run(request)
    assert (summary.rows, summary.failed, summary.pictures) == (2, 0, 1)
    rows = list(open_shards([tmp_path / "out"]))
    assert rows[0].messages[0].segments == (codes_of("a.png"), "What?")
    assert not request.inline.exists()
