"""Columns of token shards that hold documents and conversations: `segments` and
`messages`, to Arrow and back.

A segment is `{text | codes}`, exactly one of the two not null; a message is `{role, segments}`.
pyarrow is imported where it is used.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from operator import index
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from seedcli.data.documents.documents import Codes, Message, Segment
from seedcli.errors import DataError

if TYPE_CHECKING:
    import pyarrow as pa

ROLES = ("system", "user", "assistant")
Content = Literal["images", "segments", "messages"]


class DocumentRow(NamedTuple):
    """One document of a shard, of segments or of messages; `meta` is a JSON object as text."""

    key: str
    segments: tuple[Segment, ...]
    messages: tuple[Message, ...]
    source: str
    meta: str | None

    def codes(self) -> Iterator[Codes]:
        """The pictures in reading order."""
        return (segment for segment in self._parts() if not isinstance(segment, str))

    def words(self) -> str:
        """The words in reading order."""
        return " ".join(segment for segment in self._parts() if isinstance(segment, str))

    def _parts(self) -> Iterator[Segment]:
        yield from self.segments
        for message in self.messages:
            yield from message.segments


def segments_type() -> pa.DataType:
    """Arrow type of the column `segments`."""
    import pyarrow as pa

    return pa.list_(
        pa.struct([pa.field("text", pa.string()), pa.field("codes", pa.list_(pa.uint16()))])
    )


def messages_type() -> pa.DataType:
    """Arrow type of the column `messages`."""
    import pyarrow as pa

    return pa.list_(
        pa.struct(
            [
                pa.field("role", pa.string(), nullable=False),
                pa.field("segments", segments_type(), nullable=False),
            ]
        )
    )


def pack_document(
    row: DocumentRow, content: Content, *, num_queries: int, num_codes: int
) -> list[dict[str, Any]]:
    """Document -> value of its column, checked.

    Raises:
        DataError: Codes of the wrong number or range, a role that is none, or
            a row without content.
    """
    check_document(row, content, num_queries, num_codes)
    if content == "segments":
        return _pack(row.segments)
    unknown = {message.role for message in row.messages} - set(ROLES)
    if unknown:
        raise DataError(f"{row.key}: role {sorted(unknown)[0]!r}; expected {', '.join(ROLES)}")
    return [{"role": message.role, "segments": _pack(message.segments)} for message in row.messages]


def check_document(row: DocumentRow, content: Content, num_queries: int, num_codes: int) -> None:
    """Looks at a row of a shard, on the way in and on the way out.

    Raises:
        DataError: It has no content, or codes of the wrong number or range.
    """
    if not (row.segments if content == "segments" else row.messages):
        raise DataError(f"{row.key}: the row has no {content}, and its shard is one of {content}")
    for codes in row.codes():
        if len(codes) != num_queries or min(codes) < 0 or max(codes) >= num_codes:
            raise DataError(
                f"{row.key}: {len(codes)} codes from {min(codes, default=0)} to "
                f"{max(codes, default=0)}; expected {num_queries} in 0..{num_codes - 1}"
            )


def _pack(segments: Iterable[Segment]) -> list[dict[str, Any]]:
    return [
        {"text": segment, "codes": None}
        if isinstance(segment, str)
        else {"text": None, "codes": list(segment)}
        for segment in segments
    ]


def unpack_segments(value: Sequence[Mapping[str, Any]] | None) -> tuple[Segment, ...]:
    """Value of `segments`, from Arrow or JSON -> segments.

    Raises:
        DataError: Not a list of objects with either text or codes.
    """
    found: list[Segment] = []
    for part in value or ():
        text, codes = (
            (part.get("text"), part.get("codes")) if isinstance(part, Mapping) else (None, None)
        )
        if (text is None) == (codes is None) or not isinstance(text, str | None):
            raise DataError(
                f"a segment is {{text}} or {{codes}}, exactly one of them; this one is {part!r:.80}"
            )
        try:
            found.append(text if codes is None else tuple(index(code) for code in codes))
        except TypeError:
            raise DataError(f"codes are integers; these are {codes!r:.80}") from None
    return tuple(found)


def unpack_messages(value: Sequence[Mapping[str, Any]] | None) -> tuple[Message, ...]:
    """Value of `messages` -> messages.

    Raises:
        DataError: As `unpack_segments`, or a role that is none.
    """
    found = []
    for part in value or ():
        if not isinstance(part, Mapping) or part.get("role") not in ROLES:
            raise DataError(
                f"a message is {{role, segments}} with a role of {', '.join(ROLES)}; this one "
                f"is {part!r:.80}"
            )
        found.append(Message(part["role"], unpack_segments(part.get("segments"))))
    return tuple(found)
