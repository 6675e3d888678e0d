"""The state on disk of a long `seed tokenize`: frozen list of inputs, journal of what is
computed, failures. Torch-free.

A workspace folder (`.seed/` in a folder of shards, `NAME.unfinished/` beside a single output file)
holds

* manifest.json: settings and planned shards, written once; appears when the listing is complete.
* items-DIGEST.jsonl: the files of list shards, in order.
* NAME.journal: one line a micro-batch of an unfinished shard; torn lines are dropped.
* NAME.errors.jsonl: inputs of a shard that failed, and why.

Whoever computes a shard writes its journal, its errors and it; the driver alone writes the rest.
"""

from __future__ import annotations

import dataclasses
import hashlib
import itertools
import json
import shutil
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TextIO

from seedcli.data.documents.columns import Content
from seedcli.data.images.containers import as_failed, count_items, read_items
from seedcli.data.images.endings import VIDEO_FRAMES
from seedcli.data.images.items import Columns, Container, Item
from seedcli.data.tokens.outcomes import Outcome
from seedcli.data.tokens.table_cells import CellReader
from seedcli.errors import DataError
from seedcli.files import json_text, parse_json, published
from seedcli.storage import is_url, open_to_read, publish_first

AMONG_PICTURES = "is a video where pictures come first; videos in tars and tables: name them alone"


@dataclass(frozen=True)
class PlannedShard:
    """One output shard and its input.

    Attributes:
        name: Of the file, without ending.
        kind: `files` (a part of the list of items), `tar`, `parquet`, `dataset`, or `documents`
            (a part of documents.jsonl, `data.published_sets.job`).
        path: Of the container.
        key: First part of its keys, where it is not its stem.
        start: First row of a dataset, or byte offset in the list of items or in documents.jsonl.
        stop: Row after the last of a dataset.
        num_items: Images, None for a tar that was not counted.
        num_videos: Videos among listed files.
        digest: sha256 of the listed lines of a `files` or `documents` shard.
    """

    name: str
    kind: str
    path: str = ""
    key: str | None = None
    start: int = 0
    stop: int | None = None
    num_items: int | None = None
    digest: str | None = None
    num_videos: int = 0

    def container(self) -> Container:
        """What it is made from, where that is no list."""
        kind: Any = self.kind
        return Container(kind, self.path, self.start, self.stop, self.key)

    def made_from(self) -> dict[str, Any]:
        """What the shard's metadata says of its input."""
        what = {"kind": self.kind} | (
            {"list_sha256": self.digest} if self.digest else {"path": self.path}
        )
        return what | ({"rows": [self.start, self.stop]} if self.kind == "dataset" else {})


