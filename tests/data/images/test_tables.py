"""Pictures of parquet files and saved datasets: their columns, their words, and what is refused."""

from __future__ import annotations

import io
import json

import datasets
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from seedcli.data.images.containers import count_items, expand, read_items
from seedcli.data.images.inputs import list_inputs
from seedcli.data.images.items import Columns, Container
from seedcli.data.tokens.shards import ShardHeader, write_shard
from seedcli.errors import DataError
from tests.data.images.small_files import png, write_table


def test_parquet_with_images_captions_and_more(tmp_path):
    container = write_table(
        tmp_path / "t.parquet",
        caption=[f"no {n}" for n in range(10)],
        n=list(range(10)),
        thumb=[b"x"] * 10,
    )
    items = list(read_items(container))
    assert [item.key for item in items[:2]] == ["t/00000000", "t/00000001"]
    assert items[3].text == "no 3"
    assert items[3].data == png(3)
    assert items[3].source == f"{container.path}[3]"
    assert json.loads(items[3].meta) == {"n": 3}
    assert count_items(container) == 10
    for skip in (0, 3, 4, 9, 10):
        assert list(read_items(container, skip=skip)) == items[skip:]


def test_parquet_of_plain_bytes_and_lists_of_captions(tmp_path):
    pq.write_table(
        pa.table({"jpg": [png(0), None], "captions": [["one", "two"], []]}), tmp_path / "t.parquet"
    )
    first, second = read_items(Container("parquet", str(tmp_path / "t.parquet")))
    assert first.text == "one"
    assert json.loads(first.meta) == {"captions": ["one", "two"]}
    assert second.problem == "row without an image"


def test_parquet_whose_images_lie_beside_it(tmp_path):
    kind = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
    pq.write_table(
        pa.table({"image": pa.array([{"bytes": None, "path": "x.png"}], kind)}),
        tmp_path / "t.parquet",
    )
    assert [
        item.path for item in read_items(Container("parquet", str(tmp_path / "t.parquet")))
    ] == [str(tmp_path / "x.png")]


def test_columns_can_be_named_and_must_exist(tmp_path):
    pq.write_table(
        pa.table({"left": [png(1)], "right": [png(2)], "words": ["hello"], "size": [7]}),
        tmp_path / "t.parquet",
    )
    container = Container("parquet", str(tmp_path / "t.parquet"))
    with pytest.raises(DataError, match="several columns could hold the image: left, right"):
        count_items(container)
    (item,) = read_items(container, Columns("right", "words"))
    assert (item.data, item.text) == (png(2), "hello")
    with pytest.raises(DataError, match="no column 'middle'"):
        count_items(container, Columns("middle"))
    with pytest.raises(DataError, match="holds neither images nor paths"):
        count_items(container, Columns("size"))


def test_tables_without_images_and_token_shards_are_refused(tmp_path):
    pq.write_table(pa.table({"words": ["hello"]}), tmp_path / "t.parquet")
    with pytest.raises(DataError, match="no image column among words"):
        count_items(Container("parquet", str(tmp_path / "t.parquet")))
    header = ShardHeader(
        tokenizer="t",
        fingerprint="f",
        num_queries=1,
        num_codes=2,
        image_handling="seed",
        numerics="default",
        dtype="float32",
        micro_batch=(1,),
    )
    write_shard(tmp_path / "s.parquet", header, [])
    with pytest.raises(DataError, match="is a token shard"):
        count_items(Container("parquet", str(tmp_path / "s.parquet")))
    (tmp_path / "n.parquet").write_bytes(b"no parquet")
    with pytest.raises(DataError, match="no readable parquet"):
        count_items(Container("parquet", str(tmp_path / "n.parquet")))


