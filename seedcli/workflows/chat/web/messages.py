"""What was said, as HTML: words, pictures with a name for those who do not see them, and the
buttons that belong to each message.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from typing import Literal

from seedcli.data.documents.documents import Codes
from seedcli.errors import SeedError
from seedcli.workflows.chat.turns import IMAGE_MARK


@dataclass(frozen=True, kw_only=True)
class ShownPicture:
    """A picture of a message.

    Attributes:
        address: Where the page finds it.
        name: Of the file that a download makes.
        words: What is said of it to those who do not see it.
        codes: Its codes; None while they are not known.
    """

    address: str
    name: str
    words: str
    codes: Codes | None = None


@dataclass(frozen=True, kw_only=True)
class ShownMessage:
    """A message of the page.

    Attributes:
        role: Who says it.
        parts: Words and pictures in their order.
        draw: The answer to it must hold an image.
    """

    role: Literal["user", "assistant"]
    parts: tuple[str | ShownPicture, ...]
    draw: bool = False

    @property
    def pictures(self) -> list[ShownPicture]:
        """Its pictures in order."""
        return [part for part in self.parts if not isinstance(part, str)]

    @property
    def words(self) -> str:
        """Its words as a person would say them again: `<image>` marks only where a picture does
        not stand first, which is its place without marks.
        """
        number = len(self.pictures)
        if all(not isinstance(part, str) for part in self.parts[:number]):
            return " ".join(part for part in self.parts if isinstance(part, str))
        return " ".join(part if isinstance(part, str) else IMAGE_MARK for part in self.parts)


def join_words(parts: Sequence[str | ShownPicture]) -> tuple[str | ShownPicture, ...]:
    """Pieces as they came -> parts: words up to the next picture are one part."""
    joined: list[str | ShownPicture] = []
    for part in parts:
        if isinstance(part, str) and joined and isinstance(joined[-1], str):
            joined[-1] += part
        else:
            joined.append(part)
    stripped = (part.strip() if isinstance(part, str) else part for part in joined)
    return tuple(part for part in stripped if part)


def sentence(error: SeedError) -> str:
    """An error -> sentences for people: what is wrong, and what helps."""
    return " ".join(
        capital(part).rstrip(".") + "." for part in (error.message, error.remedy) if part
    )


def capital(words: str) -> str:
    """The first letter large, the others as they are."""
    return words[:1].upper() + words[1:]


def messages_html(messages: Sequence[ShownMessage], *, model: str, busy: bool) -> str:
    """Messages -> HTML; all that was said is escaped.

    Args:
        messages: In order; user and assistant alternate.
        model: What the assistant is called.
        busy: The last answer is being written: it has no buttons yet, and neither has anything
            else that would change what is answered.
    """
    last = len(messages) - 1
    return "".join(
        _message(message, number, model=model, last=number == last, busy=busy)
        for number, message in enumerate(messages)
    )


def _message(message: ShownMessage, number: int, *, model: str, last: bool, busy: bool) -> str:
    who = "You" if message.role == "user" else model
    turn = number // 2
    writing = busy and last
    buttons = []
    if any(isinstance(part, str) for part in message.parts) and not writing:
        buttons.append(_button("copy", turn, "Copy", f"Copy the words of {who}"))
    if message.role == "user" and not busy:
        buttons.append(_button("edit", turn, "Edit", "Edit your words and ask again from here"))
    if message.role == "assistant" and last and not busy:
        buttons.append(_button("again", turn, "Answer again", "Have the last turn answered again"))
        buttons.append(_button("undo", turn, "Take back", "Take back the last turn and its answer"))
    form = ""
    if message.role == "user":
        form = (
            f'<form class="edit" data-turn="{turn}" hidden><label>Your words'
            f'<textarea rows="3">{escape(message.words)}</textarea></label>'
            '<button type="submit" class="strong">Send</button>'
            '<button type="button" data-do="cancel">Cancel</button></form>'
        )
    return (
        f'<article class="said {message.role}"><h3>{escape(who)}</h3><div class="parts">'
        + "".join(map(_part, message.parts))
        + ('<p class="waiting" aria-hidden="true"><i></i><i></i><i></i></p>' if writing else "")
        + f"</div>{form}"
        + (f'<div class="buttons">{"".join(buttons)}</div>' if buttons else "")
        + "</article>"
    )


def _button(do: str, turn: int, text: str, label: str) -> str:
    return (
        f'<button type="button" data-do="{do}" data-turn="{turn}" aria-label="{escape(label)}">'
        f"{text}</button>"
    )


def _part(part: str | ShownPicture) -> str:
    if isinstance(part, str):
        return f'<p class="words">{escape(part)}</p>'
    address, name = escape(part.address), escape(part.name)
    codes = (
        ""
        if part.codes is None
        else f"<details><summary>{len(part.codes)} codes</summary>"
        f"<p>{' '.join(map(str, part.codes))}</p></details>"
    )
    return (
        f'<figure><img src="{address}" alt="{escape(part.words)}"><figcaption>'
        f'<a href="{address}" download="{name}" aria-label="Download {name}">Download</a>'
        f"{codes}</figcaption></figure>"
    )
