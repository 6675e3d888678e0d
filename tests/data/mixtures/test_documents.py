"""Document sources: addressing, shards, tables, lines, tars, pictures by
path, and what is refused.
"""

from __future__ import annotations

import base64
import contextlib
import dataclasses
import json
import pickle
import random
import tarfile
from collections import Counter
from io import BytesIO
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from seedcli.data.documents.columns import DocumentRow
from seedcli.data.documents.conversations import conversation_template
from seedcli.data.documents.documents import Message, Sample
from seedcli.data.documents.left_out import add_tallies
from seedcli.data.documents.packing import PackedStream
from seedcli.data.documents.rows import sample_of_row
from seedcli.data.images.images import open_image
from seedcli.data.images.video import read_pictures
from seedcli.data.mixtures.documents import DocumentMixture, open_source
from seedcli.data.mixtures.rows import LineDocuments, ShardDocuments, read_plain_pickle
from seedcli.data.sample_order import BLOCKS_AT_ONCE, SampleOrder
from seedcli.data.tokens.shards import TokenRow, write_shard
from seedcli.errors import DataError
from seedcli.models.language.code_vocabulary import CodeVocabulary
from seedcli.models.language.text_tokenizer import load_text_tokenizer
from seedcli.recipe.language import DocumentDataSection, DocumentSourceSection
from seedcli.training.llm_data import DocumentSamples, TokenSamples
from tests.damaged import damaged
from tests.tiny_shards import tiny_header
from tests.videos import write_video

HEADER = tiny_header()
EMPTY = "an assistant's message is empty"
FIXTURE = Path(__file__).parents[2] / "parity" / "data" / "text_sequences.json"
TEXT_TOKENIZER = load_text_tokenizer(FIXTURE.parent / "text_tokenizer")


def codes_of(pictures):
    """Red value of the first pixel as four codes."""
    return [(open_image(picture).getpixel((0, 0))[0],) * 4 for picture in pictures]


def opened(cache, codes=codes_of, **fields):
    values = {"form": "messages", "weight": 1.0, "max_tokens": 64, **fields}
    section = DocumentSourceSection(**values)
    return open_source(
        section,
        codes_of=codes,
        num_queries=4,
        num_codes=64,
        fingerprint=HEADER.fingerprint,
        cache=cache,
    )


def picture(path: Path, red: int) -> Path:
    Image.new("RGB", (8, 8), (red, 0, 0)).save(path)
    return path


class Rows:
    def __init__(self, name, size, block_sizes=None):
        self.name, self.size, self.block_sizes = name, size, block_sizes

    def __len__(self):
        return self.size

    def read(self, row, rng):
        return Sample(f"{self.name}{row}", (str(rng.random()),))


def test_a_sample_is_a_function_of_seed_and_number():
    mixture, again = (
        DocumentMixture([(Rows("a", 7), 3.0), (Rows("b", 5), 1.0)], seed=2) for _ in range(2)
    )
    samples = [mixture.sample(n) for n in range(2000)]
    assert samples == [again.sample(n) for n in range(2000)]
    assert samples != [
        DocumentMixture([(Rows("a", 7), 3.0), (Rows("b", 5), 1.0)], seed=3).sample(n)
        for n in range(2000)
    ]
    assert Counter(number for number, _ in samples) == {0: 1500, 1: 500}
    assert len({sample.key for _, sample in samples}) == 12


def test_blocks_are_read_once_a_pass_and_every_row_once():
    sizes = [3, 10, 1, 10, 10, 7, 10, 10, 10, 2]
    order = SampleOrder([(sizes, 1.0)], seed=0)
    total = sum(sizes)
    passes = [[order.locate(n)[1] for n in range(start, start + total)] for start in (0, total)]
    assert all(sorted(rows) == list(range(total)) for rows in passes)
    assert passes[0] != passes[1]
    block_of = [block for block, size in enumerate(sizes) for _ in range(size)]
    for rows in passes:
        last = {block_of[row]: n for n, row in enumerate(rows)}
        first = {block_of[row]: n for n, row in reversed(list(enumerate(rows)))}
        open_at_once = max(
            sum(first[block] <= n <= last[block] for block in first) for n in range(total)
        )
        assert open_at_once <= BLOCKS_AT_ONCE
    assert order.locate(5) == SampleOrder([(sizes, 1.0)], seed=0).locate(5)


