"""A file of JSON lines that outlives a kill: what long work has done, one line at a time."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, Self

from seedcli.errors import MALFORMED, DataError
from seedcli.files import json_text, parse_json, raise_if_full


class Journal:
    """Lines of JSON, new or begun. One process at a time writes it: whoever holds its folder
    (`seedcli.engine.hold`).

    A line is on its way to the disk when `append` returns, so a kill costs what was not appended
    yet, and at most tears the last line.
    """

    def __init__(self, path: Path):
        self.path = path
        self._file = open(path, "ab+")  # noqa: SIM115 - closed by `close`

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.close()

    def recover(self, keep: Callable[[Any], object], *, ordered: bool) -> None:
        """Gives every whole line to `keep`, and cuts off what a kill left of the last one.

        Args:
            keep: Takes a line's value; one of `MALFORMED` from it says that the line is none.
            ordered: A line's place means something: a damaged one, and all behind it, are cut off,
                and are computed anew. Else only the last line may be damaged.

        Raises:
            DataError: An earlier line is damaged, which no kill does.
        """
        self._file.seek(0)
        good, damaged = 0, None
        for number, raw in enumerate(self._file, 1):
            if damaged is not None:
                raise DataError(
                    f"{self.path}: line {damaged} is damaged",
                    remedy="remove the line; what it said is computed anew",
                )
            try:
                if not raw.endswith(b"\n"):
                    break
                keep(parse_json(raw))
                good += len(raw)
            except MALFORMED:
                if ordered:
                    break
                damaged = number
        self._file.truncate(good)

    def append(self, *values: Any) -> None:
        """Adds lines in one write.

        Raises:
            NoSpaceError: The disk is full; the file ends where it did before.
        """
        data = memoryview(b"".join(json_text(value).encode() + b"\n" for value in values))
        # not through the buffer, which would write the rest of a refused line on closing
        descriptor = self._file.fileno()
        before = os.fstat(descriptor).st_size
        try:
            while data:
                data = data[os.write(descriptor, data) :]
        except OSError as error:
            os.ftruncate(descriptor, before)
            raise_if_full(error, self.path, 0)
            raise

    def close(self) -> None:
        """Closes the file; what is in it stays."""
        self._file.close()
