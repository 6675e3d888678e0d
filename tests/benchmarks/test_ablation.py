"""Scores of the ablations, by cases that are counted by hand."""

from __future__ import annotations

import pytest

from seedcli.benchmarks.ablation import (
    WrittenSpan,
    mean_curve,
    paired_differences,
    score_groups,
    span_histogram,
    written_span,
)
from seedcli.models.language.code_vocabulary import CodeVocabulary

WORDS = CodeVocabulary(
    first_code=100, num_codes=8, num_queries=4, boi=108, eoi=109, bos=1, eos=2, pad=0
)


@pytest.mark.parametrize(
    ("ids", "ended", "span"),
    [
        ([100, 107, 103, 103, 109], True, WrittenSpan(4, "closed")),
        ([100, 107, 103, 103, 109, 7, 8], False, WrittenSpan(4, "closed")),
        ([100, 101, 109], True, WrittenSpan(2, "closed")),
        ([109], True, WrittenSpan(0, "closed")),
        ([100] * 9 + [109], True, WrittenSpan(9, "closed")),
        ([100, 7, 101, 109], True, WrittenSpan(1, "interrupted")),
        ([100, 101, 102, 103, 108], False, WrittenSpan(4, "interrupted")),
        ([100, 101, 102, 103], True, WrittenSpan(4, "interrupted")),
        ([100, 101, 102, 103], False, WrittenSpan(4, "unfinished")),
        ([99, 109], True, WrittenSpan(0, "interrupted")),
        ([], True, WrittenSpan(0, "interrupted")),
    ],
)
def test_a_span_ends_where_something_else_than_a_code_comes(ids, ended, span):
    assert written_span(ids, WORDS, ended=ended) == span
    assert span.is_valid(4) == (span == WrittenSpan(4, "closed"))


def test_histogram():
    spans = [WrittenSpan(4, "closed")] * 3 + [
        WrittenSpan(12, "closed"),
        WrittenSpan(4, "unfinished"),
        WrittenSpan(0, "interrupted"),
    ]
    assert span_histogram(spans) == {
        "ends": {"closed": 4, "interrupted": 1, "unfinished": 1},
        "lengths_of_closed": {"4": 3, "12": 1},
    }
    assert span_histogram([])["ends"] == {"closed": 0, "interrupted": 0, "unfinished": 0}


def test_curve_by_position():
    curve = mean_curve([[1.0, 10.0, 5.0], [3.0, 30.0, 5.0]])
    assert curve["mean"] == [2.0, 20.0, 5.0]
    assert curve["interval"] == [[1.0, 3.0], [10.0, 30.0], [5.0, 5.0]]
    with pytest.raises(ValueError, match="one length"):
        mean_curve([[1.0], [1.0, 2.0]])
    with pytest.raises(ValueError):
        mean_curve([])


def test_differences_are_of_samples_that_both_have():
    one = {(0, "a"): 5.0, (0, "b"): 7.0, (1, "a"): 1.0}
    other = {(1, "a"): 4.0, (0, "b"): 6.5, (0, "c"): 9.0}
    assert paired_differences(one, other) == ([0.5, -3.0], [(0, "b"), (1, "a")])


def test_intervals_draw_whole_pictures():
    by_seed = {(seed, picture): float(picture % 2) for seed in range(3) for picture in range(20)}
    alone = {(0, number): float(number % 2) for number in range(60)}
    found = score_groups({"grouped": by_seed, "alone": alone, "none": {}})
    assert found["metrics"] == {"grouped": 0.5, "alone": 0.5, "none": None}
    widths = {name: ends and ends[1] - ends[0] for name, ends in found["intervals"].items()}
    assert widths["none"] is None
    assert widths["grouped"] > 1.4 * widths["alone"]
