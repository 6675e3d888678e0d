"""Pictures of one colour, and tars and tables of them."""

from __future__ import annotations

import io
import tarfile
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image

from seedcli.data.images.items import Container


def png(value: int = 0) -> bytes:
    """A red picture as a file."""
    buffer = io.BytesIO()
    Image.new("RGB", (8, 8), (value, 0, 0)).save(buffer, "PNG")
    return buffer.getvalue()


def write_tar(path: Path, members: list[tuple[str, bytes]], mode: str = "w") -> Path:
    """Names and contents -> a tar."""
    with tarfile.open(path, mode) as tar:
        for name, data in members:
            info = tarfile.TarInfo(name)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    return path


def write_table(path: Path, rows: int = 10, **columns) -> Container:
    """A parquet file of pictures, row n as red as n, in groups of four."""
    pictures = [{"bytes": png(number), "path": f"{number}.png"} for number in range(rows)]
    kind = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
    pq.write_table(pa.table({"image": pa.array(pictures, kind), **columns}), path, row_group_size=4)
    return Container("parquet", str(path))


def tar_of(path: Path, members: list[tuple[str, bytes]]) -> Container:
    """As `write_tar`, for those who take an input."""
    return Container("tar", str(write_tar(path, members)))
