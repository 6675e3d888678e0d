"""Image-text pairs by number: shuffling, mixing, sources, and pictures that cannot be opened."""

from __future__ import annotations

import gzip
import io
import json
import random
import tarfile
from collections import Counter
from dataclasses import replace

import datasets
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from PIL import Image

from seedcli.data.images.captioned import read_pictures
from seedcli.data.images.containers import read_items
from seedcli.data.images.items import Container
from seedcli.data.mixtures.pairs import Mixture, Pair, PicturePairs, TablePairs, TarPairs
from seedcli.data.sample_order import shuffled_index
from seedcli.errors import DataError
from seedcli.models.visual.config import PRESETS
from seedcli.recipe.pictures import PicturesSection

TRAINING = PRESETS["seed-nano"].preprocess.training


def png(color: tuple[int, int, int]) -> bytes:
    file = io.BytesIO()
    Image.new("RGB", (20, 10), color).save(file, "PNG")
    return file.getvalue()


class Numbered:
    """Rows that say which they are."""

    def __init__(self, name: str, size: int, *, broken: tuple[int, ...] = ()):
        self.name, self.size, self.broken = name, size, broken

    def __len__(self) -> int:
        return self.size

    def read(self, index: int, rng: random.Random) -> Pair:
        return Pair(
            b"no picture" if index in self.broken else png((index, 0, 0)), f"{self.name} {index}"
        )


@pytest.mark.parametrize("size", [1, 2, 3, 10, 1000, 1527])
def test_shuffling_is_a_permutation_for_every_seed(size):
    orders = [
        [shuffled_index(position, size, seed=seed) for position in range(size)]
        for seed in (0, 1, -7)
    ]
    assert all(sorted(order) == list(range(size)) for order in orders)
    assert size < 10 or orders[0] != orders[1]


def test_each_pass_over_a_source_takes_every_row_once_in_a_new_order():
    mixture = Mixture([(Numbered("a", 37), 1.0)], seed=3, preprocess=TRAINING)
    passes = [[mixture.locate(n)[1] for n in range(start, start + 37)] for start in (0, 37)]
    assert sorted(passes[0]) == sorted(passes[1]) == list(range(37))
    assert passes[0] != passes[1]


def test_weights_are_shares_of_samples():
    mixture = Mixture(
        [(Numbered("a", 50), 3.0), (Numbered("b", 50), 1.0)], seed=0, preprocess=TRAINING
    )
    counts = Counter(mixture.locate(n)[0] for n in range(4000))
    assert counts == {0: 3000, 1: 1000}
    rows = [mixture.locate(n)[1] for n in range(2000) if mixture.locate(n)[0] == 1]
    assert Counter(Counter(rows).values()) == {10: 50}


def test_ranks_share_one_sequence():
    mixture = Mixture(
        [(Numbered("a", 50), 1.0)], seed=0, preprocess=replace(TRAINING, geometry="squash")
    )
    pixels, captions, _ = mixture.batch(2, batch_size=8, rows=slice(0, 8))
    halves = [mixture.batch(2, batch_size=8, rows=rows) for rows in (slice(0, 4), slice(4, 8))]
    assert captions == halves[0][1] + halves[1][1]
    assert torch.equal(pixels, torch.cat([halves[0][0], halves[1][0]]))


@pytest.mark.parametrize("geometry", ["random-affine", "random-resized-crop"])
def test_a_batch_is_a_pure_function_and_leaves_the_generator_alone(geometry):
    mixture = Mixture(
        [(PicturePairs(read_pictures(PicturesSection(path="emoji", split="train"))), 1.0)],
        seed=5,
        preprocess=replace(TRAINING, geometry=geometry, crop_area=(0.5, 1.0)),
    )
    torch.manual_seed(1)
    before = torch.get_rng_state()
    first = mixture.batch(3, batch_size=4, rows=slice(0, 4))
    assert torch.equal(torch.get_rng_state(), before)
    torch.rand(100)
    again = mixture.batch(3, batch_size=4, rows=slice(0, 4))
    other = mixture.batch(4, batch_size=4, rows=slice(0, 4))
    assert torch.equal(first[0], again[0]) and first[1] == again[1]
    assert first[1] != other[1] and first[0].shape == (4, 3, 64, 64)


def test_a_broken_picture_gives_way_to_the_next_row():
    mixture = Mixture([(Numbered("a", 30, broken=(4, 5)), 1.0)], seed=0, preprocess=TRAINING)
    n = next(n for n in range(30) if mixture.locate(n)[1] == 4)
    assert mixture.sample(n)[1] == "a 6"
    # a pass over all thirty: sample 4 reads rows 4 to 6, sample 5 rows 5 and 6
    found = mixture.batch(0, batch_size=30, rows=slice(0, 30))
    assert found.left_out == {0: {"rows": 33, "is not an image that can be read": 3}}


