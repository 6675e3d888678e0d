"""Recalls equal those of the official retrieval task, on similarities that were scored with it."""

import json
from pathlib import Path

import pytest
import torch

from seedcli.benchmarks.retrieval import rank_features, recall_metrics

CASES = json.loads((Path(__file__).parent / "data" / "retrieval.json").read_text())["cases"]
OFFICIAL = {"i2t": "txt", "t2i": "img"}


@pytest.mark.parametrize("case", CASES, ids=lambda case: case["name"])
def test_recalls_equal_the_official_ones(case):
    similarity, txt2img = (
        torch.tensor(case["similarity"], dtype=torch.float64),
        torch.tensor(case["txt2img"]),
    )
    captions = torch.eye(similarity.shape[1], dtype=torch.float64)  # so it is what it is
    metrics = recall_metrics(*rank_features(similarity, captions, txt2img))
    # Where similarities tie, the official order is that of an unstable sort; ours is the worst one,
    # whatever the order of the candidates.
    expected = case["bounds"]["worst"] if "bounds" in case else case["official"]
    for name, value in metrics.items():
        if name != "r_mean":
            assert value == pytest.approx(expected[OFFICIAL[name[:3]] + name[3:]], abs=1e-9), name
    if "bounds" not in case:
        assert metrics["r_mean"] == pytest.approx(expected["r_mean"], abs=1e-9)
