"""Figures by name, in a file that is written after each."""

from __future__ import annotations

import importlib.util
import json
import platform
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from tools.bench_gpu.sizes import SEED_2, SIZES, Size


class OutOfTime(Exception):
    """Too little is left for a figure."""


class Bench:
    """Figures by name, each written as soon as it is known.

    Args:
        size: How large everything is.
        output: The JSON file.
        device: Where to compute.
        seconds: All that the run may take.
    """

    def __init__(self, size: Size, output: Path, *, device: str, seconds: float):
        self.size, self.output, self.device = size, output, torch.device(device)
        self._ends = time.monotonic() + seconds
        self.result: dict[str, Any] = {"machine": self._machine(), "figures": {}, "left_out": {}}

    def figure(self, name: str, measure: Callable[[], Any], *, needs_s: float) -> None:
        """Measures one figure, or says why it is left out; the file is written either way.

        Args:
            name: Of the figure.
            measure: Gives its value.
            needs_s: Seconds that it takes at full size; with less left it is not begun.
        """
        started = time.monotonic()
        left_s = self._ends - started
        try:
            if left_s < needs_s * (self.size.tokenizer is SEED_2):
                raise OutOfTime(f"needs {needs_s:g} s, {left_s:.0f} s are left")
            if self.device.type == "cuda":
                torch.cuda.empty_cache()
                torch.cuda.reset_peak_memory_stats()
            value = measure()
            if self.device.type == "cuda":
                value["peak_gpu_gb"] = round(torch.cuda.max_memory_allocated() / 1e9, 2)
            value["took_s"] = round(time.monotonic() - started, 1)
            self.result["figures"][name] = value
        # whatever it is, it costs this figure and not the others
        except Exception as error:
            value = f"{type(error).__name__}: {str(error).splitlines()[0] if str(error) else ''}"
            self.result["left_out"][name] = value
        self.output.write_text(json.dumps(self.result, indent=2) + "\n")
        sys.stderr.write(f"{name}: {json.dumps(value)}\n")

    def _machine(self) -> dict[str, Any]:
        facts: dict[str, Any] = {
            "not_run_on_a_gpu": self.device.type != "cuda",
            "size": next(name for name, size in SIZES.items() if size() == self.size),
            "python": platform.python_version(),
            "torch": torch.__version__,
            "device": self.device.type,
            "weights": "random",
        }
        for package in ("transformers", "peft", "accelerate", "bitsandbytes"):
            facts[package] = (
                importlib.import_module(package).__version__
                if importlib.util.find_spec(package)
                else None
            )
        if self.device.type == "cuda":
            gpu = torch.cuda.get_device_properties(self.device)
            facts |= {"device": gpu.name, "memory_gb": round(gpu.total_memory / 2**30, 1)}
        return facts

    def wait(self) -> None:
        """Until the GPU has done what it was asked for."""
        if self.device.type == "cuda":
            torch.cuda.synchronize()

    def rate(self, step: Callable[[], int]) -> float:
        """Endless steps -> how much of what they count comes in a second; the first warms up."""
        step()
        self.wait()
        started, count, elapsed_s = time.perf_counter(), 0, 0.0
        while elapsed_s < self.size.seconds:
            count += step()
            self.wait()
            elapsed_s = time.perf_counter() - started
        return count / elapsed_s
