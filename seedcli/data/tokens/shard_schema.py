"""What a token shard says of itself and what its columns are, and the one check that every reader
makes of both: files of others, and damaged ones, end here with what is wrong.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

import numpy as np

from seedcli.data.documents.columns import Content, messages_type, segments_type
from seedcli.errors import DataError
from seedcli.files import json_text, parse_json

if TYPE_CHECKING:
    import pyarrow as pa
    import pyarrow.parquet as pq

FORMAT_VERSION = 1
METADATA_KEY = b"seed"
# What people call a row of each content.
UNITS: dict[str, str] = {
    "images": "images",
    "segments": "documents",
    "messages": "conversations",
}
MAX_QUERIES = 1024
MAX_CODES = 1 << 16  # what uint16 holds
_BOUNDS = {"num_queries": (1, MAX_QUERIES), "num_codes": (1, MAX_CODES), "count": (0, 1 << 62)}


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
        micro_batch: Shape of every pass through the model, [B,3,S,S]; other shapes
            may round differently.
        made_from: The input: its kind, path and number of items.
        count: Rows in the file.
        content: What a row is: one image, a document of `segments`, or a
            conversation of `messages`.
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
    content: Content = "images"
    format_version: int = FORMAT_VERSION

    def to_json(self) -> str:
        """The text stored in the file metadata; the same header gives the same text."""
        return json_text(dataclasses.asdict(self), sort_keys=True)


def shard_schema(header: ShardHeader) -> pa.Schema:
    """Columns of a shard."""
    import pyarrow as pa

    content = {
        "images": [
            pa.field("codes", pa.list_(pa.uint16(), header.num_queries), nullable=False),
            pa.field("text", pa.string()),
        ],
        "segments": [pa.field("segments", segments_type(), nullable=False)],
        "messages": [pa.field("messages", messages_type(), nullable=False)],
    }[header.content]
    return pa.schema(
        [
            pa.field("key", pa.string(), nullable=False),
            *content,
            pa.field("source", pa.string(), nullable=False),
            pa.field("meta", pa.string()),
        ]
    )


def header_of(path: str | Path, file: pq.ParquetFile) -> ShardHeader:
    """The header of an open shard, after a look at its columns; its rows are not read.

    Raises:
        DataError: The file is no token shard, of a newer format, or its metadata or columns are
            not those of one.
    """
    text = (file.metadata.metadata or {}).get(METADATA_KEY)
    if text is None:
        raise DataError(
            f"{path}: is a parquet file, but no token shard (no `seed` metadata)",
            remedy="Make one with: seed tokenize",
        )
    try:
        values = parse_json(text)
        version = values.get("format_version")
        if version != FORMAT_VERSION:
            raise DataError(
                f"{path}: token shard of format {version!r:.40}; this version reads "
                f"{FORMAT_VERSION}",
                remedy="Update seedcli.",
            )
        names = {one.name for one in dataclasses.fields(ShardHeader)}
        header = ShardHeader(**{name: value for name, value in values.items() if name in names})
    except (ValueError, TypeError, AttributeError) as error:
        raise DataError(f"{path}: its `seed` metadata cannot be read ({error})") from error
    faults = list(_faults(header))
    if faults:
        raise DataError(
            f"{path}: its `seed` metadata is not that of a token shard: {'; '.join(faults)}"
        )
    rows = file.metadata.num_rows
    if header.count != rows:
        raise DataError(f"{path}: its header says {header.count} rows, it holds {rows}")
    expected, found = shard_schema(header), file.schema_arrow
    wrong = [
        f"{name}: {_kind(found, name)}, expected {_kind(expected, name)}"
        for name in dict.fromkeys([*expected.names, *found.names])
        if _kind(found, name) != _kind(expected, name)
    ]
    if wrong or found.names != expected.names:
        raise DataError(
            f"{path}: its columns are not those of a token shard: "
            f"{'; '.join(wrong) or 'they are in another order'}"
        )
    return dataclasses.replace(header, micro_batch=tuple(header.micro_batch))


def _kind(schema: pa.Schema, name: str) -> str:
    numbers = schema.get_all_field_indices(name)
    if len(numbers) != 1:
        return f"{len(numbers)} columns" if numbers else "no column"
    # Writers differ in the name of a list's inner field and in what they call not null; nulls are
    # looked for where rows are.
    kind = re.sub(r"(list)<\w+: ", r"\1<item: ", str(schema.field(numbers[0]).type))
    return kind.replace(" not null", "")


def _faults(header: ShardHeader) -> Iterator[str]:
    """What is wrong with values that came out of a file."""
    kinds: dict[str, type] = {
        **dict.fromkeys(("tokenizer", "fingerprint", "image_handling", "numerics", "dtype"), str),
        **dict.fromkeys(_BOUNDS, int),
        "made_from": dict,
        "micro_batch": list,
    }
    for name, kind in kinds.items():
        value: Any = getattr(header, name)
        if type(value) is not kind:
            yield f"{name} is {value!r:.40}, expected {kind.__name__}"
    for name, (least, most) in _BOUNDS.items():
        number = getattr(header, name)
        if type(number) is int and not least <= number <= most:
            yield f"{name} is {number}, expected {least} to {most}"
    if type(header.micro_batch) is list and any(type(one) is not int for one in header.micro_batch):
        yield f"micro_batch is {header.micro_batch!r:.40}, expected integers"
    if header.content not in get_args(Content):
        yield f"content is {header.content!r:.40}, expected {', '.join(get_args(Content))}"


def check_batch(batch: pa.RecordBatch, header: ShardHeader) -> None:
    """Looks at what the types of a shard's columns cannot promise: no nulls where they are, and
    pictures with codes in range.

    Raises:
        DataError: There is one; the message counts them.
    """
    for column in shard_schema(header):
        nulls = batch.column(column.name).null_count
        if nulls and not column.nullable:
            raise DataError(f"{nulls} rows without {column.name}")
    if header.content != "images":
        return
    codes = batch.column("codes").flatten()
    if codes.null_count:
        raise DataError(f"{codes.null_count} codes are missing")
    values = codes.to_numpy(zero_copy_only=False).reshape(-1, header.num_queries)
    outside = np.count_nonzero((values >= header.num_codes).any(axis=1))
    if outside:
        raise DataError(f"{outside} images with codes outside 0..{header.num_codes - 1}")


def meta_of(row: Any) -> dict[str, Any]:
    """The `meta` of a row -> its JSON object; empty where there is none.

    Raises:
        DataError: It is no JSON object.
    """
    if row.meta is None:
        return {}
    try:
        meta = parse_json(row.meta)
    except ValueError as error:
        raise DataError(f"{row.key}: its meta is no JSON ({error})") from None
    if not isinstance(meta, dict):
        raise DataError(f"{row.key}: its meta is {meta!r:.40}, expected a JSON object")
    return meta


@contextmanager
def damage_named(path: str | Path) -> Iterator[None]:
    """Whatever a damaged file makes pyarrow or a check raise, with the file's name."""
    import pyarrow as pa

    try:
        yield
    except DataError as error:
        if error.message.startswith(f"{path}: "):
            raise
        raise DataError(
            f"{path}: {error.message}",
            remedy=error.remedy or f"What else is wrong: seed tokens verify {path}",
        ) from error
    except (pa.ArrowException, OSError, ValueError, KeyError, TypeError, MemoryError) as error:
        said = re.sub(r"\s+", " ", str(error))[:200]
        raise DataError(
            f"{path}: the shard is damaged ({said})",
            remedy=f"See: seed tokens verify {path}",
        ) from error
