"""What tells one set of weights from another: digests, stored where they are slow
to compute. Torch-free.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

from seedcli.errors import NoSpaceError
from seedcli.files import parse_json, publish_json
from seedcli.models.weights.cache import cache_folder
from seedcli.models.weights.locate import ModelFiles


def stored_digest(files: ModelFiles) -> str | None:
    """The digest of a model's weights as stored beside them, or None: published weights that were
    never loaded here, changed files.
    """
    if not files.released:
        return files.stated.get("weights_digest")
    if not files.weights:
        return None
    stamp = _stamp(files)
    for path in _digest_files(files, stamp):
        try:
            stored = parse_json(path.read_bytes())
            if stored["files"] == stamp:
                return str(stored["weights_digest"])
        except (OSError, ValueError, KeyError, TypeError):
            continue
    return None


def store_digest(files: ModelFiles, digest: str, fingerprint: str) -> None:
    """Keeps the digest of released weights: beside them, or in our cache where that folder is
    read-only or the hub's.
    """
    stamp = _stamp(files)
    for path in _digest_files(files, stamp):
        try:
            publish_json(
                path, {"files": stamp, "weights_digest": digest, "fingerprint": fingerprint}
            )
            return
        except (OSError, NoSpaceError):
            continue


def _stamp(files: ModelFiles) -> list[list[Any]]:
    return [[path.name, path.stat().st_size, path.stat().st_mtime_ns] for path in files.weights]


def _digest_files(files: ModelFiles, stamp: list[list[Any]]) -> list[Path]:
    name = hashlib.sha256(json.dumps(stamp).encode()).hexdigest()[:24]
    beside = [] if files.folder is None else [files.folder / "seed_fingerprint.json"]
    return [*beside, cache_folder() / "fingerprints" / f"{name}.json"]


MODEL_FILES = {".safetensors", ".bin", ".pt", ".pth", ".json", ".model", ".txt"}
_PROBES, _PROBE_BYTES = 64, 1 << 16


def weights_digest(*folders: Path) -> str:
    """Folders of a model -> what tells it from another one, the same after copying: names, sizes
    and probes of the files' bytes.

    64 probes of 64 KiB a file, evenly spread, so that 27 GB take no longer than 27 MB. Hidden files
    and folders, in which downloads keep their books, are left out, and so is whatever is neither
    weights, configuration nor vocabulary.
    """
    digest = hashlib.sha256()
    files = [(path, path.relative_to(top)) for top in folders for path in sorted(top.rglob("*"))]
    for path, name in files:
        hidden = any(part.startswith(".") for part in name.parts)
        if hidden or path.suffix not in MODEL_FILES or not path.is_file():
            continue
        size = path.stat().st_size
        digest.update(f"{name.as_posix()} {size}\n".encode())
        with open(path, "rb") as file:
            for probe in range(_PROBES):
                file.seek(max(0, size - _PROBE_BYTES) * probe // (_PROBES - 1))
                digest.update(file.read(_PROBE_BYTES))
                if size <= _PROBE_BYTES:
                    break
    return digest.hexdigest()[:16]
