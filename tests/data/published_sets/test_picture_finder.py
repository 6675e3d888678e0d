"""Names of pictures -> files: what is tried, frames of videos, tables of pictures, and what
is said of the missing.
"""

from __future__ import annotations

import base64
from pathlib import Path

import fsspec
import pyarrow as pa
import pytest

from seedcli.data.published_sets.picture_finder import Frames, Named, PictureFinder, middle_frames
from seedcli.data.published_sets.records import Cell
from seedcli.data.tokens.table_cells import CellReader
from seedcli.errors import DataError
from seedcli.storage import as_place
from tests.set_files import cells, png, tar, write_file, write_picture


def paths(finder: PictureFinder, reference) -> list[str | None]:
    return [item.path for item in finder.find(reference)]


def test_a_name_is_tried_as_a_path_then_anywhere_below(tmp_path):
    for name in ("train/a.jpg", "a.jpg", "deep/er/b.png", "c.webp"):
        write_picture(tmp_path / name)
    finder = PictureFinder([tmp_path / "train", tmp_path])
    assert paths(finder, Named(("a.jpg",))) == [f"{tmp_path}/train/a.jpg"]
    assert paths(finder, Named(("gone.jpg", "x/b.png"))) == [f"{tmp_path}/deep/er/b.png"]
    assert paths(finder, Named(("c",))) == [f"{tmp_path}/c.webp"]
    [missing] = finder.find(Named(("gone.jpg", "gone.png")))
    assert (missing.path, missing.source, missing.problem) == (
        None,
        "gone.jpg",
        f"no such file below {tmp_path}/train, {tmp_path}",
    )


def test_a_name_that_stands_for_several_is_refused(tmp_path):
    for name in ("x/a.jpg", "y/a.jpg"):
        write_picture(tmp_path / name)
    [item] = PictureFinder([tmp_path]).find(Named(("a.jpg",)))
    assert item.problem == f"there are several: {tmp_path}/x/a.jpg, {tmp_path}/y/a.jpg"


@pytest.mark.parametrize(
    ("have", "want", "found"),
    [
        (8, 4, [1, 3, 5, 7]),
        (10, 4, [1, 3, 6, 8]),
        (9, 1, [4]),
        (3, 4, [0, 1, 2]),
        (4, 4, [0, 1, 2, 3]),
    ],
)
def test_frames_are_the_middle_of_equal_parts(have, want, found):
    assert middle_frames([str(frame) for frame in range(have)], want) == [
        str(frame) for frame in found
    ]


def test_videos_are_folders_of_frames_in_the_order_of_their_numbers(tmp_path):
    for frame in range(1, 13):
        write_picture(tmp_path / f"train/v_1/frame{frame}.jpg")
    (tmp_path / "train/v_1/notes.txt").write_text("no frame")
    (tmp_path / "below").mkdir()
    (tmp_path / "below/v_2.mp4").write_bytes(b"a video")
    names = ("1", "v_1.mp4")
    found = paths(PictureFinder([tmp_path]), Frames(names, 4))
    assert [Path(path).name for path in found] == [
        "frame2.jpg",
        "frame5.jpg",
        "frame8.jpg",
        "frame11.jpg",
    ]
    assert len(paths(PictureFinder([tmp_path], frames=6), Frames(names, 4))) == 6
    # a file is found by its name, with or without its ending, as one's own pictures are
    for reference, number in ((Frames(("v_2",), 8), 8), (Named(("below/v_2.mp4",)), 4)):
        parts = PictureFinder([tmp_path]).find(reference)
        assert {(part.path, part.frames) for part in parts} == {
            (str(tmp_path / "below/v_2.mp4"), number)
        }
        assert [part.part for part in parts] == list(range(number))
    [gone] = PictureFinder([tmp_path]).find(Frames(("v_3",), 4))
    assert gone.problem.startswith("no video, and no folder of frames, with this name")


