"""Sheets of held-out pictures: what a person looks at while a stage trains."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch
from PIL import Image
from torch import Tensor
from torchvision.transforms.functional import to_tensor
from torchvision.utils import save_image

NUM_SHEET_PICTURES = 24


def spread_rows(count: int, wanted: int = NUM_SHEET_PICTURES) -> Tensor:
    """Numbers of `wanted` rows, or of all where there are fewer, evenly over `count` [wanted]."""
    return torch.linspace(0, count - 1, min(wanted, count)).round().long()


def stack_images(images: Sequence[Image.Image]) -> Tensor:
    """PIL images of one size -> [N,3,S,S] in 0..1."""
    return torch.stack([to_tensor(image) for image in images])


def write_sheet(path: Path, rows: Sequence[Tensor]) -> None:
    """Rows of pictures, each [N,3,S,S] in 0..1 -> one PNG, a column a picture."""
    path.parent.mkdir(parents=True, exist_ok=True)
    save_image(torch.cat([row.cpu() for row in rows]), path, nrow=len(rows[0]))
