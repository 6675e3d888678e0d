"""What every kind of INPUT becomes: order, keys, captions, and failures as values."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import pytest

from seedcli.data.images.containers import expand, read_items
from seedcli.data.images.inputs import list_inputs
from seedcli.data.images.items import Item
from seedcli.errors import DataError, UsageError
from tests.data.images.small_files import png, tar_of, write_table, write_tar


def names(found) -> list[str]:
    return [
        entry.key if isinstance(entry, Item) else f"<{entry.kind} {entry.stem}>" for entry in found
    ]


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


def test_folder_with_tars_and_tables(tmp_path, monkeypatch):
    (tmp_path / "set").mkdir()
    write_tar(tmp_path / "set" / "1.tar", [])
    (tmp_path / "set" / "0.png").write_bytes(png())
    write_table(tmp_path / "set" / "2.parquet")
    monkeypatch.chdir(tmp_path)
    assert names(list_inputs(["set"])) == ["set/0.png", "<tar 1>", "<parquet 2>"]


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
