"""Pictures with words from whatever a recipe's `[data]` names."""

from __future__ import annotations

import io
import json
import random
import tarfile

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from seedcli.data.emoji import SPLITS, read_emoji
from seedcli.data.images.captioned import (
    TrainingPicture,
    caption_texts,
    is_held_out,
    open_pictures,
    read_pictures,
    read_training_pictures,
)
from seedcli.data.mixtures.pairs import PicturePairs
from seedcli.errors import DataError, UsageError
from seedcli.recipe.pictures import PicturesSection, ValidationSection


def png(colour: str) -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", (4, 4), colour).save(buffer, "PNG")
    return buffer.getvalue()


@pytest.fixture
def folder(tmp_path):
    root = tmp_path / "clipart"
    for name in ("animals/birds/red_duck_01.png", "animals/birds/goose.png", "tools/HandSaw-2.png"):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(png("red"))
    (root / "animals/birds/goose.txt").write_text("\ufeffa grey goose\n", encoding="utf-8")
    return root


def test_a_folder_speaks_by_text_files_and_by_its_names(folder):
    found = {one.key: one for one in read_pictures(PicturesSection(path=str(folder)))}
    goose = found["clipart/animals/birds/goose.png"]
    duck = found["clipart/animals/birds/red_duck_01.png"]
    saw = found["clipart/tools/HandSaw-2.png"]
    assert (goose.captions, goose.tags) == (("a grey goose",), ())
    assert (duck.captions, duck.tags) == (("red duck",), ("birds", "animals"))
    assert (saw.captions, saw.tags) == (("hand saw",), ("tools",))
    assert caption_texts(list(found.values())) == [
        "a grey goose", "animals", "birds", "hand saw", "red duck", "tools",
    ]  # fmt: skip


def test_a_glob_is_taken_too(folder):
    found = read_pictures(PicturesSection(path=f"{folder}/*/*/*.png"))
    assert [one.captions for one in found] == [("a grey goose",), ("red duck",)]


@pytest.fixture
def table(tmp_path):
    path = tmp_path / "pictures.parquet"
    columns = {
        "drawing": [png("red"), png("blue"), png("green"), b""],
        "says": [["a dog", "one dog"], ["a cat"], ["a cow"], ["nothing"]],
        "more": [["pet", "brown"], [], None, None],
        "kind": ["pet", "pet", "farm", "farm"],
        "checked": [True, True, True, False],
    }
    pq.write_table(pa.table(columns), path)
    return path


def test_columns_of_a_table_are_named(table):
    section = PicturesSection(
        path=str(table), caption_column="says", tags_column="more", group_column="kind"
    )
    dog, cat, cow = read_pictures(section)
    assert (dog.captions, dog.tags, dog.group) == (("a dog", "one dog"), ("pet", "brown"), "pet")
    assert (cat.captions, cat.tags, cow.group) == (("a cat",), (), "farm")
    assert {cow.sample_caption(random.Random(seed)) for seed in range(9)} == {"a cow"}
    assert any(
        dog.sample_caption(random.Random(seed)).endswith(("dog: pet", "dog: brown"))
        for seed in range(20)
    )
    assert len(PicturePairs([dog, cat, cow])) == 2
    assert len(PicturePairs([dog, cat, cow], by_picture=True)) == 3


def test_rows_are_chosen_by_their_values(table):
    section = PicturesSection(
        path=str(table), caption_column="says", where={"kind": "pet", "checked": True}
    )
    assert [one.captions[0] for one in read_pictures(section)] == ["a dog", "a cat"]
    with pytest.raises(DataError, match="holds no picture with kind = 'wild'"):
        read_pictures(section.model_copy(update={"where": {"kind": "wild"}}))
    with pytest.raises(DataError, match="names colour; the row has"):
        read_pictures(section.model_copy(update={"where": {"colour": "red"}}))


def test_a_tar_without_words_serves_where_none_are_needed(tmp_path):
    path = tmp_path / "shard.tar"
    with tarfile.open(path, "w") as tar:
        for name, content in (("0001.png", png("red")), ("0002.png", png("blue"))):
            info = tarfile.TarInfo(name)
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
    section = PicturesSection(path=str(path))
    assert len(read_pictures(section, words=False)) == 2
    with pytest.raises(DataError, match=r"shard\.tar/0001\.png has no caption"):
        read_pictures(section)


