"""Sets by name and by file: three layouts of caption files, tars, the hub's
cache, and what is refused.
"""

import io
import json
import tarfile
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from huggingface_hub import constants
from PIL import Image

from seedcli.benchmarks.retrieval_sets import NAMED_SETS, is_published_split, load_retrieval_set
from seedcli.data.images.images import open_image
from seedcli.errors import DataError, UsageError
from tests.set_files import write_file


def encoded(colour: int) -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", (8, 8), (colour, 0, 0)).save(buffer, "PNG")
    return buffer.getvalue()


def colours(found) -> list[int]:
    return [open_image(image.read()).getpixel((0, 0))[0] for image in found.images]


@pytest.fixture
def pictures(tmp_path) -> Path:
    folder = tmp_path / "pictures"
    (folder / "val2014").mkdir(parents=True)
    for number in range(4):
        (folder / "val2014" / f"{number}.png").write_bytes(encoded(10 * number))
    return folder


def write(path: Path, content: object) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content))
    return path


def karpathy(dataset: str | None = None) -> dict:
    splits = ["train", "test", "test", "val"]
    images = [
        {
            "filename": f"{n}.png",
            "filepath": "val2014",
            "split": split,
            "sentences": [{"raw": f"{n} a"}, {"raw": f"{n} b"}],
        }
        for n, split in enumerate(splits)
    ]
    return {"images": images, "dataset": dataset}


def test_karpathy_file(tmp_path, pictures):
    found = load_retrieval_set(str(write(tmp_path / "mine.json", karpathy())), images=pictures)
    assert (found.name, found.split) == ("mine", "test")
    assert colours(found) == [10, 20]
    assert found.captions == ("1 a", "1 b", "2 a", "2 b")
    assert found.txt2img == (0, 0, 1, 1)
    assert is_published_split(found) is None
    assert colours(
        load_retrieval_set(str(tmp_path / "mine.json"), split="val", images=pictures)
    ) == [30]


def test_unknown_split_lists_the_splits_of_the_file(tmp_path, pictures):
    path = write(tmp_path / "mine.json", karpathy())
    with pytest.raises(
        UsageError, match=r"no split 'tset'; it has train \(1\), test \(2\), val \(1\)"
    ):
        load_retrieval_set(str(path), split="tset", images=pictures)


def test_blip_file(tmp_path, pictures):
    rows = [
        {"image": "val2014/3.png", "caption": ["x", "y"]},
        {"image": "val2014/0.png", "caption": "z"},
    ]
    found = load_retrieval_set(str(write(pictures / "coco_karpathy_test.json", rows)))
    assert (colours(found), found.captions, found.txt2img) == ([30, 0], ("x", "y", "z"), (0, 0, 1))


def test_cocos_own_file_is_not_the_published_split(tmp_path, pictures):
    content = {
        "images": [{"id": 7, "file_name": "1.png"}, {"id": 5, "file_name": "2.png"}],
        "annotations": [
            {"id": 1, "image_id": 7, "caption": "one"},
            {"id": 2, "image_id": 5, "caption": "two"},
            {"id": 3, "image_id": 7, "caption": "uno"},
        ],
    }
    path = str(write(tmp_path / "annotations" / "captions_val2014.json", content))
    with pytest.raises(
        DataError,
        match=r"split val2014 of coco has 2 images and 3 captions; .* 5,000 images, "
        r"25,010 captions",
    ) as refused:
        load_retrieval_set(path, images=pictures)
    assert "--allow-split" in refused.value.remedy
    found = load_retrieval_set(path, images=pictures, allow_split=True)
    assert (colours(found), found.captions, found.txt2img) == (
        [20, 10],
        ("two", "one", "uno"),
        (0, 1, 1),
    )
    assert is_published_split(found) is False
    with pytest.raises(UsageError, match="has no splits"):
        load_retrieval_set(path, images=pictures, split="test", allow_split=True)