def test_folder_saved_by_datasets(tmp_path):
    features = datasets.Features(
        {
            "picture": datasets.Image(),
            "text": datasets.Value("string"),
            "label": datasets.ClassLabel(names=["a", "b"]),
        }
    )
    pictures = [Image.new("RGB", (8, 8), (number, 0, 0)) for number in range(5)]
    table = datasets.Dataset.from_dict(
        {"picture": pictures, "text": list("abcde"), "label": [0, 1, 0, 1, 0]}, features=features
    )
    table.save_to_disk(tmp_path / "set", num_shards=2)
    (container,) = list_inputs([str(tmp_path / "set")])
    items = list(read_items(container))
    assert [item.key for item in items] == [f"set/{number:08d}" for number in range(5)]
    assert [item.text for item in items] == list("abcde")
    assert json.loads(items[1].meta) == {"label": 1}
    assert Image.open(io.BytesIO(items[3].data)).getpixel((0, 0)) == (3, 0, 0)
    assert count_items(container) == 5
    part = Container("dataset", container.path, 1, 4)
    assert list(read_items(part, skip=1)) == items[2:4]
    datasets.DatasetDict({"train": table}).save_to_disk(tmp_path / "dict")
    with pytest.raises(DataError, match="several splits") as raised:
        count_items(Container("dataset", str(tmp_path / "dict")))
    assert str(tmp_path / "dict" / "train") in raised.value.remedy


def test_one_bad_table_in_a_folder_costs_itself(tmp_path):
    (tmp_path / "bad.parquet").write_bytes(b"PAR1 cut off")
    pq.write_table(pa.table({"image": pa.array([], pa.null())}), tmp_path / "empty.parquet")
    with pytest.raises(DataError, match="no readable parquet"):
        list(expand(list_inputs([str(tmp_path)])))
    pq.write_table(pa.table({"image": [png(1)]}), tmp_path / "good.parquet")
    bad, good = expand(list_inputs([str(tmp_path)]))
    assert "no readable parquet" in bad.problem and good.data == png(1)
    with pytest.raises(DataError, match="no readable parquet"):
        list(expand(list_inputs([str(tmp_path / "bad.parquet"), str(tmp_path / "good.parquet")])))


def test_image_columns_of_paths_views_and_lists(tmp_path):
    def read(column, skip=0):
        pq.write_table(pa.table({"image": column, "caption": ["c"] * len(column)}), path)
        return list(read_items(Container("parquet", str(path)), skip=skip))

    path = tmp_path / "t.parquet"
    assert [one.path for one in read(pa.array(["a/0.jpg", "/b.jpg"]))] == [
        str(tmp_path / "a/0.jpg"),
        "/b.jpg",
    ]
    assert "img2dataset" in read(pa.array(["https://x/0.jpg"]))[0].problem
    assert read(pa.array([None], pa.string()))[0].problem == "row without an image"
    assert read(pa.array([png(1)], pa.binary_view()))[0].data == png(1)
    struct = pa.struct([("bytes", pa.binary()), ("path", pa.binary())])
    assert read(pa.array([{"path": b"0.jpg"}], struct))[0].path == str(tmp_path / "0.jpg")
    lists = pa.array([[png(1), png(2)], [], [png(3)]])
    items = read(lists)
    assert [(one.key, one.data, one.text) for one in items] == [
        ("t/00000000-0", png(1), "c"),
        ("t/00000000-1", png(2), "c"),
        ("t/00000001", None, None),
        ("t/00000002", png(3), "c"),
    ]
    assert items[2].problem and read(lists, skip=1) == items[1:]
    container = Container("parquet", str(path))
    assert (count_items(container), count_items(container, at_most=9)) == (None, 4)


def test_a_row_that_python_cannot_hold_costs_itself(tmp_path):
    times = pa.array([0, 2**40], pa.timestamp("s"))
    pq.write_table(pa.table({"image": [png(1), png(2)], "at": times}), tmp_path / "t.parquet")
    good, bad = read_items(Container("parquet", str(tmp_path / "t.parquet")))
    assert good.data == png(1) and "cannot be read" in bad.problem


def test_a_saved_dataset_of_lists(tmp_path):
    rows = {"pictures": [[{"bytes": png(1)}, {"bytes": png(2)}], [{"bytes": png(3)}]]}
    features = datasets.Features({"pictures": datasets.List(datasets.Image())})
    datasets.Dataset.from_dict(rows, features=features).save_to_disk(tmp_path / "d")
    container = Container("dataset", str(tmp_path / "d"), 0, 2)
    assert [one.data for one in read_items(container)] == [png(1), png(2), png(3)]
    assert [one.data for one in read_items(container, skip=2)] == [png(3)]
