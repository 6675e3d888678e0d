"""Shards that others wrote or that something damaged: every reader refuses them at the door, and
`seed tokens verify` says what is wrong.
"""

from __future__ import annotations

import dataclasses
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from seedcli.data.documents.columns import DocumentRow, Message
from seedcli.data.tokens.shards import (
    TokenRow,
    open_shards,
    read_block,
    read_rows,
    write_shard,
)
from seedcli.errors import DataError
from seedcli.workflows.documents import inspect
from tests.data.tokens.test_shards import HEADER as OTHER_HEADER

HEADER = dataclasses.replace(OTHER_HEADER, num_codes=512, made_from={})
ROWS = [TokenRow(f"a/{n}", [n, 2, 511, 0], "words", f"{n}.jpg", '{"n": 1}') for n in range(5)]
Table = pa.Table
Columns = dict[str, pa.Array]


def codes(values: Any, kind: pa.DataType | None = None) -> pa.Array:
    return pa.array(values, kind or pa.list_(pa.uint16(), 4))


def with_column(name: str, values: pa.Array) -> Callable[[Table], Table]:
    """A table that has other values, of another type maybe, in a column."""

    def change(table: Table) -> Table:
        schema = table.schema
        number = schema.get_field_index(name)
        return table.set_column(number, pa.field(name, values.type), values)

    return change


def with_header(**values: Any) -> Callable[[Table], Table]:
    """A table whose `seed` metadata says something else."""

    def change(table: Table) -> Table:
        facts = json.loads(table.schema.metadata[b"seed"]) | values
        return table.replace_schema_metadata({"seed": json.dumps(facts)})

    return change


def with_text(text: str | bytes) -> Callable[[Table], Table]:
    return lambda table: table.replace_schema_metadata({"seed": text})


FOUR = [[1, 2, 3, 4]] * 4
DAMAGES: dict[str, tuple[Callable[[Table], Table], str]] = {
    "codes as floats": (
        with_column("codes", codes([[1.5, 2, 3, 4]] * 5, pa.list_(pa.float32(), 4))),
        "codes: fixed_size_list<item: float>",
    ),
    "codes as NaN": (
        with_column("codes", codes([[np.nan] * 4] * 5, pa.list_(pa.float64(), 4))),
        "codes: fixed_size_list<item: double>",
    ),
    "negative codes": (
        with_column("codes", codes([[-1, 2, 3, 4]] * 5, pa.list_(pa.int32(), 4))),
        "codes: fixed_size_list<item: int32>",
    ),
    "codes out of range": (
        with_column("codes", codes([*FOUR, [1, 2, 3, 512]])),
        r"1 images with codes outside 0\.\.511",
    ),
    "ragged codes": (
        with_column("codes", codes([*FOUR, [1]], pa.list_(pa.uint16()))),
        "codes: list<",
    ),
    "three codes": (
        with_column("codes", codes([[1, 2, 3]] * 5, pa.list_(pa.uint16(), 3))),
        r"codes: fixed_size_list<.*>\[3\]",
    ),
    "a missing code": (with_column("codes", codes([*FOUR, [1, 2, None, 4]])), "codes are missing"),
    "an image without codes": (with_column("codes", codes([*FOUR, None])), "1 rows without codes"),
    "a row without a key": (with_column("key", pa.array([*"abcd", None])), "1 rows without key"),
    "codes as text": (with_column("codes", pa.array(["1 2 3 4"] * 5)), "codes: string"),
    "keys as numbers": (with_column("key", pa.array(range(5))), "key: int64"),
    "meta that is no JSON": (with_column("meta", pa.array(["{"] * 5)), "its meta is no JSON"),
    "meta that is a list": (with_column("meta", pa.array(["[1]"] * 5)), "expected a JSON object"),
    "deep meta": (with_column("meta", pa.array(["[" * 50_000] * 5)), "nested too deeply"),
    "a column more": (
        lambda table: table.append_column("score", pa.array([0.5] * 5)),
        "score: double, expected no column",
    ),
    "a column less": (lambda table: table.drop_columns(["source"]), "source: no column"),
    "another order": (
        lambda table: table.select(["codes", "key", "text", "source", "meta"]),
        "another order",
    ),
    "a negative count": (with_header(count=-1), "count is -1"),
    "another count": (with_header(count=6), "its header says 6 rows, it holds 5"),
    "a huge codebook": (with_header(num_codes=10**15), "num_codes is 1000000000000000"),
    "a huge number of queries": (with_header(num_queries=10**12), "num_queries is"),
    "no queries": (with_header(num_queries=0), "num_queries is 0"),
    "a number as text": (with_header(num_codes="512"), "num_codes is '512', expected int"),
    "a micro-batch that is none": (with_header(micro_batch=7), "micro_batch is 7"),
    "a name that is none": (with_header(tokenizer=None), "tokenizer is None"),
    "content that is none": (with_header(content=["images"]), "content is"),
    "content of another kind": (with_header(content="messages"), "messages: no column"),
    "a format to come": (with_header(format_version=2), "format 2"),
    "metadata that is a list": (with_text("[1]"), "cannot be read"),
    "deep metadata": (with_text("[" * 50_000), "nested too deeply"),
    "metadata that is no text": (with_text(b"\xff\xfe"), "cannot be read"),
    "no metadata": (lambda table: table.replace_schema_metadata(None), "no token shard"),
}


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("whole") / "a.parquet"
    write_shard(path, HEADER, ROWS)
    return path


