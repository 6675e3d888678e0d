"""Similarities by hand."""

import numpy as np
import pytest

from seedcli.benchmarks.clip_similarity import (
    pack_feature,
    pair_similarity,
    shuffled_similarity,
    similarity_scores,
    unpack_features,
)

DRAWN = np.array([[1.0, 0.0], [0.6, 0.8], [0.0, 1.0]])
TRUTH = np.array([[1.0, 0.0], [1.0, 0.0], [1.0, 0.0]])


def line(drawn, truth, caption):
    packed = {
        name: pack_feature(np.array(each))
        for name, each in (("truth", truth), ("caption", caption))
    }
    return packed | {"drawn": None if drawn is None else pack_feature(np.array(drawn))}


def test_pairs_are_cosines_times_100():
    assert pair_similarity(DRAWN, TRUTH) == pytest.approx([100, 60, 0])


def test_chance_is_the_mean_of_every_wrong_pair():
    others = [100 * float(DRAWN[i] @ DRAWN[j]) for i in range(3) for j in range(3) if i != j]
    assert shuffled_similarity(DRAWN, DRAWN) == pytest.approx(np.mean(others))
    assert shuffled_similarity(DRAWN, TRUTH) == pytest.approx(160 / 3)
    assert shuffled_similarity(DRAWN[:1], TRUTH[:1]) is None


def test_features_survive_a_line_of_json():
    rng = np.random.default_rng(0)
    features = rng.normal(size=(50, 768))
    features /= np.linalg.norm(features, axis=1, keepdims=True)
    back = unpack_features([pack_feature(feature) for feature in features])
    # measured worst error of a similarity x100: 0.0018
    assert np.abs(100 * (back @ back.T - features @ features.T)).max() < 0.01
    assert np.linalg.norm(back, axis=1) == pytest.approx(1)


def test_answers_without_a_picture_are_left_out():
    lines = [
        line([1, 0], [1, 0], [0, 1]),
        line(None, [1, 0], [1, 0]),
        line([0.6, 0.8], [0, 1], [0.8, 0.6]),
    ]
    scores, chance = similarity_scores(lines)
    # features are kept in fp16: 2^-11 of 100
    assert scores["clip_i"] == pytest.approx([100, 80], abs=0.05)
    assert scores["clip_t"] == pytest.approx([0, 96], abs=0.05)
    assert scores["truth_clip_t"] == pytest.approx([0, 60], abs=0.05)
    assert chance["clip_i"] == pytest.approx((0 + 60) / 2, abs=0.05)
    assert similarity_scores(lines[1:2]) == ({"clip_i": [], "clip_t": [], "truth_clip_t": []}, {})