def test_rows_without_picture_or_words_give_way_unless_words_are_not_wanted(tmp_path):
    pictures = [{"bytes": png((n, 0, 0)), "path": None} for n in range(8)]
    pictures[1], pictures[2] = None, {"bytes": None, "path": None}
    captions = [[str(n)] for n in range(8)]
    captions[3], captions[4], captions[5] = None, [], [" "]
    pq.write_table(pa.table({"image": pictures, "text": captions}), tmp_path / "a.parquet")
    source = TablePairs(
        str(tmp_path / "a.parquet"), split="train", image_column="image", caption_column="text"
    )
    mixture = Mixture([(source, 1.0)], seed=0, preprocess=TRAINING)
    found = mixture.batch(0, batch_size=8, rows=slice(0, 8))
    assert set(found.captions) == {"0", "6", "7"}
    assert found.left_out == {0: {"rows": 23, "has no picture": 3, "has no caption": 12}}
    wordless = Mixture([(source, 1.0)], seed=0, preprocess=TRAINING, words=False)
    assert wordless.batch(0, batch_size=8, rows=slice(0, 8)).left_out == {
        0: {"rows": 11, "has no picture": 3}
    }


def test_a_source_without_usable_pictures_is_an_error():
    mixture = Mixture(
        [(Numbered("a", 40, broken=tuple(range(40))), 1.0)], seed=0, preprocess=TRAINING
    )
    with pytest.raises(DataError, match="20 rows in a row.*source 1; the last one is not an image"):
        mixture.sample(0)


def test_an_empty_source_is_refused():
    with pytest.raises(DataError, match="no rows"):
        Mixture([(Numbered("a", 0), 1.0)], seed=0, preprocess=TRAINING)


def test_emoji_by_emoji_never_repeat_within_a_pass():
    pictures = read_pictures(PicturesSection(path="emoji", split="train"))
    pairs = PicturePairs(pictures)
    assert len(pairs) == 1548 and len(PicturePairs(pictures, by_picture=True)) == 16866


def write_tar(path, rows, suffix):
    with tarfile.open(path, "w") as tar:
        for stem, picture, caption in rows:
            for name, data in ((f"{stem}.png", picture), (f"{stem}.{suffix}", caption)):
                if data is not None:
                    member = tarfile.TarInfo(name)
                    member.size = len(data)
                    tar.addfile(member, io.BytesIO(data))


def test_tars_are_indexed_once_and_read_by_row(tmp_path):
    write_tar(
        tmp_path / "a-0.tar",
        [("x", png((1, 0, 0)), b"one"), ("y", png((2, 0, 0)), b"two"), ("z", png((3, 0, 0)), None)],
        "txt",
    )
    write_tar(tmp_path / "a-1.tar", [("x", png((4, 0, 0)), b"drei")], "txt")
    pairs = TarPairs(str(tmp_path / "a-{0..1}.tar"), caption_key="txt", cache=tmp_path / "cache")
    assert [pairs.read(index, random.Random(0)).caption for index in range(len(pairs))] == [
        "one",
        "two",
        "drei",
    ]
    assert pairs.read(2, random.Random(0)).image == png((4, 0, 0))
    stamps = {path: path.stat().st_mtime_ns for path in (tmp_path / "cache").rglob("*.npy")}
    TarPairs(str(tmp_path / "a-{0..1}.tar"), caption_key="txt", cache=tmp_path / "cache")
    assert len(stamps) == 2 and all(
        path.stat().st_mtime_ns == stamp for path, stamp in stamps.items()
    )


def test_json_captions_of_tars(tmp_path):
    write_tar(
        tmp_path / "a.tar",
        [("x", png((1, 0, 0)), json.dumps({"top_caption": "a top"}).encode())],
        "json",
    )
    assert (
        TarPairs(str(tmp_path / "a.tar"), caption_key="json", cache=tmp_path)
        .read(0, random.Random(0))
        .caption
        == "a top"
    )


@pytest.mark.parametrize(
    "names",
    [
        ("./{}.png", "./{}.txt"),
        ("v1.0/{}.png", "v1.0/{}.txt"),
        ("{}.input.png", "{}.outputs.txt"),
        ("22.{}.png", "22.{}.txt"),
        ("{}.JPEG", "{}.TXT"),
    ],
)
def test_training_reads_the_rows_that_tokenize_reads(tmp_path, names):
    """`./x.jpg` (tar of a folder), dots in folders, several endings: one reader for both."""
    rows = [(*(one.format(n) for one in names), png((n, 0, 0)), b"row %d" % n) for n in (1, 2, 3)]
    with tarfile.open(tmp_path / "a.tar", "w") as tar:
        for image, words, data, text in rows:
            for name, content in ((image, data), (words, text)):
                member = tarfile.TarInfo(name)
                member.size = len(content)
                tar.addfile(member, io.BytesIO(content))
    pairs = TarPairs(str(tmp_path / "a.tar"), caption_key="txt", cache=tmp_path / "cache")
    items = list(read_items(Container("tar", str(tmp_path / "a.tar"))))
    assert [pairs.read(n, random.Random(0)) for n in range(len(pairs))] == [
        Pair(one.data, one.text) for one in items
    ]
    assert [one.text for one in items] == ["row 1", "row 2", "row 3"] and not pairs.left_out


