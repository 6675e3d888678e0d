"""What the user names as INPUT -> a stream of items, one for each image, in a fixed order
and with a stable key.

Inputs are image files, folders, globs, `-` (paths on stdin), webdataset tars, parquet files
and folders that `datasets` saved. Listing reads names only; bytes are read when an item's
turn comes. What cannot be read becomes an item with a `problem`, so that the others go on.
Tars are read with the standard library: importing webdataset imports torch, which listing and
decoding must not pay for.
"""

from __future__ import annotations

import glob
import json
import os
import tarfile
import zlib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any, Literal

from braceexpand import UnbalancedBracesError, braceexpand

from seedcli.errors import DataError, UsageError

# What a folder or tar is searched for; a file that is named outright is always tried.
IMAGE_ENDINGS = frozenset(
    ("avif", "bmp", "dib", "gif", "ico", "j2k", "jfif", "jp2", "jpe", "jpeg", "jpg")
    + ("pbm", "pgm", "png", "pnm", "ppm", "psd", "qoi", "tga", "tif", "tiff", "webp")
)
TAR_ENDINGS = (".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tar.xz")
# looked for in this order
IMAGE_COLUMNS = ("image", "img", "jpg", "png", "webp", "image_bytes", "bytes", "picture")
TEXT_COLUMNS = ("text", "caption", "captions", "txt", "label_text", "description", "title", "label")
MAX_MEMBER_BYTES = 1 << 28  # of one file inside a tar; it is held in memory


