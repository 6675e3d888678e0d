"""Document sources on disk: token shards, tables, JSON lines, and tars of JSON or pickled rows.
All are random-access.
"""

from __future__ import annotations

import io
import pickle
import random
import re
from collections import OrderedDict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import braceexpand
import numpy as np

from seedcli.console import Reporter
from seedcli.data.documents.columns import DocumentRow
from seedcli.data.documents.documents import Sample
from seedcli.data.documents.rows import sample_of_row
from seedcli.data.images.tars import indexed_tar, place_of
from seedcli.data.sample_order import BLOCKS_AT_ONCE, find_block
from seedcli.data.tables import cached_index, open_table
from seedcli.data.text_files import load_json
from seedcli.data.tokens.picture_store import PictureStore, pictures_of, refuse_failed
from seedcli.data.tokens.shard_schema import meta_of
from seedcli.data.tokens.shards import TokenRow, block_sizes, open_shards, read_block, rows_of_batch
from seedcli.errors import DataError
from seedcli.storage import as_place, open_to_read, read_range

_NAMES_PICTURE = re.compile(rb'"(?:images?|image_url|videos?|video_url)"')
_ROW_MEMBERS = {"json": 0, "pkl": 1, "pickle": 1}


class ShardDocuments:
    """Token shards: a row group at a time is read and kept, so rows should be
    asked for block by block.

    Args:
        path: A shard, or a folder of shards.
        fingerprint: Of the tokenizer that the codes are for; empty takes any.
        num_queries: Codes of a picture.
        text_column: `text`, or a field of `meta` that holds the caption or several of them.

    Raises:
        DataError: No shards, or shards of another tokenizer.
    """

    def __init__(self, path: str, *, fingerprint: str, num_queries: int, text_column: str):
        shards = open_shards([path], fingerprint=fingerprint or None)
        if num_queries and shards.header.num_queries != num_queries:
            raise DataError(
                f"{path}: {shards.header.num_queries} codes a picture, the tokenizer at hand "
                f"makes {num_queries}"
            )
        self._text_column = text_column
        self._blocks = [
            (shard, number) for shard in shards.paths for number in range(len(block_sizes(shard)))
        ]
        self.block_sizes = [size for shard in shards.paths for size in block_sizes(shard)]
        self._ends = np.cumsum(self.block_sizes)
        self._kept: OrderedDict[int, tuple] = OrderedDict()

    def __len__(self) -> int:
        return int(self._ends[-1]) if len(self._ends) else 0

    def read(self, row: int, rng: random.Random) -> Sample:
        """Row `row`; `rng` draws among several captions."""
        place, within = find_block(self._ends, row)
        if place not in self._kept:
            self._kept[place] = read_block(*self._blocks[place])
            if len(self._kept) > 2 * BLOCKS_AT_ONCE:
                self._kept.popitem(last=False)
        self._kept.move_to_end(place)
        header, batch = self._kept[place]
        found = next(rows_of_batch(batch.slice(within, 1), header))
        meta = meta_of(found)
        if isinstance(found, DocumentRow):
            return Sample(found.key, found.segments, found.messages, meta)
        return Sample(
            found.key, (tuple(found.codes.tolist()), *self._caption(found, meta, rng)), meta=meta
        )

    def _caption(self, row: TokenRow, meta: dict[str, Any], rng: random.Random) -> tuple[str, ...]:
        text = row.text if self._text_column == "text" else meta.get(self._text_column)
        text = rng.choice(text) if isinstance(text, list) and text else text
        return (str(text),) if text else ()


class RowDocuments:
    """Rows that are mappings; pictures that they name are encoded when the source is opened.

    Args:
        name: For messages, and for the cache.
        num_queries: Codes of a picture.
        text_column: Field of the caption or text.
        fingerprint: Of the tokenizer at hand; a row that names another one is refused.
        folder: That relative picture paths start from.
    """

    block_sizes: list[int] | None = None

    def __init__(
        self, name: str, *, num_queries: int, text_column: str, fingerprint: str, folder: Path
    ):
        self._name, self._fingerprint = name, fingerprint
        self._how: dict[str, Any] = {
            "num_queries": num_queries,
            "text_column": text_column,
            "folder": folder,
        }
        self._store: PictureStore | None = None

    def __len__(self) -> int:
        raise NotImplementedError

    def row(self, number: int) -> dict[str, Any]:
        """Row as it is stored."""
        raise NotImplementedError

    def encode_pictures(self, store: PictureStore, *, reporter: Reporter | None = None) -> None:
        """Every picture that a row names or carries -> codes in `store`.

        Args:
            store: Keeps them.
            reporter: Shows how far it is; for the total all rows are looked through first.

        Raises:
            DataError: Some cannot be used.
        """
        self._store = store
        known, waiting = store.count(self._pictures()) if reporter else (0, 0)
        if not waiting:  # but for those that cannot be read, which are named now
            refuse_failed(store.add(self._pictures()), self._name)
            return
        with reporter.progress("encode pictures", known + waiting) as progress:
            progress.resume(known)
            refuse_failed(store.add(self._pictures(), progress=progress), self._name)

    def _pictures(self) -> Iterator[Any]:
        for number in range(len(self)):
            yield from pictures_of(self._sample(number, None))

    def read(self, row: int, rng: random.Random) -> Sample:
        """Row `row`; `rng` draws among several captions or answers."""
        sample = self._sample(row, rng)
        if self._store:
            return self._store.resolve(sample)
        if pictures_of(sample):
            raise DataError(
                f"{self._name}, row {row}: names a picture where only codes were expected"
            )
        return sample

    def _sample(self, number: int, rng: random.Random | None) -> Sample:
        row = self.row(number)
        made_by = row.get("fingerprint")
        if made_by and self._fingerprint and made_by != self._fingerprint:
            raise DataError(
                f"{self._name}, row {number}: codes of {row.get('model', 'another model')} "
                f"({made_by!s:.12}), but the model at hand is {self._fingerprint[:12]}",
                remedy="tokenize the images again with the model at hand",
            )
        try:
            return sample_of_row(row, f"{self._name}/{number}", rng=rng, **self._how)
        except DataError as error:
            raise DataError(
                f"{self._name}, row {number}: {error.message}", remedy=error.remedy
            ) from None