@dataclass(frozen=True)
class TokenJob:
    """A workspace folder with its manifest.

    Attributes:
        folder: The workspace.
        settings: What decides the codes and the split into shards; a resumed run must agree.
        shards: In the order of the inputs.
        items_file: Name of the list of files.
    """

    folder: Path
    settings: dict[str, Any]
    shards: list[PlannedShard]
    items_file: str | None = None

    @property
    def num_items(self) -> int | None:
        """Images of the whole job, None if a tar was not counted."""
        counts = [shard.num_items for shard in self.shards]
        return None if None in counts else sum(counts)

    @property
    def num_slots(self) -> int | None:
        """Pictures of the whole job, frames counted; None if a tar was not counted."""
        videos = sum(shard.num_videos for shard in self.shards)
        extra = videos * ((self.settings.get("frames") or VIDEO_FRAMES) - 1)
        return None if self.num_items is None else self.num_items + extra

    @property
    def content(self) -> Content:
        """What its rows are: images, or documents, where videos are among the inputs."""
        return self.settings.get("content", "images")

    def refuse_other_settings(self, settings: Mapping[str, Any], output: Path) -> None:
        """Refuses to go on with other settings than those of the start; lists of inputs may be
        left out.

        Raises:
            DataError: One differs.
        """
        for name, value in settings.items():
            stored = self.settings.get(name)
            if stored != value and value != []:
                raise DataError(
                    f"{output} was begun with {name} {stored!r}, now it is {value!r}",
                    remedy="Give the same options as at the start, or write to another place with "
                    "-o.",
                )

    def items(self, shard: PlannedShard, skip: int = 0) -> Iterator[Item]:
        """The shard's images, without the first `skip`, as they were listed when the job began."""
        for item in self._items(shard, skip):
            if not item.is_video:
                yield item
            elif self.content == "images":  # found in a container, after pictures
                yield dataclasses.replace(item, frames=None, data=None, problem=AMONG_PICTURES)
            else:
                yield dataclasses.replace(item, frames=self.settings.get("frames") or item.frames)

    def _items(self, shard: PlannedShard, skip: int) -> Iterator[Item]:
        if shard.kind == "files":
            return self._listed(shard, skip)
        columns = Columns(self.settings.get("image_column"), self.settings.get("text_column"))
        items = read_items(shard.container(), columns, skip)
        if shard.num_items is None:
            return items
        return (item for _, item in zip(range(shard.num_items - skip), items, strict=False))

    def _listed(self, shard: PlannedShard, skip: int) -> Iterator[Item]:
        cells = CellReader()
        with open_to_read(self.folder / self.items_file) as file:
            file.seek(shard.start)
            for number in range(shard.num_items):
                line = file.readline()
                if number >= skip:
                    yield cells.read(Item(**json.loads(line)))

    def documents(self, shard: PlannedShard) -> Iterator[dict[str, Any]]:
        """The lines of a `documents` shard, as they were listed when the job began."""
        with open_to_read(self.folder / "documents.jsonl") as file:
            file.seek(shard.start)
            for _ in range(shard.num_items):
                yield json.loads(file.readline())

    def write_errors(self, shard_name: str, failed: Iterable[tuple[int, Outcome]]) -> None:
        """Replaces the list of a shard's failures: pairs of position in the shard and outcome."""
        lines = (
            {
                "source": one.source,
                "key": one.key,
                "error": one.reason,
                "shard": shard_name,
                "index": index,
            }
            for index, one in failed
        )
        _replace_lines(self.folder / f"{shard_name}.errors.jsonl", lines)

    def shard_errors(self, shard_name: str) -> Iterator[dict[str, Any]]:
        """The failures of one finished shard, by position."""
        path = self.folder / f"{shard_name}.errors.jsonl"
        if path.is_file():
            yield from map(json.loads, path.read_bytes().splitlines())

    def write_lost(self, shard: PlannedShard, reason: str) -> None:
        """Notes that a shard as a whole could not be computed."""
        line = {
            "source": shard.path or shard.name,
            "key": shard.name,
            "error": reason,
            "shard": shard.name,
            "index": None,
            "items": shard.num_items,
        }
        _replace_lines(self.folder / f"{shard.name}.errors.jsonl", [line])

    def publish_errors(self, path: Path) -> None:
        """Writes all failures, in the order of the inputs, to one file, or removes it when there
        are none.
        """
        errors = (line for shard in self.shards for line in self.shard_errors(shard.name))
        _replace_lines(path, errors, rivals=True)

    def num_failed(self, shards: Iterable[PlannedShard]) -> int:
        """Images of these shards that failed; those of a lost shard are all counted, as far as
        their number is known.
        """
        return sum(
            error.get("items") or 1 for shard in shards for error in self.shard_errors(shard.name)
        )


def _replace_lines(path: Path, values: Iterable[Any], *, rivals: bool = False) -> None:
    """Values -> a file of JSON lines, no file where there are none."""
    lines = map(json_text, values)
    if first := next(lines, None):
        write_lines(path, itertools.chain([first], lines), rivals=rivals)
    else:
        path.unlink(missing_ok=True)


def write_lines(path: Path, lines: Iterable[str], *, rivals: bool = False) -> int:
    """Lines -> a text file that appears whole or not at all; returns their number."""
    number = 0
    with published(path, rivals=rivals) as partial, open(partial, "w", encoding="utf-8") as file:
        for line in lines:
            file.write(line + "\n")
            number += 1
    return number


def freeze_job(
    folder: Path,
    entries: Iterable[Item | Container],
    settings: dict[str, Any],
    *,
    shard_size: int,
    limit: int | None = None,
) -> TokenJob:
    """Lists every input and writes the manifest; a folder that grows afterwards
    does not shift shards.

    Args:
        folder: The workspace; must not hold a manifest yet.
        entries: What `list_inputs` yields.
        settings: Stored as they are.
        shard_size: Images of a list shard, and rows of a shard made from a `datasets` folder.
        limit: Stop after this many images; tars are then counted.

    Raises:
        DataError: The inputs hold no image.
    """
    columns = Columns(settings.get("image_column"), settings.get("text_column"))
    # named by its content, so that tasks that list the same at one time write the same
    with tempfile.TemporaryDirectory(prefix="seed-") as place:
        listed = Path(place) / "items.jsonl"
        with open(listed, "w", encoding="utf-8") as listing:
            shards = list(_plan(entries, columns, listing, shard_size, limit))
        if not shards:
            raise DataError("the inputs hold no image", remedy="Check the paths.")
        with open(listed, "rb") as file:
            items = f"items-{hashlib.file_digest(file, 'sha256').hexdigest()[:16]}.jsonl"
        with published(folder / items, rivals=True) as partial:
            shutil.copyfile(listed, partial)
    if _holds_videos(shards, columns):
        settings = settings | {"content": "segments"}
    return write_job(folder, settings, _with_unique_names(shards), items)


