"""What `seed bench tokenize` measured on this machine, where `seed plan tokenize` finds it.
Torch-free.
"""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import Any

from seedcli.files import parse_json, publish_json
from seedcli.models.language.cost import DEVICES
from seedcli.models.weights.cache import cache_folder, writable_cache

_DECIDES = ("device", "model", "dtype", "batch_size", "image_bytes")


def rates_file() -> Path:
    """Where rates are kept."""
    return cache_folder() / "bench" / "tokenize.json"


def read_rates() -> list[dict[str, Any]]:
    """Rates that were measured here, the last one first; a file that cannot be read holds none."""
    with contextlib.suppress(OSError, ValueError, TypeError, KeyError):
        return sorted(
            parse_json(rates_file().read_bytes())["rates"],
            key=lambda rate: rate["measured"],
            reverse=True,
        )
    return []


def keep_rate(rate: dict[str, Any]) -> Path:
    """Adds a rate; it replaces one of the same device, model and settings.

    Raises:
        DataError: The cache folder cannot be written.
    """
    writable_cache()
    others = [one for one in read_rates() if any(one.get(name) != rate[name] for name in _DECIDES)]
    rates_file().parent.mkdir(parents=True, exist_ok=True)
    publish_json(rates_file(), {"rates": [rate, *others]})
    return rates_file()


def kind_of(device: str, memory_gb: float | None) -> str | None:
    """Name of a device as its driver gives it -> what `--gpus` calls it, None for one that it does
    not know: `NVIDIA H100 80GB HBM3` of 80 GB is `h100-80g`.
    """
    if memory_gb is None:
        return "cpu"
    words = device.lower().replace(" ", "")
    found = [kind for kind in DEVICES if kind.partition("-")[0] in words]
    return min(
        found, key=lambda kind: abs((DEVICES[kind].memory_gb or 0) - memory_gb), default=None
    )
