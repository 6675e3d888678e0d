"""What the judge's rankings are measured on."""

from __future__ import annotations

import torch

from seedcli.data.emoji import read_emoji
from seedcli.data.images.augmentation import read_squares
from tools.nano.judge_rankings import find_others, rank


def test_shares_count_pictures_whose_kinds_fall():
    similarities = torch.tensor([[0.9, 0.8, 0.7, 0.6], [0.9, 0.5, 0.7, 0.6]])
    found = rank(similarities)
    assert found["changed > other_drawing"] == 100.0
    assert found["other_drawing > same_colours"] == found["all"] == 50.0


def test_others_are_another_drawing_and_another_thing():
    pictures = read_emoji("vendor")[:20] + read_emoji("unseen")[:200]
    squares = read_squares([picture.image for picture in pictures], 32)
    rows = find_others(pictures, squares)
    assert rows
    for picture, other, far in ((pictures[a], pictures[b], pictures[c]) for a, b, c in rows):
        assert picture.hexcode == other.hexcode and picture.key != other.key
        assert picture.subgroup != far.subgroup