def test_a_mixture_without_rows_is_refused():
    with pytest.raises(DataError, match="source 2 holds no rows"):
        DocumentMixture([(Rows("a", 7), 1.0), (Rows("b", 0), 1.0)], seed=0)


def test_image_shards_give_pairs_and_read_few_blocks(tmp_path, monkeypatch):
    monkeypatch.setattr("seedcli.data.tokens.shards.ROWS_PER_GROUP", 3)
    for part in range(4):
        rows = [
            TokenRow(
                f"{part}/{n}",
                [part, n, 0, 0],
                f"caption {n}",
                "s",
                json.dumps({"alt": [f"other {n}"]}),
            )
            for n in range(8)
        ]
        write_shard(tmp_path / f"{part}.parquet", HEADER, rows)
    source = opened(
        tmp_path,
        kind="tokens",
        path=str(tmp_path),
        form="caption",
        image_first=0.5,
        mask_first=False,
    )
    assert isinstance(source, ShardDocuments)
    assert source.block_sizes == [3, 3, 2] * 4
    mixture = DocumentMixture([(source, 1.0)], seed=0)
    samples = [mixture.sample(n)[1] for n in range(32)]
    assert {sample.key for sample in samples} == {
        f"{part}/{n}" for part in range(4) for n in range(8)
    }
    assert all(
        sample.segments
        == (tuple(map(int, (*sample.key.split("/"), 0, 0))), f"caption {sample.key[2:]}")
        for sample in samples
    )
    other = opened(tmp_path, kind="tokens", path=str(tmp_path), form="describe", text_column="alt")
    assert other.read(5, random.Random(0)).segments[1] == "other 5"


def test_document_shards_come_back(tmp_path):
    segments = DocumentRow("a", ((1, 2, 3, 4), "words", (5, 6, 7, 8)), (), "s", '{"n": 1}')
    messages = DocumentRow(
        "b",
        (),
        (Message("user", ((1, 2, 3, 4), "What?")), Message("assistant", ("This.",))),
        "s",
        None,
    )
    write_shard(tmp_path / "a.parquet", dataclasses.replace(HEADER, content="segments"), [segments])
    write_shard(tmp_path / "b.parquet", dataclasses.replace(HEADER, content="messages"), [messages])
    first = opened(tmp_path, kind="tokens", path=str(tmp_path / "a.parquet"), form="edit").read(
        0, random.Random(0)
    )
    assert first == Sample("a", segments.segments, (), {"n": 1})
    second = opened(tmp_path, kind="tokens", path=str(tmp_path / "b.parquet")).read(
        0, random.Random(0)
    )
    assert second == Sample("b", (), messages.messages, {})


def test_shards_of_another_tokenizer_are_refused(tmp_path):
    write_shard(
        tmp_path / "a.parquet",
        dataclasses.replace(HEADER, fingerprint="e" * 16),
        [TokenRow("k", [1, 2, 3, 4], "w", "s", None)],
    )
    with pytest.raises(DataError, match="codes of tiny") as raised:
        opened(tmp_path, kind="tokens", path=str(tmp_path), form="describe")
    assert raised.value.exit_code == 3
    assert "tokenize the images again" in raised.value.remedy


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


