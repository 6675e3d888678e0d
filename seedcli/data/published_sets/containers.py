"""Files that hold many pictures, parquet tables, tars and JSON maps -> where each of them lies, by
name. Torch-free.
"""

from __future__ import annotations

import mmap
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass

from seedcli.data.images.tars import indexed_tar, place_of, read_pictures
from seedcli.data.published_sets.records import Cell, holds_pictures
from seedcli.data.text_files import load_json
from seedcli.errors import DataError
from seedcli.storage import for_arrow, is_url, open_to_read

# base64 has no character that JSON must escape, so that its text can be found without parsing
_BASE64 = re.compile(rb'"([^"\\]+)"\s*:\s*"(?:data:image/[a-z]+;base64,)?([A-Za-z0-9+/=]{16,})"')
_ID_COLUMNS = ("id", "key", "image_id", "file_name", "name", "__index_level_0__")


@dataclass(frozen=True)
class Stretch:
    """A picture within a file: a member of a tar, or base64 in a JSON map."""

    path: str
    offset: int
    size: int
    base64: bool = False

    def to_text(self) -> str:
        """As one word, for `Item.cell`."""
        return f"@{self.offset}+{self.size}{'base64' * self.base64}"


def read_table(path: str) -> Iterator[tuple[str, Cell]]:
    """Parquet file with a column of names and one of pictures -> the cell of each.

    Raises:
        DataError: It has no such columns, or is damaged.
    """
    from pyarrow import ArrowException
    from pyarrow import parquet as pq

    try:
        schema = pq.read_schema(for_arrow(path))
        names = [name for name in _ID_COLUMNS if name in schema.names]
        pictures = [field.name for field in schema if holds_pictures(field.type)] + [
            name for name in schema.names if "base64" in name
        ]
        if not names or not pictures:
            raise DataError(
                f"--images {path}: its columns are {', '.join(schema.names)}; expected one of "
                f"names ({', '.join(_ID_COLUMNS)}) and one of pictures (bytes, or "
                "text named base64)",
                remedy="Name a folder of pictures instead.",
            )
        for row, name in enumerate(
            pq.read_table(for_arrow(path), columns=names[:1]).column(0).to_pylist()
        ):
            yield str(name), Cell(path, row, pictures[0])
    except (ArrowException, OSError) as error:
        raise DataError(
            f"--images {path}: is no readable parquet file ({error})",
            remedy="Name a folder of pictures instead.",
        ) from error


def is_tar(name: str) -> bool:
    """Whether a file's name says that it is an uncompressed tar."""
    return name.lower().endswith(".tar")


def read_tar(path: str) -> Iterator[tuple[str, Stretch]]:
    """Uncompressed tar -> its pictures by name, and by the address that their JSON names.

    Raises:
        DataError: It is damaged or compressed.
    """
    with indexed_tar(path, what="--images") as tar, open_to_read(path) as file:
        for one in read_pictures(tar, place_of):
            if one.image is None:
                continue
            stretch = Stretch(path, *one.image.content)
            yield os.path.basename(one.image.name), stretch
            if one.facts:
                offset, size = one.facts.content
                file.seek(offset)
                facts = load_json(file.read(size))
                if isinstance(facts, dict) and isinstance(facts.get("url"), str):
                    yield facts["url"], stretch


def read_map(path: str) -> dict[str, Stretch]:
    """JSON map of names to base64 -> where each text lies; the file, often gigabytes, is not
    loaded.

    Raises:
        DataError: It holds no such text, or lies elsewhere than on this machine.
    """
    if is_url(path):
        raise DataError(
            f"--images {path}: a map of names to pictures is read from this machine only",
            remedy="Copy it here first.",
        )
    found: dict[str, Stretch] = {}
    with open(path, "rb") as file:
        if os.path.getsize(path):  # what is empty cannot be mapped
            with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as whole:
                for one in _BASE64.finditer(whole):
                    start, stop = one.span(2)
                    # a damaged name is nobody's
                    name = one[1].decode(errors="replace")
                    found[name] = Stretch(path, start, stop - start, base64=True)
    if not found:
        raise DataError(
            f"--images {path}: no map of names to pictures in base64",
            remedy="Name a folder of pictures instead.",
        )
    return found
