"""Token shards: parquet files of codes that say which tokenizer made them. `seed tokenize` writes
them, training reads them.

Columns: `key`, `codes` (fixed-size list of Q uint16), `text`, `source`, `meta`; shards of documents
have `segments` or `messages` in place of `codes` and `text`, see `data.document_columns`. The file
metadata key `seed` holds a JSON object, see `ShardHeader`. A shard is written beside its place,
synced and renamed, so that a shard that exists is complete; it is never rewritten. Rows with the
same content in the same order give the same bytes, with one version of pyarrow (imported where it
is used: a stream needs none).
"""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from seedcli.data.documents.columns import (
    Content,
    DocumentRow,
    check_document,
    pack_document,
    unpack_messages,
    unpack_segments,
)
from seedcli.data.tokens.shard_schema import (
    METADATA_KEY,
    ShardHeader,
    check_batch,
    damage_named,
    header_of,
    shard_schema,
)
from seedcli.errors import DataError
from seedcli.files import published
from seedcli.storage import as_place, for_arrow, is_url, refusals_named

if TYPE_CHECKING:
    import datasets
    import pyarrow as pa
    import pyarrow.parquet as pq

ROWS_PER_GROUP = 10_000


class TokenRow(NamedTuple):
    """One image of a shard: `codes` are Q integers in 0..K-1, `meta` is a JSON object as text."""

    key: str
    codes: Sequence[int] | np.ndarray
    text: str | None
    source: str
    meta: str | None


def write_shard(
    path: str | Path,
    header: ShardHeader,
    rows: Iterable[TokenRow | DocumentRow],
    *,
    overwrite: bool = False,
) -> ShardHeader:
    """Rows of the header's content -> one parquet file, streamed in groups of 10,000; appears under
    `path` only when complete and synced.

    Returns:
        The header as written, with the true count.

    Raises:
        DataError: The shard exists already, or a row whose pictures do not have
            `num_queries` codes in range.
    """
    import pyarrow.parquet as pq

    path = as_place(path)
    if path.exists() and not overwrite:
        raise DataError(
            f"{path}: exists already, and finished shards are never rewritten",
            remedy="Choose another place with -o.",
        )
    count = 0
    with (
        published(path) as partial,
        pq.ParquetWriter(partial, shard_schema(header), compression="zstd") as writer,
    ):
        waiting = iter(rows)
        while group := list(itertools.islice(waiting, ROWS_PER_GROUP)):
            writer.write_table(_as_table(group, header))
            count += len(group)
        written = dataclasses.replace(header, count=count)
        writer.add_key_value_metadata({METADATA_KEY.decode(): written.to_json()})
    return written


def _as_table(rows: list[Any], header: ShardHeader) -> pa.Table:
    import pyarrow as pa

    schema = shard_schema(header)
    columns = {
        name: pa.array([getattr(row, name) for row in rows], pa.string())
        for name in ("key", "source", "meta")
    }
    if header.content == "images":
        columns["codes"] = _codes_column(
            [row.codes for row in rows], header, schema.field("codes").type
        )
        columns["text"] = pa.array([row.text for row in rows], pa.string())
    else:
        sizes = {"num_queries": header.num_queries, "num_codes": header.num_codes}
        columns[header.content] = pa.array(
            [pack_document(row, header.content, **sizes) for row in rows],
            schema.field(header.content).type,
        )
    return pa.table({name: columns[name] for name in schema.names}, schema=schema)


def _codes_column(
    rows: Sequence[Sequence[int] | np.ndarray], header: ShardHeader, kind: pa.DataType
) -> pa.Array:
    import pyarrow as pa

    codes = np.asarray(rows)
    fits = codes.shape == (len(rows), header.num_queries)
    if not fits or codes.min() < 0 or codes.max() >= header.num_codes:
        raise DataError(
            f"codes of shape {codes.shape} from {codes.min()} to {codes.max()}; expected "
            f"{header.num_queries} in 0..{header.num_codes - 1}"
        )
    return pa.FixedSizeListArray.from_arrays(
        pa.array(codes.reshape(-1).astype(np.uint16)), type=kind
    )


def find_shards(path: str | Path) -> list[Path]:
    """A shard, or every finished shard of a folder, sorted by name.

    Raises:
        DataError: There is none.
    """
    path = as_place(path)
    with refusals_named(path):
        if path.is_file():
            return [path]
        found = sorted(path.glob("*.parquet"))
    if not found:
        state = "no token shard in this folder" if path.is_dir() else "no such file or folder"
        raise DataError(
            f"{path}: {state}", remedy="Make some with: seed tokenize INPUT -o " + str(path)
        )
    return found


def list_shards(inputs: Iterable[str | Path]) -> list[Path]:
    """Files and folders -> their shards in order, each once, whichever names it has: a folder and
    a file in it may both be named.

    Raises:
        DataError: One of them has none.
    """
    found: dict[Path, Path] = {}
    for path in (path for one in inputs for path in find_shards(one)):
        found.setdefault(path if is_url(path) else path.resolve(), path)
    return list(found.values())


def read_header(path: str | Path) -> ShardHeader:
    """The header of a shard, without its rows.

    Raises:
        DataError: The file is no parquet, no token shard, or of a newer format.
    """
    with _opened(path) as file:
        return header_of(path, file)


