"""Names of pictures in published sets -> the files that they are, below the folders that the
user names. Torch-free.

A set's annotations name a picture by file, by number, by address or not at all (then it lies in
the same table), and a video by its name. A video is a file, or a folder of its frames.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from seedcli.data.images.endings import VIDEO_ENDINGS, VIDEO_FRAMES, is_image, is_video
from seedcli.data.images.items import Item
from seedcli.data.published_sets.containers import Stretch, is_tar, read_map, read_table, read_tar
from seedcli.data.published_sets.records import Cell
from seedcli.data.text_files import printable
from seedcli.errors import DataError
from seedcli.storage import exists, find_below, for_arrow, is_folder, is_url

# what a set calls a video; a .gif is one only where it does
_VIDEO_ENDINGS = tuple(f".{ending}" for ending in (*sorted(VIDEO_ENDINGS), "gif"))


@dataclass(frozen=True)
class Named:
    """A picture by name; the first of `names` that is found. A name without the ending of
    an image may have any.
    """

    names: tuple[str, ...]

    def __post_init__(self) -> None:
        """Refuses what a record has in place of a name, before any folder is searched for it."""
        if not self.names or not all(isinstance(name, str) for name in self.names):
            raise TypeError(
                f"a picture or video is named by text; here by {list(self.names)!r:.80}"
            )


@dataclass(frozen=True)
class Frames(Named):
    """A video by name: `number` frames of it, each from the middle of one
    of as many equal parts.
    """

    number: int


Reference = Named | Frames | Cell


def name_of(reference: Reference) -> str:
    """What a reference is called, wherever its files lie: a picture's or video's name, or its row
    in a table.
    """
    if isinstance(reference, Cell):
        place = "" if reference.element is None else f"-{reference.element}"
        return f"{Path(reference.path).name}[{reference.row}{place}]"
    return reference.names[0]


def _frames_of(path: str, number: int) -> list[Item]:
    """The frames of a video file, each a picture."""
    shown = printable(path)
    return [
        Item(key="", source=f"{shown}, frame {part}", path=path, frames=number, part=part)
        for part in range(number)
    ]


def _file(path: str) -> Item:
    return Item(key="", source=printable(path), path=path)


class PictureFinder:
    """Looks pictures up in folders, in tars, in parquet files with a column of names and one of
    pictures, and in JSON maps of names to base64 (MIMIC-IT).

    A name is tried as a path below each folder; where that fails, by its last part anywhere below
    them: folders are then listed once, about 100 bytes of memory a file. Folders may be addresses,
    which are listed at once. An address (`https://...`) of a picture is looked for in what
    img2dataset wrote: parquet files with `url` and `key` beside a folder for each (its output
    format `files`), or tars (`webdataset`).

    Args:
        places: Folders, tars, parquet files and JSON maps.
        frames: Frames of each video, instead of what its set says.

    Raises:
        DataError: A place does not exist.
    """

    def __init__(self, places: Sequence[Path], frames: int | None = None):
        for place in places:
            if not exists(str(place)):
                raise DataError(
                    f"--images {place}: no such file or folder",
                    remedy="Name the folder where the set's pictures lie.",
                )
        self._folders = [place for place in map(str, places) if is_folder(place)]
        self._tables = [place for place in map(str, places) if not is_folder(place)]
        self._frames = frames
        self._listings: dict[str, dict[str, set[str]]] = {}
        self._shown = ", ".join(map(str, places))

    def find(self, reference: Reference) -> list[Item]:
        """Reference -> one item, or as many as a video has frames taken; what is not found is
        an item with a problem.
        """
        match reference:
            case Cell(path, row, column):
                source = f"{path}[{row}].{column}"
                return [Item(key="", source=source, path=path, cell=reference.to_text())]
            case Frames(names, number):
                return self._video(names, self._frames or number)
            case Named(names):
                return self._folder_of_frames(names) or self._frames_of(self._picture(names))

    def _picture(self, names: tuple[str, ...]) -> Item:
        spellings = (spelled for name in names for spelled in _spellings(name))
        paths = (os.path.join(folder, one) for one in spellings for folder in self._folders)
        if path := next(filter(self._is_file, paths), None):
            return _file(path)
        for name in names:
            if name in self._cells:
                return self._within(name, self._cells[name])
            for known in (self._addresses, self._files):
                for spelled in _spellings(
                    name if known is self._addresses else os.path.basename(name)
                ):
                    match known.get(spelled, ()):
                        case [one, other, *_]:
                            several = f"there are several: {one}, {other}"
                            return Item(key="", source=name, problem=several)
                        case [one]:
                            return _file(one)
        for name in names:
            for spelled in _spellings(name):
                for called in (spelled, os.path.basename(spelled)):
                    if called in self._members:
                        return self._within(called, self._members[called])
        return Item(key="", source=names[0], problem=f"no such file below {self._shown}")

    def _within(self, name: str, place: Cell | Stretch) -> Item:
        if isinstance(place, Cell):
            return self.find(place)[0]
        return Item(key="", source=f"{place.path}[{name}]", path=place.path, cell=place.to_text())

    def _folder_of_frames(self, names: tuple[str, ...]) -> list[Item]:
        """A name of one's own may stand for a video: a folder of its frames."""
        for name in names:
            for folder in self._folders:
                path = os.path.join(folder, name)
                if name and (frames := self._frames_in(path)):
                    return [
                        _file(one) for one in middle_frames(frames, self._frames or VIDEO_FRAMES)
                    ]
        return []

    def _frames_of(self, item: Item) -> list[Item]:
        """A picture as it is; of a file that is a video its frames."""
        if item.problem is None and item.path and not item.cell and is_video(item.path):
            return _frames_of(item.path, self._frames or VIDEO_FRAMES)
        return [item]

    def _video(self, names: tuple[str, ...], number: int) -> list[Item]:
        stems = []
        for name in names:
            is_file = name.lower().endswith(_VIDEO_ENDINGS)
            stems += [name, os.path.splitext(name)[0]] if is_file else [name]
        for stem in stems:
            for path in (
                *(os.path.join(folder, stem) for folder in self._folders),
                *self._below[1].get(os.path.basename(stem), ()),
            ):
                if frames := self._frames_in(path):
                    return [_file(frame) for frame in middle_frames(frames, number)]
        for stem in stems:
            for ending in ("", *_VIDEO_ENDINGS):
                for path in self._files.get(os.path.basename(stem) + ending, ()):
                    if path.lower().endswith(_VIDEO_ENDINGS):
                        return _frames_of(path, number)
        nothing = f"no video, and no folder of frames, with this name below {self._shown}"
        return [Item(key="", source=names[0], problem=nothing)]

    @cached_property
    def _below(self) -> tuple[dict[str, list[str]], dict[str, list[str]]]:
        """Last part of a path -> the files of that name, and the folders."""
        files: dict[str, list[str]] = {}
        folders: dict[str, list[str]] = {}
        for folder in self._folders:
            for root, names in self._walk(folder):
                if root != folder:
                    folders.setdefault(os.path.basename(root), []).append(root)
                for name in names:
                    files.setdefault(name, []).append(os.path.join(root, name))
        return files, folders

    @property
    def _files(self) -> dict[str, list[str]]:
        return self._below[0]

    def _walk(self, folder: str) -> Iterator[tuple[str, Iterable[str]]]:
        """A folder and all below it, each with the names of its files."""
        if is_url(folder):
            yield from self._listed(folder).items()
            return
        for root, folders, files in os.walk(folder):
            folders.sort()
            yield root, files

    def _listed(self, folder: str) -> dict[str, set[str]]:
        """Folders below an address, and itself -> the names of their files."""
        if folder not in self._listings:
            found: dict[str, set[str]] = {}
            for name in find_below(folder):
                root, _, last = f"{folder.rstrip('/')}/{name}".rpartition("/")
                found.setdefault(root, set()).add(last)
            self._listings[folder] = found
        return self._listings[folder]

    def _names_in(self, place: str) -> Iterable[str]:
        """Names of what lies in a folder; none where it is no folder."""
        if not is_url(place):
            return os.listdir(place) if os.path.isdir(place) else ()
        within = [one for one in self._folders if f"{place}/".startswith(f"{one.rstrip('/')}/")]
        return next((self._listed(one).get(place, ()) for one in within), ())

    def _is_file(self, path: str) -> bool:
        if not is_url(path):
            return os.path.isfile(path)
        folder, _, name = path.rpartition("/")
        return name in self._names_in(folder)

    def _frames_in(self, folder: str) -> list[str]:
        """Pictures of a folder, numbers in their names by value: 2.jpg before 10.jpg."""
        names = filter(is_image, self._names_in(folder))
        return [os.path.join(folder, name) for name in sorted(names, key=_by_numbers)]

    @cached_property
    def _addresses(self) -> dict[str, list[str]]:
        """Address -> the file that img2dataset wrote for it."""
        import pyarrow.parquet as pq

        found: dict[str, list[str]] = {}
        tables = (paths for name, paths in self._files.items() if name.endswith(".parquet"))
        for path in (one for paths in tables for one in paths):
            folder = path.removesuffix(".parquet")
            files = {
                os.path.splitext(name)[0]: os.path.join(folder, name)
                for name in sorted(self._names_in(folder))
                if is_image(name)
            }
            if not files or not {"url", "key"} <= set(pq.read_schema(for_arrow(path)).names):
                continue
            for row in pq.read_table(for_arrow(path), columns=["url", "key"]).to_pylist():
                if row["key"] in files:
                    found.setdefault(row["url"], [files[row["key"]]])
        return found

    @cached_property
    def _cells(self) -> dict[str, Cell | Stretch]:
        """Name -> place in a table or map of pictures."""
        found: dict[str, Cell | Stretch] = {}
        for path in self._tables:
            if path.endswith(".json"):
                found.update(read_map(path))
            elif not is_tar(path):
                found.update(read_table(path))
        return found

    @cached_property
    def _members(self) -> dict[str, Stretch]:
        """Name or address -> place in a tar."""
        found: dict[str, Stretch] = {}
        below = [path for name, paths in self._files.items() if is_tar(name) for path in paths]
        for path in (*filter(is_tar, self._tables), *below):
            for name, stretch in read_tar(path):
                found.setdefault(name, stretch)
        return found


def middle_frames(frames: Sequence[str], number: int) -> list[str]:
    """Frames in order -> the middle one of each of `number` equal parts; all of them
    where there are no more.

    Differs from source: AILab-CVC/SEED@93b3cf4 (torchdata_eval.py) seeks to the frame before.
    """
    if len(frames) <= number:
        return list(frames)
    return [frames[(2 * part + 1) * len(frames) // (2 * number)] for part in range(number)]


def _by_numbers(name: str) -> tuple[tuple[int, str], ...]:
    return tuple(
        (int(part), "") if part.isdigit() else (-1, part) for part in re.split(r"(\d+)", name)
    )


def _spellings(name: str) -> tuple[str, ...]:
    endings = () if is_image(name) else ("jpg", "png", "jpeg", "webp", "gif")
    return (name, *(f"{name}.{ending}" for ending in endings))
