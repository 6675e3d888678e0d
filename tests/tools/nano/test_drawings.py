"""Drawings of npm packages: names become hexcodes, SVG becomes pictures, near ones are found."""

import json
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image, ImageDraw

from seedcli.errors import DataError
from tools.nano.drawings import (
    PACKAGES,
    draw_icon,
    fetch_packages,
    folder_of,
    name_icon,
    read_drawings,
    read_icons,
    read_picture,
)
from tools.nano.emoji_words import EmojiWords, Names, find_concept, normalise_hexcode
from tools.nano.near_equal import find_near, ink_distance, read_inks

PLAIN = EmojiWords("", "", (), "objects", "tool", (), 0)


def words_of(**labels):
    """`h1f44b="waving hand"` -> words, with a light and a medium-dark variant of each hand."""
    words = {}
    for name, label in labels.items():
        hexcode = name.removeprefix("h").replace("_", "-")
        words[hexcode] = replace(PLAIN, base_hexcode=hexcode, label=label)
        for tone, suffix, tone_name in ((1, "1f3fb", "light"), (4, "1f3fe", "medium-dark")):
            if "hand" in label:
                words[f"{hexcode}-{suffix}"] = replace(
                    words[hexcode], label=f"{label}: {tone_name} skin tone", skin_tones=(tone,)
                )
    return words


@pytest.fixture
def names(tmp_path):
    for service in ("cldr", "emojibase", "github", "iamcal", "joypixels"):
        table = {"1F3AF": ["direct_hit", "bullseye"]} if service == "github" else {}
        (tmp_path / f"{service}.json").write_text(json.dumps(table))
    words = words_of(
        h1f44b="waving hand",
        h1f3af="bullseye",
        h0023_20e3="keycap: #",
        h002a_20e3="keycap: *",
        h1f1f9_1f1f7="flag: Türkiye",
        h1f577="spider",
    )
    return Names(words, tmp_path)


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


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("waving-hand", "1f44b"),
        ("waving-hand-light-skin-tone", "1f44b-1f3fb"),
        ("waving-hand-medium-dark", "1f44b-1f3fe"),
        ("direct-hit", "1f3af"),
        ("keycap: #", "0023-20e3"),
        ("keycap: *", "002a-20e3"),
        ("flag-for-flag-turkiye", "1f1f9-1f1f7"),
        ("SPIDER", "1f577"),
        ("unknown-flag", None),
    ],
)
def test_names_in_words(names, name, expected):
    assert names.find([name]) == expected


@pytest.mark.parametrize(
    ("vendor", "name", "said", "expected"),
    [
        ("streamline", "waving-hand-1", {}, "1f44b"),
        ("streamline", "waving-hand-2", {}, "1f44b-1f3fb"),
        ("streamline", "waving-hand-3", {}, "1f44b-1f3fe"),
        ("streamline", "spider-2", {}, "1f577"),
        ("fxemoji", "wavinghand", {}, "1f44b-1f3fb"),
        (
            "fxemoji",
            "wavinghand",
            {"wavinghand": "waving hand: medium-dark skin tone"},
            "1f44b-1f3fe",
        ),
        ("fxemoji", "spider", {"spider": ""}, None),
        ("noto-v1", "waving-hand", {}, "1f44b"),
    ],
)
def test_a_set_says_what_its_drawings_show(names, vendor, name, said, expected):
    icon = {"names": [name], "hexcode": None}
    assert name_icon(vendor, name, icon, names, said) == expected


def test_a_label_that_emojibase_does_not_have(names):
    with pytest.raises(DataError, match="fxemoji.spider: emojibase has no 'spidre'"):
        name_icon("fxemoji", "spider", {"names": [], "hexcode": None}, names, {"spider": "spidre"})


def test_icons_are_drawn_on_white_mirrored_ones_too(tmp_path):
    left_half = '<rect width="8" height="16" fill="#f00"/>'
    icons = {"left": {"body": left_half}, "old": {"body": left_half, "hidden": True}}
    aliases = {"right": {"parent": "left", "hFlip": True}, "west": {"parent": "left"}}
    content = {"icons": icons, "aliases": aliases, "width": 16, "height": 16}
    (tmp_path / "icons.json").write_text(json.dumps(content))
    (tmp_path / "chars.json").write_text('{"1f448": "left", "1f449": "right"}')
    found = read_icons(tmp_path)
    assert {name: (icon["names"], icon["hexcode"]) for name, icon in found.items()} == {
        "left": (["left", "west"], "1f448"),
        "right": (["right"], "1f449"),
    }
    left, right = (draw_icon(found[name]["svg"]) for name in ("left", "right"))
    assert left.size == right.size == (64, 64)
    assert (left.getpixel((10, 30)), left.getpixel((50, 30))) == ((255, 0, 0), (255, 255, 255))
    assert (right.getpixel((10, 30)), right.getpixel((50, 30))) == ((255, 255, 255), (255, 0, 0))


def test_pictures_are_composited_on_white(tmp_path):
    Image.new("RGBA", (256, 256), (255, 0, 0, 128)).save(tmp_path / "half.png")
    image = read_picture(tmp_path / "half.png")
    assert (image.mode, image.size) == ("RGB", (64, 64))
    assert image.getpixel((30, 30)) == (255, 127, 127)


def test_missing_packages_are_named(tmp_path, names):
    with pytest.raises(DataError, match="lacks emojibase-data") as caught:
        read_drawings(tmp_path, {}, names)
    assert all(package in str(caught.value) for package in PACKAGES)
    assert folder_of(tmp_path, "@lobehub/fluent-emoji-3d@1.1.0") == (
        tmp_path / "lobehub-fluent-emoji-3d-1.1.0" / "package"
    )


def test_without_npm_the_package_is_named(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(DataError, match=r"emojibase-data@17.0.0 could not be fetched: .*npm"):
        fetch_packages(tmp_path)


def disc(left, colour="black", size=40):
    picture = Image.new("RGB", (64, 64), "white")
    ImageDraw.Draw(picture).ellipse((left, 10, left + size, 10 + size), fill=colour)
    return picture


def test_ink_distance_is_the_share_of_ink_that_does_not_meet():
    empty, full, half = (
        Image.new("RGB", (64, 64), colour) for colour in ("white", "black", "grey")
    )
    inks = read_inks([empty, full, half])
    assert ink_distance(inks[0], inks).tolist() == [0, 100, 100]
    # Grey is 128 of 255: black has 255 of ink, grey 127.
    assert ink_distance(inks[1], inks[2:])[0] == pytest.approx(100 * 128 / 255, abs=1e-3)


def test_near_pairs_are_those_that_a_full_comparison_finds():
    colours = ["black", "#101010", "#804000", "#ffe0c0"]
    canvases = [disc(left, colour) for left in (4, 5, 8, 16) for colour in colours]
    inks = read_inks(canvases)
    full = np.stack([ink_distance(ink, inks) for ink in inks])
    found = {(row, place): distance for row, place, distance in find_near(inks, inks, 15.0)}
    assert set(found) == set(zip(*map(np.ndarray.tolist, np.nonzero(full < 15.0)), strict=True))
    assert 16 < len(found) < 256
    assert all(distance == pytest.approx(full[pair]) for pair, distance in found.items())
