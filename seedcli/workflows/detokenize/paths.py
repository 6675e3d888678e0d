"""Where drawn pictures go: names that come from their sources, never collide and are
safe on every file system.
"""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from pathlib import Path

from seedcli.errors import DataError, UsageError

_NAME_LENGTH = 120


def choose_paths(sources: Sequence[str | None], output: Path) -> list[Path]:
    """The path of each picture: the `.png` itself, or in a folder the source's stem, else its
    number; `-2`, `-3`... for doubles.

    Raises:
        UsageError: Many pictures for one file, or a file that is no PNG.
        DataError: A folder that cannot be written to or be made.
    """
    if output.suffix.lower() == ".png" and not output.is_dir():
        if len(sources) > 1:
            raise UsageError(
                f"{len(sources)} images do not fit into {output}",
                remedy=f"-o {output.with_suffix('')} makes a folder; or --limit 1",
            )
        _check_folder(output.parent)
        return [output]
    if output.suffix.lower() in {".jpg", ".jpeg", ".webp", ".gif", ".bmp", ".tif", ".tiff"}:
        raise UsageError(
            f"-o {output}: pictures are written as PNG, which keeps their codes",
            remedy=f"-o {output.with_suffix('.png')}",
        )
    _check_folder(output)
    taken: set[str] = set()
    paths = []
    for index, source in enumerate(sources):
        stem = _stem(source) if source else ""
        stem = stem or f"{index:06d}"
        name, number = stem, 1
        while name.casefold() in taken:
            number += 1
            name = f"{stem}-{number}"
        taken.add(name.casefold())
        paths.append(output / f"{name}.png")
    return paths


def _check_folder(folder: Path) -> None:
    """Refuses, before anything is drawn, a folder that cannot be written to or be made."""
    nearest = next(
        path for path in (folder.absolute(), *folder.absolute().parents) if path.exists()
    )
    if not nearest.is_dir() or not os.access(nearest, os.W_OK):
        raise DataError(
            f"{nearest} is {'not writable' if nearest.is_dir() else 'no folder'}",
            remedy="choose another -o",
        )


def _stem(source: str) -> str:
    """File name of a path or address without folder, query and ending, safe on every file system;
    empty if nothing is left.
    """
    last = re.split(
        r"[/\\]", re.split(r"[?#]", source, maxsplit=1)[0] if "://" in source else source
    )[-1]
    stem = last.rpartition(".")[0] or last
    return re.sub(r"[^\w.+=@-]+", "_", stem).strip("._ ")[:_NAME_LENGTH]
