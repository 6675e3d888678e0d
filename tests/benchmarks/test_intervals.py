import numpy as np
import pytest

from seedcli.benchmarks.intervals import bootstrap_interval


def test_a_share_has_the_interval_of_its_standard_error():
    scores = [1.0] * 300 + [0.0] * 700
    low, high = bootstrap_interval(scores)
    error = 1.96 * (0.3 * 0.7 / 1000) ** 0.5
    assert (low, high) == pytest.approx((0.3 - error, 0.3 + error), abs=0.003)
    assert bootstrap_interval(scores) == (low, high)


def test_copies_of_a_sample_are_no_evidence():
    scores = np.random.default_rng(0).random(50)
    alone = bootstrap_interval(scores.tolist())
    copied = bootstrap_interval(
        np.repeat(scores, 20).tolist(), np.repeat(np.arange(50), 20).tolist()
    )
    assert copied == pytest.approx(alone, abs=1e-12)


def test_nothing_has_no_interval():
    with pytest.raises(ValueError, match="no scores"):
        bootstrap_interval([])
