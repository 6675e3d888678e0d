"""Token shards: parquet files of codes that say which tokenizer made them. `seed tokenize` writes them, training reads them.

Columns: `key`, `codes` (fixed-size list of Q uint16), `text`, `source`, `meta`. The file metadata key `seed` holds a JSON object, see
`ShardHeader`. A shard is written beside its place, synced and renamed, so that a shard that exists is complete; it is never rewritten. Rows
with the same content in the same order give the same bytes, with one version of pyarrow (imported where it is used: a stream needs none).
"""

from __future__ import annotations

import dataclasses
import json
import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from seedcli.errors import DataError

if TYPE_CHECKING:
    import pyarrow as pa
    import pyarrow.parquet as pq

FORMAT_VERSION = 1
ROWS_PER_GROUP = 10_000
_METADATA_KEY = b"seed"


class TokenRow(NamedTuple):
    """One image of a shard: `codes` are Q integers in 0..K-1, `meta` is a JSON object as text."""

    key: str
    codes: Sequence[int] | np.ndarray
    text: str | None
    source: str
    meta: str | None


@dataclass(frozen=True, kw_only=True)
class ShardHeader:
    """What a shard says about itself.

    Attributes:
        tokenizer: Name of the visual tokenizer.
        fingerprint: Its fingerprint: codes of another one mean something else.
        num_queries: Codes an image.
        num_codes: Size of the codebook.
        image_handling: `seed` or `official`, see `open_image`.
        numerics: `default` or `official-fp16`.
        dtype: Of the arithmetic before the codebook.
        micro_batch: Shape of every pass through the model, [B,3,S,S]; other shapes may round differently.
        made_from: The input: its kind, path and number of items.
        count: Rows in the file.
        format_version: Of this file format.
    """

    tokenizer: str
    fingerprint: str
    num_queries: int
    num_codes: int
    image_handling: str
    numerics: str
    dtype: str
    micro_batch: tuple[int, ...]
    made_from: dict[str, Any] = field(default_factory=dict)
    count: int = 0
    format_version: int = FORMAT_VERSION

    def to_json(self) -> str:
        """The text stored in the file metadata; the same header gives the same text."""
        return json.dumps(dataclasses.asdict(self), sort_keys=True, ensure_ascii=False)


def shard_schema(header: ShardHeader) -> pa.Schema:
    """Columns of a shard."""
    import pyarrow as pa

    columns = [
        pa.field("key", pa.string(), nullable=False),
        pa.field("codes", pa.list_(pa.uint16(), header.num_queries), nullable=False),
        pa.field("text", pa.string()),
        pa.field("source", pa.string(), nullable=False),
        pa.field("meta", pa.string()),
    ]
    return pa.schema(columns)


def write_shard(path: str | Path, header: ShardHeader, rows: Iterable[TokenRow], *, overwrite: bool = False) -> ShardHeader:
    """Rows -> one parquet file, streamed in groups of 10,000; appears under `path` only when complete and synced.

    Returns:
        The header as written, with the true count.

    Raises:
        DataError: The shard exists already, or the rows do not have `num_queries` codes in range.
    """
    import pyarrow.parquet as pq

    path = Path(path)
    if path.exists() and not overwrite:
        raise DataError(f"{path}: exists already, and finished shards are never rewritten", remedy="Choose another place with -o.")
    partial = path.with_name(path.name + ".partial")
    writer = pq.ParquetWriter(partial, shard_schema(header), compression="zstd")
    count = 0
    try:
        for group in _in_groups(rows, ROWS_PER_GROUP):
            writer.write_table(_as_table(group, header))
            count += len(group)
        written = dataclasses.replace(header, count=count)
        writer.add_key_value_metadata({_METADATA_KEY.decode(): written.to_json()})
    finally:
        writer.close()
    sync_and_rename(partial, path)
    return written


def _in_groups(rows: Iterable[TokenRow], size: int) -> Iterator[list[TokenRow]]:
    group: list[TokenRow] = []
    for row in rows:
        group.append(row)
        if len(group) == size:
            yield group
            group = []
    if group:
        yield group


def _as_table(rows: list[TokenRow], header: ShardHeader) -> pa.Table:
    import pyarrow as pa

    codes = np.asarray([row.codes for row in rows])
    if codes.shape != (len(rows), header.num_queries) or codes.min() < 0 or codes.max() >= header.num_codes:
        raise DataError(
            f"codes of shape {codes.shape} from {codes.min()} to {codes.max()}; expected {header.num_queries} in 0..{header.num_codes - 1}"
        )
    flat = pa.array(codes.reshape(-1).astype(np.uint16))
    schema = shard_schema(header)
    return pa.table(
        {
            "key": pa.array([row.key for row in rows], pa.string()),
            "codes": pa.FixedSizeListArray.from_arrays(flat, type=schema.field("codes").type),
            "text": pa.array([row.text for row in rows], pa.string()),
            "source": pa.array([row.source for row in rows], pa.string()),
            "meta": pa.array([row.meta for row in rows], pa.string()),
        },
        schema=schema,
    )