@dataclass(frozen=True, slots=True)
class Item:
    """One image to be read.

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


@dataclass(frozen=True, slots=True)
class Container:
    """One file or folder with many images: a tar, a parquet file, or a `datasets` folder (rows
    `start` to `stop` of it).
    """

    kind: Literal["tar", "parquet", "dataset"]
    path: str
    start: int = 0
    stop: int | None = None

    @property
    def stem(self) -> str:
        """Name without folder and ending; the first part of the keys."""
        name = os.path.basename(os.path.abspath(self.path))
        for ending in (*TAR_ENDINGS, ".parquet"):
            if name.endswith(ending):
                return name.removesuffix(ending)
        return name


@dataclass(frozen=True, slots=True)
class Columns:
    """Which columns of a table hold the image and its caption; None picks them by type and name."""

    image: str | None = None
    text: str | None = None


def list_inputs(inputs: Iterable[str], stdin: Iterable[str] = ()) -> Iterator[Item | Container]:
    """INPUT arguments -> items and containers, in the order given; folders are sorted by name.

    Arguments are checked before anything is yielded: a path that does not exist is an error at
    once, not after an hour. Paths that come on stdin are checked when their turn comes; a
    missing one is a failed item.

    Raises:
        DataError: An argument does not exist, a glob matches nothing, or a folder holds no image.
        UsageError: No input at all, or braces that do not balance.
    """
    inputs = list(inputs)
    if not inputs:
        raise UsageError(
            "no INPUT",
            remedy="Name image files, folders, .tar or .parquet files, or - for paths on stdin.",
        )
    missing: list[str] = []
    matches = [_expand(argument, missing) for argument in inputs]
    if missing:
        shown = ", ".join(missing[:5]) + (
            f" and {len(missing) - 5} more" if len(missing) > 5 else ""
        )
        raise DataError(
            f"no such file or folder: {shown}",
            remedy="Check the path; quote globs and {000..127} ranges.",
        )
    folders = [
        os.path.basename(os.path.abspath(path))
        for found in matches
        for path in found
        if path != "-" and os.path.isdir(path)
    ]
    ambiguous = {name for name in folders if folders.count(name) > 1}
    return _list_paths(matches, stdin, ambiguous)


def _list_paths(
    matches: list[list[str]], stdin: Iterable[str], ambiguous: set[str]
) -> Iterator[Item | Container]:
    for found in matches:
        for path in found:
            if path == "-":
                for line in stdin:
                    name = line.rstrip("\r\n")
                    if name and not os.path.exists(name):
                        yield Item(key=_posix(name), source=name, problem="no such file")
                    elif name:
                        yield from _list_path(name, ambiguous)
            else:
                yield from _list_path(path, ambiguous)


def _expand(argument: str, missing: list[str]) -> list[str]:
    """One argument -> existing paths; what does not exist is added to `missing`. A name that
    exists is taken literally.
    """
    if argument == "-" or os.path.exists(argument):
        return [argument]
    try:
        names = list(braceexpand(argument)) if "{" in argument else [argument]
    except UnbalancedBracesError:
        raise UsageError(
            f"braces do not balance in {argument}", remedy="Ranges look like data/{000..127}.tar"
        ) from None
    found = []
    for name in names:
        paths = (
            [name]
            if os.path.exists(name)
            else sorted(glob.glob(name, recursive=True))
            if glob.has_magic(name)
            else []
        )
        found += paths
        if not paths:
            missing.append(name)
    return found


def _list_path(path: str, ambiguous: set[str]) -> Iterator[Item | Container]:
    if os.path.isdir(path):
        if any(
            os.path.isfile(os.path.join(path, name)) for name in ("state.json", "dataset_dict.json")
        ):
            yield Container("dataset", path)
            return
        name = os.path.basename(os.path.abspath(path))
        prefix = _posix(path).rstrip("/") if name in ambiguous else name
        empty = True
        for found in _walk(path, "", prefix, set()):
            empty = False
            yield found
        if empty:
            endings = " ".join(sorted(IMAGE_ENDINGS))
            raise DataError(
                f"{path}: no image, .tar or .parquet file in this folder",
                remedy=f"Endings that are looked for: {endings}.",
            )
    else:
        yield _as_container(path) or Item(key=_posix(path), source=path, path=path)


def _as_container(path: str) -> Container | None:
    lower = path.lower()
    return (
        Container("tar", path)
        if lower.endswith(TAR_ENDINGS)
        else Container("parquet", path)
        if lower.endswith(".parquet")
        else None
    )


def _walk(
    root: str, relative: str, prefix: str, seen: set[tuple[int, int]]
) -> Iterator[Item | Container]:
    """Images and containers below a folder, sorted; hidden names are skipped, each real folder is
    entered once (links may form loops).
    """
    folder = os.path.join(root, relative) if relative else root
    key = f"{prefix}/{relative}" if relative else prefix
    try:
        status = os.stat(folder)
        if (status.st_dev, status.st_ino) in seen:
            return
        seen.add((status.st_dev, status.st_ino))
        with os.scandir(folder) as entries:
            names = {
                entry.name: _kind_of(entry) for entry in entries if not entry.name.startswith(".")
            }
    except OSError as error:
        yield Item(key=key, source=folder, problem=f"folder cannot be read ({error.strerror})")
        return
    for name in sorted(names):
        below = f"{relative}/{name}" if relative else name
        if names[name] == "folder":
            yield from _walk(root, below, prefix, seen)
            continue
        path = os.path.join(folder, name)
        stem, _, ending = name.rpartition(".")
        if container := _as_container(path):
            yield container
        elif ending.lower() in IMAGE_ENDINGS:
            caption = (
                os.path.join(folder, f"{stem}.txt") if names.get(f"{stem}.txt") == "file" else None
            )
            # a pipe would be waited for, for ever
            problem = None if names[name] == "file" else "is no regular file"
            yield Item(
                key=f"{key}/{name}", source=path, path=path, text_path=caption, problem=problem
            )


def _kind_of(entry: os.DirEntry[str]) -> Literal["folder", "file", "other"]:
    try:
        return "folder" if entry.is_dir() else "file" if entry.is_file() else "other"
    except OSError:  # a link that leads to itself
        return "other"


def _posix(path: str) -> str:
    return Path(path).as_posix()


def read_items(container: Container, columns: Columns = Columns(), skip: int = 0) -> Iterator[Item]:
    """The images of a container, undecoded, in its own order; the first `skip` are passed over
    without reading where that is possible.

    Raises:
        DataError: A table has no image column, or not the one that was named.
    """
    match container.kind:
        case "tar":
            items = _read_tar(container)
            for _, _ in zip(range(skip), items, strict=False):
                pass
            return items
        case "parquet":
            return _read_parquet(container, columns, skip)
        case "dataset":
            return _read_dataset(container, columns, skip)


def count_items(
    container: Container, columns: Columns = Columns(), at_most: int | None = None
) -> int | None:
    """Images in a container, or None where only reading it whole would tell; a tar is read and
    counted if `at_most` is given.

    Raises:
        DataError: A table cannot be opened or has no image column.
    """
    match container.kind:
        case "tar":
            return (
                None
                if at_most is None
                else sum(1 for _ in zip(range(at_most), _read_tar(container), strict=False))
            )
        case "parquet":
            table = _open_parquet(container.path)
            _parquet_columns(container.path, table, columns)
            return table.metadata.num_rows
        case "dataset":
            table = _open_dataset(container.path)
            _dataset_columns(container.path, table, columns)
            return (len(table) if container.stop is None else container.stop) - container.start


def _read_tar(container: Container) -> Iterator[Item]:
    """Samples as webdataset groups them: consecutive members with the same
    name up to the first dot.
    """
    key, members, number = None, {}, 0
    try:
        with tarfile.open(container.path, "r|*") as tar:
            for member in tar:
                folder, _, name = member.name.rpartition("/")
                stem, _, ending = name.partition(".")
                if not member.isfile() or not stem or not ending:
                    continue
                sample = f"{folder}/{stem}" if folder else stem
                if sample != key:
                    if key is not None:
                        yield _tar_item(container, key, members)
                        number += 1
                    key, members = sample, {}
                kind = ending.lower().rpartition(".")[2]
                if kind in IMAGE_ENDINGS or kind in ("txt", "json"):
                    fits = member.size <= MAX_MEMBER_BYTES
                    members.setdefault(
                        kind if kind in ("txt", "json") else "image",
                        (member.name, tar.extractfile(member).read() if fits else None),
                    )
    except (tarfile.TarError, OSError, EOFError, zlib.error) as error:
        problem = f"tar is damaged or cannot be read after {number} samples ({error})"
        yield Item(key=f"{container.stem}/{key or ''}", source=container.path, problem=problem)
        return
    if key is not None:
        yield _tar_item(container, key, members)


def _tar_item(
    container: Container, sample: str, members: Mapping[str, tuple[str, bytes | None]]
) -> Item:
    name, data = members.get("image", (sample, None))
    text = (
        members["txt"][1].decode("utf-8", "replace").strip()
        if members.get("txt", ("", None))[1] is not None
        else None
    )
    meta = None
    if members.get("json", ("", None))[1] is not None:
        try:
            loaded = json.loads(members["json"][1])
        except ValueError:
            loaded = {"json": members["json"][1].decode("utf-8", "replace")}
        values = loaded if isinstance(loaded, dict) else {"json": loaded}
        text = (
            text
            if text is not None
            else next((values[c] for c in TEXT_COLUMNS if isinstance(values.get(c), str)), None)
        )
        meta = _as_json(values)
    problem = None
    if data is None:
        problem = (
            f"larger than {MAX_MEMBER_BYTES:,} bytes"
            if "image" in members
            else "sample without an image"
        )
    return Item(
        key=f"{container.stem}/{sample}",
        source=f"{container.path}/{name}",
        data=data,
        text=text,
        meta=meta,
        problem=problem,
    )


def _open_parquet(path: str) -> Any:
    import pyarrow.parquet as pq
    from pyarrow import ArrowException

    try:
        return pq.ParquetFile(path)
    except (ArrowException, OSError) as error:
        raise DataError(f"{path}: is no readable parquet file ({error})") from error


def _parquet_columns(path: str, table: Any, columns: Columns) -> tuple[str, str | None, list[str]]:
    """Image column, caption column, and all that are to be read."""
    import pyarrow as pa

    if b"seed" in (table.metadata.metadata or {}) and "codes" in table.schema_arrow.names:
        raise DataError(
            f"{path}: is a token shard, its images are codes already",
            remedy=f"Look into it with: seed tokens head {path}",
        )
    return _pick_columns(
        path, {field.name: _arrow_kind(pa, field.type) for field in table.schema_arrow}, columns
    )


def _read_parquet(container: Container, columns: Columns, skip: int) -> Iterator[Item]:
    from pyarrow import ArrowException

    table = _open_parquet(container.path)
    image, text, wanted = _parquet_columns(container.path, table, columns)
    groups, first = [], 0
    for group in range(table.num_row_groups):
        rows = table.metadata.row_group(group).num_rows
        if not groups and first + rows <= skip:
            first += rows
        else:
            groups.append(group)
    row = first
    try:
        for batch in table.iter_batches(
            batch_size=64, row_groups=groups, columns=wanted, use_threads=False
        ):
            for values in batch.to_pylist():
                if row >= skip:
                    yield _table_item(container, row, values, image, text)
                row += 1
    except (ArrowException, OSError) as error:
        yield Item(
            key=f"{container.stem}/{row:08d}",
            source=container.path,
            problem=f"parquet file is damaged after {row} rows ({error})",
        )


def _arrow_kind(pa: Any, kind: Any) -> str:
    if pa.types.is_struct(kind) and kind.get_field_index("bytes") >= 0:
        return "image"
    if pa.types.is_binary(kind) or pa.types.is_large_binary(kind):
        return "binary"
    return "string" if pa.types.is_string(kind) or pa.types.is_large_string(kind) else "other"


def _open_dataset(path: str) -> Any:
    import datasets

    try:
        loaded = datasets.load_from_disk(path)
    except (OSError, ValueError) as error:
        raise DataError(f"{path}: is no folder that `datasets` can load ({error})") from error
    if isinstance(loaded, datasets.DatasetDict):
        splits = ", ".join(str(Path(path) / split) for split in loaded)
        raise DataError(f"{path}: holds several splits", remedy=f"Name those you want: {splits}")
    return loaded


def _dataset_columns(path: str, table: Any, columns: Columns) -> tuple[str, str | None, list[str]]:
    import datasets

    return _pick_columns(
        path,
        {name: _feature_kind(datasets, feature) for name, feature in table.features.items()},
        columns,
    )


def _read_dataset(container: Container, columns: Columns, skip: int) -> Iterator[Item]:
    import datasets

    table = _open_dataset(container.path)
    image, text, wanted = _dataset_columns(container.path, table, columns)
    if isinstance(table.features[image], datasets.Image):
        table = table.cast_column(image, datasets.Image(decode=False))
    table = table.select_columns(wanted)
    for row in range(
        container.start + skip, len(table) if container.stop is None else container.stop
    ):
        yield _table_item(container, row, table[row], image, text)


def _feature_kind(datasets: Any, feature: Any) -> str:
    if isinstance(feature, datasets.Image):
        return "image"
    dtype = getattr(feature, "dtype", "")
    return (
        "binary"
        if dtype in ("binary", "large_binary")
        else "string"
        if dtype in ("string", "large_string")
        else "other"
    )


def _pick_columns(
    path: str, kinds: Mapping[str, str], columns: Columns
) -> tuple[str, str | None, list[str]]:
    """Image column and caption column (those that were named, else by type and usual name), and all
    columns to read: no other binaries.
    """
    for wanted in (columns.image, columns.text):
        if wanted is not None and wanted not in kinds:
            raise DataError(
                f"{path}: no column {wanted!r}; it has {', '.join(kinds)}",
                remedy="See --image-column and --text-column.",
            )
    candidates = [name for name, kind in kinds.items() if kind == "image"] or [
        name for name, kind in kinds.items() if kind == "binary"
    ]
    image = columns.image or next(
        (name for name in IMAGE_COLUMNS if name in candidates),
        candidates[0] if len(candidates) == 1 else None,
    )
    if image is None:
        found = (
            f"several columns could hold the image: {', '.join(candidates)}"
            if candidates
            else f"no image column among {', '.join(kinds)}"
        )
        raise DataError(f"{path}: {found}", remedy="Name one with --image-column.")
    if kinds[image] not in ("image", "binary"):
        raise DataError(
            f"{path}: column {image!r} holds no image bytes",
            remedy="Name another with --image-column.",
        )
    text = columns.text or next(
        (name for name in TEXT_COLUMNS if name in kinds and name != image), None
    )
    return (
        image,
        text,
        [name for name, kind in kinds.items() if name == image or kind not in ("binary", "image")],
    )


def _table_item(
    container: Container, row: int, values: dict[str, Any], image: str, text: str | None
) -> Item:
    key, source = f"{container.stem}/{row:08d}", f"{container.path}[{row}]"
    cell = values.pop(image)
    data = cell if isinstance(cell, bytes) else None
    path = None
    if isinstance(cell, dict):
        data, path = cell.get("bytes"), cell.get("path")
    caption = values.get(text) if text is not None else None
    if isinstance(caption, str):
        del values[text]
    elif isinstance(caption, list):  # all captions stay in meta
        caption = next((entry for entry in caption if isinstance(entry, str)), None)
    meta = _as_json(values) if values else None
    if data is not None:
        return Item(
            key=key,
            source=source,
            data=data,
            text=caption if isinstance(caption, str) else None,
            meta=meta,
        )
    if path is None:
        return Item(key=key, source=source, meta=meta, problem="row without an image")
    beside = path if os.path.isabs(path) else str(Path(container.path).parent / PurePosixPath(path))
    return Item(
        key=key,
        source=source,
        path=beside,
        text=caption if isinstance(caption, str) else None,
        meta=meta,
    )


def _as_json(values: Mapping[str, Any]) -> str:
    return json.dumps(values, ensure_ascii=False, default=str)
