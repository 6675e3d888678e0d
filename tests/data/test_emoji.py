"""The bundled emoji: splits do not touch, captions say what they should, vocabularies
see the train split only.
"""

import hashlib
import io
import random
from collections import defaultdict

import pytest
from PIL import Image

from seedcli.data.emoji import SPLITS, read_emoji
from seedcli.errors import UsageError
from tests.emoji_texts import train_texts
from tools.nano.build_emoji import FIRST_VENDORS, REDRAWS, count_emoji

NEVER_TRAINED = ("validation", "unseen", "validation_more", "unseen_more")


def test_the_set_is_the_one_that_was_bundled():
    counts = count_emoji(read_emoji())
    found = {
        split: tuple(counts[split][what] for what in ("pictures", "base_emoji", "flags", "twins"))
        for split in SPLITS
    }
    assert found == {
        "train": (16866, 1548, 224, 226),
        "vendor": (248, 153, 29, 12),
        "validation": (1357, 200, 21, 45),
        "unseen": (992, 177, 25, 30),
        "validation_more": (1434, 202, 21, 45),
        "unseen_more": (1085, 182, 25, 30),
    }
    assert len({picture.key for picture in read_emoji()}) == len(read_emoji())


@pytest.mark.parametrize(
    ("split", "digest"),
    [
        ("validation", "d35ec6c72bb33a9a"),
        ("unseen", "e0aa00ff5e4737e2"),
        ("vendor", "091d6a9b418e2307"),
    ],
)
def test_test_pictures_are_those_that_figures_were_measured_on(split, digest):
    """Keys, order and bytes of the set of three vendors, that of the first seed-nano."""
    content = hashlib.sha256()
    for picture in read_emoji(split):
        content.update(picture.key.encode() + picture.image)
    assert content.hexdigest()[:16] == digest


@pytest.mark.parametrize("split", NEVER_TRAINED)
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
        assert sum(base == picture.base_hexcode for base, _ in trained) >= 2
        for vendor in REDRAWS.get(picture.vendor, ()):
            assert (picture.base_hexcode, vendor) not in trained


def test_more_pictures_are_of_the_same_emoji_by_other_vendors():
    for split in ("validation", "unseen"):
        measured, more = read_emoji(split), read_emoji(f"{split}_more")
        assert {picture.vendor for picture in measured} == set(FIRST_VENDORS)
        assert not {picture.vendor for picture in more} & set(FIRST_VENDORS)


def test_twins_share_a_split():
    splits = defaultdict(set)
    for picture in read_emoji():
        split = {"vendor": "train"}.get(picture.split, picture.split.removesuffix("_more"))
        splits[picture.twin_of or picture.base_hexcode].add(split)
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


def test_vocabulary_texts_come_from_training_only():
    texts = set(train_texts())
    assert {picture.label for picture in read_emoji("train")} <= texts
    for split in NEVER_TRAINED:
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
