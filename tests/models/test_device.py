"""Freed memory stays with the process, so that the next step does not fault it in again."""

from __future__ import annotations

import platform
import subprocess
import sys

import pytest
import torch

from seedcli.errors import UsageError
from seedcli.models.device import pick_device, run_ahead

PROGRAM = """
import resource, sys
from seedcli.models.device import keep_freed_memory
if sys.argv[1] == "keep":
    keep_freed_memory()
import numpy
for _ in range(3):
    numpy.ones(8_000_000)
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(10):
    numpy.ones(8_000_000)
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="glibc only")
def test_large_blocks_are_not_faulted_in_again():
    faults = [
        int(
            subprocess.run(
                [sys.executable, "-c", PROGRAM, mode], capture_output=True, text=True, check=True
            ).stdout
        )
        for mode in ("keep", "give")
    ]
    assert faults[0] < 100 < faults[1]


@pytest.mark.skipif(torch.backends.mps.is_available(), reason="this machine has it")
def test_apples_gpu_on_another_machine_is_refused_in_words():
    with pytest.raises(UsageError, match="--device mps: this machine has no GPU of Apple's"):
        pick_device("mps")


def test_batches_run_in_order_and_come_back():
    asked = []

    def batches():
        for number in range(3):
            asked.append(number)
            yield torch.full((2,), number)

    cpu = torch.device("cpu")
    found = run_ahead(lambda batch: batch * 10, batches(), cpu)
    assert next(found).tolist() == [0, 0]
    assert asked == [0]  # on a CPU nothing is gained by a batch in advance
    assert [each.tolist() for each in found] == [[10, 10], [20, 20]]
