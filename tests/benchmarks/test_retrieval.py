"""Ranks in chunks, ties, chance, subsets, and the figures of query collapse."""

import pytest
import torch
import torch.nn.functional as F

from seedcli.benchmarks.intervals import bootstrap_interval
from seedcli.benchmarks.query_variance import effective_rank, query_variance
from seedcli.benchmarks.retrieval import (
    chance_metrics,
    rank_features,
    recall_intervals,
    recall_metrics,
    select_images,
)
from seedcli.errors import NumericalError


def test_ranks_do_not_depend_on_chunks_or_order():
    torch.manual_seed(0)
    # Whole numbers: their dot products are exact, whatever the shape of the product.
    images, texts = torch.randint(-9, 10, (23, 6)).float(), torch.randint(-9, 10, (61, 6)).float()
    txt2img = torch.randint(0, 23, (61,))
    whole = rank_features(images @ texts.T, torch.eye(61), txt2img)
    for chunk in (1, 7, 1024):
        assert all(
            torch.equal(a, b)
            for a, b in zip(rank_features(images, texts, txt2img, chunk=chunk), whole, strict=True)
        )
    order = torch.randperm(61)
    i2t, t2i = rank_features(images, texts[order], txt2img[order])
    assert torch.equal(i2t, whole[0])
    assert torch.equal(t2i, whole[1][order])


def test_collapsed_features_score_nothing():
    same = torch.ones(40, 8)
    metrics = recall_metrics(*rank_features(same, same, torch.arange(40)))
    assert set(metrics.values()) == {0.0}


def test_features_that_are_not_finite_are_refused():
    features = torch.ones(4, 8)
    broken = features.clone()
    broken[2, 3] = torch.nan
    with pytest.raises(NumericalError, match="1 of 4 text features"):
        rank_features(features, broken, torch.arange(4))


def test_chance_is_what_random_features_reach():
    torch.manual_seed(0)
    txt2img = torch.arange(200) // 2
    runs = [
        recall_metrics(*rank_features(torch.rand(100, 200), torch.eye(200), txt2img))
        for _ in range(60)
    ]
    for name, value in chance_metrics(txt2img, 100).items():
        # 60 runs of 100 pictures; the largest standard error is 0.5 points (i2t_r10), measured
        # worst difference 0.41
        assert sum(run[name] for run in runs) / 60 == pytest.approx(value, abs=1.6), name


def test_selected_images_keep_their_texts():
    texts, numbers = select_images(torch.tensor([False, True, True]), torch.tensor([0, 2, 1, 2]))
    assert texts.tolist() == [False, True, True, True]
    assert numbers.tolist() == [1, 0, 1]


def test_query_variance_sees_collapse():
    torch.manual_seed(0)
    content = torch.randn(50, 1, 16)
    collapsed = content + 0.01 * torch.randn(50, 32, 16)
    offsets = content + 3.0 * torch.randn(1, 32, 16)
    diverse = torch.randn(50, 32, 16)
    assert query_variance(collapsed)["between_query_variance"] < 0.001
    assert query_variance(offsets)["between_query_variance"] > 0.8
    # the same constants for every picture tell nothing
    assert query_variance(offsets)["between_query_variance_centered"] < 1e-9
    assert query_variance(diverse)["between_query_variance_centered"] > 0.9
    assert 14 < query_variance(diverse)["effective_rank"] <= 16
    assert query_variance(F.pad(diverse[..., :1], (0, 15)))[
        "effective_rank_per_image"
    ] == pytest.approx(1.0, abs=1e-6)


def test_effective_rank_of_equal_shares_is_their_number():
    assert effective_rank(torch.tensor([2.0, 2.0, 2.0, 0.0])).item() == pytest.approx(3.0)


def test_intervals_draw_pictures_with_all_their_captions():
    torch.manual_seed(0)
    i2t, t2i, txt2img = (
        torch.randint(0, 12, (40,)),
        torch.randint(0, 12, (40, 5)),
        torch.arange(40).repeat_interleave(5),
    )
    intervals = recall_intervals(i2t, t2i.flatten(), txt2img)
    assert list(intervals) == list(recall_metrics(i2t, t2i))
    assert intervals["i2t_r5"] == pytest.approx(
        [100 * end for end in bootstrap_interval((i2t < 5).tolist())]
    )
    by_picture = [
        100 * end for end in bootstrap_interval((t2i < 5).flatten().tolist(), txt2img.tolist())
    ]
    assert intervals["t2i_r5"] == pytest.approx(by_picture)
    # With five captions each, the mean of the six recalls is a mean over pictures.
    both = sum((i2t < k).double() + (t2i < k).double().mean(dim=1) for k in (1, 5, 10)) / 6
    assert intervals["r_mean"] == pytest.approx(
        [100 * end for end in bootstrap_interval(both.tolist())]
    )


def test_intervals_do_not_depend_on_the_order_of_captions():
    i2t, t2i, txt2img = (
        torch.tensor([0, 7, 2]),
        torch.tensor([0, 3, 9, 12]),
        torch.tensor([0, 2, 2, 1]),
    )
    order = torch.tensor([3, 1, 0, 2])
    assert recall_intervals(i2t, t2i, txt2img) == recall_intervals(i2t, t2i[order], txt2img[order])
    perfect = recall_intervals(torch.zeros(3), torch.zeros(4), txt2img)
    assert set(perfect.values()) == {(100.0, 100.0)}