class TableDocuments(RowDocuments):
    """Whatever `datasets` reads: parquet, JSON, CSV, a saved set, a hub id."""

    def __init__(self, path: str, *, split: str, **how: Any):
        super().__init__(path, **how)
        import datasets

        self._table = open_table(path, split=split)
        for column, kind in self._table.features.items():
            if isinstance(kind, datasets.Image | datasets.Video):
                self._table = self._table.cast_column(column, type(kind)(decode=False))

    def __len__(self) -> int:
        return len(self._table)

    def row(self, number: int) -> dict[str, Any]:
        """Row of the table."""
        return self._table[number]

    def has_pictures(self) -> bool:
        """Whether rows may name or carry pictures that are not codes yet."""
        features = self._table.features
        said = str(features.get("messages"))
        return bool({"image", "images", "videos"} & set(features)) or any(
            kind in said for kind in ("image", "video")
        )


class LineDocuments(RowDocuments):
    """JSON lines, read by an index of offsets: their rows may differ in shape, as messages do."""

    def __init__(self, path: str, *, cache: Path, **how: Any):
        super().__init__(path, **how)
        self._path = as_place(path)
        self._index = cached_index(self._path, "lines with pictures or videos", cache, _index_lines)

    def __len__(self) -> int:
        return len(self._index)

    def row(self, number: int) -> dict[str, Any]:
        """The object of a line.

        Raises:
            DataError: The line is no JSON object.
        """
        offset, size, *_ = map(int, self._index[number])
        return _as_object(read_range(self._path, offset, size), f"{self._path}, row {number}")

    def has_pictures(self) -> bool:
        """Whether rows name pictures that are not codes yet; lines without the words `image` or
        `video` are not looked into.
        """
        named = np.flatnonzero(self._index[:, 2])
        return any(pictures_of(self._sample(int(number), None)) for number in named)


class TarDocuments(RowDocuments):
    """Webdataset tars whose rows are .json or .pkl members with codes; pickles may
    hold plain values only.
    """

    def __init__(self, pattern: str, *, cache: Path, **how: Any):
        super().__init__(pattern, **how)
        self._tars = [as_place(path) for path in braceexpand.braceexpand(pattern)]
        self._indices = [cached_index(tar, "rows", cache, _index_rows) for tar in self._tars]
        self.block_sizes = [len(index) for index in self._indices]
        self._ends = np.cumsum(self.block_sizes)

    def __len__(self) -> int:
        return int(self._ends[-1])

    def row(self, number: int) -> dict[str, Any]:
        """The row of a member.

        Raises:
            DataError: It is no object, or a pickle of anything but plain values.
        """
        place, within = find_block(self._ends, number)
        offset, size, pickled, _ = map(int, self._indices[place][within])
        data = read_range(self._tars[place], offset, size)
        where = f"{self._tars[place]}, row {number}"
        return read_plain_pickle(data, where) if pickled else _as_object(data, where)


class _PlainUnpickler(pickle.Unpickler):
    """Reads numbers, strings, lists and mappings; whatever would import code is refused."""

    def find_class(self, module: str, name: str) -> Any:
        raise pickle.UnpicklingError(f"it asks for {module}.{name}")


def read_plain_pickle(data: bytes, where: str) -> dict[str, Any]:
    """Pickled row of plain values -> row.

    Raises:
        DataError: It asks for any class or function, or is damaged.
    """
    try:
        row = _PlainUnpickler(io.BytesIO(data)).load()
    except Exception as error:  # damaged pickles raise anything
        raise DataError(
            f"{where}: is no pickle of plain values ({error})",
            remedy="only rows as the official tools wrote them are read",
        ) from None
    if not isinstance(row, dict):
        raise DataError(f"{where}: holds a {type(row).__name__}, expected the fields of a row")
    return row


def _as_object(data: bytes, where: str) -> dict[str, Any]:
    try:
        row = load_json(data)
    except ValueError as error:
        raise DataError(f"{where}: is no JSON ({error})") from None
    if not isinstance(row, dict):
        raise DataError(
            f"{where}: holds a {type(row).__name__}, expected an object with the fields of a row"
        )
    return row


def _index_lines(path: Path) -> list[tuple[int, ...]]:
    """JSON lines -> (offset, size, whether it may name a picture, 0) of each."""
    found: list[tuple[int, ...]] = []
    offset = 0
    with open_to_read(path) as file:
        for line in file:
            if line.strip():
                found.append((offset, len(line), int(_NAMES_PICTURE.search(line) is not None), 0))
            offset += len(line)
    return found


def _index_rows(path: Path) -> list[tuple[int, ...]]:
    with indexed_tar(str(path), what="training source") as tar:
        return [
            (*place_of(member), _ROW_MEMBERS[suffix], 0)
            for member in tar
            if member.isfile()
            and (suffix := member.name.rpartition(".")[2].lower()) in _ROW_MEMBERS
        ]
