"""Features of all ranks on each of them, with gradients."""

from __future__ import annotations

import torch
import torch.distributed
from torch import Tensor


class _GatherWithGradient(torch.autograd.Function):
    @staticmethod
    def forward(context, rows: Tensor) -> Tensor:
        parts = [torch.empty_like(rows) for _ in range(torch.distributed.get_world_size())]
        torch.distributed.all_gather(parts, rows.contiguous())
        return torch.cat(parts)

    @staticmethod
    def backward(context, gradient: Tensor) -> Tensor:
        gradient = gradient.contiguous()
        torch.distributed.all_reduce(gradient)
        return gradient.chunk(torch.distributed.get_world_size())[torch.distributed.get_rank()]


def gather_rows(rows: Tensor, *, with_gradient: bool) -> Tensor:
    """Rows [B,...] of every rank -> [world * B,...] in rank order.

    With gradient, each rank's rows receive the gradients of every rank's loss; averaged over ranks,
    as data parallelism does, that is the gradient of the mean loss over the global batch. Without,
    as in the official code, even a rank's own slice carries none.
    """
    if not (torch.distributed.is_initialized() and torch.distributed.get_world_size() > 1):
        return rows if with_gradient else rows.detach()
    if with_gradient:
        return _GatherWithGradient.apply(rows)
    parts = [torch.empty_like(rows) for _ in range(torch.distributed.get_world_size())]
    torch.distributed.all_gather(parts, rows.detach().contiguous())
    return torch.cat(parts)
