"""What training on text and codes reads: a source yields samples, a form turns a sample into a
document, a document becomes ids.

A picture is its codes wherever it stands among words, so one notion covers a caption pair (a
document of two segments), an interleaved page and a conversation. Nothing here knows ids or
wording: see `data.forms` for what is written, `data.sequences` for ids.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal

Codes = tuple[int, ...]
Segment = str | Codes
Role = Literal["user", "assistant", "system"]


@dataclass(frozen=True)
class Message:
    """One turn of a conversation: words and pictures in the order in which they are said."""

    role: Role
    segments: tuple[Segment, ...]


@dataclass(frozen=True)
class Sample:
    """One row of a source: words and pictures in reading order, or a conversation; `meta` is
    whatever else the row carries.
    """

    key: str
    segments: tuple[Any, ...] = ()  # or pictures that are files still
    messages: tuple[Message, ...] = ()
    meta: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Piece:
    """A stretch of a document that is tokenised at once.

    Attributes:
        segments: Words and pictures.
        learned: Whether its tokens are learned.
        control: Whether `</s>` and the like among its words are tokens, as a model's own chat
            template writes them; elsewhere they are words like others.
    """

    segments: tuple[Segment, ...]
    learned: bool
    control: bool = False


Document = tuple[Piece, ...]


def count_images(segments: tuple[Segment, ...]) -> int:
    """Segments -> number of pictures among them."""
    return sum(not isinstance(segment, str) for segment in segments)
