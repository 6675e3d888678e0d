"""Answers -> scores, and what blind answering reaches."""

import dataclasses
import math

import pytest

from seedcli.benchmarks.vqa import (
    exact_match,
    majority_scores,
    pick_choice,
    score_answer,
    score_line,
    vqa_accuracy,
)
from seedcli.data.published_sets.questions import Question

EXACT = Question("1", (), "?", ("dark brown",), "tone")
MANY = Question("2", (), "?", ("two", "two", "2", "two"), "number")
CHOICE = Question("3", (), "?", ("a long answer",), "what", ("cat", "a long answer"))


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


def test_words_are_scored_by_what_the_set_has():
    assert score_answer(EXACT, "Dark brown!") == 1.0
    # one of four wrote 2: a third of a match unless that one is left out
    assert score_answer(MANY, "2.") == 0.25
    assert score_answer(Question("4", (), "?"), "anything") is None


def test_the_cut_decides():
    line = {"answer": "dark brown\nand more."}
    assert score_line(EXACT, line, cut="phrase", by="mean") == 1.0
    assert score_line(EXACT, line, cut="whole", by="mean") == 0.0


def test_choices_with_and_without_their_length():
    line = {"log_likelihoods": [-3.0, -6.0], "num_tokens": [1, 4]}
    assert (pick_choice(line, "mean"), pick_choice(line, "sum")) == (1, 0)
    for log_likelihoods, num_tokens, number in (
        ([-4.0, -6.0, -3.0], [2, 6, 1], 1),  # means -2, -1, -3
        ([-1.0, -1.0], [1, 1], 0),
        ([-math.inf, -50.0], [1, 1], 1),
    ):
        line = {"log_likelihoods": log_likelihoods, "num_tokens": num_tokens}
        assert pick_choice(line, "mean") == number
    line = {"log_likelihoods": [-3.0, -6.0], "num_tokens": [1, 4]}
    assert score_line(CHOICE, line, cut="phrase", by="mean") == 1.0
    assert score_line(CHOICE, line, cut="phrase", by="sum") == 0.0


def test_blind_answers():
    rows = [Question(str(n), (), "?", (answer,), kind) for n, (answer, kind) in enumerate(
        [("dark", "tone"), ("food", "group"), ("light", "tone"), ("light", "tone")]
    )]  # fmt: skip
    assert majority_scores(rows, by_choice=False) == [0, 1, 1, 1]
    annotators = Question("5", (), "?", ("red", "red", "blue", "red"))
    assert majority_scores([annotators, Question("6", (), "?")], by_choice=False) == [
        pytest.approx((3 * 2 / 3 + 1) / 4),
        None,
    ]
    choices = [Question(str(n), (), "?", (right,), "", ("x", "y")) for n, right in enumerate("yyx")]
    assert majority_scores(choices, by_choice=True) == [1, 1, 0]


def test_stems_are_compared_with_stems():
    """OK-VQA: the reference stands for all words of its stem."""
    row = Question("1", (), "?", ("race car",) * 4 + ("bike",), stemmed=True)
    assert score_answer(row, "the racing cars") == 1.0
    assert score_answer(dataclasses.replace(row, stemmed=False), "the racing cars") == 0.0