def test_the_bundled_set_is_a_table_like_any_other():
    for split in SPLITS:
        found = read_pictures(PicturesSection(path="emoji", split=split))
        known = read_emoji(split)
        assert [one.image for one in found] == [one.image for one in known]
        assert [one.captions for one in found] == [(one.label,) for one in known]
        assert [(one.tags, one.group) for one in found] == [
            (one.tags, one.base_hexcode) for one in known
        ]
    assert len(read_pictures(PicturesSection(path="emoji"))) == len(read_emoji(None))
    with pytest.raises(UsageError, match="emoji has no split 'test'; it has train"):
        read_pictures(PicturesSection(path="emoji", split="test"))


def test_a_path_of_ones_own_has_no_splits(folder):
    with pytest.raises(UsageError, match="has no splits"):
        read_pictures(PicturesSection(path=str(folder), split="train"))


def test_a_share_is_held_out_by_groups_and_always_the_same():
    section = PicturesSection(path="emoji", split="train")
    train, held = read_training_pictures(section, ValidationSection(share=0.1))
    assert not {one.group for one in train} & {one.group for one in held}
    assert {one.key for one in held} == {
        one.key for one in read_pictures(section) if is_held_out(one.group, 0.1)
    }
    # 1,548 groups: three deviations of the share are 2.3 points
    groups = len({one.group for one in held}) / len({one.group for one in train + held})
    assert abs(groups - 0.1) < 0.023


def test_rows_that_are_held_out_are_not_trained_on(table):
    section = PicturesSection(path=str(table), caption_column="says")
    train, held = read_training_pictures(section, ValidationSection(where={"kind": "farm"}))
    assert [one.captions[0] for one in train] == ["a dog", "a cat"]
    assert [one.captions[0] for one in held] == ["a cow"]
    with pytest.raises(DataError, match="0 pictures are left to train on and 2"):
        read_training_pictures(
            section.model_copy(update={"where": {"kind": "pet"}}),
            ValidationSection(where={"checked": True}),
        )


@pytest.mark.parametrize("values", [{}, {"share": 0.1, "split": "validation"}])
def test_validation_says_one_thing(values):
    with pytest.raises(ValueError, match="either a share"):
        ValidationSection(**values)


def test_what_cannot_be_opened_is_counted(recwarn):
    pictures = [
        TrainingPicture(name, image, ("x",), (), name)
        for name, image in (("a", png("red")), ("b", b"no picture"), ("c", png("blue")))
    ]
    kept, squares = open_pictures(pictures, 8)
    assert [one.key for one in kept] == ["a", "c"] and squares.shape == (2, 3, 8, 8)
    with pytest.raises(DataError, match="1 of 1 pictures cannot be opened; first b: "):
        open_pictures(pictures[1:2], 8)


def test_a_saved_set_is_taken(tmp_path):
    import datasets

    rows = {"image": [{"bytes": png("red"), "path": None}], "text": ["a red square"]}
    features = datasets.Features({"image": datasets.Image(), "text": datasets.Value("string")})
    datasets.Dataset.from_dict(rows, features=features).save_to_disk(str(tmp_path / "saved"))
    (found,) = read_pictures(PicturesSection(path=str(tmp_path / "saved")))
    assert found.captions == ("a red square",) and json.dumps(found.key)


def test_what_a_share_holds_out_is_a_retrieval_set(folder, tmp_path):
    from seedcli.benchmarks.retrieval_sets import load_retrieval_set
    from seedcli.data.images.captioned import as_retrieval_set
    from seedcli.files import publish_json

    pictures = read_pictures(PicturesSection(path=str(folder)))
    publish_json(tmp_path / "held_out.json", as_retrieval_set(pictures))
    found = load_retrieval_set(str(tmp_path / "held_out.json"))
    assert found.captions == (
        "a grey goose", "red duck", "red duck: birds, animals", "hand saw", "hand saw: tools",
    )  # fmt: skip
    assert found.txt2img == (0, 1, 1, 2, 2)


def test_pictures_that_are_described_alike_are_held_out_together(tmp_path):
    for name in ("red_duck_01.png", "red_duck_02.png", "goose.png"):
        (tmp_path / name).write_bytes(png("red"))
    goose, duck, other = read_pictures(PicturesSection(path=str(tmp_path)))
    assert duck.group == other.group != goose.group
