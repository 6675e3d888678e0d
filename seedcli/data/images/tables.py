"""Parquet files and folders that `datasets` saved -> their images, undecoded. Torch-free.

Both are read as Arrow, so that one set of rules finds the image in a row: bytes, a struct of bytes
and path as `datasets` stores it, a path beside the table, or a list of any of these. pyarrow and
datasets are imported where they are used.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple

from seedcli.data.images.endings import frames_of
from seedcli.data.images.items import Columns, Container, Item
from seedcli.data.images.tars import TEXT_COLUMNS
from seedcli.data.text_files import printable
from seedcli.errors import DataError
from seedcli.storage import for_arrow, is_url

# looked for in this order; the second line may hold paths only
IMAGE_COLUMNS = (
    ("image", "img", "jpg", "png", "webp", "image_bytes", "bytes", "picture", "images")
    + ("image_path", "path", "file_name", "filename")
)  # fmt: skip
_BATCH = 64
_INDEX_COLUMNS = {"url", "key", "status"}


@dataclass(frozen=True)
class _Table:
    """A table that is open: its Arrow schema, its rows, and batches of some columns from a row on,
    each with the number of its first row.
    """

    schema: Any
    num_rows: int
    batches: Callable[[list[str], int], Iterator[tuple[int, Any]]]


def read_table(container: Container, columns: Columns, skip: int) -> Iterator[Item]:
    """Container of kind `parquet` or `dataset` -> its images without the first `skip`.

    Raises:
        DataError: It cannot be opened, or has no image column, or not the one that was named.
    """
    table = _open(container)
    return _read(table, container, _pick(table, container.path, columns), skip)


def read_opened(loaded: Any, container: Container, columns: Columns) -> Iterator[Item]:
    """A table that `datasets` has opened -> its images; keys and sources are the container's.

    Raises:
        DataError: As `read_table`.
    """
    table = _opened(loaded, container)
    return _read(table, container, _pick(table, container.path, columns), 0)


def count_table(container: Container, columns: Columns) -> tuple[int, bool]:
    """Container -> its rows, and whether each holds a list of images.

    Raises:
        DataError: As `read_table`.
    """
    table = _open(container)
    lists = _pick(table, container.path, columns).lists
    return (table.num_rows if container.stop is None else container.stop) - container.start, lists


def is_index(path: str) -> bool:
    """Whether a parquet file is what img2dataset writes beside each tar or folder: addresses and
    what became of them, no pictures.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        source = for_arrow(path)
        return set(pq.read_schema(source).names) >= _INDEX_COLUMNS
    except (pa.ArrowException, OSError, DataError):
        return False


def arrow_kind(kind: Any) -> str:
    """Arrow type -> `image` (bytes, path), `binary`, `string`, `null`, `list of ...`, `other`."""
    from pyarrow import types

    if types.is_list(kind) or types.is_large_list(kind) or types.is_fixed_size_list(kind):
        inner = arrow_kind(kind.value_type)
        return f"list of {inner}" if inner in ("image", "binary", "string") else "other"
    if types.is_struct(kind):
        return "image" if kind.get_field_index("bytes") >= 0 else "other"
    if types.is_binary(kind) or types.is_large_binary(kind) or types.is_binary_view(kind):
        return "binary"
    if types.is_string(kind) or types.is_large_string(kind) or types.is_string_view(kind):
        return "string"
    return "null" if types.is_null(kind) else "other"


def _open(container: Container) -> _Table:
    return (_open_parquet if container.kind == "parquet" else _open_dataset)(container)


def _open_parquet(container: Container) -> _Table:
    import pyarrow.parquet as pq
    from pyarrow import ArrowException

    path = container.path
    try:
        file = pq.ParquetFile(for_arrow(path))
    except (ArrowException, OSError) as error:
        raise DataError(f"{path}: is no readable parquet file ({error})") from error

    def batches(wanted: list[str], start: int) -> Iterator[tuple[int, Any]]:
        groups: list[int] = []
        row = 0
        for group in range(file.num_row_groups):
            rows = file.metadata.row_group(group).num_rows
            if not groups and row + rows <= start:
                row += rows
            else:
                groups.append(group)
        for batch in file.iter_batches(
            _BATCH, row_groups=groups, columns=wanted, use_threads=False
        ):
            yield row, batch
            row += batch.num_rows

    schema = file.schema_arrow.with_metadata(file.metadata.metadata)
    return _Table(schema, file.metadata.num_rows, batches)


def _open_dataset(container: Container) -> _Table:
    import datasets

    path = container.path
    try:
        loaded = datasets.load_from_disk(path)
    except (OSError, ValueError) as error:
        raise DataError(f"{path}: is no folder that `datasets` can load ({error})") from error
    if isinstance(loaded, datasets.DatasetDict):
        splits = ", ".join(str(Path(path) / split) for split in loaded)
        raise DataError(f"{path}: holds several splits", remedy=f"Name those you want: {splits}")
    return _opened(loaded, container)


def _opened(loaded: Any, container: Container) -> _Table:
    def batches(wanted: list[str], start: int) -> Iterator[tuple[int, Any]]:
        stop = len(loaded) if container.stop is None else container.stop
        rows = loaded.select(range(container.start + start, stop)).select_columns(wanted)
        row = container.start + start
        for batch in rows.with_format("arrow").iter(_BATCH):
            yield row, batch
            row += batch.num_rows

    return _Table(loaded.features.arrow_schema, len(loaded), batches)


