"""The emoji set: other vendors change no split; what is held out takes its redrawings along."""

from collections import Counter

import numpy as np
import pytest
from PIL import Image

from tools.nano.build_emoji import FIRST_VENDORS, EmojiBuilder
from tools.nano.drawings import Drawing
from tools.nano.emoji_words import EmojiWords

NUM_THINGS = 60
HEXCODES = [f"{0x1F300 + number:x}" for number in range(NUM_THINGS)]
SETS = (*FIRST_VENDORS, "fluent-flat", "noto-v1", "streamline")


def draw(vendor, number):
    """64 blocks of seeded colours: no two drawings are nearer than 40 of 100."""
    blocks = np.random.default_rng((SETS.index(vendor), number)).integers(0, 256, (8, 8, 3))
    return Image.fromarray(blocks.astype(np.uint8)).resize((64, 64), Image.Resampling.NEAREST)


def drawings(vendors, changed=()):
    pictures = {(vendor, place): draw(vendor, place) for vendor in vendors for place in range(60)}
    pictures |= dict(changed)
    found = {vendor: [] for vendor in vendors}
    for (vendor, place), picture in pictures.items():
        found[vendor].append(Drawing(vendor, HEXCODES[place], f"thing-{place}", picture))
    return found


def words():
    return {
        hexcode: EmojiWords(hexcode, f"thing {place}", ("tag",), "objects", "tool", (), place)
        for place, hexcode in enumerate(HEXCODES)
    }


def splits(pictures, vendors=FIRST_VENDORS):
    return {picture.key: picture.split for picture in pictures if picture.vendor in vendors}


@pytest.fixture(scope="module")
def three():
    return EmojiBuilder(drawings(FIRST_VENDORS), words()).build()


def test_splits_by_thing(three):
    counts = Counter(picture.split for picture in three)
    assert sum(counts.values()) == 3 * NUM_THINGS
    assert set(counts) == {"train", "validation", "unseen", "vendor"}
    for hexcode in HEXCODES:
        of_thing = Counter(picture.split for picture in three if picture.hexcode == hexcode)
        assert of_thing in (
            Counter(train=3), Counter(validation=3), Counter(unseen=3), Counter(train=2, vendor=1)
        )  # fmt: skip


def test_other_sets_change_no_split_and_are_held_out_with_their_things(three):
    builder = EmojiBuilder(drawings(SETS), words())
    pictures = builder.build()
    assert splits(pictures) == splits(three)
    for picture in pictures:
        own = {one.split for one in three if one.hexcode == picture.hexcode} - {"vendor"}
        if picture.vendor not in FIRST_VENDORS:
            assert {picture.split.removesuffix("_more")} == own
            assert picture.split.endswith("_more") == (own != {"train"})
    held_out = {picture.hexcode: picture.vendor for picture in three if picture.split == "vendor"}
    keys = {picture.key for picture in pictures}
    for hexcode, vendor in held_out.items():
        assert (f"{hexcode}-noto-v1" in keys) == (vendor != "google")
        assert (f"{hexcode}-fluent-flat" in keys) == (vendor != "fluent")
        assert f"{hexcode}-streamline" in keys


def test_near_equals_count_once_and_redrawings_of_held_out_drawings_go(three):
    held_out = next(picture for picture in three if picture.split == "vendor")
    trained = next(picture for picture in three if picture.split == "train")
    tested = next(picture for picture in three if picture.split == "unseen")
    place_of = HEXCODES.index
    own, another = (
        draw(vendor, place_of(held_out.hexcode)) for vendor in (held_out.vendor, "noto-v1")
    )
    redrawn = Image.blend(own, another, 0.3)
    copy = draw(trained.vendor, place_of(trained.hexcode))
    stranger = draw(tested.vendor, place_of(tested.hexcode))
    other = place_of([one for one in three if one.split == "train"][-1].hexcode)
    builder = EmojiBuilder(
        drawings(
            (*FIRST_VENDORS, "streamline"),
            {
                ("streamline", place_of(held_out.hexcode)): redrawn,
                ("streamline", place_of(trained.hexcode)): copy,
                ("streamline", other): stranger,
            },
        ),
        words(),
    )
    keys = {picture.key for picture in builder.build()}
    for place in (place_of(held_out.hexcode), place_of(trained.hexcode), other):
        assert f"{HEXCODES[place]}-streamline" not in keys
    assert len(keys) == 4 * NUM_THINGS - 3
    assert builder.left_out == {
        "streamline: near a held-out drawing": 1,
        "streamline: near-equal to another of the same thing": 1,
        "streamline: equal to a test picture of another emoji": 1,
    }


def test_a_second_drawing_of_a_thing_has_a_key_of_its_own():
    found = drawings((*FIRST_VENDORS, "streamline"))
    found["streamline"].append(
        Drawing("streamline", HEXCODES[0], "thing-0-2", draw("streamline", 63))
    )
    keys = [picture.key for picture in EmojiBuilder(found, words()).build()]
    assert {f"{HEXCODES[0]}-streamline", f"{HEXCODES[0]}-streamline-2"} <= set(keys)
    assert len(set(keys)) == len(keys)
