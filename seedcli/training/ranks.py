"""What a process must know about its siblings: its rank, its rows of a batch, and features of all of them with gradients."""

from __future__ import annotations

import os
from dataclasses import dataclass

import torch
import torch.distributed
from torch import Tensor

from seedcli.errors import UsageError


@dataclass(frozen=True)
class Ranks:
    """This process's place among `world` processes."""

    rank: int = 0
    world: int = 1

    @classmethod
    def from_environment(cls) -> Ranks:
        """As torchrun and `launcher` describe it; one process where they did not run."""
        return cls(int(os.environ.get("RANK", "0")), int(os.environ.get("WORLD_SIZE", "1")))

    def rows(self, batch_size: int) -> slice:
        """This rank's rows of a global batch.

        Raises:
            UsageError: The batch does not split evenly.
        """
        if batch_size % self.world:
            raise UsageError(
                f"batch size {batch_size} does not split over {self.world} processes", remedy="set optimization.batch_size to a multiple"
            )
        share = batch_size // self.world
        return slice(self.rank * share, (self.rank + 1) * share)


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

    With gradient, each rank's rows receive the gradients of every rank's loss; averaged over ranks, as data parallelism does, that is the
    gradient of the mean loss over the global batch. Without, as in the official code, even a rank's own slice carries none.
    """
    if not (torch.distributed.is_initialized() and torch.distributed.get_world_size() > 1):
        return rows if with_gradient else rows.detach()
    if with_gradient:
        return _GatherWithGradient.apply(rows)
    parts = [torch.empty_like(rows) for _ in range(torch.distributed.get_world_size())]
    torch.distributed.all_gather(parts, rows.detach().contiguous())
    return torch.cat(parts)
