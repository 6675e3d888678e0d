"""The bundled emoji: splits do not touch, captions say what they should, vocabularies
see the train split only.
"""

import io
import random
from collections import defaultdict

import pytest
from PIL import Image

from seedcli.data.emoji import SPLITS, read_emoji, train_texts
from seedcli.errors import UsageError
from tools.nano.build_emoji import count_emoji, find_concept, normalise_hexcode, render_picture

TEST_SPLITS = ("validation", "unseen")


def test_the_set_is_the_one_that_was_bundled():
    assert count_emoji(read_emoji()) == {
        "train": {"pictures": 8296, "base_emoji": 1527, "flags": 221, "twins": 226},
        "vendor": {"pictures": 248, "base_emoji": 153, "flags": 29, "twins": 12},
        "validation": {"pictures": 1357, "base_emoji": 200, "flags": 21, "twins": 45},
        "unseen": {"pictures": 992, "base_emoji": 177, "flags": 25, "twins": 30},
    }
    assert len({picture.key for picture in read_emoji()}) == len(read_emoji())


@pytest.mark.parametrize("split", TEST_SPLITS)
def test_nothing_of_a_test_split_is_in_training(split):
    train, test = read_emoji("train"), read_emoji(split)
    for what in ("base_hexcode", "label", "image"):
        assert not {getattr(picture, what) for picture in train} & {
            getattr(picture, what) for picture in test
        }, what
    assert not {picture.twin_of for picture in train} & {picture.twin_of for picture in test} - {
        None
    }


def test_held_out_vendor_pictures_are_of_trained_emoji():
    trained = {(picture.base_hexcode, picture.vendor) for picture in read_emoji("train")}
    for picture in read_emoji("vendor"):
        assert (picture.base_hexcode, picture.vendor) not in trained
        assert sum(base == picture.base_hexcode for base, _ in trained) == 2


def test_twins_share_a_split():
    splits = defaultdict(set)
    for picture in read_emoji():
        splits[picture.twin_of or picture.base_hexcode].add(picture.split)
    assert all(len(found) == 1 for found in splits.values())


def test_pictures_are_small_and_white_where_they_are_empty():
    corners = []
    for picture in random.Random(0).sample(read_emoji(), 200):
        image = Image.open(io.BytesIO(picture.image)).convert("RGB")
        assert image.size == (64, 64)
        corners.append(image.getpixel((0, 0)))
    assert corners.count((255, 255, 255)) > 150


def test_captions():
    waving = next(picture for picture in read_emoji() if picture.hexcode == "1f44b-1f3fb")
    label, with_tags = waving.captions()
    assert label == "waving hand: light skin tone"
    assert with_tags.startswith(label + ": ")
    assert (waving.base_hexcode, waving.skin_tones) == ("1f44b", (1,))
    rng = random.Random(0)
    drawn = {waving.sample_caption(rng) for _ in range(50)}
    assert len(drawn) > 20
    assert all(label in caption for caption in drawn)
    assert [waving.sample_caption(random.Random(7)) for _ in range(2)] == [
        waving.sample_caption(random.Random(7))
    ] * 2


def test_vocabulary_texts_come_from_training_only():
    texts = set(train_texts())
    assert {picture.label for picture in read_emoji("train")} <= texts
    for split in TEST_SPLITS:
        assert not texts & {picture.label for picture in read_emoji(split)} - {
            tag for picture in read_emoji("train") for tag in picture.tags
        }


def test_gender_and_direction():
    by_label = {picture.label: picture for picture in read_emoji()}
    assert (
        by_label["man farmer"].gender,
        by_label["woman farmer"].gender,
        by_label["farmer"].gender,
    ) == ("man", "woman", None)
    assert len({by_label[label].twin_of for label in ("man farmer", "woman farmer", "farmer")}) == 1
    assert (
        by_label["person walking"].direction,
        by_label["person walking: facing right"].direction,
    ) == ("left", "right")
    assert by_label["red apple"].twin_of is None


def test_unknown_split_names_the_known_ones():
    with pytest.raises(UsageError, match=", ".join(SPLITS)):
        read_emoji("test")


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("0023-FE0F-20E3", "0023-20e3"),
        ("a9", "00a9"),
        ("1F3F4-E0067_E0062", "1f3f4-e0067-e0062-e007f"),
        ("1F441-FE0F-200D-1F5E8-FE0F", "1f441-200d-1f5e8"),
    ],
)
def test_hexcodes_of_all_vendors_meet(name, expected):
    assert normalise_hexcode(name) == expected


@pytest.mark.parametrize(
    ("hexcode", "label", "expected"),
    [
        ("1f468-200d-1f33e", "man farmer", ("1f9d1-200d-1f33e", "man", False)),
        ("1f6b6-200d-2640-200d-27a1", "woman walking: facing right", ("1f6b6", "woman", True)),
        ("1f478", "princess", ("1fac5", "woman", False)),
        ("1f1f3-1f1f4", "flag: Norway", ("1f1f3-1f1f4", None, False)),
        ("1f468-200d-1f466", "family: man, boy", ("1f46a", None, False)),
    ],
)
def test_concepts(hexcode, label, expected):
    assert find_concept(hexcode, label) == expected


def test_pictures_are_composited_on_white(tmp_path):
    Image.new("RGBA", (256, 256), (255, 0, 0, 128)).save(tmp_path / "half.png")
    data, _ = render_picture(tmp_path / "half.png")
    image = Image.open(io.BytesIO(data)).convert("RGB")
    assert image.size == (64, 64)
    assert image.getpixel((30, 30)) == (255, 127, 127)