def test_tables_with_pictures_in_them(tmp_path):
    buffer = BytesIO()
    Image.new("RGB", (8, 8), (5, 0, 0)).save(buffer, "PNG")
    column = pa.array(
        [{"bytes": buffer.getvalue(), "path": None}] * 2,
        pa.struct([("bytes", pa.binary()), ("path", pa.string())]),
    )
    pq.write_table(
        pa.table({"image": column, "text": ["one", "two"], "caption": [["x"], ["y"]]}),
        tmp_path / "a.parquet",
    )
    source = opened(
        tmp_path / "cache", kind="table", path=str(tmp_path / "a.parquet"), form="describe"
    )
    assert source.read(1, random.Random(0)).segments == ((5,) * 4, "two")
    other = opened(
        tmp_path / "cache",
        kind="table",
        path=str(tmp_path / "a.parquet"),
        form="describe",
        text_column="caption",
    )
    assert other.read(1, random.Random(0)).segments == ((5,) * 4, "y")


def test_texts_need_no_tokenizer_and_pictures_do(tmp_path):
    (tmp_path / "a.jsonl").write_text('{"text": "one"}\n\n{"text": "two"}\n')
    source = opened(tmp_path, codes=None, kind="table", path=str(tmp_path / "a.jsonl"), form="text")
    assert [source.read(n, random.Random(0)).segments for n in range(len(source))] == [
        ("one",),
        ("two",),
    ]
    (tmp_path / "b.jsonl").write_text('{"text": "one", "image": "one.png"}\n')
    with pytest.raises(DataError, match="no codes yet"):
        opened(
            tmp_path,
            codes=None,
            kind="table",
            path=str(tmp_path / "b.jsonl"),
            form="caption",
            image_first=0.5,
            mask_first=False,
        )


def write_tar(path: Path, members: dict[str, bytes]) -> None:
    with tarfile.open(path, "w") as tar:
        for name, data in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            tar.addfile(info, BytesIO(data))


def test_tars_of_json_and_of_published_pickles(tmp_path):
    row = {"image_ids": [1, 2, 3, 4], "text": "a dog", "metadata": {"top_caption": "a good dog"}}
    write_tar(tmp_path / "0.tar", {"a.pkl": pickle.dumps(row), "a.txt": b"other"})
    write_tar(
        tmp_path / "1.tar",
        {"b.json": json.dumps({"codes": [5, 6, 7, 8], "text": "a cat", "key": "cat"}).encode()},
    )
    source = opened(tmp_path, kind="tar", path=str(tmp_path / "{0..1}.tar"), form="describe")
    assert source.read(0, random.Random(0)).segments == ((1, 2, 3, 4), "a dog")
    assert source.read(1, random.Random(0)) == Sample("cat", ((5, 6, 7, 8), "a cat"), (), {})
    other = opened(
        tmp_path,
        kind="tar",
        path=str(tmp_path / "0.tar"),
        form="describe",
        text_column="top_caption",
    )
    assert other.read(0, random.Random(0)).segments[1] == "a good dog"


class Harmful:
    def __reduce__(self):
        return print, ("harm",)


