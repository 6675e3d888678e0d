"""Files of published sets, made by hand: pictures that their names decide, tables, tars."""

from __future__ import annotations

import io
import json
import tarfile
from collections.abc import Sequence
from dataclasses import dataclass, field
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image

PICTURE = pa.struct([("bytes", pa.binary()), ("path", pa.string())])


@dataclass(frozen=True)
class Published:
    """One layout: FORMAT, its files (objects are written as their ending says), the
    pictures, and what comes out.
    """

    format: str
    form: str
    files: dict[str, Any]
    pictures: tuple[str, ...]
    documents: list[Any]
    extra: dict[str, Any] = field(default_factory=dict)  # files that are no INPUT

    def write(self, folder: Path) -> list[str]:
        """Writes everything below a folder; returns the INPUT arguments."""
        (folder / "images").mkdir()
        for name in self.pictures:
            write_picture(folder / "images" / name)
        for name, content in {**self.files, **self.extra}.items():
            write_file(folder / name, content)
        return [str(folder / name) for name in self.files]


def png(name: str) -> bytes:
    """Bytes of a picture that its name decides."""
    blocks = np.random.default_rng(list(name.encode())).integers(0, 256, (4, 4, 3), dtype=np.uint8)
    buffer = BytesIO()
    Image.fromarray(blocks).resize((24, 24)).save(buffer, "PNG")
    return buffer.getvalue()


def write_picture(path: Path) -> None:
    """Writes what `png` makes of the file's name."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(png(path.name))


def write_file(path: Path, content: Any) -> None:
    """Writes a table, text, bytes, or an object as the ending says."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if isinstance(content, pa.Table):
        pq.write_table(content, path, row_group_size=1)
    elif isinstance(content, str):
        path.write_text(content)
    elif isinstance(content, bytes):
        path.write_bytes(content)
    elif path.suffix == ".jsonl":
        path.write_text("\n".join(map(json.dumps, content)) + "\n")
    else:
        path.write_text(json.dumps(content))


def write_noise(folder: Path, number: int) -> list[str]:
    """Random pictures `0.png`, `1.png`, ...; returns their names."""
    rng, names = np.random.default_rng(0), [f"{each}.png" for each in range(number)]
    for name in names:
        pixels = rng.integers(0, 255, (40, 60, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / name)
    return names


def write_captions(path: Path, captions: Sequence[Sequence[str]], train: int = 0) -> Path:
    """Karpathy's layout, a random picture beside it for each list of captions; the last `train` are
    of the training split.
    """
    names = write_noise(path.parent, len(captions))
    splits = ["test"] * (len(captions) - train) + ["train"] * train
    images = [
        {"filename": name, "split": split, "sentences": [{"raw": text} for text in texts]}
        for name, split, texts in zip(names, splits, captions, strict=True)
    ]
    path.write_text(json.dumps({"images": images}))
    return path


def tar(**members: bytes) -> bytes:
    """A tar; `a__jpg` is the member `a.jpg`."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as file:
        for name, data in members.items():
            info = tarfile.TarInfo(name.replace("__", "."))
            info.size = len(data)
            file.addfile(info, io.BytesIO(data))
    return buffer.getvalue()


def cells(*names: str) -> pa.Array:
    """Column of pictures as `datasets` stores them."""
    return pa.array([{"bytes": png(name), "path": name} for name in names], PICTURE)


def frames(video: str, number: int) -> tuple[str, ...]:
    """Names of a video's first frames."""
    return tuple(f"{video}/{frame}.jpg" for frame in range(1, number + 1))
