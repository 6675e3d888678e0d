"""A conversation with a language model that reads and draws images: turns, history, transcripts."""

from __future__ import annotations

import dataclasses
import queue
import threading
import uuid
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from seedcli.console import LibraryReporter, Reporter
from seedcli.data.documents.conversations import strip_segments
from seedcli.data.documents.documents import Codes, Message, Segment
from seedcli.data.images.images import ImageSource
from seedcli.errors import UsageError
from seedcli.models.language.answer import Answer, Part
from seedcli.models.language.generate import SamplingSettings
from seedcli.models.language.load import Quantization
from seedcli.progress import OnProgress
from seedcli.workflows.chat.model import ChatModel
from seedcli.workflows.chat.pictures import Drawing
from seedcli.workflows.chat.settings import ChatSettings, PictureSettings
from seedcli.workflows.chat.transcripts import load_transcript, save_transcript
from seedcli.workflows.chat.turns import Turn, images_of, interleave
from seedcli.workflows.pictures import SeedTokenizer
from seedcli.workflows.sampling import SamplingOptions

GENERATE_BATCH_SIZE = 32  # prompts answered together
Tell = Callable[[str | Drawing], None]  # hears words and drawn images as they come


class SeedChat:
    """A language model that reads and draws images, and what was said to it.

    ```python
    chat = SeedChat.from_pretrained("seed-nano")
    answer = chat.say("What is this?", images=["cat.png"])
    print(answer.text)
    ```

    Attributes:
        model: The language model with its visual tokenizer; several conversations may share one.
        messages: All that was said, images as codes: what is said once is never tokenised again.
        sampling: How tokens are chosen; the seed of answer n is `seed + n`.
    """

    messages: list[Message]
    _waiting: list[tuple[Codes, ...]]  # pictures of the next turn
    _asked: tuple[Message, bool] | None  # the last turn, and whether it asked for an image
    _forgotten: int  # messages that the context has no room for any more
    _answers: int
    _drawn: int  # images; both since the seed was chosen

    def __init__(self, model: ChatModel, *, reporter: Reporter | None = None):
        """A conversation in which nothing was said; users call `from_pretrained`.

        Args:
            model: Answers; other conversations may share it, but not speak at once.
            reporter: Hears what one should know.
        """
        self.model, self.sampling = model, model.sampling
        self._reporter = reporter or Reporter()
        self.reset()

    @classmethod
    def from_pretrained(
        cls,
        model: str | Path = "seed-nano",
        *,
        tokenizer: str | Path | None = None,
        device: str = "auto",
        dtype: str = "auto",
        quantize: Quantization | None = None,
        offload: bool = False,
        picture_steps: int | None = None,
        picture_guidance: float | None = None,
        progress: bool | OnProgress = False,
        **sampling: Any,
    ) -> SeedChat:
        """Loads a language model; its visual tokenizer and picture decoder follow when the first
        picture comes.

        Args:
            model: Preset (`seed-nano`, bundled; `seed-llama-8b-sft`), folder or hub id.
            tokenizer: Visual tokenizer in place of the one that the language model names.
            device: `auto` (a GPU where there is one), `cpu`, `cuda`, `cuda:1`, `mps`.
            dtype: Of the language model's weights; `auto` is float32 on a CPU, bfloat16 on a GPU.
            quantize: `8bit` or `4bit` for its linear layers, by bitsandbytes on an NVIDIA GPU.
            offload: Keep tokenizer and picture decoder in the host's memory, and on the GPU only
                while they work.
            picture_steps: Denoising steps of a picture; None takes the model's.
            picture_guidance: How closely pictures follow their codes; None takes the model's.
            progress: As for `SeedTokenizer.from_pretrained`.
            **sampling: `temperature`, `top_p`, `num_beams`, `max_new_tokens`, `seed`,
                `code_guidance`, as `SamplingSettings` tells them; those left out are the model's.

        Raises:
            UsageError: No such model, device or setting, or a model that was taught no
                conversations.
            DataError: Files are missing, damaged, or do not fit together.
        """
        unknown = set(sampling) - {each.name for each in dataclasses.fields(SamplingSettings)}
        if unknown:
            raise TypeError(f"from_pretrained() got an unexpected argument {min(unknown)!r}")
        settings = ChatSettings(
            model=str(model),
            tokenizer=None if tokenizer is None else str(tokenizer),
            sampling=SamplingOptions(**sampling),
            pictures=PictureSettings(
                steps=picture_steps, guidance=picture_guidance, offload=offload
            ),
            device=device,  # type: ignore[arg-type]  # `cuda:1` too
            dtype=dtype,  # type: ignore[arg-type]
            quantize=quantize,
        )
        reporter = LibraryReporter(progress)
        return cls(ChatModel(settings, reporter=reporter).load(), reporter=reporter)

    @property
    def tokenizer(self) -> SeedTokenizer:
        """The visual tokenizer, which reads and draws the pictures."""
        return self.model.tokenizer

    @property
    def next_seed(self) -> int:
        """Seed of the next answer."""
        return self.sampling.seed + self._answers

    def another(self, reporter: Reporter | None = None) -> SeedChat:
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

    def _write(self, before: Sequence[Message], asked: Message, draw: bool, tell: Tell) -> Turn:
        """The answer, told as it comes."""
        prompt = self._prompt(before, asked)
        drawings: list[Drawing] = []

        def hear(part: Part) -> None:
            if isinstance(part, str):
                tell(part)
                return
            seed = self.sampling.seed + self._drawn + len(drawings)
            [drawing] = self.model.draw([part], [seed])
            drawings.append(drawing)
            tell(drawing)

        streams = self.sampling.num_beams == 1
        [answer] = self.model.write(
            [prompt],
            [self.next_seed],
            draw,
            sampling=self.sampling,
            wordless=self._wordless([[*before[self._forgotten :], asked]]),
            on_part=hear if streams else None,
        )
        for part in () if streams else answer.segments:
            hear(part)
        return _turn(answer, iter(drawings))

    def generate(
        self,
        prompts: Sequence[str | Sequence[str | ImageSource | Codes]],
        *,
        seeds: Sequence[int] | None = None,
        draw: bool = False,
        batch_size: int = GENERATE_BATCH_SIZE,
    ) -> list[Turn]:
        """Many prompts at once -> an answer to each, as if it were the first of a conversation;
        nothing of it is remembered. An answer depends on its own prompt and seed alone.

        Args:
            prompts: Words, or words and images in their order: anything that
                `SeedTokenizer.encode` takes but a path as `str` (that is words; say `Path`), or
                tuples of codes.
            seeds: Of each answer and its first image; None: `sampling.seed`, counting up.
            draw: Answers must hold an image.
            batch_size: Prompts answered together.

        Raises:
            SeedError: As `say`.
        """
        first = self.sampling.seed
        seeds = list(seeds or range(first, first + len(prompts)))
        if len(seeds) != len(prompts):
            raise UsageError(f"{len(seeds)} seeds for {len(prompts)} prompts")
        asked: list[list[Message]] = []
        for prompt in prompts:
            parts = [prompt] if isinstance(prompt, str) else list(prompt)
            read: list[Segment] = []
            for part in parts:
                read += [part] if isinstance(part, str) else self.model.read_all(part)
            if not (segments := strip_segments(read)):
                raise UsageError("nothing is said: neither words nor an image")
            asked.append([Message("user", segments)])
        rows, wordless = [*map(self.model.encode, asked)], self._wordless(asked)
        answers: list[Answer] = []
        with self._reporter.progress("answer", len(rows)) as progress:
            for start in range(0, len(rows), batch_size):
                part = slice(start, start + batch_size)
                answers += self.model.write(
                    rows[part],
                    seeds[part],
                    draw,
                    sampling=self.sampling,
                    wordless=wordless and wordless[part],
                )
                progress.advance(len(rows[part]))
        return self._drawn_together(answers, seeds)

    def _drawn_together(self, answers: Sequence[Answer], seeds: Sequence[int]) -> list[Turn]:
        """Answers and the seed of each -> turns, their images drawn in batches."""
        found = [
            (part, seed + number)
            for answer, seed in zip(answers, seeds, strict=True)
            for number, part in enumerate(images_of(answer.segments))
        ]
        drawn = iter(self.model.draw([codes for codes, _ in found], [seed for _, seed in found]))
        return [_turn(answer, drawn) for answer in answers]

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

    def _prompt(self, before: Sequence[Message], asked: Message) -> list[int]:
        """Ids of the conversation with a new turn; the oldest turns go where the context has no
        room for them and half an answer's.
        """
        limit = self.model.llm.max_positions
        reserve = min(self.sampling.max_new_tokens, limit // 2)
        while True:
            messages = [*before[self._forgotten :], asked]
            ids = self.model.encode(messages)
            if len(ids) + reserve <= limit or len(messages) == 1:
                return ids
            self._forgotten += 2
            self._reporter.note(
                f"the context of {limit} tokens is full: turn {self._forgotten // 2} is forgotten"
            )

    def _wordless(self, asked: Sequence[Sequence[Message]]) -> list[list[int]] | None:
        """Conversations -> what code guidance moves away from; None without it."""
        guided = self.sampling.code_guidance > 1
        return [self.model.encode_wordless(each) for each in asked] if guided else None


class _NobodyListensError(Exception):
    """Ends an answer that nobody listens to any more."""


def open_conversation(settings: ChatSettings, *, reporter: Reporter | None = None) -> SeedChat:
    """A conversation with its language model loaded.

    Raises:
        UsageError: Options that do not go together, or a model that was taught no conversations.
        DataError: Weights are missing or do not fit together.
    """
    return SeedChat(ChatModel(settings, reporter=reporter).load(), reporter=reporter)


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


def _turn(answer: Answer, drawn: Iterator[Drawing]) -> Turn:
    """An answer, and its images as they were drawn -> a turn."""
    segments = tuple(
        part if isinstance(part, str) else next(drawn) for part in strip_segments(answer.segments)
    )
    return Turn(segments=segments, ended=answer.ended, malformed=answer.malformed)
