"""The format of token shards, and what their reader refuses."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import datasets
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from seedcli.data.tokens.shards import (
    ShardHeader,
    TokenRow,
    find_shards,
    open_shards,
    read_header,
    read_rows,
    write_shard,
)
from seedcli.errors import DataError
from seedcli.workflows.documents.inspect import verify

HEADER = ShardHeader(
    tokenizer="tiny",
    fingerprint="0123456789abcdef",
    num_queries=4,
    num_codes=65536,
    image_handling="seed",
    numerics="default",
    dtype="float32",
    micro_batch=(32, 3, 56, 56),
    made_from={"kind": "tar", "path": "a.tar"},
)
ROWS = [
    TokenRow(
        f"a/{n}",
        [n, 2, 65535, 0],
        "words" if n else None,
        f"a.tar/{n}.jpg",
        '{"n": 1}' if n else None,
    )
    for n in range(5)
]


def test_columns_and_metadata(tmp_path):
    write_shard(tmp_path / "a.parquet", HEADER, ROWS)
    file = pq.ParquetFile(tmp_path / "a.parquet")
    types = {field.name: field.type for field in file.schema_arrow}
    assert types == {
        "key": pa.string(),
        "codes": pa.list_(pa.uint16(), 4),
        "text": pa.string(),
        "source": pa.string(),
        "meta": pa.string(),
    }
    stored = json.loads(file.metadata.metadata[b"seed"])
    assert stored["format_version"] == 1
    assert stored["tokenizer"] == "tiny"
    assert stored["fingerprint"] == "0123456789abcdef"
    assert stored["image_handling"] == "seed"
    assert stored["count"] == 5
    assert stored["made_from"] == {"kind": "tar", "path": "a.tar"}
    assert stored["micro_batch"] == [32, 3, 56, 56]


def test_rows_come_back(tmp_path):
    write_shard(tmp_path / "a.parquet", HEADER, ROWS)
    assert read_header(tmp_path / "a.parquet") == dataclasses.replace(HEADER, count=5)
    for batch_size in (1, 2, 1024):
        rows = list(read_rows(tmp_path / "a.parquet", batch_size=batch_size))
        assert [row._replace(codes=row.codes.tolist()) for row in rows] == ROWS


def test_datasets_reads_it(tmp_path):
    write_shard(tmp_path / "a.parquet", HEADER, ROWS)
    table = datasets.load_dataset(
        "parquet",
        data_files=str(tmp_path / "a.parquet"),
        split="train",
        cache_dir=str(tmp_path / "cache"),
    )
    assert table[3]["codes"] == [3, 2, 65535, 0]
    assert table[0]["text"] is None


def test_same_rows_same_bytes_and_empty_shards(tmp_path):
    write_shard(tmp_path / "a.parquet", HEADER, ROWS)
    write_shard(tmp_path / "b.parquet", HEADER, iter(ROWS))
    assert (tmp_path / "a.parquet").read_bytes() == (tmp_path / "b.parquet").read_bytes()
    write_shard(tmp_path / "c.parquet", HEADER, [])
    assert list(read_rows(tmp_path / "c.parquet")) == []
    assert read_header(tmp_path / "c.parquet").count == 0


def test_a_finished_shard_is_never_rewritten(tmp_path):
    write_shard(tmp_path / "a.parquet", HEADER, ROWS)
    before = (tmp_path / "a.parquet").read_bytes()
    with pytest.raises(DataError, match="never rewritten"):
        write_shard(tmp_path / "a.parquet", HEADER, ROWS[:1])
    assert (tmp_path / "a.parquet").read_bytes() == before


def test_nothing_appears_under_its_name_when_rows_fail(tmp_path):
    def rows():
        yield ROWS[0]
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_shard(tmp_path / "a.parquet", HEADER, rows())
    assert not (tmp_path / "a.parquet").exists()
    with pytest.raises(DataError, match="no token shard"):
        find_shards(tmp_path)


@pytest.mark.parametrize("codes", [[1, 2, 3], [1, 2, 3, 600], [1, 2, 3, -1]])
def test_codes_are_checked_on_the_way_in(tmp_path, codes):
    with pytest.raises(DataError, match=r"expected 4 in 0\.\.511"):
        write_shard(
            tmp_path / "a.parquet",
            dataclasses.replace(HEADER, num_codes=512),
            [TokenRow("k", codes, None, "s", None)],
        )


def test_a_mix_of_fingerprints_is_refused(tmp_path):
    write_shard(tmp_path / "a.parquet", HEADER, ROWS)
    write_shard(
        tmp_path / "b.parquet",
        dataclasses.replace(HEADER, tokenizer="other", fingerprint="f" * 16),
        ROWS,
    )
    with pytest.raises(DataError, match="shards of two tokenizers") as raised:
        open_shards([tmp_path])
    assert "tiny (0123456789ab)" in raised.value.message
    assert "other (ffffffffffff)" in raised.value.message
    assert raised.value.exit_code == 3


def test_another_models_codes_are_refused(tmp_path):
    write_shard(tmp_path / "a.parquet", HEADER, ROWS)
    assert len(open_shards([tmp_path / "a.parquet"], fingerprint=HEADER.fingerprint)) == 5
    with pytest.raises(DataError, match="codes of tiny") as raised:
        open_shards([tmp_path], fingerprint="e" * 16)
    assert "--model tiny" in raised.value.remedy


def test_iterating_several_shards(tmp_path):
    write_shard(tmp_path / "a.parquet", HEADER, ROWS[:2])
    write_shard(tmp_path / "b.parquet", HEADER, ROWS[2:])
    shards = open_shards([tmp_path])
    assert [row.key for row in shards] == [row.key for row in ROWS]
    assert shards.counts == [2, 3]


def test_a_shard_that_is_named_twice_is_read_once(tmp_path, monkeypatch):
    (tmp_path / "set").mkdir()
    first = tmp_path / "set" / "a.parquet"
    write_shard(first, HEADER, ROWS[:2])
    write_shard(tmp_path / "b.parquet", HEADER, ROWS[2:])
    (tmp_path / "again.parquet").symlink_to(first)
    monkeypatch.chdir(tmp_path)
    named = [tmp_path / "b.parquet", "set", first, "./set/a.parquet", "again.parquet"]
    shards = open_shards(named)
    assert [row.key for row in shards] == [row.key for row in ROWS[2:] + ROWS[:2]]
    assert verify(named)["problems"] == []


def test_what_is_no_shard_is_refused(tmp_path: Path):
    with pytest.raises(DataError, match="no such file or folder"):
        find_shards(tmp_path / "absent")
    (tmp_path / "a.parquet").write_bytes(b"text")
    with pytest.raises(DataError, match="no readable parquet"):
        read_header(tmp_path / "a.parquet")
    pq.write_table(pa.table({"codes": [[1]]}), tmp_path / "b.parquet")
    with pytest.raises(DataError, match="no token shard"):
        read_header(tmp_path / "b.parquet")
    write_shard(tmp_path / "c.parquet", dataclasses.replace(HEADER, format_version=2), [])
    with pytest.raises(DataError, match="format 2; this version reads 1"):
        read_header(tmp_path / "c.parquet")


def test_a_damaged_shard_is_named(tmp_path):
    write_shard(tmp_path / "a.parquet", HEADER, ROWS)
    data = bytearray((tmp_path / "a.parquet").read_bytes())
    data[8:60] = b"\xff" * 52
    (tmp_path / "a.parquet").write_bytes(data)
    with pytest.raises(DataError, match="damaged") as raised:
        list(read_rows(tmp_path / "a.parquet"))
    assert "a.parquet" in raised.value.message
