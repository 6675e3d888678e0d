"""Token shards that tests write and compare."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from seedcli.data.tokens.shards import ShardHeader


def tiny_header(**changes: Any) -> ShardHeader:
    """Four codes of 64 a picture, unless told otherwise."""
    facts: dict[str, Any] = {
        "tokenizer": "tiny",
        "fingerprint": "f" * 16,
        "num_queries": 4,
        "num_codes": 64,
        "image_handling": "seed",
        "numerics": "default",
        "dtype": "float32",
        "micro_batch": (1, 3, 8, 8),
    }
    return ShardHeader(**facts | changes)


def shard_bytes(folder: Path) -> dict[str, bytes]:
    """Name of each shard of a folder -> its bytes."""
    return {path.name: path.read_bytes() for path in sorted(folder.glob("*.parquet"))}
