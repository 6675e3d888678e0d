"""How results of benchmarks are shown to people."""

from __future__ import annotations

import pytest

from seedcli.benchmarks.metric_words import metric_words


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("i2t_r10", "text recall at 10"),
        ("t2i_r1", "picture recall at 1"),
        ("r_mean", "mean recall"),
        ("clip_similarity", "clip similarity"),
    ],
)
def test_metrics_are_words(name, words) -> None:
    assert metric_words(name) == words
