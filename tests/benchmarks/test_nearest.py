import pytest
import torch

from seedcli.benchmarks.nearest import chance_shares, right_ranks, top_shares


def test_rank_of_the_best_right_candidate():
    similarity = torch.tensor([[0.9, 0.5, 0.1], [0.2, 0.8, 0.9], [0.4, 0.4, 0.4]])
    right = torch.tensor([[True, False, False], [True, True, False], [False, True, False]])
    assert right_ranks(similarity, right).tolist() == [0, 1, 2]
    assert top_shares(torch.tensor([0, 1, 2, 7]), (1, 5)) == {"top1": 25.0, "top5": 75.0}


def test_a_row_without_a_right_candidate_is_refused():
    with pytest.raises(ValueError, match="no right candidate"):
        right_ranks(torch.zeros(1, 2), torch.zeros(1, 2, dtype=torch.bool))


def test_chance_is_that_of_a_random_order():
    one_of_ten = torch.zeros(4, 10, dtype=torch.bool)
    one_of_ten[:, 3] = True
    assert chance_shares(one_of_ten) == {"top1": 10.0, "top5": 50.0}
    two_of_four = torch.tensor([[True, True, False, False]])
    assert chance_shares(two_of_four, (1, 2)) == {"top1": 50.0, "top2": 83.33}
