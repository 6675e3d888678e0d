"""Lines -> scores, and what blind answering reaches."""

import dataclasses

import pytest

from seedcli.benchmarks.vqa_score import chosen, majority_scores, score_answer, score_line
from seedcli.data.published_sets.questions import Question

EXACT = Question("1", (), "?", ("dark brown",), "tone")
MANY = Question("2", (), "?", ("two", "two", "2", "two"), "number")
CHOICE = Question("3", (), "?", ("a long answer",), "what", ("cat", "a long answer"))


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
    assert (chosen(line, "mean"), chosen(line, "sum")) == (1, 0)
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