def test_addresses_give_what_folders_give(tmp_path):
    for name in ("train/a.jpg", "deep/er/b.png", "x/c.jpg", "y/c.jpg", "00000/000.jpg"):
        write_picture(tmp_path / name)
    for frame in (1, 2, 10):
        write_picture(tmp_path / f"clips/v_1/{frame}.jpg")
    write_file(tmp_path / "00000.parquet", pa.table({"url": ["http://x/1"], "key": ["000"]}))
    write_file(tmp_path / "d.tar", tar(d__jpg=png("d.jpg")))
    write_file(tmp_path / "t.parquet", pa.table({"id": ["one"], "image": cells("one.png")}))
    fsspec.filesystem("memory").put(str(tmp_path), "/finder", recursive=True)
    places = [tmp_path, as_place("memory://finder")]
    finders = [PictureFinder([place, place / "t.parquet"]) for place in places]
    reader = CellReader()
    for reference in (
        *(Named((name,)) for name in ("train/a.jpg", "b.png", "c.jpg", "http://x/1", "d.jpg")),
        *(Named((name,)) for name in ("one", "gone.jpg", "clips/v_1")),
        Frames(("v_1",), 2),
    ):
        here, there = (list(map(reader.read, finder.find(reference))) for finder in finders)
        told = [
            [
                (
                    None if one.path is None else one.path.removeprefix(str(place)),
                    one.data,
                    (one.problem or "").replace(str(place), ""),
                )
                for one in items
            ]
            for items, place in zip((here, there), places, strict=True)
        ]
        assert told[0] == told[1]


def test_tables_of_pictures_by_name(tmp_path):
    plain = pa.table({"id": ["one", "two"], "image": cells("one.png", "two.png")})
    encoded = pa.table(
        {"__index_level_0__": ["three"], "base64": [base64.b64encode(png("three.png")).decode()]}
    )
    write_file(tmp_path / "plain.parquet", plain)
    write_file(tmp_path / "encoded.parquet", encoded)
    finder = PictureFinder([tmp_path / "plain.parquet", tmp_path / "encoded.parquet"])
    reader = CellReader()
    for name in ("two", "three", "one", "two"):
        [item] = finder.find(Named((name,)))
        assert reader.read(item).data == png(f"{name}.png")
    [missing] = finder.find(Named(("four",)))
    assert missing.problem
    write_file(tmp_path / "words.parquet", pa.table({"id": ["one"], "text": ["words"]}))
    with pytest.raises(DataError, match="its columns are id, text; expected one of names"):
        PictureFinder([tmp_path / "words.parquet"]).find(Named(("one",)))


def test_cells_that_cannot_be_read_are_problems(tmp_path):
    table = tmp_path / "a.parquet"
    write_file(
        table,
        pa.table(
            {
                "image": pa.array([{"bytes": None, "path": "gone.png"}], cells("a").type),
                "text": ["not base64!"],
            }
        ),
    )
    finder, reader = PictureFinder([tmp_path]), CellReader()
    reasons = [
        reader.read(finder.find(Cell(str(table), *place))[0]).problem
        for place in ((0, "image"), (0, "text"), (0, "other"), (9, "image"))
    ]
    assert reasons[0] == "is empty in its table"
    assert all(reason.startswith("cannot be read from its table") for reason in reasons[1:])


@pytest.mark.parametrize("content", ["", "{}", '{"a": "no picture"}'])
def test_a_json_file_without_pictures_is_refused(tmp_path, content):
    (tmp_path / "map.json").write_text(content)
    with pytest.raises(DataError, match="no map of names to pictures"):
        PictureFinder([tmp_path / "map.json"]).find(Named(("a",)))


def test_a_json_map_with_a_damaged_name_gives_the_others(tmp_path):
    text = base64.b64encode(png("one.png"))
    (tmp_path / "map.json").write_bytes(b'{"caf\xe9": "%s", "one": "%s"}' % (text, text))
    [item] = PictureFinder([tmp_path / "map.json"]).find(Named(("one",)))
    assert CellReader().read(item).data == png("one.png")


def test_pictures_in_tars_are_found_by_name(tmp_path):
    (tmp_path / "x.tar").write_bytes(tar(a__jpg=png("a.jpg"), b__jpg=png("b.jpg")))
    for place in (tmp_path, tmp_path / "x.tar"):
        (item,) = PictureFinder([place]).find(Named(("sub/b.jpg",)))
        assert CellReader().read(item).data == png("b.jpg")
    (tmp_path / "x.tar").write_bytes(b"no tar" * 100)
    with pytest.raises(DataError, match="x.tar cannot be read"):
        PictureFinder([tmp_path]).find(Named(("b.jpg",)))
