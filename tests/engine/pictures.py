"""Pictures and requests for runs of `seed tokenize` on several engines."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
from PIL import Image

from seedcli.workflows.tokenize.request import TokenizeRequest

ROOT = Path(__file__).parents[2]


def write_pictures(folder: Path, number: int) -> None:
    folder.mkdir()
    for index in range(number):
        blocks = np.random.default_rng(index).integers(0, 256, (4, 4, 3), dtype=np.uint8)
        picture = Image.fromarray(blocks).resize((24, 24), Image.Resampling.BICUBIC)
        picture.save(folder / f"{index:02d}.png")


def ask_for(model: Path | str, **options) -> TokenizeRequest:
    """Of `pictures`, in passes of 2 and shards of 5."""
    settings = {
        "inputs": ("pictures",),
        "model": str(model),
        "batch_size": 2,
        "shard_size": 5,
        "device": "cpu",
    }
    return TokenizeRequest(**settings | options)


def poison_path() -> str:
    """PYTHONPATH of processes in which a picture may be poisoned."""
    return f"{ROOT / 'tests' / 'engine' / 'poison'}{os.pathsep}{ROOT}"


def shard_bytes(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(folder.glob("*.parquet"))}