class _Picked(NamedTuple):
    """Columns of a table: the image's, the caption's, and all to read; `lists`: whether a row holds
    a list of images.
    """

    image: str
    text: str | None
    wanted: list[str]
    lists: bool


def _pick(table: _Table, path: str, columns: Columns) -> _Picked:
    """Image column and caption column (those that were named, else by type and usual name), and all
    columns to read: no other binaries.
    """
    if b"seed" in (table.schema.metadata or {}) and "codes" in table.schema.names:
        raise DataError(
            f"{path}: is a token shard, its images are codes already",
            remedy=f"Look into it with: seed tokens head {path}",
        )
    kinds = {field.name: arrow_kind(field.type) for field in table.schema}
    for wanted in (columns.image, columns.text):
        if wanted is not None and wanted not in kinds:
            raise DataError(
                f"{path}: no column {wanted!r}; it has {', '.join(kinds)}",
                remedy="See --image-column and --text-column.",
            )
    candidates: list[str] = []
    for sort in ("image", "binary", "string"):
        candidates = candidates or [
            name
            for name, kind in kinds.items()
            if kind in (sort, f"list of {sort}") and (sort != "string" or name in IMAGE_COLUMNS)
        ]
    # pandas gives a column without a value no type
    candidates = candidates or [
        name for name, kind in kinds.items() if kind == "null" and name in IMAGE_COLUMNS
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
        addresses = {"url", "urls", "image_url"} & {name.lower() for name in kinds}
        raise DataError(
            f"{path}: {found}",
            remedy="img2dataset fetches pictures by their addresses; its tars and tables are "
            "inputs."
            if addresses
            else "Name one with --image-column.",
        )
    if kinds[image] == "other":
        raise DataError(
            f"{path}: column {image!r} holds neither images nor paths",
            remedy="Name another with --image-column.",
        )
    text = columns.text or next(
        (name for name in TEXT_COLUMNS if name in kinds and name != image), None
    )
    others = [name for name, kind in kinds.items() if not kind.endswith(("binary", "image"))]
    wanted_columns = list(dict.fromkeys((image, *others)))
    return _Picked(image, text, wanted_columns, kinds[image].startswith("list of "))


def _read(table: _Table, container: Container, picked: _Picked, skip: int) -> Iterator[Item]:
    from pyarrow import ArrowException

    # a row of a list holds any number of images, so that only reading tells where `skip` lies
    passed = skip if picked.lists else 0
    row = start = container.start + (0 if picked.lists else skip)
    try:
        for first, batch in table.batches(picked.wanted, start - container.start):
            for row, values in enumerate(_rows(batch), first):
                if row < start:
                    continue
                for item in _items(container, row, values, picked.image, picked.text):
                    if passed:
                        passed -= 1
                    else:
                        yield item
    except (ArrowException, OSError, DataError) as error:
        yield Item(
            key=f"{container.prefix}/{row:08d}",
            source=printable(container.path),
            problem=f"table is damaged after {row} rows ({error})",
        )


def _rows(batch: Any) -> Iterator[dict[str, Any] | Exception]:
    """Rows of a batch; what Python cannot hold (no UTF-8, a time out of range) is of its row."""
    try:
        yield from batch.to_pylist()
    except (ValueError, OverflowError):
        for number in range(batch.num_rows):
            try:
                yield batch.slice(number, 1).to_pylist()[0]
            except (ValueError, OverflowError) as error:
                yield error


def _items(
    container: Container,
    row: int,
    values: dict[str, Any] | Exception,
    image: str,
    text: str | None,
) -> Iterator[Item]:
    key, source = f"{container.prefix}/{row:08d}", f"{printable(container.path)}[{row}]"
    if isinstance(values, Exception):
        yield Item(key=key, source=source, problem=f"row cannot be read ({values})")
        return
    cell = values.pop(image)
    caption = values.get(text) if text is not None else None
    if isinstance(caption, str):
        del values[text]
    elif isinstance(caption, list):  # all captions stay in meta
        caption = next((entry for entry in caption if isinstance(entry, str)), None)
    said = caption if isinstance(caption, str) else None
    meta = json.dumps(values, ensure_ascii=False, default=str) if values else None
    cells = cell if isinstance(cell, list) else [cell]
    if not cells:
        yield Item(key=key, source=source, meta=meta, problem="row without an image")
    for number, one in enumerate(cells):
        place = "" if len(cells) == 1 else f"-{number}"
        yield Item(
            key=f"{key}{place}", source=f"{source}{place}", text=said, meta=meta,
            **_content(container, one),
        )  # fmt: skip


def _content(container: Container, cell: Any) -> dict[str, Any]:
    """Value of an image column -> `data`, `path`, `frames` or `problem` of an item."""
    data, path = (cell.get("bytes"), cell.get("path")) if isinstance(cell, dict) else (cell, None)
    if isinstance(data, bytes) and data:
        return {"data": data, "frames": frames_of(path) if isinstance(path, str) else None}
    path = data if isinstance(data, str) and data else path
    path = os.fsdecode(path) if isinstance(path, bytes) else path
    if not isinstance(path, str) or not path:
        return {"problem": "row without an image"}
    if "://" in path:
        return {"problem": f"is an address: {path}; img2dataset fetches pictures"}
    if is_url(container.path):
        return {
            "path": f"{container.path.rpartition('/')[0]}/{path}",
            "frames": frames_of(path),
        }
    # what was written on Windows keeps its drive, everything else lies beside the table
    beside = path if os.path.isabs(path) else str(Path(container.path).parent / PurePosixPath(path))
    return {"path": beside, "frames": frames_of(path)}
