"""Codes of pictures that were tokenised before, found by the files that they
were made of. Torch-free.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from seedcli.data.images.items import Item
from seedcli.data.tokens.shards import ShardHeader, TokenRow, open_shards, read_header
from seedcli.errors import DataError


class KnownCodes:
    """Token shards of pictures, as `seed tokenize` writes them.

    Args:
        places: Shards, or folders of them.

    Attributes:
        header: What they say of their tokenizer.

    Raises:
        DataError: They are no shards of pictures, or not all of one tokenizer and one
            way of handling pictures.
    """

    def __init__(self, places: Sequence[Path]):
        self._places = ", ".join(map(str, places))
        self._shards = open_shards(places, content=["images"])
        self.header = self._shards.header
        for path in self._shards.paths:
            self.refuse_other(read_header(path), name=str(path))

    def refuse_other(self, header: ShardHeader, *, name: str) -> None:
        """Refuses codes that were made in another way.

        Raises:
            DataError: Tokenizer, handling of pictures or arithmetic differ.
        """
        for field in ("fingerprint", "image_handling", "numerics", "dtype"):
            ours, other = getattr(self.header, field), getattr(header, field)
            if ours != other:
                raise DataError(
                    f"codes of {self._places} are of {field} {ours}, those of {name} of {other}",
                    remedy="Tokenize the pictures again with the model and the options at hand, or "
                    "leave --codes out.",
                )

    def rows(self, pictures: Iterable[Item]) -> Iterator[TokenRow]:
        """Those of the pictures that have codes, with the picture's key.

        Raises:
            DataError: Not one has.
        """
        wanted = {
            os.path.realpath(item.path): item
            for item in pictures
            if item.path and not (item.cell or item.frames)
        }
        total, source = len(wanted), ""
        for row in self._shards:
            source = source or row.source
            item = wanted.pop(os.path.realpath(row.source), None)
            if item is not None:
                yield TokenRow(item.key, row.codes, None, item.source, None)
        if total and len(wanted) == total:
            raise DataError(
                f"{self._places} holds codes of none of the {total} pictures: the first there is "
                f"of {source}, looked for is {next(iter(wanted.values())).path}",
                remedy="Run seed tokenize and this command in the same folder, on the same files; "
                "or leave --codes out.",
            )
