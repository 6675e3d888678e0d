"""What codes keep of the looks of pictures, on made-up embeddings."""

from __future__ import annotations

import pytest
import torch

from tools.nano.codes_explain import compare


def test_codes_that_keep_half_of_what_the_target_tells() -> None:
    """Latents are a linear map of two directions; codes know one of them."""
    torch.manual_seed(0)

    def draw(count: int) -> dict[str, torch.Tensor]:
        embeddings = torch.randn(count, 2)
        return {
            "latents": embeddings @ torch.tensor([[1.0, 0.0, 1.0], [0.0, 1.0, -1.0]]),
            "embeddings": embeddings,
            "code_embeddings": embeddings * torch.tensor([1.0, 0.0]),
        }

    found = compare(draw(4000), {"unseen": draw(4000)})["unseen"]
    assert found["target"] == pytest.approx(1.0, abs=1e-4)  # measured 1e-6 below: the map's ridge
    # measured 0.501 and 0.503: the sample's halves are not quite even
    assert found["codes"] == pytest.approx(0.5, abs=0.03)
    assert found["share"] == pytest.approx(0.5, abs=0.03)
    assert found["embedding_kept"] == pytest.approx(0.5, abs=0.03)
