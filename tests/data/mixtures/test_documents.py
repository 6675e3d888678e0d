"""Document sources: addressing, shards, tables, lines, tars, pictures by
path, and what is refused.
"""

from __future__ import annotations

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
from seedcli.data.documents.documents import Message, Sample
from seedcli.data.documents.rows import sample_of_row
from seedcli.data.mixtures.documents import DocumentMixture
from seedcli.data.mixtures.rows import ShardDocuments, read_plain_pickle
from seedcli.data.sample_order import BLOCKS_AT_ONCE, SampleOrder
from seedcli.data.tokens.shards import TokenRow, write_shard
from seedcli.errors import DataError
from seedcli.models.language.code_vocabulary import CodeVocabulary
from seedcli.recipe.language import DocumentDataSection, DocumentSourceSection
from seedcli.training.llm_data import DocumentSamples, TokenSamples
from tests.damaged import damaged
from tests.data.mixtures.tiny_sources import HEADER, TEXT_TOKENIZER, opened


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
        return exec, ("print('harm')",)  # Ray has a print of its own


def test_a_pickle_that_asks_for_code_is_refused(capsys):
    with pytest.raises(DataError, match=r"asks for builtins\.exec"):
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