def test_a_pickle_that_asks_for_code_is_refused(capsys):
    with pytest.raises(DataError, match=r"asks for builtins\.print"):
        read_plain_pickle(pickle.dumps({"text": Harmful()}), "a.tar, row 0")
    with pytest.raises(DataError, match="is no pickle"):
        read_plain_pickle(b"damaged", "a.tar, row 0")
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize(
    ("row", "segments", "turns"),
    [
        (
            {"image_ids": [1, 2, 3, 4] * 2, "answer": "waves"},
            ((1, 2, 3, 4), (1, 2, 3, 4), "waves"),
            0,
        ),
        ({"image_ids": [None, [1, 2, 3, 4]], "texts": ["a", None]}, ("a", (1, 2, 3, 4)), 0),
        ({"image_ids": [[1, 2, 3, 4]], "texts": ["both"]}, (), 0),
        (
            {"source_image_ids": [1] * 4, "target_image_ids": [2] * 4, "instruction": "do"},
            ((1,) * 4, "do", (2,) * 4),
            0,
        ),
        (
            {
                "source_image_ids": [1] * 4,
                "target_image_ids": [2] * 4,
                "instruction_gpt": "do",
                "response": "ok",
                "instruction": "x",
            },
            ((1,) * 4, "do", "ok", (2,) * 4),
            0,
        ),
        (
            {"image_ids": [[1] * 4, [2] * 4], "caption0": "a", "caption1": "b"},
            ((1,) * 4, "a", (2,) * 4, "b"),
            0,
        ),
        ({"image_ids": [[1] * 4, [2] * 4], "instruction0": "a"}, ((1,) * 4, "a", (2,) * 4), 0),
        (
            {
                "image_ids": [1] * 4,
                "question": "Question: q Question: r",
                "answer": "Answer: a Answer: b",
            },
            None,
            4,
        ),
        (
            {"image_ids": [[1] * 4], "instruction": "i", "inputs": "", "outputs": "o"},
            ((1,) * 4, "i", "o"),
            0,
        ),
        (
            {"image_ids": [1] * 4, "text": "t", "context": [{"image_ids": [2] * 4, "text": "u"}]},
            ((1,) * 4, "t", (2,) * 4, "u"),
            0,
        ),
        ({"data": ["q", "a", "r"]}, (), 2),
    ],
)
def test_fields_of_published_rows(tmp_path, row, segments, turns):
    write_tar(tmp_path / "a.tar", {"a.pkl": pickle.dumps(row)})
    sample = opened(tmp_path, kind="tar", path=str(tmp_path / "a.tar")).read(0, random.Random(0))
    assert segments is None or sample.segments == segments
    assert len(sample.messages) == turns
    for other in damaged(row):
        if isinstance(other, dict):
            # whatever stands in place of a value: a row that is read, or named as none
            with contextlib.suppress(DataError):
                assert sample_of_row(other, "rows.jsonl/0", num_queries=4).key


@pytest.mark.parametrize("codes", [[1, 2, 3, 4.5], [1, 2, 3, "4"]])
def test_codes_are_integers_and_nothing_is_rounded(codes):
    for row in ({"codes": codes, "text": "a"}, {"segments": [{"codes": codes}]}):
        with pytest.raises(DataError, match="cannot be interpreted as an integer|are integers"):
            sample_of_row(row, "rows.jsonl/0", num_queries=4)


@pytest.mark.parametrize(
    ("form", "fields"), [("caption", {"image_first": 0.5, "mask_first": False}), ("text", {})]
)
def test_noise_without_codes_that_are_read_is_refused(form, fields):
    with pytest.raises(ValueError, match="`code_noise` replaces codes that are not learned"):
        DocumentSourceSection(
            kind="table",
            path="rows.jsonl",
            form=form,
            weight=1.0,
            max_tokens=64,
            code_noise=0.1,
            **fields,
        )


def test_noise_of_a_sample_is_a_function_of_its_number():
    fields = {
        "kind": "table",
        "path": "rows.jsonl",
        "form": "caption",
        "image_first": 1.0,
        "mask_first": True,
        "weight": 1.0,
        "max_tokens": 200,
    }
    vocabulary = CodeVocabulary.of(TEXT_TOKENIZER, num_queries=4)

    class Pictures(Rows):
        def read(self, row, rng):
            return Sample(f"{self.name}{row}", ((row,) * 4, f"number {row}"))

    def samples(noise: float) -> TokenSamples:
        data = DocumentDataSection(sources=[DocumentSourceSection(**fields, code_noise=noise)])
        documents = DocumentSamples(data, [Pictures("a", 40)], template="vicuna", seed=3)
        return TokenSamples(documents, TEXT_TOKENIZER, vocabulary, context_length=64)

    plain, noisy, again = (samples(noise) for noise in (0.0, 0.5, 0.5))
    changed = [int((plain.sample(n).ids != noisy.sample(n).ids).sum()) for n in range(40)]
    assert 40 < sum(changed) < 120 and max(changed) <= 4
    assert all(noisy.sample(n).ids.tolist() == again.sample(n).ids.tolist() for n in (7, 3, 39))
