"""A conversation with a language model that reads and draws images: turns, history, transcripts."""

from __future__ import annotations

import copy
import dataclasses
import json
import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, TypeVar

from seedcli.console import Reporter
from seedcli.data.documents.conversations import (
    ConversationTemplate,
    conversation_template,
    strip_segments,
)
from seedcli.data.documents.documents import Codes, Message, Segment
from seedcli.data.documents.sequences import MarkerInTextError, encode_prompt
from seedcli.data.tokens.code_lines import read_code_file
from seedcli.errors import DataError, UsageError
from seedcli.files import json_text, publish_text
from seedcli.models.language.answer import Part
from seedcli.models.language.generate import (
    SamplingSettings,
    SeedLlama,
    load_language_model,
    refuse_quantization,
    sampling_of,
)
from seedcli.models.language.vocab import check_codes
from seedcli.models.weights.llm_description import TemplateName
from seedcli.models.weights.locate_llm import locate_llm
from seedcli.workflows.chat.pictures import ChatPictures, PictureSettings, check_output

IMAGE_MARK = "<image>"
UNCONDITIONAL = "unconditional"
Image = TypeVar("Image")


@dataclass(frozen=True, kw_only=True)
class ChatSettings:
    """What a conversation is opened with.

    Attributes:
        model: Language model: preset, folder or hub id.
        tokenizer: Visual tokenizer in place of the one that the language model names.
        template: How the conversation is written, in place of what the language model was taught.
        sampling: Settings of `SamplingSettings` that the user gave; the others are the model's
            own, else that class's.
        constrained: Under the image grammar.
        words_first: An answer that must hold an image may begin with words.
        pictures: How pictures are read and drawn.
        draws: Images of answers become files; else they stay codes, and no
            picture decoder is needed.
        negative: File with the codes of an image that pictures move away from, or `unconditional`
            for what the model draws unasked.
        device: Where the language model computes.
        dtype: Of its weights.
        quantize: 8 or 4 bits for its linear layers.
    """

    model: str = "seed-nano"
    tokenizer: str | None = None
    template: TemplateName | None = None
    sampling: dict[str, Any] = field(default_factory=dict)
    constrained: bool = True
    words_first: bool = False
    pictures: PictureSettings = field(default_factory=PictureSettings)
    draws: bool = True
    negative: str | None = None
    device: str = "auto"
    dtype: str = "auto"
    quantize: Literal["8bit", "4bit"] | None = None


@dataclass(frozen=True, kw_only=True)
class Turn:
    """One answer.

    Attributes:
        text: Its words, with `<image>` where images stand.
        images: Files of its images in order; empty where nothing is drawn.
        codes: Codes of its images in order.
        ended: The model ended it itself; False where it ran out of tokens.
        malformed: Image spans that were none, left out; 0 under the grammar.
    """

    text: str
    images: list[str]
    codes: list[list[int]]
    ended: bool
    malformed: int


def open_conversation(settings: ChatSettings, *, reporter: Reporter | None = None) -> Conversation:
    """Loads the language model and checks that visual tokenizer, template and options go with it.

    Raises:
        UsageError: Options that do not go together, or a model that was taught no conversations.
        DataError: Weights are missing or do not fit together.
    """
    reporter = reporter or Reporter()
    SamplingSettings(**settings.sampling)  # refuses what is out of range before anything is loaded
    if settings.draws:
        check_output(settings.pictures.output)
    refuse_quantization(settings.quantize, settings.device)
    llm = load_language_model(
        locate_llm(settings.model, tokenizer=settings.tokenizer, reporter=reporter),
        device=settings.device,
        dtype=settings.dtype,
        quantize=settings.quantize,
    )
    return Conversation(llm, settings, reporter=reporter)