def damaged(whole: Path, change: Callable[[Table], Table], path: Path) -> Path:
    table = pq.read_table(whole)
    table = table.replace_schema_metadata(
        {b"seed": pq.ParquetFile(whole).metadata.metadata[b"seed"]}
    )
    pq.write_table(change(table), path)
    return path


@pytest.mark.parametrize("name", DAMAGES)
def test_damage_is_refused_by_every_reader(name: str, whole: Path, tmp_path: Path) -> None:
    change, said = DAMAGES[name]
    path = damaged(whole, change, tmp_path / "b.parquet")
    (found,) = inspect.verify([path])["problems"]
    assert str(path) in found and re.search(said, found), found
    if "meta that" in name or name == "deep meta":  # read where it is needed
        with pytest.raises(DataError, match=said):
            list(inspect.head([path], 10))
        return
    for read in (
        lambda: list(read_rows(path)),
        lambda: read_block(path, 0),
        lambda: list(open_shards([path])),
        lambda: inspect.stats([path]),
        lambda: list(inspect.head([path], 10)),
        lambda: inspect.merge([path], tmp_path / "c.parquet"),
        lambda: inspect.merge([path], tmp_path / "folder", shard_size=2),
    ):
        with pytest.raises(DataError, match=said):
            read()
    assert [each.name for each in tmp_path.iterdir()] == ["b.parquet"]


def test_a_whole_shard_has_no_problem(whole: Path) -> None:
    assert inspect.verify([whole]) == {"shards": 1, "images": 5, "problems": []}


DOCUMENT = DocumentRow("a", ("words", (1, 2, 3, 4)), (), "a.jsonl", None)
TALK = DocumentRow("a", (), (Message("user", ("hi", (1, 2, 3, 4))),), "a.jsonl", None)
BAD_DOCUMENTS: dict[str, tuple[str, Any, str]] = {
    "both": ("segments", [{"text": "a", "codes": [1, 2, 3, 4]}], "exactly one of them"),
    "neither": ("segments", [{"text": None, "codes": None}], "exactly one of them"),
    "three codes": ("segments", [{"text": None, "codes": [1, 2, 3]}], "3 codes"),
    "out of range": ("segments", [{"text": None, "codes": [1, 2, 3, 512]}], "to 512"),
    "no codes": ("segments", [{"text": None, "codes": []}], "0 codes"),
    "a missing code": ("segments", [{"text": None, "codes": [1, None, 3, 4]}], "are integers"),
    "nothing": ("segments", [], "no segments"),
    "a role": ("messages", [{"role": "robot", "segments": []}], "role"),
    "no messages": ("messages", [], "no messages"),
    "codes of a message": (
        "messages",
        [{"role": "user", "segments": [{"text": None, "codes": [1]}]}],
        "1 codes",
    ),
}


@pytest.mark.parametrize("name", BAD_DOCUMENTS)
def test_documents_that_do_not_fit_are_refused(name: str, tmp_path: Path) -> None:
    content, value, said = BAD_DOCUMENTS[name]
    header = dataclasses.replace(HEADER, content=content)
    path = tmp_path / "a.parquet"
    write_shard(path, header, [DOCUMENT if content == "segments" else TALK])
    table = pq.read_table(path)
    changed = with_column(content, pa.array([value], table.schema.field(content).type))(
        table.replace_schema_metadata({b"seed": pq.ParquetFile(path).metadata.metadata[b"seed"]})
    )
    pq.write_table(changed, tmp_path / "b.parquet")
    (found,) = inspect.verify([tmp_path / "b.parquet"])["problems"]
    assert said in found and str(tmp_path / "b.parquet") in found
    with pytest.raises(DataError, match=said):
        list(read_rows(tmp_path / "b.parquet"))
