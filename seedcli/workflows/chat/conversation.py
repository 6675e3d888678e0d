"""A conversation with a language model that reads and draws images: turns, what is remembered of
them, transcripts. Who answers, and where, is not known here.
"""

from __future__ import annotations

import dataclasses
import queue
import threading
import uuid
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Protocol, Self

from seedcli.console import Reporter
from seedcli.data.documents.documents import Codes, Message
from seedcli.data.images.images import ImageSource
from seedcli.errors import UsageError
from seedcli.models.language.generate import SamplingSettings
from seedcli.models.weights.llm_description import LlmFacts
from seedcli.workflows.chat.pictures import Drawing
from seedcli.workflows.chat.transcripts import load_transcript, save_transcript
from seedcli.workflows.chat.turns import Turn, images_of, interleave

Tell = Callable[[str | Drawing], None]  # hears words and drawn images as they come


class Answering(Protocol):
    """What a conversation needs of a language model, wherever it is."""

    @property
    def facts(self) -> LlmFacts:
        """What the language model says of itself."""

    @property
    def sampling(self) -> SamplingSettings:
        """How tokens are chosen, unless the conversation says otherwise."""

    def read_all(self, image: ImageSource | Codes) -> tuple[Codes, ...]:
        """A picture in any form, or its codes -> its codes; a video -> codes of its frames."""


