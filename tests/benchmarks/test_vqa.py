import math

import pytest

from seedcli.benchmarks.vqa import exact_match, mean_by_kind, pick_choice, vqa_accuracy


def test_three_of_ten_annotators_are_enough_when_seven_others_were_left_out():
    answers = ["red"] * 3 + ["blue"] * 7
    # Left out: one of the three, so two matches remain, in 3 of 10 cases.
    assert vqa_accuracy("Red.", answers) == pytest.approx((3 * 2 / 3 + 7 * 1) / 10)
    assert vqa_accuracy("the blue", answers) == 1.0
    assert vqa_accuracy("green", answers) == 0.0


def test_no_answers_no_score():
    with pytest.raises(ValueError, match="without answers"):
        vqa_accuracy("red", [])


def test_exact_match_normalises_both_sides():
    assert exact_match("Two!", "two") == exact_match("the dog", "dog") == 1.0
    assert exact_match("a dog runs", "dog") == 0.0


def test_choices_are_ranked_by_their_mean_per_token():
    assert pick_choice([-4.0, -6.0, -3.0], [2, 6, 1]) == 1  # means -2, -1, -3
    assert pick_choice([-1.0, -1.0], [1, 1]) == 0
    assert pick_choice([-math.inf, -50.0], [1, 1]) == 1
    for log_likelihoods, num_tokens in (([], [1]), ([-1.0], [0])):
        with pytest.raises(ValueError):
            pick_choice(log_likelihoods, num_tokens)


def test_kinds():
    kinds = ["tone", "group", "tone", "tone"]
    assert mean_by_kind([1, 0, 0, 1], kinds) == pytest.approx({"tone": 200 / 3, "group": 0})
