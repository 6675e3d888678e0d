"""Errors of other processes arrive as they were raised."""

from __future__ import annotations

import pytest
from torch.utils.data import Dataset, IterableDataset

from seedcli.errors import DataError
from seedcli.training.readers import read_ahead


class Steps(Dataset):
    def __getitem__(self, step: int) -> int:
        if step == 5:
            raise DataError("row 5 has 31 codes, expected 32", remedy="seed tokens verify")
        return step


class Stream(IterableDataset):
    def __iter__(self):
        return map(Steps().__getitem__, range(9))


@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize("stream", [True, False])
def test_a_workers_error_is_the_sentence_that_it_says(stream, workers):
    batches = (
        read_ahead(Stream(), workers=min(workers, 1), pin_memory=False)
        if stream
        else read_ahead(Steps(), workers=workers, pin_memory=False, steps=range(3, 9))
    )
    read = []
    with pytest.raises(DataError) as refused:
        read += batches
    first = 0 if stream else 3
    assert read == list(range(first, 5)) or not read
    assert refused.value.message == "row 5 has 31 codes, expected 32"
    assert refused.value.remedy == "seed tokens verify"


def test_batches_come_in_the_order_of_steps():
    assert list(read_ahead(Steps(), workers=2, pin_memory=False, steps=range(6, 20))) == list(
        range(6, 20)
    )