class Conversation(ABC):
    """What was said to a language model that reads and draws images, and what it answered. How an
    answer is written is for those who derive from it: `SeedChat` here, `RemoteChat` by a server.

    Attributes:
        model: Reads and answers; several conversations may share one.
        messages: All that was said, images as codes: what is said once is never tokenised again.
        sampling: How tokens are chosen; the seed of answer n is `seed + n`.
    """

    model: Answering
    messages: list[Message]
    _waiting: list[tuple[Codes, ...]]  # pictures of the next turn
    _asked: tuple[Message, bool] | None  # the last turn, and whether it asked for an image
    _forgotten: int  # messages that the context has no room for any more
    _answers: int
    _drawn: int  # images; both since the seed was chosen

    def __init__(self, model: Answering, *, reporter: Reporter | None = None):
        """A conversation in which nothing was said.

        Args:
            model: Answers; other conversations may share it, but not speak at once.
            reporter: Hears what one should know.
        """
        self.model, self.sampling = model, model.sampling
        self._reporter = reporter or Reporter()
        self.reset()

    @property
    def next_seed(self) -> int:
        """Seed of the next answer."""
        return self.sampling.seed + self._answers

    def another(self, reporter: Reporter | None = None) -> Self:
        """A conversation of its own with the same model; the two must not speak at once.

        Args:
            reporter: Hears what is to be said of the other one; None: this one's.
        """
        other = type(self)(self.model, reporter=reporter or self._reporter)
        other.sampling = self.sampling
        return other

    def attach(self, image: ImageSource | Codes) -> Codes | tuple[Codes, ...]:
        """A picture in any form that `SeedTokenizer.encode` takes, or its codes -> codes, which go
        with the next turn; a video's path -> codes of each of its frames.

        Raises:
            ImageError: It is no usable image.
        """
        codes = self.model.read_all(image)
        self._waiting.append(codes)
        return codes[0] if len(codes) == 1 else codes

    def detach(self) -> None:
        """Forgets the images that wait for the next turn."""
        self._waiting = []

    def say(
        self,
        text: str,
        *,
        images: Sequence[ImageSource | Codes] = (),
        draw: bool = False,
        on_text: Callable[[str], None] | None = None,
        on_picture: Callable[[Path | None, Codes], None] | None = None,
    ) -> Turn:
        """The user's words and the images attached before -> the answer. A turn that fails or is
        interrupted was never said.

        Args:
            text: Words; `<image>` where an attached image stands, else all of them stand first.
            images: Attached with these words, after those that were attached before: anything
                that `SeedTokenizer.encode` takes, or tuples of codes.
            draw: The answer must hold an image.
            on_text: Hears words as they are written; with beams all at once.
            on_picture: Hears each image as it is drawn: file and codes.

        Raises:
            UsageError: Nothing is said, `<image>` and attached images do not agree, words hold
                image tokens, or the context has no room.
            ImageError: One of the images is none.
            DataError: The picture decoder is missing.
        """
        return self._say(text, images, draw, _teller(on_text, on_picture))

    def stream(
        self, text: str, *, images: Sequence[ImageSource | Codes] = (), draw: bool = False
    ) -> Iterator[str | Drawing]:
        """As `say`, but words come as they are written, and images as they are drawn. Whoever
        stops listening stops the answer, and the turn was never said.

        Raises:
            SeedError: As `say`.
        """
        parts: queue.SimpleQueue[str | Drawing | None] = queue.SimpleQueue()
        stopped = threading.Event()
        failure: list[BaseException] = []

        def hear(part: str | Drawing) -> None:
            if stopped.is_set():
                raise _NobodyListensError
            parts.put(part)

        def speak() -> None:
            try:
                self._say(text, images, draw, hear)
            except BaseException as error:
                failure.append(error)
            finally:
                parts.put(None)

        speaker = threading.Thread(target=speak, daemon=True)
        speaker.start()
        try:
            while (part := parts.get()) is not None:
                yield part
        finally:
            stopped.set()
            speaker.join()
        if failure:
            raise failure[0]

    def _say(
        self,
        text: str,
        images: Sequence[ImageSource | Codes],
        draw: bool,
        hear: Tell,
    ) -> Turn:
        attached = [*self._waiting, *map(self.model.read_all, images)]
        turn = self._answer(self.messages, Message("user", interleave(text, attached)), draw, hear)
        self._waiting = []
        return turn

    def again(
        self,
        *,
        draw: bool = False,
        on_text: Callable[[str], None] | None = None,
        on_picture: Callable[[Path | None, Codes], None] | None = None,
    ) -> Turn:
        """Another answer to the last turn, with the next seed; the one before it stays where this
        fails, is interrupted or is empty.

        Args:
            draw: The answer must hold an image, as it must where it had to the first time.
            on_text: As for `say`.
            on_picture: As for `say`.

        Raises:
            UsageError: Nothing was said yet.
        """
        if self._asked is None:
            raise UsageError("nothing was said yet, so there is nothing to answer again")
        asked, drawn = self._asked
        answered = len(self.messages) >= 2 and self.messages[-2] is asked
        return self._answer(
            self.messages[:-2] if answered else self.messages,
            asked,
            draw or drawn,
            _teller(on_text, on_picture),
        )

    def say_instead(
        self,
        turn: int,
        text: str | None,
        *,
        draw: bool = False,
        on_text: Callable[[str], None] | None = None,
        on_picture: Callable[[Path | None, Codes], None] | None = None,
    ) -> Turn:
        """Other words for a turn that was said before -> the answer to them. What was said from
        that turn on is forgotten, once there is an answer; where this fails, it stays.

        Args:
            turn: Its number, from 0.
            text: The words, said with the images of the turn; None leaves them as they are.
            draw: The answer must hold an image.
            on_text: As for `say`.
            on_picture: As for `say`.

        Raises:
            UsageError: There is no such turn; or as `say`.
        """
        if not 0 <= turn < len(self.messages) // 2:
            raise UsageError(f"turn {turn} was not said; {len(self.messages) // 2} turns were")
        asked = self.messages[2 * turn]
        if text is not None:
            asked = Message(
                "user", interleave(text, [[each] for each in images_of(asked.segments)])
            )
        self._forgotten = min(self._forgotten, 2 * turn)
        return self._answer(self.messages[: 2 * turn], asked, draw, _teller(on_text, on_picture))

    def _answer(self, before: Sequence[Message], asked: Message, draw: bool, tell: Tell) -> Turn:
        """What was said before and the user's turn -> the answer; it is remembered with them."""
        turn = self._write(before, asked, draw, tell)
        self._answers += 1
        self._drawn += len(turn.drawings)
        self._asked = (asked, draw)
        segments = tuple(part if isinstance(part, str) else part.codes for part in turn.segments)
        if segments:
            self.messages = [*before, asked, Message("assistant", segments)]
        else:
            self._reporter.warn("the answer is empty and is not remembered")
        return turn

    @abstractmethod
    def _write(self, before: Sequence[Message], asked: Message, draw: bool, tell: Tell) -> Turn:
        """What was said before, as far as there is room for it, and the user's turn -> the answer,
        told as it comes.
        """

    def reset(self) -> None:
        """Forgets what was said and attached; seeds begin anew."""
        self.messages, self._waiting, self._asked = [], [], None
        self._key = uuid.uuid4().hex
        self._forgotten = self._answers = self._drawn = 0

    def reseed(self, seed: int) -> None:
        """The next answer and its first picture are drawn with `seed`."""
        self.sampling = dataclasses.replace(self.sampling, seed=seed)
        self._answers = self._drawn = 0

    def undo(self) -> str:
        """Takes back the last turn, what the user said and the answer; seeds go on.

        Returns:
            The words that the user had said.

        Raises:
            UsageError: Nothing was said yet.
        """
        if not self.messages:
            raise UsageError("nothing was said yet, so there is nothing to take back")
        said = self.messages[-2]
        self.messages, self._asked = self.messages[:-2], None
        self._forgotten = min(self._forgotten, len(self.messages))
        return "".join(part for part in said.segments if isinstance(part, str)).strip()

    @property
    def codes(self) -> list[tuple[str, Codes]]:
        """Role and codes of every image of the conversation, in order."""
        return [
            (message.role, part)
            for message in self.messages
            for part in images_of(message.segments)
        ]

    def load(self, path: str | Path) -> int:
        """Goes on with the last conversation of a file that `save` wrote; what was said before is
        forgotten, and `save` replaces that conversation.

        Returns:
            Number of messages.

        Raises:
            DataError: The file cannot be read, holds no conversation, or its codes are of another
                visual tokenizer.
        """
        messages, key = load_transcript(Path(path).expanduser(), self.model.facts)
        self.reset()
        self.messages, self._key = messages, key or self._key
        return len(messages)

    def save(self, path: str | Path) -> int:
        """Adds the conversation to a file of JSON lines, as `seed tokens build messages` reads
        them; saved again it is replaced.

        Returns:
            Number of messages.

        Raises:
            UsageError: Nothing was said yet.
            DataError: The file is no such file, or cannot be written.
        """
        if not self.messages:
            raise UsageError("nothing was said yet, so there is nothing to save")
        save_transcript(Path(path).expanduser(), self._key, self.messages, self.model.facts)
        return len(self.messages)


class _NobodyListensError(Exception):
    """Ends an answer that nobody listens to any more."""


def _teller(
    on_text: Callable[[str], None] | None,
    on_picture: Callable[[Path | None, Codes], None] | None,
) -> Tell:
    """Two listeners -> one that hears both kinds of parts."""

    def tell(part: str | Drawing) -> None:
        if isinstance(part, Drawing):
            if on_picture is not None:
                on_picture(part.path, part.codes)
        elif on_text is not None:
            on_text(part)

    return tell
