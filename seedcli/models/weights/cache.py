"""Where files of ours lie that belong to no run and to no model folder."""

from __future__ import annotations

import os
from pathlib import Path

from seedcli.errors import DataError


def writable_cache(instead: Path | None = None) -> Path:
    """`cache_folder`, or `instead` where that cannot be written: a read-only image of a cluster.

    Raises:
        DataError: It cannot, and there is nothing instead.
    """
    folder = cache_folder()
    try:
        folder.mkdir(parents=True, exist_ok=True)
        reason = None if os.access(folder, os.W_OK) else "it is read-only"
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
    if reason is None:
        return folder
    if instead is None:
        raise DataError(
            f"the cache folder {folder} cannot be written: {reason}",
            remedy="HF_HOME=FOLDER moves it",
        )
    return instead


def cache_folder() -> Path:
    """`seedcli/` in Hugging Face's cache folder: for files from outside the hub, and for what is
    computed about read-only files.
    """
    home = (
        os.environ.get("HF_HOME")
        or Path(os.environ.get("XDG_CACHE_HOME", "~/.cache")).expanduser() / "huggingface"
    )
    return Path(home).expanduser() / "seedcli"
