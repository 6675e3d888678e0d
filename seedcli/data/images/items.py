"""One image or video to be read, and files that hold many: what listing yields. Torch-free."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Literal

from seedcli.data.images.endings import TAR_ENDINGS
from seedcli.data.text_files import printable
from seedcli.files import json_text

ImageHandling = Literal["seed", "official"]  # see `open_image`


@dataclass(frozen=True, slots=True)
class Item:
    """One image or video to be read.

    Attributes:
        key: Stable name, derived from the input: path below the input folder,
            `tar/sample`, or `table/row`.
        source: Where it is, for people: a path, `x.tar/0001.jpg` or `x.parquet[17]`.
        path: File to read, or None where `data` holds the bytes.
        data: The undecoded file.
        text: Caption, if the input carried one.
        text_path: File with the caption, read together with the image.
        meta: Whatever else the input carried, as a JSON object.
        problem: Why there is nothing to read.
        cell: Place in the table `path`, see `data.table_cells`.
        frames: Frames to take where it is a video; None for a picture.
        part: Which of them is meant, from 0; then it is one picture. None: all.
    """

    key: str
    source: str
    path: str | None = None
    data: bytes | None = None
    text: str | None = None
    text_path: str | None = None
    meta: str | None = None
    problem: str | None = None
    cell: str | None = None
    frames: int | None = None
    part: int | None = None

    @property
    def is_video(self) -> bool:
        """Whether it becomes several pictures."""
        return self.frames is not None and self.part is None

    @property
    def slots(self) -> int:
        """Pictures that it takes of a pass through the model."""
        return self.frames if self.is_video else 1

    def to_line(self) -> str:
        """The item as a line of JSON that can be written, whatever the file is called."""
        named = ((name, getattr(self, name)) for name in Item.__slots__)
        return json_text({name: value for name, value in named if value is not None})


@dataclass(frozen=True, slots=True)
class Container:
    """One file or folder with many images: a tar, a parquet file, or a `datasets` folder (rows
    `start` to `stop` of it).

    Attributes:
        kind, path, start, stop: What it is.
        key: First part of the keys, where the stem is another container's already.
        found: In a folder, not named by the user; then one that cannot be read is a failed item.
    """

    kind: Literal["tar", "parquet", "dataset"]
    path: str
    start: int = 0
    stop: int | None = None
    key: str | None = None
    found: bool = False

    @property
    def stem(self) -> str:
        """Name without folder and ending; the first part of the keys, and the shard's name."""
        return printable(without_ending(os.path.basename(os.path.abspath(self.path))))

    @property
    def prefix(self) -> str:
        """First part of the keys."""
        return self.key or self.stem


@dataclass(frozen=True, slots=True)
class Columns:
    """Which columns of a table hold the image and its caption; None picks them by type and name.

    `text` also says which field of a tar's JSON, or which kind of member, is the caption.
    """

    image: str | None = None
    text: str | None = None


def without_ending(path: str) -> str:
    """Name of a container without the ending that makes it one."""
    for ending in (*TAR_ENDINGS, ".parquet"):
        if path.endswith(ending):
            return path.removesuffix(ending)
    return path