def test_words_apart_from_their_pictures_are_read_and_the_rest_is_counted(tmp_path):
    rows = [("x", png((1, 0, 0)), None), ("y", png((2, 0, 0)), None), ("x", None, b"one"),
            ("z", None, b"three")]  # fmt: skip
    write_tar(tmp_path / "a.tar", rows, "txt")
    pairs = TarPairs(str(tmp_path / "a.tar"), caption_key="txt", cache=tmp_path / "cache")
    assert pairs.read(0, random.Random(0)) == Pair(png((1, 0, 0)), "one") and len(pairs) == 1
    assert pairs.left_out == {"no txt beside the picture": 1, "no picture": 1}


def test_laion_cocos_caption(tmp_path):
    """Its `caption` and .txt are the alternative text of the page."""
    facts = {"caption": "IMG_1.JPG", "top_caption": "a dog", "all_captions": ["a", "b"]}
    write_tar(tmp_path / "a.tar", [("x", png((1, 0, 0)), json.dumps(facts).encode())], "json")

    def captions(key: str) -> set[str]:
        pairs = TarPairs(str(tmp_path / "a.tar"), caption_key=key, cache=tmp_path / "cache")
        return {pairs.read(0, random.Random(seed)).caption for seed in range(9)}

    assert captions("json") == captions("top_caption") == {"a dog"}
    assert captions("all_captions") == {"a", "b"}
    with pytest.raises(DataError, match="the first row has no 'top'"):
        captions("top")
    with pytest.raises(DataError, match="1 with no txt beside the picture"):
        captions("txt")


def test_a_saved_set_with_splits(tmp_path):
    rows = {"image": ["a.png"], "caption": ["x"]}
    splits = {"train": rows, "test": rows | {"caption": ["y"]}}
    datasets.DatasetDict(
        {name: datasets.Dataset.from_dict(one) for name, one in splits.items()}
    ).save_to_disk(tmp_path / "dd")
    columns = {"image_column": "image", "caption_column": "caption"}
    table = TablePairs(str(tmp_path / "dd"), split="test", **columns)
    assert table.read(0, random.Random(0)).caption == "y"
    with pytest.raises(DataError, match="no split 'val'; it has train, test"):
        TablePairs(str(tmp_path / "dd"), split="val", **columns)


def test_packed_json_lines(tmp_path):
    with gzip.open(tmp_path / "x.ndjson.gz", "wt") as file:
        file.write(json.dumps({"image": "a.png", "caption": "x"}) + "\n")
    columns = {"image_column": "image", "caption_column": "caption"}
    assert len(TablePairs(str(tmp_path / "x.ndjson.gz"), split="train", **columns)) == 1


def test_missing_and_damaged_tars_are_named(tmp_path):
    with pytest.raises(DataError, match="missing.tar"):
        TarPairs(str(tmp_path / "missing.tar"), caption_key="txt", cache=tmp_path)
    (tmp_path / "bad.tar").write_bytes(b"not a tar" * 100)
    with pytest.raises(DataError, match="bad.tar"):
        TarPairs(str(tmp_path / "bad.tar"), caption_key="txt", cache=tmp_path)


def test_tables_with_bytes_and_with_paths(tmp_path):
    (tmp_path / "pictures").mkdir()
    (tmp_path / "pictures" / "a.png").write_bytes(png((9, 0, 0)))
    (tmp_path / "list.jsonl").write_text(
        json.dumps({"image": "pictures/a.png", "caption": ["x", "x"]}) + "\n"
    )
    table = TablePairs(
        str(tmp_path / "list.jsonl"), split="train", image_column="image", caption_column="caption"
    )
    assert table.read(0, random.Random(0)) == Pair(str(tmp_path / "pictures" / "a.png"), "x")
    pq.write_table(
        pa.table({"image": [png((7, 0, 0))], "caption": ["y"]}), tmp_path / "rows.parquet"
    )
    table = TablePairs(
        str(tmp_path / "rows.parquet"),
        split="train",
        image_column="image",
        caption_column="caption",
    )
    assert table.read(0, random.Random(0)) == Pair(png((7, 0, 0)), "y")
    with pytest.raises(DataError, match="no column text"):
        TablePairs(
            str(tmp_path / "rows.parquet"),
            split="train",
            image_column="image",
            caption_column="text",
        )
