"""Where files of ours lie that belong to no run and to no model folder."""

from __future__ import annotations

import os
from pathlib import Path


def cache_folder() -> Path:
    """`seedcli/` in Hugging Face's cache folder: for files from outside the hub, and for what is
    computed about read-only files.
    """
    home = (
        os.environ.get("HF_HOME")
        or Path(os.environ.get("XDG_CACHE_HOME", "~/.cache")).expanduser() / "huggingface"
    )
    return Path(home).expanduser() / "seedcli"