def _opened(path: str | Path) -> pq.ParquetFile:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        return pq.ParquetFile(for_arrow(path))
    # a damaged footer may ask for any amount of memory
    except (pa.ArrowException, OSError, ValueError, MemoryError) as error:
        raise DataError(f"{path}: is no readable parquet file ({error})") from error


def read_rows(path: str | Path, *, batch_size: int = 1024) -> Iterator[Any]:
    """Rows of one shard in order, streamed: `TokenRow` with uint16 arrays [Q], or `DocumentRow`, as
    the header's content says.

    Raises:
        DataError: The file is no token shard or is damaged.
    """
    with _opened(path) as file:
        header = header_of(path, file)
        with damage_named(path):
            for batch in file.iter_batches(batch_size=batch_size, use_threads=False):
                check_batch(batch, header)
                yield from rows_of_batch(batch, header)


def read_block(path: str | Path, number: int) -> tuple[ShardHeader, pa.RecordBatch]:
    """One row group of a shard, compact; `rows_of_batch` of a slice of it gives rows.

    Raises:
        DataError: As `read_rows`.
    """
    with _opened(path) as file:
        header = header_of(path, file)
        with damage_named(path):
            table = file.read_row_group(number, use_threads=False).combine_chunks()
            batch = next(iter(table.to_batches()), None)
            if batch is None:
                raise DataError("a group without rows")
            check_batch(batch, header)
            return header, batch


def block_sizes(path: str | Path) -> list[int]:
    """Rows of each row group of a shard."""
    with _opened(path) as file:
        return [
            file.metadata.row_group(number).num_rows
            for number in range(file.metadata.num_row_groups)
        ]


def rows_of_batch(batch: pa.RecordBatch, header: ShardHeader) -> Iterator[Any]:
    """Arrow rows -> `TokenRow` or `DocumentRow`."""
    strings = {name: batch.column(name).to_pylist() for name in ("key", "source", "meta")}
    if header.content == "images":
        codes = (
            batch.column("codes")
            .flatten()
            .to_numpy(zero_copy_only=False)
            .reshape(-1, header.num_queries)
        )
        text = batch.column("text").to_pylist()
        for number in range(batch.num_rows):
            yield TokenRow(
                codes=codes[number],
                text=text[number],
                **{name: column[number] for name, column in strings.items()},
            )
        return
    values = batch.column(header.content).to_pylist()
    for number, value in enumerate(values):
        fields = {name: column[number] for name, column in strings.items()}
        segments = unpack_segments(value) if header.content == "segments" else ()
        messages = unpack_messages(value) if header.content == "messages" else ()
        row = DocumentRow(segments=segments, messages=messages, **fields)
        check_document(row, header.content, header.num_queries, header.num_codes)
        yield row


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

    def __iter__(self) -> Iterator[Any]:
        for path in self.paths:
            yield from read_rows(path)

    def dataset(self) -> datasets.Dataset:
        """The rows as a `datasets.Dataset` over the columns as they lie in memory: nothing is
        copied into its cache. 64 bytes of codes a picture, and its words.

        Raises:
            DataError: A shard is damaged.
        """
        import datasets
        import pyarrow as pa

        tables = []
        for path in self.paths:
            with _opened(path) as file, damage_named(path):
                tables.append(file.read(use_threads=False))
        table = pa.concat_tables(tables).replace_schema_metadata(None)
        return datasets.Dataset(datasets.table.InMemoryTable(table))


def open_shards(
    inputs: Iterable[str | Path],
    *,
    fingerprint: str | None = None,
    content: Collection[Content] | None = None,
) -> TokenShards:
    """Shards and folders of shards -> one readable set, all of the same tokenizer.

    Args:
        inputs: Files and folders; a shard that is named twice is read once.
        fingerprint: The tokenizer that the codes are for; None takes any, as long as it is one.
        content: What rows may be; None takes any, as long as it is one.

    Raises:
        DataError: Files that are no token shards, a mix of fingerprints or of contents, or
            others than those asked for.
    """
    paths = list_shards(inputs)
    if not paths:
        raise DataError("no token shard named", remedy="Make some with: seed tokenize INPUT -o DIR")
    headers = [read_header(path) for path in paths]
    first = headers[0]
    for path, header in zip(paths, headers, strict=True):
        if header.fingerprint != first.fingerprint:
            raise DataError(
                f"shards of two tokenizers: {paths[0]} is of {first.tokenizer} "
                f"({first.fingerprint[:12]}), {path} of {header.tokenizer} "
                f"({header.fingerprint[:12]})",
                remedy="Their codes mean different things. Tokenize all images with one model, or "
                "name one set of shards.",
            )
        if header.content != first.content or (
            content is not None and header.content not in content
        ):
            wanted = first.content if content is None else " or ".join(content)
            raise DataError(
                f"{path}: a shard of {header.content}, expected {wanted}",
                remedy="Name shards of one content.",
            )
    if fingerprint is not None and first.fingerprint != fingerprint:
        raise DataError(
            f"{paths[0]}: codes of {first.tokenizer} ({first.fingerprint[:12]}), but the model at "
            f"hand is {fingerprint[:12]}",
            remedy=f"Use --model {first.tokenizer}, or tokenize the images again with the "
            "model at hand.",
        )
    return TokenShards(paths=paths, header=first, counts=[header.count for header in headers])