def _holds_videos(shards: list[PlannedShard], columns: Columns) -> bool:
    """Whether rows become documents: there are videos among listed files, or the first container
    begins with one. All shards of a job hold one content, as readers want it.
    """
    if any(shard.num_videos for shard in shards):
        return True
    for shard in shards:
        if shard.kind != "files":
            first = next(iter(read_items(shard.container(), columns)), None)
            return first is not None and first.is_video
    return False


def write_job(
    folder: Path, settings: dict[str, Any], shards: list[PlannedShard], items: str | None = None
) -> TokenJob:
    """Settings and plan -> the manifest, which says that the listing is complete. Where several
    tasks list the same inputs at one time, the first one's stands, and is returned.
    """
    manifest = {
        "settings": settings,
        "items": items,
        "shards": [dataclasses.asdict(shard) for shard in shards],
    }
    if not is_url(folder):
        folder.mkdir(parents=True, exist_ok=True)
    if publish_first(folder / "manifest.json", json_text(manifest, indent=2).encode() + b"\n"):
        return TokenJob(folder, settings, shards, items)
    return open_job(folder)


def _plan(
    entries: Iterable[Item | Container],
    columns: Columns,
    listing: TextIO,
    shard_size: int,
    limit: int | None,
) -> Iterator[PlannedShard]:
    left = float("inf") if limit is None else limit
    start, count, videos, number, digest = 0, 0, 0, 0, hashlib.sha256()

    def close() -> Iterator[PlannedShard]:
        nonlocal start, count, videos, number, digest
        if count:
            yield PlannedShard(
                f"images-{number:06d}",
                "files",
                start=start,
                num_items=count,
                digest=digest.hexdigest(),
                num_videos=videos,
            )
            start, count, videos = listing.tell(), 0, 0
            number, digest = number + 1, hashlib.sha256()

    def add(item: Item) -> Iterator[PlannedShard]:
        nonlocal count, videos, left
        line = item.to_line()
        listing.write(line + "\n")
        digest.update(line.encode())
        count, left = count + 1, left - 1
        videos += item.is_video
        if count == shard_size:
            yield from close()

    readable, unreadable = False, None
    for entry in entries:
        if left <= 0:
            break
        if isinstance(entry, Item):
            readable = True
            yield from add(entry)
            continue
        try:
            rows = count_items(entry, columns, at_most=None if limit is None else int(left))
        except DataError as error:
            if not entry.found:
                raise
            unreadable = unreadable or error
            yield from add(as_failed(entry, error))
            continue
        readable = True
        yield from close()
        taken = rows if rows is None else int(min(rows, left))
        left -= taken or 0
        if entry.kind == "dataset" and taken is not None:
            for first in range(entry.start, entry.start + taken, shard_size):
                stop = min(first + shard_size, entry.start + taken)
                yield PlannedShard(
                    f"{entry.stem}-{first // shard_size:06d}",
                    "dataset",
                    entry.path,
                    entry.key,
                    first,
                    stop,
                    stop - first,
                )
        else:
            yield PlannedShard(entry.stem, entry.kind, entry.path, entry.key, num_items=taken)
    if unreadable and not readable:
        raise unreadable
    yield from close()


def _with_unique_names(shards: list[PlannedShard]) -> list[PlannedShard]:
    if len({shard.name for shard in shards}) == len(shards):
        return shards
    return [
        dataclasses.replace(shard, name=f"{number:06d}-{shard.name}")
        for number, shard in enumerate(shards)
    ]


def open_job(folder: Path) -> TokenJob | None:
    """The job of a workspace, None where its listing was never completed.

    Raises:
        DataError: The manifest cannot be read.
    """
    path = folder / "manifest.json"
    if not path.is_file():
        return None
    try:
        values = parse_json(path.read_bytes())
        shards = [PlannedShard(**shard) for shard in values["shards"]]
        return TokenJob(folder, values["settings"], shards, values.get("items"))
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DataError(
            f"{path}: cannot be read ({error})", remedy=f"Remove {folder} to start over."
        ) from error
