"""What a benchmark's run was begun with: `settings.json` in its folder, written once and compared
ever after. Torch-free.
"""

from __future__ import annotations

import hashlib
import json
import platform
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

import seedcli
from seedcli.benchmarks.paper_numbers import flatten
from seedcli.console import Reporter
from seedcli.errors import DataError
from seedcli.files import json_text, parse_json, raise_if_full
from seedcli.storage import publish_first

SETTINGS_FILE = "settings.json"
VERSIONS_OF = (
    "torch",
    "transformers",
    "diffusers",
    "open_clip_torch",
    "tokenizers",
    "numpy",
    "pillow",
)


def settings_digest(settings: Mapping[str, Any]) -> str:
    """Settings -> 8 hex digits."""
    return hashlib.sha256(json.dumps(settings, sort_keys=True).encode()).hexdigest()[:8]


def claim_folder(folder: Path, settings: dict[str, Any], reporter: Reporter) -> None:
    """Writes the settings of a new run, or compares those of a begun one.

    Raises:
        DataError: The folder holds other things, or a run with other settings.
        NoSpaceError: The disk is full.
    """
    path = folder / SETTINGS_FILE
    folder.mkdir(parents=True, exist_ok=True)
    if not path.is_file():
        others = sorted(each.name for each in folder.iterdir() if each.suffix != ".partial")
        if others and not path.is_file():  # tasks of an array job may come at one time
            raise DataError(
                f"{folder} holds other things: {', '.join(others[:5])}",
                remedy="choose an empty or new folder with -o",
            )
        content = {"settings": settings, "versions": find_versions()}
        try:
            if publish_first(path, json_text(content, indent=2).encode() + b"\n"):
                return
        except OSError as error:
            raise_if_full(error, path, 0)
            raise
    try:
        held = parse_json(path.read_bytes())
        before, versions = flatten(held["settings"]), held["versions"]
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise DataError(
            f"{path} is damaged ({type(error).__name__}: {error})",
            remedy="choose another folder with -o",
        ) from None
    now = flatten(settings)
    changed = [
        name for name in sorted(before.keys() | now.keys()) if before.get(name) != now.get(name)
    ]
    if changed:
        shown = "; ".join(
            f"{name} was {before.get(name)!r}, is {now.get(name)!r}" for name in changed
        )
        raise DataError(
            f"{folder} holds answers that were computed with other settings: {shown}",
            remedy="repeat the settings to continue it, or choose another folder with -o",
        )
    newer = [
        f"{name} {versions.get(name)} -> {now}"
        for name, now in find_versions().items()
        if versions.get(name) != now
    ]
    if newer:
        reporter.warn(f"{folder} was begun with other versions: {', '.join(newer)}")


def find_versions() -> dict[str, str]:
    """What may change an answer though no setting does."""
    return {
        "seedcli": seedcli.__version__,
        "python": platform.python_version(),
        **{name: version(name) for name in VERSIONS_OF},
    }