def test_ones_own_pictures_in_cocos_layout_need_not_have_cocos_size(tmp_path, pictures):
    content = {
        "images": [{"id": 7, "file_name": "1.png"}, {"id": 5, "file_name": "2.png"}],
        "annotations": [{"id": n, "image_id": 7 - n, "caption": str(n)} for n in (0, 2)],
    }
    found = load_retrieval_set(str(write(tmp_path / "instances.json", content)), images=pictures)
    assert (found.name, colours(found), is_published_split(found)) == ("instances", [20, 10], None)


def test_captions_of_a_picture_belong_together_whatever_rows_they_stand_in(tmp_path, pictures):
    rows = [{"image": f"{n % 3}.png", "caption": f"{n % 3} {n // 3}"} for n in range(9)]
    grouped = [{"image": f"{n}.png", "caption": [f"{n} {k}" for k in range(3)]} for n in range(3)]
    flat, lists, lines = (
        load_retrieval_set(str(path), images=pictures)
        for path in (
            write(tmp_path / "flat.json", rows),
            write(tmp_path / "lists.json", grouped),
            write_file(tmp_path / "flat.jsonl", rows) or tmp_path / "flat.jsonl",
        )
    )
    assert colours(flat) == colours(lists) == colours(lines) == [0, 10, 20]
    assert sorted(flat.captions) == sorted(lists.captions)
    assert flat.captions == lists.captions and flat.txt2img == lists.txt2img == lines.txt2img


def test_flickr30ks_tables(tmp_path, pictures):
    table = 'raw,split,filename\n"[""x"", ""y""]",test,1.png\n"[""z""]",train,2.png\n'
    (tmp_path / "flickr_annotations_30k.csv").write_text(table)
    found = load_retrieval_set(str(tmp_path / "flickr_annotations_30k.csv"), images=pictures)
    assert (found.captions, colours(found), found.split) == (("x", "y"), [10], "test")
    own = "image_name| comment_number| comment\n1.png| 0| x\n1.png| 1| y\n2.png| 0| z\n"
    (tmp_path / "results.csv").write_text("\ufeff" + own)
    found = load_retrieval_set(str(tmp_path / "results.csv"), images=pictures)
    assert (found.captions, found.txt2img) == (("x", "y", "z"), (0, 0, 1))
    (tmp_path / "r.token").write_text("1.png#0\tx\n1.png#1\ty\n2.png#0\tz\n")
    assert load_retrieval_set(str(tmp_path / "r.token"), images=pictures).txt2img == (0, 0, 1)


def test_a_file_that_says_it_is_coco_must_have_cocos_size(tmp_path, pictures):
    with pytest.raises(DataError, match="split test of coco has 2 images and 4 captions"):
        load_retrieval_set(str(write(tmp_path / "mine.json", karpathy("coco"))), images=pictures)


def test_published_size_is_accepted(tmp_path, pictures):
    items = []
    for number in range(1000):
        (pictures / f"n{number}.png").write_bytes(b"")
        sentences = [{"raw": str(n)} for n in range(5)]
        items.append({"filename": f"n{number}.png", "split": "test", "sentences": sentences})
    content = {"dataset": "flickr30k", "images": items}
    found = load_retrieval_set(str(write(tmp_path / "full.json", content)), images=pictures)
    assert is_published_split(found) is True


def test_missing_pictures_are_counted_and_the_folders_named(tmp_path, pictures):
    path = write(tmp_path / "mine.json", karpathy())
    with pytest.raises(
        DataError, match=r"2 of 2 pictures .* first val2014/1.png; looked in .*elsewhere"
    ) as missing:
        load_retrieval_set(str(path), images=tmp_path / "elsewhere")
    assert "--images" in missing.value.remedy


@pytest.mark.parametrize(
    "content", ["", "{", '{"pictures": []}', '{"images": [{"filename": "a.png"}]}', "[1]", "3"]
)
def test_files_of_no_known_layout_are_refused(tmp_path, content):
    (tmp_path / "bad.json").write_text(content)
    with pytest.raises(DataError):
        load_retrieval_set(str(tmp_path / "bad.json"))


def test_unknown_set(tmp_path):
    with pytest.raises(UsageError, match="'cocoa'"):
        load_retrieval_set("cocoa")


