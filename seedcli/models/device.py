"""What a model runs on: device, dtype, and glibc's allocator, set for large tensors
that come and go on a CPU.
"""

from __future__ import annotations

import ctypes
import platform
from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING, Any

from seedcli.errors import UsageError

if TYPE_CHECKING:
    import torch
    from torch import Tensor

_M_TRIM_THRESHOLD, _M_TOP_PAD, _M_MMAP_THRESHOLD = -1, -2, -3  # malloc.h


def keep_freed_memory() -> None:
    """Makes glibc keep large freed blocks instead of handing them back to the kernel and faulting
    them in again at every step.

    Stage I of seed-nano took 3.90 CPU seconds a step without and 3.14 with it (128 pictures, one
    thread; page faults 110,618, 3,744); one picture through seed-2, whose weights are cast at use,
    8.6 and 7.3 (page faults 622,634 and 50,828). Elsewhere than on Linux with glibc nothing
    happens. Source of the constants: mallopt(3).
    """
    if platform.system() != "Linux" or platform.libc_ver()[0] != "glibc":
        return
    libc = ctypes.CDLL(None)
    for parameter, value in (
        (_M_MMAP_THRESHOLD, 1 << 30),
        (_M_TRIM_THRESHOLD, (1 << 31) - 1),
        (_M_TOP_PAD, 1 << 28),
    ):
        libc.mallopt(parameter, value)


def pick_device(device: str) -> torch.device:
    """`auto` -> CUDA, Apple's GPU or the CPU, in this order; anything else as torch names it.

    Raises:
        UsageError: torch does not know the device, or this machine does not have it.
    """
    import torch

    if device == "auto":
        return torch.device(
            "cuda"
            if torch.cuda.is_available()
            else "mps"
            if torch.backends.mps.is_available()
            else "cpu"
        )
    try:
        picked = torch.device(device)
        if picked.type == "mps" and not torch.backends.mps.is_available():
            raise RuntimeError("this machine has no GPU of Apple's, or PyTorch here cannot use it")
        torch.empty(0, device=picked)
    except (RuntimeError, AssertionError) as error:
        raise UsageError(
            f"--device {device}: {str(error).splitlines()[0]}",
            remedy="--device auto, cpu, cuda or mps; seed doctor shows what is here",
        ) from None
    return picked


def run_ahead(
    function: Callable[[Tensor], Tensor], batches: Iterable[Tensor], device: torch.device
) -> Iterator[Tensor]:
    """Batches on the host -> what `function` makes of each on the device, back on the host, in
    order.

    On a GPU a batch is copied from pinned memory on a stream of its own while the one before it
    runs, and what that one gave is waited for only when this one has started, so that the GPU does
    not wait for the host. Elsewhere one follows the other.
    """
    import torch

    if device.type != "cuda":
        for batch in batches:
            yield function(batch.to(device)).cpu()
        return
    copying, computing = torch.cuda.Stream(device), torch.cuda.current_stream(device)
    begun: tuple[Tensor, torch.cuda.Event] | None = None
    for batch in batches:
        with torch.cuda.stream(copying):
            here = batch.pin_memory().to(device, non_blocking=True)
        computing.wait_stream(copying)
        here.record_stream(computing)  # its memory is used again only when this pass is over
        found = function(here)
        result = torch.empty(found.shape, dtype=found.dtype, pin_memory=True)
        result.copy_(found, non_blocking=True)
        done = torch.cuda.Event()
        done.record(computing)
        if begun is not None:
            begun[1].synchronize()
            yield begun[0]
        begun = result, done
    if begun is not None:
        begun[1].synchronize()
        yield begun[0]


def compute_dtype(name: str) -> torch.dtype:
    """Of the arithmetic before the codebook; `auto` is float32 everywhere.

    Raises:
        UsageError: It is none of those that are offered.
    """
    import torch

    if name == "auto":
        return torch.float32
    dtypes = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}
    if name not in dtypes:
        raise UsageError(f"--dtype {name}: expected auto, {', '.join(dtypes)}")
    return dtypes[name]


def decoder_dtype(dtype: str, device_type: str) -> Any:
    """`auto` is float16 on a GPU, as in the official code, and float32 on the CPU."""
    import torch

    return getattr(
        torch, ("float16" if device_type == "cuda" else "float32") if dtype == "auto" else dtype
    )
