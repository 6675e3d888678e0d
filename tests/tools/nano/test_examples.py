"""Examples that README and docs show are right, and what right means."""

from __future__ import annotations

import dataclasses
from types import SimpleNamespace

import pytest
from PIL import Image

from seedcli.data.emoji import read_emoji
from seedcli.models.weights.locate import BUNDLED_NANO
from seedcli.workflows.chat.seed_chat import SeedChat
from tools.nano.examples import (
    ENOUGH,
    PICTURES,
    SEEDS,
    Answer,
    NearestDrawing,
    _is_right,
    ask,
    read_examples,
    table_of,
    write_sheet,
)

SHOWN = [example for example in read_examples() if example.shown]


@pytest.fixture(scope="module")
def chat():
    return SeedChat.from_pretrained("seed-nano", device="cpu")


@pytest.fixture(scope="module")
def nearest():
    return NearestDrawing(str(BUNDLED_NANO / "judge"))


@pytest.mark.slow
@pytest.mark.parametrize("example", SHOWN, ids=lambda example: example.name)
def test_what_is_shown_is_right(chat, nearest, example):
    answers = ask(chat, example, nearest)
    assert sum(one.is_right for one in answers) >= ENOUGH, [one.said for one in answers]


def test_examples_name_pictures_and_emoji_that_exist():
    emoji, sets = {one.hexcode for one in read_emoji()}, {one.vendor for one in read_emoji()}
    examples = read_examples()
    for turn in (turn for example in examples for turn in example.turns):
        assert all((PICTURES / f"{name}.png").is_file() for name in turn.images)
        assert set(turn.emoji) <= emoji and turn.drawn_by in {None, *sets}
        assert turn.say.count("<image>") in (0, len(turn.images))
    assert len({example.name for example in examples}) == len(examples) == 9 + 12 + 5 + 3


def test_right_is_the_expected_word_and_the_expected_drawing():
    [turn] = read_examples()[0].turns
    for text, right in (("It is a red Apple.", True), ("It is a pineapple.", False)):
        assert _is_right(turn, SimpleNamespace(text=text), None) is right
    drawn = dataclasses.replace(turn, words=(), emoji=("1f436",), drawn_by="twitter")
    answer = SimpleNamespace(text="")
    for hexcode, vendor, right in (
        ("1f436", "twitter", True),
        ("1f436", "google", False),
        ("1f431", "twitter", False),
    ):
        drawing = SimpleNamespace(hexcode=hexcode, vendor=vendor)
        assert _is_right(drawn, answer, drawing) is right
    assert not _is_right(drawn, answer, None)


def test_table_and_sheet_hold_every_example(tmp_path):
    picture = Image.new("RGB", (64, 64), "red")
    answers = [
        Answer(is_right=seed != 2, said=("here",), nearest=("cat (google)",), images=(picture,))
        for seed in SEEDS
    ]
    found = [(SHOWN[0], answers)]
    assert list(table_of(found))[2] == f"| {SHOWN[0].name} | 4 | here; nearest: cat (google) |"
    drawn = [one for one in read_examples() if one.name in ("draw an apple", "draw a pizza")]
    write_sheet([(one, answers) for one in (SHOWN[0], *drawn)], tmp_path / "sheet.png")
    sheet = Image.open(tmp_path / "sheet.png")
    # of words alone, and shown: the apple
    assert sheet.size == (68, 5 * 68 + 14) and sheet.getpixel((30, 4 * 68 + 30)) == (255, 0, 0)
