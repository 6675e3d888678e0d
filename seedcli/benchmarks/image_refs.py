"""Pictures that benchmarks show: found where training finds them, read when their turn comes; and
what is said where a set is nowhere.
"""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from seedcli.data.images.items import Item
from seedcli.data.images.video import VideoFrame, as_png, read_frame
from seedcli.data.published_sets.picture_finder import Frames, PictureFinder, Reference
from seedcli.data.tokens.table_cells import CellReader
from seedcli.errors import DataError, SeedError, UsageError, did_you_mean
from seedcli.storage import as_place, exists, stamp_of


@dataclass(frozen=True)
class ImageRef:
    """A picture to be read later, perhaps in another process.

    Attributes:
        name: What errors call it.
        stamp: Changes when the picture does; part of the key of cached embeddings.
        read: Gives encoded bytes or a path; travels.
    """

    name: str
    stamp: str
    read: Callable[[], bytes | str | Path]

    @classmethod
    def holding(cls, name: str, data: bytes) -> ImageRef:
        """A picture whose encoded bytes are here."""
        return cls(name, hashlib.sha256(data).hexdigest(), functools.partial(bytes, data))


def no_such_set(dataset: str, what: str, names: Iterable[str], files: str) -> SeedError:
    """Why `--dataset` is neither a named set nor a file.

    Args:
        dataset: What the user said.
        what: `retrieval`, `question`.
        names: Of the sets, but for the emoji.
        files: What a file may be.
    """
    names = ["emoji", *names]
    remedy = f"--dataset takes {', '.join(names)}, or {files}"
    if "/" in dataset or as_place(dataset).suffix:
        return DataError(f"no file at {dataset}", remedy=remedy)
    return UsageError(
        f"no {what} set or file is called {dataset!r}{did_you_mean(dataset, names)}", remedy=remedy
    )


def find_images(
    references: Iterable[Reference],
    places: Sequence[Path],
    *,
    source: str,
    num_frames: int | None = None,
) -> dict[Reference, tuple[ImageRef, ...]]:
    """Pictures and videos of a set -> one picture each, or a video's frames.

    Args:
        references: As the readers of published sets give them.
        places: Folders, tars and tables where they may lie; those that do not exist are left out.
        source: The set, for messages.
        num_frames: Of a video, instead of what its set says.

    Raises:
        DataError: Some are missing.
    """
    wanted = list(dict.fromkeys(references))
    finder = PictureFinder([place for place in places if exists(str(place))], num_frames)
    cells = CellReader()
    found: dict[Reference, tuple[ImageRef, ...]] = {}
    missing: list[str] = []
    for reference in wanted:
        items = finder.find(reference)
        lost = next((item for item in items if item.problem is not None), None)
        if lost is not None:
            reason = "" if lost.problem.startswith("no ") else f" ({lost.problem})"
            missing.append(f"{lost.source}{reason}")
        else:
            found[reference] = tuple(_ref(item, cells) for item in items)
    if missing:
        videos = isinstance(wanted[0], Frames)
        what = "videos are missing" if videos else "pictures are missing"
        raise DataError(
            f"{len(missing):,} of {len(wanted):,} {what} of {source}, first {missing[0]}; looked "
            f"in {', '.join(map(str, places))}",
            remedy="--images DIR says where they lie"
            + (
                "; a video is a file, or a folder of its frames, which sort by number"
                if videos
                else ""
            ),
        )
    if not wanted:
        raise DataError(f"{source} names no pictures")
    return found


def _ref(item: Item, cells: CellReader) -> ImageRef:
    path = str(item.path)
    stamp = stamp_of(path)
    if item.frames is not None:
        frame = VideoFrame(path, item.part, item.frames)
        place = f"{stamp}:{item.part}/{item.frames}"
        return ImageRef(item.source, place, functools.partial(_read_frame, frame))
    if item.cell is None:
        return ImageRef(path, stamp, functools.partial(str, path))
    return ImageRef(item.source, f"{stamp}:{item.cell}", functools.partial(_read_cell, cells, item))


def _read_frame(frame: VideoFrame) -> bytes:
    return as_png(read_frame(frame))


def _read_cell(cells: CellReader, item: Item) -> bytes:
    filled = cells.read(item)
    if filled.data is None:
        raise DataError(f"{item.source}: {filled.problem}")
    return filled.data
