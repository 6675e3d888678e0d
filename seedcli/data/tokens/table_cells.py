"""Pictures inside parquet files -> their bytes, when their turn comes. Torch-free."""

from __future__ import annotations

import base64
import bisect
import dataclasses
import itertools
from typing import Any

from seedcli.data.images.items import Item
from seedcli.errors import DataError
from seedcli.storage import for_arrow, read_range

_HELD = 4  # columns: an edit has two


class CellReader:
    """Reads the cells that items name. One row group of a column is held, so cells should come in
    about the order of their table.

    A cell's text is `row/place/column`; the place in a list is empty where the column holds none.
    Text in a cell is base64. `@offset+size` is a stretch of any file (a member of a tar), with
    `base64` after it one of text (a value of a JSON map).
    """

    def __init__(self) -> None:
        self._held: dict[tuple[str, str], tuple[int, Any]] = {}
        self._ends: dict[str, list[int]] = {}

    def __reduce__(self) -> tuple[type[CellReader], tuple[()]]:
        """Travels without what it holds."""
        return CellReader, ()

    def read(self, item: Item) -> Item:
        """Item -> the same with the bytes of its cell, or with a problem; one without
        a cell stays as it is.
        """
        if item.cell is None or item.problem is not None:
            return item
        from pyarrow import ArrowException

        try:
            if item.cell.startswith("@"):
                value = _stretch(item.path, item.cell)
            else:
                row, place, column = item.cell.split("/", 2)
                value = self._value(item.path, int(row), column)
                value = value[int(place)] if place else value
                value = value["bytes"] if isinstance(value, dict) else value
            data = base64.b64decode(value) if isinstance(value, str) else value
        except (ArrowException, DataError, OSError, LookupError, TypeError, ValueError) as error:
            return dataclasses.replace(item, problem=f"cannot be read from its table ({error})")
        return (
            dataclasses.replace(item, data=data)
            if data
            else dataclasses.replace(item, problem="is empty in its table")
        )

    def _value(self, path: str, row: int, column: str) -> Any:
        if path not in self._ends:
            self._ends[path] = _group_ends(path)
        ends = self._ends[path]
        group = bisect.bisect_right(ends, row)
        held, values = self._held.pop((path, column), (None, None))
        if held != group:
            values = _read_group(path, group, column)
        self._held[path, column] = group, values
        if len(self._held) > _HELD:
            self._held.pop(next(iter(self._held)))
        return values[row - (ends[group - 1] if group else 0)].as_py()


def _stretch(path: str, cell: str) -> bytes | str:
    offset, _, size = cell.removeprefix("@").removesuffix("base64").partition("+")
    found = read_range(path, int(offset), int(size))
    return found.decode("ascii") if cell.endswith("base64") else found


def _group_ends(path: str) -> list[int]:
    import pyarrow.parquet as pq

    with pq.ParquetFile(for_arrow(path)) as table:
        return list(
            itertools.accumulate(
                table.metadata.row_group(number).num_rows for number in range(table.num_row_groups)
            )
        )


def _read_group(path: str, group: int, column: str) -> Any:
    import pyarrow.parquet as pq

    with pq.ParquetFile(for_arrow(path)) as table:
        return table.read_row_group(group, columns=[column], use_threads=False).column(0)
