"""Pictures of tars: which belong to which words, and what is damaged."""

from __future__ import annotations

import json
import os
import subprocess
import tarfile

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from seedcli.data.images.containers import count_items, expand, read_items
from seedcli.data.images.inputs import list_inputs
from seedcli.data.images.items import Columns, Container
from seedcli.data.images.tars import open_tar, place_of, read_pictures
from tests.data.images.small_files import png, tar_of, write_tar


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
