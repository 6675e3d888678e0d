"""What every kind of INPUT becomes: order, keys, captions, and failures as values."""

from __future__ import annotations

import io
import json
import os
import shutil
import subprocess
import tarfile
from pathlib import Path

import datasets
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from seedcli.data.images.containers import count_items, expand, read_items
from seedcli.data.images.inputs import list_inputs
from seedcli.data.images.items import Columns, Container, Item
from seedcli.data.images.tars import open_tar, place_of, read_pictures
from seedcli.data.tokens.shards import ShardHeader, write_shard
from seedcli.errors import DataError, UsageError


def png(value: int = 0) -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", (8, 8), (value, 0, 0)).save(buffer, "PNG")
    return buffer.getvalue()


def write_tar(path: Path, members: list[tuple[str, bytes]], mode: str = "w") -> Path:
    with tarfile.open(path, mode) as tar:
        for name, data in members:
            info = tarfile.TarInfo(name)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    return path


def names(found) -> list[str]:
    return [
        entry.key if isinstance(entry, Item) else f"<{entry.kind} {entry.stem}>" for entry in found
    ]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Pictures on two floors, a caption, a hidden file, a text."""
    root = tmp_path / "photos"
    for name in (
        "b.png",
        "a.JPG",
        "deep/c.webp",
        "deep/d.png",
        ".hidden.png",
        ".git/e.png",
        "__MACOSX_no.txt",
        "Z/z.png",
    ):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(png())
    (root / "b.txt").write_text("a red square\n")
    monkeypatch.chdir(tmp_path)
    return root


def test_folder_is_recursive_sorted_and_skips_what_is_hidden_or_no_image(folder):
    found = list(list_inputs(["photos"]))
    assert names(found) == [
        "photos/Z/z.png",
        "photos/a.JPG",
        "photos/b.png",
        "photos/deep/c.webp",
        "photos/deep/d.png",
    ]
    assert found[2].source == "photos/b.png"
    assert found[2].text_path == "photos/b.txt"
    assert found[1].text_path is None


def test_keys_do_not_depend_on_where_the_folder_lies(folder):
    assert (
        names(list_inputs([str(folder)]))
        == names(list_inputs(["photos/"]))
        == names(list_inputs(["./photos"]))
    )


def test_folders_of_one_name_keep_their_paths_apart(tmp_path, monkeypatch):
    for split in ("train", "test"):
        (tmp_path / split / "images").mkdir(parents=True)
        (tmp_path / split / "images" / "0.png").write_bytes(png())
    monkeypatch.chdir(tmp_path)
    assert names(list_inputs(["train/images", "test/images"])) == [
        "train/images/0.png",
        "test/images/0.png",
    ]


def test_what_is_named_twice_has_a_key_for_each(tmp_path, monkeypatch):
    for name in ("x.png", "a/x.png", "b/a/y.png", "b/a/x.png"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(png())
    monkeypatch.chdir(tmp_path)

    def keys(*arguments, stdin=()):
        return [item.key for item in expand(list_inputs(arguments, stdin))]

    assert keys("x.png", "./x.png", "a/x.png", "x.png") == [
        "x.png",
        "x.png#2",
        "a/x.png",
        "x.png#3",
    ]
    assert keys("-", stdin=["x.png\n", "x.png\n", "gone.png\n", "gone.png\n"]) == [
        "x.png",
        "x.png#2",
        "gone.png",
        "gone.png#2",
    ]
    # a folder's own keys stay, whichever is named first
    assert keys("a/x.png", "a") == ["a/x.png#2", "a/x.png"]
    assert keys("a", "a/x.png", "a/x.png") == ["a/x.png", "a/x.png#2", "a/x.png#3"]
    assert keys("b/a", "a/x.png") == ["a/x.png", "a/y.png", "a/x.png#2"]
    assert keys("a", "./a") == ["a/x.png", "a#2/x.png"]
    assert keys("-", stdin=["a\n", "b/a\n"]) == ["a/x.png", "a#2/x.png", "a#2/y.png"]


def test_loops_of_links_end(folder):
    (folder / "deep" / "up").symlink_to(folder)
    (folder / "self").symlink_to("self")
    (folder / "Z" / "x").symlink_to(folder / "deep")
    found = names(list_inputs(["photos"]))
    assert len(found) == 5
    assert {Path(name).name for name in found} == {"z.png", "a.JPG", "b.png", "c.webp", "d.png"}


def test_folder_that_cannot_be_read_is_a_failed_item(folder, monkeypatch):
    scandir = os.scandir

    def refuse(path):
        if str(path).endswith("deep"):
            raise PermissionError(13, "Permission denied")
        return scandir(path)

    # root, who runs tests in containers, may read everything
    monkeypatch.setattr(os, "scandir", refuse)
    found = list(list_inputs(["photos"]))
    assert [entry.problem for entry in found] == [
        None,
        None,
        None,
        "folder cannot be read (Permission denied)",
    ]


def test_files_globs_braces_and_stdin_keep_their_order(folder):
    assert names(list_inputs(["photos/deep/d.png", "photos/b.png"])) == [
        "photos/deep/d.png",
        "photos/b.png",
    ]
    assert names(list_inputs(["photos/*.png"])) == ["photos/b.png"]
    assert names(list_inputs(["photos/**/*.png"])) == [
        "photos/Z/z.png",
        "photos/b.png",
        "photos/deep/d.png",
    ]
    assert names(list_inputs(["photos/{b,deep/d}.png"])) == ["photos/b.png", "photos/deep/d.png"]
    assert names(
        list_inputs(["photos/b.png", "-"], ["photos/Z/z.png\n", "\n", "photos/deep\n"])
    ) == [
        "photos/b.png",
        "photos/Z/z.png",
        "deep/c.webp",
        "deep/d.png",
    ]


def test_ranges_of_tars_and_names_with_brackets(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for number in range(3):
        write_tar(tmp_path / f"{number:03d}.tar", [])
    (tmp_path / "a[1].png").write_bytes(png())
    assert names(list_inputs(["{000..002}.tar", "a[1].png"])) == [
        "<tar 000>",
        "<tar 001>",
        "<tar 002>",
        "a[1].png",
    ]
    with pytest.raises(DataError, match=r"003\.tar"):
        list_inputs(["{000..003}.tar"])


def test_any_file_that_is_named_is_tried(folder):
    assert names(list_inputs(["photos/b.txt"])) == ["photos/b.txt"]


@pytest.mark.parametrize("argument", ["absent.png", "photos/*.gif", "photos/{x,y}.png"])
def test_missing_arguments_are_an_error_at_once(folder, argument):
    with pytest.raises(DataError, match="no such file or folder") as raised:
        list_inputs(["photos/b.png", argument])
    assert raised.value.exit_code == 3
    assert raised.value.remedy


@pytest.mark.parametrize(
    ("argument", "advice"),
    [
        ("absent.png", "Check the path"),
        ("pipe:cat a.tar", "Commands are not run"),
        ("https://127.0.0.1:1/a.tar", "curl -I https://127.0.0.1:1/a.tar"),
    ],
)
def test_what_to_do_about_a_name_depends_on_its_kind(folder, argument, advice):
    with pytest.raises(DataError) as raised:
        list_inputs([argument])
    assert advice in raised.value.remedy


def test_missing_line_on_stdin_is_a_failed_item(folder):
    found = list(list_inputs(["-"], ["absent.png\n", "photos/b.png\n"]))
    assert [entry.problem for entry in found] == ["no such file", None]


def test_nothing_empty_and_unbalanced(folder):
    with pytest.raises(UsageError, match="no INPUT"):
        list_inputs([])
    (folder.parent / "empty").mkdir()
    with pytest.raises(DataError, match="no image"):
        list(list_inputs(["empty"]))
    with pytest.raises(UsageError, match="balance"):
        list_inputs(["photos/{a.png"])


def test_tar_groups_samples_as_webdataset_does(tmp_path):
    members = [
        ("0001.jpg", png(1)),
        ("0001.txt", b" a cat \n"),
        ("0001.json", b'{"url": "http://x", "n": 1}'),
        ("sub/0002.left.png", png(2)),
        ("sub/0002.json", b'{"caption": "a dog"}'),
        ("README", b"no sample"),
        ("0003.txt", b"no picture"),
        ("0004.png", png(4)),
        ("0004.json", b"not json"),
    ]
    container = Container("tar", str(write_tar(tmp_path / "00000.tar", members)))
    items = list(read_items(container))
    assert [item.key for item in items] == [
        "00000/0001",
        "00000/sub/0002",
        "00000/0003",
        "00000/0004",
    ]
    assert [item.text for item in items] == ["a cat", "a dog", "no picture", None]
    assert items[0].source == f"{container.path}/0001.jpg"
    assert items[0].data == png(1)
    assert json.loads(items[0].meta) == {"url": "http://x", "n": 1}
    assert items[2].problem == "sample without an image"
    assert json.loads(items[3].meta) == {"json": "not json"}
    assert [item.key for item in read_items(container, skip=3)] == ["00000/0004"]
    assert count_items(container) is None
    assert count_items(container, at_most=3) == 3


@pytest.mark.parametrize("mode", ["w", "w:gz"])
def test_truncated_tar_gives_what_it_has_and_a_failure(tmp_path, mode):
    path = write_tar(
        tmp_path / ("a.tar.gz" if mode == "w:gz" else "a.tar"),
        [(f"{n:04d}.bin.png", os.urandom(3000)) for n in range(10)],
        mode,
    )
    path.write_bytes(path.read_bytes()[:17_000])
    items = list(read_items(Container("tar", str(path))))
    assert 3 <= len(items) <= 6
    assert all(item.problem is None for item in items[:-1])
    assert "tar is damaged" in items[-1].problem
    assert items[-1].source == str(path)


def test_something_else_named_tar_is_a_failed_item(tmp_path):
    (tmp_path / "a.tar").write_bytes(b"hello" * 200)
    assert [
        item.problem.split(" (")[0]
        for item in read_items(Container("tar", str(tmp_path / "a.tar")))
    ] == ["tar is damaged or cannot be read after 0 samples"]


def write_table(path: Path, rows: int = 10, **columns) -> Container:
    pictures = [{"bytes": png(number), "path": f"{number}.png"} for number in range(rows)]
    kind = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
    pq.write_table(pa.table({"image": pa.array(pictures, kind), **columns}), path, row_group_size=4)
    return Container("parquet", str(path))


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


def test_folder_with_tars_and_tables(tmp_path, monkeypatch):
    (tmp_path / "set").mkdir()
    write_tar(tmp_path / "set" / "1.tar", [])
    (tmp_path / "set" / "0.png").write_bytes(png())
    write_table(tmp_path / "set" / "2.parquet")
    monkeypatch.chdir(tmp_path)
    assert names(list_inputs(["set"])) == ["set/0.png", "<tar 1>", "<parquet 2>"]


def test_every_picture_of_a_tar_is_one(tmp_path):
    """Dots in names, several pictures a sample, one name four times: none is lost, each has its
    own words.
    """
    dots = [(f"22.0{n}.{kind}", data) for n in range(3)
            for kind, data in (("jpg", png(n)), ("txt", b"view %d" % n))]  # fmt: skip
    twins = [("a.jpg", png(1)), ("a.txt", b"one"), ("a.jpg", png(2)), ("a.txt", b"two")]
    sides = [("s/00.left.jpg", png(1)), ("s/00.right.jpg", png(2)), ("s/00.txt", b"a pair")]
    items = list(read_items(tar_of(tmp_path / "t.tar", dots + twins + sides)))
    assert [(one.key, one.text, one.data) for one in items] == [
        ("t/22.00", "view 0", png(0)),
        ("t/22.01", "view 1", png(1)),
        ("t/22.02", "view 2", png(2)),
        ("t/a", "one", png(1)),
        ("t/a#2", "two", png(2)),
        ("t/s/00.left", "a pair", png(1)),
        ("t/s/00.right", "a pair", png(2)),
    ]


def tar_of(path: Path, members: list[tuple[str, bytes]]) -> Container:
    return Container("tar", str(write_tar(path, members)))


def test_words_of_a_tar_may_be_named(tmp_path):
    """LAION-COCO: .txt and `caption` are the page's, `top_caption` is the set's."""
    facts = json.dumps({"caption": "IMG_1.JPG", "top_caption": "a dog", "all": ["a", "b"]})
    members = [("0.jpg", png()), ("0.txt", b"IMG_1.JPG"), ("0.json", facts.encode())]
    container = tar_of(tmp_path / "t.tar", members)

    def text(name: str | None) -> str | None:
        (item,) = read_items(container, Columns(text=name))
        return item.text

    assert [text(name) for name in (None, "txt", "json", "top_caption", "all", "no")] == [
        "IMG_1.JPG", "IMG_1.JPG", "a dog", "a dog", "a", None,
    ]  # fmt: skip


def test_a_sparse_member_is_read_whole_or_named(tmp_path):
    """It lies in pieces: reading from front to back puts them together, an index cannot."""
    (tmp_path / "0.png").write_bytes(png())
    with open(tmp_path / "1.png", "wb") as file:
        file.write(png(1))
        file.truncate(1 << 20)
    command = ["tar", "-cSf", "t.tar", "0.png", "1.png"]
    subprocess.run(command, cwd=tmp_path, check=True)
    good, sparse = read_items(Container("tar", str(tmp_path / "t.tar")))
    assert good.data == png() and sparse.data == png(1) + bytes((1 << 20) - len(png(1)))
    with open_tar(str(tmp_path / "t.tar"), stream=False) as tar:
        with pytest.raises(tarfile.TarError, match="1.png is sparse"):
            list(read_pictures(tar, place_of))


def test_words_apart_from_their_picture_are_named(tmp_path):
    members = [("0.jpg", png()), ("1.jpg", png(1)), ("0.txt", b"zero"), ("2.txt", b"two")]
    items = list(read_items(tar_of(tmp_path / "t.tar", members)))
    assert [(one.key, one.text) for one in items[:2]] == [("t/0", None), ("t/1", None)]
    assert "elsewhere in the tar" in items[2].problem and items[2].key == "t/0#2"
    assert items[3].problem == "sample without an image"


def test_half_a_character_in_a_tars_json(tmp_path):
    members = [("0.jpg", png()), ("0.json", b'{"caption": "cut \\ud83d", "ok": "\\ud83d\\ude00"}')]
    (item,) = read_items(tar_of(tmp_path / "t.tar", members))
    assert item.text == "cut \ufffd"
    assert json.loads(item.meta) == {"caption": "cut \ufffd", "ok": "😀"}


def test_tars_of_one_name_in_two_folders_keep_their_keys_apart(tmp_path):
    for folder in ("a", "b"):
        (tmp_path / "root" / folder).mkdir(parents=True)
        write_tar(tmp_path / "root" / folder / "0.tar", [("x.jpg", png())])
    entries = list(list_inputs([str(tmp_path / "root"), str(tmp_path / "root/b/0.tar")]))
    keys = [item.key for entry in entries for item in read_items(entry)]
    assert keys[:2] == ["0/x", "root/b/0/x"]
    assert len(set(keys)) == 3 and [entry.stem for entry in entries] == ["0"] * 3


def test_a_folder_of_img2dataset(tmp_path):
    """The parquet beside a tar, or beside a folder of files, holds addresses: its index."""
    index = pa.table({"url": ["http://x"], "key": ["000"], "status": ["success"]})
    write_tar(tmp_path / "00000.tar", [("000.jpg", png(1))])
    (tmp_path / "00001").mkdir()
    (tmp_path / "00001" / "001.jpg").write_bytes(png(2))
    pq.write_table(pa.table({"image": [png(3)]}), tmp_path / "mine.parquet")
    write_tar(tmp_path / "mine.tar", [("a.jpg", png(4))])
    for name in ("00000", "00001"):
        pq.write_table(index, tmp_path / f"{name}.parquet")
    assert [item.data or item.path[-7:] for item in expand(list_inputs([str(tmp_path)]))] == [
        png(1), "001.jpg", png(3), png(4),
    ]  # fmt: skip


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


def test_names_that_are_no_utf8_can_be_written(tmp_path):
    (tmp_path / "p").mkdir()
    path = os.fsencode(tmp_path / "p") + b"/caf\xe9.png"
    with open(path, "wb") as file:
        file.write(png())
    (item,) = list_inputs([str(tmp_path / "p")])
    assert item.key == "p/caf\\xe9.png" and os.fsencode(item.path) == path
    assert Item(**json.loads(item.to_line().encode())) == item
    (direct,) = list_inputs([os.fsdecode(path)])
    assert direct.source.endswith("caf\\xe9.png")


def test_marks_of_encodings(tmp_path):
    (tmp_path / "a.png").write_bytes(png())
    (item,) = list_inputs(["-"], [f"\ufeff{tmp_path}/a.png\r\n"])
    assert item.problem is None
    members = [("0.jpg", png()), ("0.txt", "\ufeffa cat".encode())]
    assert next(read_items(tar_of(tmp_path / "t.tar", members))).text == "a cat"
    members = [("0.jpg", png()), ("0.txt", "a cat".encode("utf-16"))]
    assert next(read_items(tar_of(tmp_path / "u.tar", members))).text == "a cat"


def test_folders_deeper_than_python_follows(tmp_path):
    start = os.open(".", os.O_RDONLY)
    try:
        os.chdir(tmp_path)
        for _ in range(1200):
            os.mkdir("d")
            os.chdir("d")
        Path("a.png").write_bytes(b"")
    finally:
        os.fchdir(start)
        os.close(start)
    (found,) = list_inputs([str(tmp_path)])
    assert found.key.endswith("d/d/a.png") and found.key.count("/") == 1201
    for _ in range(1200):  # pytest's own removal follows by recursion
        if (tmp_path / "d" / "d").is_dir():
            (tmp_path / "d" / "d").rename(tmp_path / "e")
            shutil.rmtree(tmp_path / "d")
            (tmp_path / "e").rename(tmp_path / "d")


def test_pictures_of_kinds_that_are_not_read_are_counted(tmp_path) -> None:
    for name in ("a.png", "a.txt", "notes.md", "b.svg", "c.SVG", "d.ico.xbm", "deep/e.svg"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    heard: list[str] = []
    items = list(list_inputs([str(tmp_path)], on_passed_over=heard.append))
    assert [item.key for item in items] == [f"{tmp_path.name}/a.png"]
    assert heard == ["passed over, since such pictures are not read: 3 .svg, 1 .xbm"]
    (tmp_path / "only").mkdir()
    (tmp_path / "only" / "f.svg").touch()
    with pytest.raises(DataError, match="no image, video"):
        list(list_inputs([str(tmp_path / "only")]))
