"""One answer that is being written for somebody who waits: what is asked, what it hears, and when
it ends.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal, TypeAlias

from seedcli.data.documents.documents import Codes
from seedcli.models.language.answer import Part
from seedcli.models.language.generate import SamplingSettings
from seedcli.models.language.rows import Likelihood, Row

if TYPE_CHECKING:
    from seedcli.models.language.image_grammar import ImageNeed
    from seedcli.workflows.chat.pictures import Drawing

Finish = Literal["stop", "length"]


@dataclass(frozen=True)
class Asked:
    """What one answer is made from.

    Attributes:
        prompt: Ids, as `ChatModel.encode` makes them.
        sampling: How tokens are chosen.
        image: Whether the answer may, must or must not hold an image.
        seed: Of the words and the first picture; picture k is drawn with `seed + k`.
        wordless: What code guidance moves away from, as a prompt; None where there is none.
        stop: Words that end the answer, and are not part of it.
        num_likeliest: Tokens whose log-probabilities are told at every place; None tells none.
        last_image: The answer ends with its image of this number.
        deadline: In `time.monotonic` seconds; what is written by then is the answer.
    """

    prompt: Sequence[int]
    sampling: SamplingSettings
    image: ImageNeed
    seed: int
    deadline: float
    wordless: Sequence[int] | None = None
    stop: Sequence[str] = ()
    num_likeliest: int | None = None
    last_image: int | None = None


@dataclass(frozen=True)
class Words:
    """A stretch of words, with the tokens that were written since the stretch before."""

    text: str
    tokens: Sequence[tuple[int, Likelihood]] = ()


@dataclass(frozen=True)
class Picture:
    """An image is complete as codes; it is still to be drawn."""

    number: int
    codes: Codes
    tokens: Sequence[tuple[int, Likelihood]] = ()


@dataclass(frozen=True)
class Drawn:
    """An image is drawn."""

    number: int
    drawing: Drawing


@dataclass(frozen=True)
class Ended:
    """The words are complete; pictures may still be drawn."""

    finish: Finish
    num_tokens: int


@dataclass(frozen=True)
class Failed:
    """There is no answer, or none any more."""

    error: BaseException


Event: TypeAlias = Words | Picture | Drawn | Ended | Failed


class OutOfTimeError(Exception):
    """The deadline came before the answer was begun, or before its pictures were drawn."""


@dataclass(eq=False)
class Writing:
    """One answer on its way.

    Attributes:
        asked: What it is made from.
        hear: Told of every event, from a thread of the engine.
        row: Its row in the token loop, once it is begun.
        arrived: When it was asked for, in `time.monotonic` seconds.
        begun: When its prompt was read.
        left: Nobody waits for it any more.
        stopped: A stop word was written.
        cut: The deadline came while it was written.
        drawings: Of its images so far.
    """

    asked: Asked
    hear: Callable[[Event], None]
    row: Row | None = None
    arrived: float = field(default_factory=time.monotonic)
    begun: float | None = None
    left: bool = False
    stopped: bool = False
    cut: bool = False
    drawings: list[Future[Drawing]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._held = HeldBack(self.asked.stop)
        self._told = 0  # tokens whose likelihoods were handed on

    def take(self, part: Part) -> Picture | None:
        """Words or codes as they come; returns an image that is to be drawn."""
        if self.stopped or self.left:
            return None
        if isinstance(part, str):
            self._tell(self._held.add(part))
            self.stopped = self._held.found
            return None
        self._tell(self._held.end())  # a stop word does not go on behind a picture
        picture = Picture(len(self.drawings), part, self._tokens())
        self.hear(picture)
        return picture

    def end(self, num_tokens: int, ended: bool) -> None:
        """No token follows."""
        if self.left:
            return
        if not self.stopped:
            self._tell(self._held.end())
        finished = self.stopped or (ended and not self.cut)
        self.hear(Ended("stop" if finished else "length", num_tokens))

    def _tell(self, text: str) -> None:
        if text:
            self.hear(Words(text, self._tokens()))

    def _tokens(self) -> Sequence[tuple[int, Likelihood]]:
        """Tokens that were written since the last call, where their likelihoods are kept."""
        if self.row is None or self.row.num_likeliest is None:
            return ()
        start, self._told = self._told, len(self.row.written)
        return [
            (token, likelihood)
            for token, likelihood in zip(
                self.row.written[start:], self.row.likelihoods[start:], strict=True
            )
        ]


class HeldBack:
    """Keeps the end of growing words back for as long as it may be the start of a stop word.

    Attributes:
        found: A stop word came; what stood before it was given.
    """

    def __init__(self, stop: Sequence[str]):
        self._stop, self._kept = [word for word in stop if word], ""
        self.found = False

    def add(self, text: str) -> str:
        """More words -> those that are sure."""
        self._kept += text
        places = [place for word in self._stop if (place := self._kept.find(word)) >= 0]
        if places:
            self.found = True
            return self._give(min(places))
        longest = max(
            (
                length
                for word in self._stop
                for length in range(1, len(word))
                if self._kept.endswith(word[:length])
            ),
            default=0,
        )
        return self._give(len(self._kept) - longest)

    def end(self) -> str:
        """What is kept, where nothing follows."""
        return self._give(len(self._kept))

    def _give(self, length: int) -> str:
        given, self._kept = self._kept[:length], self._kept[length:]
        return given