def sync_and_rename(partial: Path, path: Path) -> None:
    """Makes a written file durable, then visible under its name."""
    for target, flags in ((partial, os.O_RDWR), (path.parent, os.O_RDONLY)):
        descriptor = os.open(target, flags)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
        if target == partial:
            os.replace(partial, path)


def find_shards(path: str | Path) -> list[Path]:
    """A shard, or every finished shard of a folder, sorted by name.

    Raises:
        DataError: There is none.
    """
    path = Path(path)
    if path.is_file():
        return [path]
    found = sorted(path.glob("*.parquet"))
    if not found:
        state = "no token shard in this folder" if path.is_dir() else "no such file or folder"
        raise DataError(f"{path}: {state}", remedy="Make some with: seed tokenize INPUT -o " + str(path))
    return found


def read_header(path: str | Path) -> ShardHeader:
    """The header of a shard, without its rows.

    Raises:
        DataError: The file is no parquet, no token shard, or of a newer format.
    """
    with _opened(path) as file:
        return _header_of(path, file)


def _opened(path: str | Path) -> pq.ParquetFile:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        return pq.ParquetFile(path)
    except (pa.ArrowException, OSError) as error:
        raise DataError(f"{path}: is no readable parquet file ({error})") from error


def _header_of(path: str | Path, file: pq.ParquetFile) -> ShardHeader:
    text = (file.metadata.metadata or {}).get(_METADATA_KEY)
    if text is None or "codes" not in file.schema_arrow.names:
        raise DataError(f"{path}: is a parquet file, but no token shard (no `seed` metadata)", remedy="Make one with: seed tokenize")
    try:
        values = json.loads(text)
        version = values.get("format_version")
        if version != FORMAT_VERSION:
            raise DataError(f"{path}: token shard of format {version}; this version reads {FORMAT_VERSION}", remedy="Update seedcli.")
        names = {one.name for one in dataclasses.fields(ShardHeader)}
        header = ShardHeader(**{name: value for name, value in values.items() if name in names})
    except (ValueError, TypeError, AttributeError) as error:
        raise DataError(f"{path}: its `seed` metadata cannot be read ({error})") from error
    return dataclasses.replace(header, micro_batch=tuple(header.micro_batch))


def read_rows(path: str | Path, *, batch_size: int = 1024) -> Iterator[TokenRow]:
    """Rows of one shard in order, streamed; codes are uint16 arrays [Q].

    Raises:
        DataError: The file is no token shard or is damaged.
    """
    import pyarrow as pa

    with _opened(path) as file:
        header = _header_of(path, file)
        try:
            for batch in file.iter_batches(batch_size=batch_size, use_threads=False):
                columns = {name: batch.column(name) for name in TokenRow._fields}
                codes = columns.pop("codes").flatten().to_numpy(zero_copy_only=False).reshape(-1, header.num_queries)
                values = {name: column.to_pylist() for name, column in columns.items()}
                for number in range(batch.num_rows):
                    yield TokenRow(codes=codes[number], **{name: column[number] for name, column in values.items()})
        except (pa.ArrowException, OSError, ValueError, KeyError) as error:
            raise DataError(f"{path}: the shard is damaged ({error})", remedy=f"See: seed tokens verify {path}") from error


@dataclass(frozen=True)
class TokenShards:
    """Shards of one tokenizer, read one after the other.

    Attributes:
        paths: The files.
        header: Header of the first; tokenizer and fingerprint are those of all.
        counts: Rows of each file.
    """

    paths: list[Path]
    header: ShardHeader
    counts: list[int]

    def __len__(self) -> int:
        return sum(self.counts)

    def __iter__(self) -> Iterator[TokenRow]:
        for path in self.paths:
            yield from read_rows(path)


def open_shards(inputs: Iterable[str | Path], *, fingerprint: str | None = None) -> TokenShards:
    """Shards and folders of shards -> one readable set, all of the same tokenizer.

    Args:
        inputs: Files and folders.
        fingerprint: The tokenizer that the codes are for; None takes any, as long as it is one.

    Raises:
        DataError: Files that are no token shards, a mix of fingerprints, or another fingerprint than the one asked for.
    """
    paths = [path for one in inputs for path in find_shards(one)]
    if not paths:
        raise DataError("no token shard named", remedy="Make some with: seed tokenize INPUT -o DIR")
    headers = [read_header(path) for path in paths]
    first = headers[0]
    for path, header in zip(paths, headers, strict=True):
        if header.fingerprint != first.fingerprint:
            raise DataError(
                f"shards of two tokenizers: {paths[0]} is of {first.tokenizer} ({first.fingerprint[:12]}), "
                f"{path} of {header.tokenizer} ({header.fingerprint[:12]})",
                remedy="Their codes mean different things. Tokenize all images with one model, or name one set of shards.",
            )
    if fingerprint is not None and first.fingerprint != fingerprint:
        raise DataError(
            f"{paths[0]}: codes of {first.tokenizer} ({first.fingerprint[:12]}), but the model at hand is {fingerprint[:12]}",
            remedy=f"Use --model {first.tokenizer}, or tokenize the images again with the model at hand.",
        )
    return TokenShards(paths=paths, header=first, counts=[header.count for header in headers])
