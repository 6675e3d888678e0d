"""The environment report of `seed doctor`: read only, no download, no torch kernel is run."""

from __future__ import annotations

import os
import platform
import shutil
import sys
from pathlib import Path
from typing import Any

import seedcli
from seedcli.recipe.files import recipes_folder, shipped_recipes
from seedcli.training.run_folder import package_version

PACKAGES = (
    "torch",
    "torchvision",
    "transformers",
    "diffusers",
    "peft",
    "accelerate",
    "deepspeed",
    "datasets",
    "open_clip_torch",
    "tokenizers",
    "sentencepiece",
    "safetensors",
    "huggingface_hub",
    "pyarrow",
    "pycocotools",
    "numpy",
    "pillow",
    "pydantic",
    "typer",
    "rich",
    "gradio",
)
SHOWN_ENVIRONMENT = ("HF_", "OMP_", "CUDA_", "TORCH_", "NCCL_")
BUNDLED = Path(seedcli.__file__).parent / "bundled"


def examine() -> dict[str, Any]:
    """Everything a bug report needs: versions, the torch build, cores, memory, disk, bundled parts,
    cache folders, relevant environment.
    """
    return {
        "seed": seedcli.__version__,
        "python": platform.python_version(),
        "platform": platform.platform(),
        "executable": sys.executable,
        "packages": {name: package_version(name) for name in PACKAGES},
        "torch": _torch(),
        "machine": _machine(),
        "bundled": _bundled(),
        "caches": _caches(),
        "environment": _environment(),
    }


def _environment() -> dict[str, str]:
    return {
        name: value
        for name, value in sorted(os.environ.items())
        if name.startswith(SHOWN_ENVIRONMENT) and "TOKEN" not in name
    }


def _torch() -> dict[str, Any]:
    try:
        import torch
    except (ImportError, OSError) as error:
        return {"usable": False, "error": str(error)}
    return {
        "usable": True,
        "build": torch.__version__,
        "cuda_build": torch.version.cuda,
        "cuda_devices": [
            torch.cuda.get_device_name(index) for index in range(torch.cuda.device_count())
        ],
        "mps": torch.backends.mps.is_available(),
        "threads": torch.get_num_threads(),
    }


def _machine() -> dict[str, Any]:
    usage = shutil.disk_usage(Path.cwd())
    usable = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return {
        "processor": _processor(),
        "cores": os.cpu_count(),
        "usable_cores": usable,
        **_memory(),
        "disk_free_gib": round(usage.free / 2**30, 1),
    }


def _processor() -> str:
    info = Path("/proc/cpuinfo")
    if info.is_file():
        names = [
            line.partition(":")[2].strip()
            for line in info.read_text().splitlines()
            if line.startswith("model name")
        ]
        return names[0] if names else platform.machine()
    return platform.processor() or platform.machine()


def _memory() -> dict[str, float]:
    info = Path("/proc/meminfo")
    if not info.is_file():
        return {}
    kib = {
        line.partition(":")[0]: int(line.split()[1])
        for line in info.read_text().splitlines()
        if ":" in line
    }
    return {
        "memory_gib": round(kib["MemTotal"] / 2**20, 1),
        "memory_available_gib": round(kib["MemAvailable"] / 2**20, 1),
    }


def _bundled() -> dict[str, Any]:
    files = {
        "nano_model": BUNDLED / "nano" / "model.safetensors",
        "nano_decoder": BUNDLED / "nano" / "decoder" / "model_index.json",
        "emoji": BUNDLED / "emoji" / "emoji.parquet",
    }
    return {name: path.is_file() for name, path in files.items()} | {
        "recipes": len(shipped_recipes()),
        "recipes_folder": str(recipes_folder()),
    }


def _caches() -> dict[str, Any]:
    from seedcli.models.weights.cache import cache_folder

    ours = cache_folder()
    nearest = next(folder for folder in (ours, *ours.parents) if folder.exists())
    return {
        "huggingface": str(ours.parent),
        "seed": str(ours),
        "writable": os.access(nearest, os.W_OK),
    }