class Conversation:
    """Turns of a user and a language model.

    Attributes:
        llm: The language model.
        messages: All that was said, images as codes: what is said once is never tokenised again.
        sampling: How tokens are chosen; the seed of answer n is `seed + n`.
    """

    def __init__(self, llm: SeedLlama, settings: ChatSettings, *, reporter: Reporter | None = None):
        self.llm, self._settings, self._reporter = llm, settings, reporter or Reporter()
        self.sampling = sampling_of(llm.facts, settings.sampling)
        self._template = _template(llm, settings.template)
        self._pictures = ChatPictures(
            llm.facts,
            settings.pictures,
            chosen=settings.tokenizer is not None,
            reporter=self._reporter,
        )
        if settings.negative is not None:
            self._pictures.negative = self._negative(settings.negative)
        self.messages: list[Message] = []
        self._waiting: list[Codes] = []
        self._asked: tuple[Message, bool] | None = None
        self._forgotten = self._answers = self._drawn = 0
        self._key = uuid.uuid4().hex

    @property
    def next_seed(self) -> int:
        """Seed of the next answer."""
        return self.sampling.seed + self._answers

    def another(self, reporter: Reporter) -> Conversation:
        """A conversation of its own that shares the model and the parts that read and draw
        pictures; the two must not speak at once.
        """
        other = copy.copy(self)
        other._reporter = reporter
        other.reset()
        return other

    def attach(self, path: str | Path) -> Codes:
        """Image file -> its codes, which go with the next turn.

        Raises:
            ImageError: It is no usable image.
        """
        codes = self._pictures.read(path)
        self._waiting.append(codes)
        return codes

    def detach(self) -> None:
        """Forgets the images that wait for the next turn."""
        self._waiting = []

    def say(
        self,
        text: str,
        *,
        draw: bool = False,
        on_text: Callable[[str], None] = lambda text: None,
        on_picture: Callable[[Path | None, Codes], None] = lambda path, codes: None,
    ) -> Turn:
        """The user's words and the images attached before -> the answer. A turn that fails or is
        interrupted was never said.

        Args:
            text: Words; `<image>` where an attached image stands, else all of them stand first.
            draw: The answer must hold an image.
            on_text: Hears words as they are written; with beams all at once.
            on_picture: Hears each image as it is drawn: file and codes.

        Raises:
            UsageError: Nothing is said, `<image>` and attached images do not agree, words hold
                image tokens, or the context has no room.
            DataError: The picture decoder is missing.
        """
        asked = Message("user", interleave(text, self._waiting))
        turn = self._answer(self.messages, asked, draw, on_text, on_picture)
        self._waiting = []
        return turn

    def again(
        self,
        *,
        draw: bool = False,
        on_text: Callable[[str], None] = lambda text: None,
        on_picture: Callable[[Path | None, Codes], None] = lambda path, codes: None,
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
            on_text,
            on_picture,
        )

    def _answer(
        self,
        before: Sequence[Message],
        asked: Message,
        draw: bool,
        on_text: Callable[[str], None],
        on_picture: Callable[[Path | None, Codes], None],
    ) -> Turn:
        """What was said before and the user's turn -> the answer; it is remembered with them."""
        prompt = self._prompt(before, asked)
        images: list[str] = []
        drawn = self._drawn

        def hear(part: Part) -> None:
            nonlocal drawn
            if isinstance(part, str):
                on_text(part)
                return
            path = (
                self._pictures.draw(part, self.sampling.seed + drawn)
                if self._settings.draws
                else None
            )
            drawn += 1
            if path is not None:
                images.append(str(path))
            on_picture(path, part)

        need = "allowed" if not draw else "required" if self._settings.words_first else "first"
        streams = self.sampling.num_beams == 1
        (answer,) = self.llm.generate(
            [prompt],
            self.sampling,
            image=need,
            constrained=self._settings.constrained,
            seeds=[self.next_seed],
            on_part=hear if streams else None,
        )
        for part in () if streams else answer.segments:
            hear(part)
        self._answers += 1
        self._drawn = drawn
        self._asked = (asked, draw)
        segments = strip_segments(answer.segments)
        if segments:
            self.messages = [*before, asked, Message("assistant", segments)]
        else:
            self._reporter.warn("the answer is empty and is not remembered")
        return Turn(
            text=_text(segments),
            images=images,
            codes=[list(part) for part in segments if not isinstance(part, str)],
            ended=answer.ended,
            malformed=answer.malformed,
        )

    def reset(self) -> None:
        """Forgets what was said and attached; seeds begin anew."""
        self.messages, self._waiting, self._asked, self._key = [], [], None, uuid.uuid4().hex
        self._forgotten = self._answers = self._drawn = 0

    def reseed(self, seed: int) -> None:
        """The next answer and its first picture are drawn with `seed`."""
        self.sampling = dataclasses.replace(self.sampling, seed=seed)
        self._answers = self._drawn = 0

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
        path = Path(path).expanduser()
        row = {
            "key": self._key,
            "messages": [
                {"role": message.role, "content": _content(message.segments)}
                for message in self.messages
            ],
            "images": [
                list(part)
                for message in self.messages
                for part in message.segments
                if not isinstance(part, str)
            ],
            "model": self.llm.facts.name,
            "fingerprint": self.llm.facts.visual_fingerprint,
        }
        kept = []
        try:
            for line in path.read_text(encoding="utf-8").splitlines() if path.exists() else ():
                if json.loads(line).get("key") != self._key:
                    kept.append(line)
            publish_text(path, "\n".join([*kept, json_text(row)]) + "\n")
        except (ValueError, AttributeError) as error:
            raise DataError(
                f"{path} exists and is no file of JSON lines ({error})", remedy="/save another file"
            ) from None
        except OSError as error:
            raise DataError(
                f"{path} cannot be written ({error.strerror})", remedy="/save another file"
            ) from None
        return len(self.messages)

    def _prompt(self, before: Sequence[Message], asked: Message) -> list[int]:
        """Ids of the conversation with a new turn; the oldest turns go where the context has no
        room for them and half an answer's.
        """
        reserve = min(self.sampling.max_new_tokens, self.llm.max_positions // 2)
        while True:
            messages = [*before[self._forgotten :], asked]
            try:
                ids = encode_prompt(
                    self._template.prompt(messages), self.llm.text_tokenizer, self.llm.vocabulary
                )
            except MarkerInTextError as error:
                raise UsageError(
                    str(error),
                    remedy=f"/image PATH (or --image PATH) attaches a picture, {IMAGE_MARK} "
                    "marks its place",
                ) from None
            if len(ids) + reserve <= self.llm.max_positions or len(messages) == 1:
                return ids
            self._forgotten += 2
            self._reporter.note(
                f"the context of {self.llm.max_positions} tokens is full: turn "
                f"{self._forgotten // 2} is forgotten"
            )

    def _negative(self, source: str) -> Codes:
        """File or `unconditional` -> codes to move away from.

        Source of the second: AILab-CVC/SEED@93b3cf4:MultiModalLLM/eval/eval_caption_to_images.py,
        the image that follows BOS and BOI.
        """
        vocabulary, facts = self.llm.vocabulary, self.llm.facts
        if source == UNCONDITIONAL:
            settings = dataclasses.replace(
                self.sampling, guidance=1.0, max_new_tokens=vocabulary.span_length
            )
            (answer,) = self.llm.generate([[vocabulary.bos, vocabulary.boi]], settings)
            return next(part for part in answer.segments if not isinstance(part, str))
        images = list(read_code_file(Path(source).expanduser(), num_queries=facts.num_queries))
        if len(images) != 1:
            raise UsageError(f"--negative {source} holds {len(images)} images, expected one")
        if images[0].fingerprint not in (None, facts.visual_fingerprint):
            raise DataError(
                f"{images[0].where}: these codes were made by {images[0].model or 'another model'} "
                f"({images[0].fingerprint}), not by {facts.visual_tokenizer} "
                f"({facts.visual_fingerprint})",
                remedy=f"seed tokenize --model {facts.visual_tokenizer}",
            )
        return tuple(
            check_codes(
                images[0].codes,
                num_codes=facts.num_codes,
                num_queries=facts.num_queries,
                where=images[0].where,
            )
        )


def _template(llm: SeedLlama, chosen: TemplateName | None) -> ConversationTemplate:
    name = chosen or llm.facts.template
    if name is None:
        raise UsageError(
            f"{llm.facts.name} was not taught conversations, so nobody knows how to "
            "write one for it",
            remedy="--template vicuna or llama-2 tries it all the same; seed instruct teaches it",
        )
    return conversation_template(name, llm.text_tokenizer)


def interleave(text: str, images: Sequence[Image]) -> tuple[str | Image, ...]:
    """Words with `<image>` marks and images -> segments; without marks images stand
    first, as in training.

    Raises:
        UsageError: There are other numbers of marks and images, or nothing is said.
    """
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise UsageError(
            f"the text is no UTF-8 at its character {error.start + 1}",
            remedy="iconv -t utf-8 converts it",
        ) from None
    words = text.split(IMAGE_MARK)
    if len(words) == 1:
        segments: list[str | Image] = [*images, text]
    elif len(words) - 1 != len(images):
        raise UsageError(
            f"the text says {IMAGE_MARK} {len(words) - 1} times, {len(images)} images are attached",
            remedy="attach the missing ones: /image PATH or --image PATH"
            if len(words) - 1 > len(images)
            else f"say {IMAGE_MARK} once for each, or not at all",
        )
    else:
        segments = [words[0]]
        for image, following in zip(images, words[1:], strict=True):
            segments += [image, following]
    if not (stripped := strip_segments(segments)):
        raise UsageError("nothing is said: neither words nor an image")
    return stripped


def _text(segments: Sequence[Segment]) -> str:
    """Segments -> words, with `<image>` where images stand."""
    return " ".join(part.strip() if isinstance(part, str) else IMAGE_MARK for part in segments)


def _content(segments: Sequence[Segment]) -> str:
    """Segments -> a message's content: words as they are, `<image>` where images stand."""
    return "".join(part if isinstance(part, str) else IMAGE_MARK for part in segments)
