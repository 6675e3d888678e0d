"""Batches read ahead by other processes, whose errors arrive as they were raised.

PyTorch's loader hands on an exception as a text with the worker's traceback; a message for the user
and its remedy would drown in it. So an error that a user can cause travels as a batch.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from torch.utils.data import DataLoader, Dataset, IterableDataset

from seedcli.errors import SeedError


class _Steps(Dataset):
    def __init__(self, steps: Dataset):
        self._steps = steps

    def __getitem__(self, step: int) -> Any:
        try:
            return self._steps[step]
        except SeedError as error:
            return error


class _Stream(IterableDataset):
    def __init__(self, stream: IterableDataset):
        self._stream = stream

    def __iter__(self) -> Iterator[Any]:
        try:
            yield from self._stream
        except SeedError as error:
            yield error


def read_ahead(
    data: Dataset, *, workers: int, pin_memory: bool, steps: Iterable[int] | None = None
) -> Iterator[Any]:
    """Whole batches of a data set, in order, read by `workers` other processes; 0 is this one.

    Args:
        data: Batches by their step, or a stream of them.
        workers: Processes.
        pin_memory: For copies to a GPU.
        steps: Of a data set that is no stream.

    Raises:
        SeedError: Whatever the data set raised.
    """
    carrying = _Stream(data) if isinstance(data, IterableDataset) else _Steps(data)
    for batch in DataLoader(
        carrying, batch_size=None, sampler=steps, num_workers=workers, pin_memory=pin_memory
    ):
        if isinstance(batch, SeedError):
            raise batch
        yield batch
