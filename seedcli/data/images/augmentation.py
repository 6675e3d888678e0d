"""Small pictures held in memory -> random views, a batch at a time: what trains `seed-nano`'s parts
as fast as their networks run.

`data.images` augments one PIL image at a time (about 1 ms each); at 64 px that would cost as much
as the networks. This is the same `random-affine` geometry on a batch of tensors. It is for training
only: codes and evaluation go through `data.images`.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from seedcli.data.images.images import Preprocess, open_image
from seedcli.models.visual.config import PreprocessConfig


def read_squares(images: Sequence[bytes | str], image_size_px: int) -> Tensor:
    """Image files or their bytes -> uint8 [N,3,S,S], squashed to the square."""
    preprocess = Preprocess(
        PreprocessConfig(image_size_px=image_size_px, geometry="squash", interpolation="bilinear")
    )
    return torch.stack([preprocess.to_square(open_image(image)) for image in images])


def random_views(squares: Tensor, config: PreprocessConfig) -> Tensor:
    """uint8 [B,3,S,S] -> float32 [B,3,S,S] in 0..1: each picture turned, shifted, scaled, its
    brightness and contrast changed, on white.

    Draws from torch's global generator, as torchvision's RandomAffine and ColorJitter do; the
    ranges mean the same as there.

    Raises:
        ValueError: The geometry is not `random-affine`.
    """
    return apply_views(squares, draw_views(len(squares), config))


def draw_views(count: int, config: PreprocessConfig) -> Tensor:
    """What `count` random views do to their pictures [count,8]: the 2 x 3 matrix from output to
    input positions, row by row, brightness, and contrast.

    Raises:
        ValueError: The geometry is not `random-affine`.
    """
    if config.geometry != "random-affine" or config.horizontal_flip:
        raise ValueError(
            f"random_views makes random-affine views without flips, not {config.geometry}, flip "
            f"{config.horizontal_flip}"
        )
    angle = torch.empty(count).uniform_(-config.rotation_deg, config.rotation_deg) * (math.pi / 180)
    scale = torch.empty(count).uniform_(*config.scale)
    # affine_grid's coordinates span -1..1
    shift = torch.empty(count, 2).uniform_(-2 * config.shift, 2 * config.shift)
    # affine_grid maps output to input positions, hence the inverse: scale down to magnify.
    cos, sin = torch.cos(angle) / scale, torch.sin(angle) / scale
    turn = torch.stack([torch.stack([cos, sin], 1), torch.stack([-sin, cos], 1)], 1)
    matrix = torch.cat([turn, -(turn @ shift[:, :, None])], 2)
    light = torch.ones(count, 2)
    if config.brightness > 0:
        low, high = 1 - config.brightness, 1 + config.brightness
        light = torch.stack([torch.empty(count).uniform_(low, high) for _ in range(2)], 1)
    return torch.cat([matrix.flatten(1), light], 1)


def apply_views(squares: Tensor, views: Tensor) -> Tensor:
    """uint8 [B,3,S,S] and what `draw_views` gave [B,8] -> float32 [B,3,S,S] in 0..1, on white."""
    matrix, brightness, contrast = views[:, :6].view(-1, 2, 3), views[:, 6], views[:, 7]
    ink = 1 - squares.float() / 255  # white is 0, so that grid_sample's zero padding is white
    grid = F.affine_grid(matrix, list(squares.shape), align_corners=False)
    moved = 1 - F.grid_sample(ink, grid, mode="bilinear", padding_mode="zeros", align_corners=False)
    if (views[:, 6:] == 1).all():
        return moved
    lit = (moved * brightness.view(-1, 1, 1, 1)).clamp(0, 1)
    grey = (
        (lit * lit.new_tensor([0.299, 0.587, 0.114]).view(3, 1, 1))
        .sum(1, keepdim=True)
        .mean((2, 3), keepdim=True)
    )
    return (grey + (lit - grey) * contrast.view(-1, 1, 1, 1)).clamp(0, 1)


def normalize_views(views: Tensor, config: PreprocessConfig) -> Tensor:
    """Values in 0..1 [B,3,S,S] -> pixels [B,3,S,S], normalised with the
    configuration's mean and deviation.
    """
    mean, std = (
        torch.tensor(values, device=views.device).view(3, 1, 1)
        for values in (config.mean, config.std)
    )
    return (views - mean) / std


def epoch_indices(step: int, *, count: int, batch_size: int, seed: int) -> Tensor:
    """Rows of global batch `step` [batch_size]: shuffled passes over `count` rows, back to back; a
    pure function of its arguments.
    """
    start = step * batch_size
    rows = torch.arange(start, start + batch_size)
    order = {}
    for epoch in range(start // count, (start + batch_size - 1) // count + 1):
        generator = torch.Generator().manual_seed(seed * 1_000_003 + epoch)
        order[epoch] = torch.randperm(count, generator=generator)
    return torch.stack([order[int(row) // count][int(row) % count] for row in rows])