def test_named_set_under_the_data_root(tmp_path, pictures):
    pictures.rename(tmp_path / "coco")
    write(tmp_path / "coco" / "dataset_coco.json", karpathy("coco"))
    found = load_retrieval_set("coco", data_root=tmp_path, allow_split=True)
    assert (found.name, colours(found)) == ("coco", [10, 20])


def write_tar(path: Path, numbers: list[int]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w") as tar:
        for number in numbers:
            for name, data in (
                (f"s{number}.jpg", encoded(10 * number)),
                (f"s{number}.txt", f"{number} a\n{number} b\n".encode()),
            ):
                member = tarfile.TarInfo(name)
                member.size = len(data)
                tar.addfile(member, io.BytesIO(data))


def expect_two_then_one(found) -> None:
    assert colours(found) == [10, 20, 30]
    assert found.captions == ("1 a", "1 b", "2 a", "2 b", "3 a", "3 b")
    assert found.txt2img == (0, 0, 1, 1, 2, 2)


def test_named_set_as_tars_under_the_data_root(tmp_path):
    write_tar(tmp_path / "flickr30k" / "test" / "2.tar", [1, 2])
    write_tar(tmp_path / "flickr30k" / "test" / "10.tar", [3])
    expect_two_then_one(load_retrieval_set("flickr30k", data_root=tmp_path, allow_split=True))


@pytest.fixture
def hub_cache(tmp_path, monkeypatch) -> Path:
    """An empty cache of the real client, which is kept off the network."""
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    return tmp_path / "hub"


def hub_snapshot(cache: Path, number: int) -> Path:
    hub = NAMED_SETS["flickr30k"].hub[number]
    repo = cache / ("datasets--" + hub.repo.replace("/", "--"))
    commit = hub.revision if len(hub.revision) == 40 else "0" * 40
    (repo / "refs").mkdir(parents=True)
    (repo / "refs" / hub.revision).write_text(commit)
    return repo / "snapshots" / commit


def test_named_set_from_the_hubs_tars(hub_cache):
    folder = hub_snapshot(hub_cache, 0)
    write_tar(folder / "test" / "0.tar", [1, 2])
    write_tar(folder / "test" / "1.tar", [3])
    expect_two_then_one(load_retrieval_set("flickr30k", allow_split=True))


def test_the_next_hub_source_is_tried(hub_cache, monkeypatch, tmp_path):
    monkeypatch.setenv("HF_HOME", str(tmp_path / "home"))
    folder = hub_snapshot(hub_cache, 1) / "data"
    folder.mkdir(parents=True)
    rows = [
        {"image": {"bytes": encoded(10 * n), "path": f"{n}.jpg"}, "text": [f"{n} a", f"{n} b"]}
        for n in (1, 2, 3)
    ]
    pq.write_table(pa.Table.from_pylist(rows), folder / "test-00000-of-00001.parquet")
    expect_two_then_one(load_retrieval_set("flickr30k", allow_split=True))


def test_a_set_that_is_nowhere_says_what_was_tried(hub_cache, tmp_path):
    with pytest.raises(DataError) as missing:
        load_retrieval_set("flickr30k", data_root=tmp_path)
    for tried in (
        "dataset_flickr30k.json",
        "flickr30k/test/*.tar",
        *(hub.repo for hub in NAMED_SETS["flickr30k"].hub),
    ):
        assert tried in missing.value.message
    assert "--data-root" in missing.value.remedy


def test_emoji_has_one_picture_per_emoji_and_vendor():
    found = load_retrieval_set("emoji")
    assert found.split == "unseen"
    assert (
        sum(found.subsets["main"]),
        sum(found.subsets["no_flags"]),
        sum(found.subsets["no_flags_no_twins"]),
    ) == (177, 152, 122)
    main = [
        image.name for image, flag in zip(found.images, found.subsets["main"], strict=True) if flag
    ]
    assert all(name.endswith("-google") for name in main)
    assert len(found.first(5).images) == 5
    assert len(load_retrieval_set("emoji", split="vendor").images) == 153
