"""The loss terms of stage I; those of stage II's codebook stand beside the codebook
itself (`models.codebook`).
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from seedcli.training.gather import gather_rows
from seedcli.training.ranks import Ranks


def contrastive_loss(
    image_features: Tensor,
    text_features: Tensor,
    temperature: Tensor,
    *,
    ranks: Ranks,
    label_smoothing: float,
    gather_gradient: bool,
) -> Tensor:
    """L2-normalised features [B,F] of pairs -> scalar; this rank's rows against the features of all
    ranks, both directions averaged.

    Args:
        temperature: Scalar; similarities are divided by it.
        label_smoothing: Published 0.1.
        gather_gradient: Whether the gathered side carries gradient. Published: no; each cross
            entropy then teaches only its own side.

    Source: AILab-CVC/SEED@93b3cf4,
    SEED_Tokenizer/lavis/models/blip2_models/blip2_qformer_casual.py (facts).
    """
    count = len(image_features)
    labels = torch.arange(count, device=image_features.device) + ranks.rank * count

    def one_way(ours: Tensor, others: Tensor) -> Tensor:
        everyones = gather_rows(others, with_gradient=gather_gradient)
        similarities = ours @ everyones.mT / temperature
        return F.cross_entropy(similarities, labels, label_smoothing=label_smoothing)

    return (one_way(image_features, text_features) + one_way(text_features, image_features)) / 2


def tile_targets(pixels: Tensor, num_tiles: int) -> Tensor:
    """pixels [B,3,S,S] -> tiles [B,num_tiles,3*h*w], row by row; the grid is the squarest one
    that divides the picture.

    Raises:
        ValueError: No grid of `num_tiles` tiles divides the side.
    """
    side = pixels.shape[-1]
    rows = [
        n
        for n in range(1, num_tiles + 1)
        if num_tiles % n == 0 and side % n == 0 and side % (num_tiles // n) == 0
    ]
    if not rows:
        raise ValueError(f"{num_tiles} tiles do not divide {side} px into a grid")
    num_rows = min(rows, key=lambda n: abs(n - num_tiles // n))
    num_columns = num_tiles // num_rows
    # B,3,rows,h,columns,w
    tiles = pixels.unflatten(3, (num_columns, side // num_columns)).unflatten(
        2, (num_rows, side // num_rows)
    )
    return tiles.permute(0, 2, 4, 1, 3, 5).flatten(3).flatten(1, 2)
