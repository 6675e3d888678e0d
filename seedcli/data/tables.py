"""Random access to rows that others wrote: whatever `datasets` reads without code from the hub, and
large files by an index of offsets.
"""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Callable, Iterator
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

import numpy as np

from seedcli.errors import DataError
from seedcli.files import published
from seedcli.storage import exists, is_folder, is_url, refusals_named, stamp_of

if TYPE_CHECKING:
    import datasets


_WHERE_FROM = (
    "`path` of a source in the recipe; seed recipes show NAME says how a bundled one's is made"
)
_BUILDERS = {
    ".parquet": "parquet",
    ".json": "json",
    ".jsonl": "json",
    ".ndjson": "json",
    ".csv": "csv",
}
FILE_ENDINGS = (*_BUILDERS, ".gz", ".tar")  # what ends so is a file, never a set of the hub


def open_table(path: str, *, split: str) -> datasets.Dataset:
    """Parquet, JSON, CSV (also as .gz), an image folder, a saved set with or without splits, or a
    hub id -> memory-mapped table.

    Raises:
        DataError: It cannot be read, or has no such split.
    """
    import datasets

    datasets.disable_progress_bars()  # the reporter has the one progress line
    suffix = PurePosixPath(path.removesuffix(".gz")).suffix
    folder = path.rstrip("/")
    try:
        if suffix in _BUILDERS:
            with _buckets_answer(path):
                return datasets.load_dataset(_BUILDERS[suffix], data_files=path, split="train")
        if exists(f"{folder}/dataset_info.json"):
            return datasets.load_from_disk(path)
        if exists(f"{folder}/dataset_dict.json"):
            splits = datasets.load_from_disk(path)
            if split not in splits:
                raise DataError(
                    f"training source {path} has no split {split!r}; it has {', '.join(splits)}",
                    remedy="`split` of the source",
                )
            return splits[split]
        if is_folder(path):
            return datasets.load_dataset("imagefolder", data_dir=path, split=split)
        return datasets.load_dataset(path, split=split)
    except (OSError, ValueError, datasets.exceptions.DatasetsError) as error:
        with refusals_named(path):
            if isinstance(error, PermissionError):
                raise
        raise DataError(
            f"training source {path} cannot be read: {error}",
            remedy=_WHERE_FROM,
        ) from error


@contextlib.contextmanager
def _buckets_answer(path: str) -> Iterator[None]:
    """HF_HUB_OFFLINE speaks of the hub, and `datasets` refuses every address by it: while a table
    of a bucket is read, that is not so.
    """
    import datasets

    offline = datasets.config.HF_HUB_OFFLINE
    if is_url(path) and not path.startswith("hf://"):
        datasets.config.HF_HUB_OFFLINE = False
    try:
        yield
    finally:
        datasets.config.HF_HUB_OFFLINE = offline


def cached_index(
    path: Path, kind: str, cache: Path, build: Callable[[Path], list[tuple[int, ...]]]
) -> np.ndarray:
    """File, or object in a bucket -> index of its rows [rows, 4] int64, made once by `build`, which
    reads it through, kept in the cache folder and memory-mapped.

    Raises:
        DataError: There is no such file, or `build` cannot read it.
    """
    try:
        stamp = f"{stamp_of(path if is_url(path) else path.resolve())} {kind}"
    except OSError as error:
        raise DataError(
            f"training source {path} cannot be read: {error.strerror or 'no such file'}",
            remedy=_WHERE_FROM,
        ) from None
    index = cache / "tar-index" / f"{hashlib.sha256(stamp.encode()).hexdigest()[:24]}.npy"
    if not index.is_file():
        save_array(index, np.array(build(path), dtype=np.int64).reshape(-1, 4))
    return np.load(index, mmap_mode="r")


def save_array(path: Path, array: np.ndarray) -> None:
    """Array -> .npy file that appears whole, whoever else writes it at the same time."""
    with published(path, rivals=True) as partial, open(partial, "wb") as file:
        np.save(file, array)
