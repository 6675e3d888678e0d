"""Messages -> documents: how a conversation is written for a language model, in training
and in `seed chat` alike.

Each turn is tokenised on its own, user and assistant apart, as released weights were
trained; a prompt is the same pieces, up to where the answer begins. So a model is asked
exactly as it was taught.
"""

from __future__ import annotations

import itertools
import json
import re
import tomllib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cache
from importlib.resources import files
from typing import TYPE_CHECKING, Any, Literal, TypeVar

from seedcli.data.documents.documents import Codes, Document, Message, Piece, Segment
from seedcli.errors import DataError, UsageError

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

TemplateName = Literal["vicuna", "llama-2", "own"]
Picture = TypeVar("Picture")  # in any form
# characters for private use: one that the words do not hold frames the numbers of pictures on
# their way through a chat template
_PRIVATE = range(0xE000, 0xF900)


@cache
def read_prompts() -> dict[str, Any]:
    """The wording, `prompts.toml`."""
    return tomllib.loads(
        (files("seedcli.data.documents") / "prompts.toml").read_text(encoding="utf-8")
    )


@dataclass(frozen=True)
class WrittenTemplate:
    """A template of `prompts.toml`. It writes conversations of at most one system message, then
    user and assistant in turn.

    Attributes:
        system: Frame of the system text.
        user: Frame of a user's turn, `{system}` and `{content}` in it; the answer follows at once.
        later: What opens every turn but the first.
    """

    system: str
    user: str
    later: str

    def render(self, messages: Sequence[Message]) -> Document:
        """A whole conversation -> document; answers are learned.

        Raises:
            UsageError: Roles do not alternate, or there is no answer.
        """
        return self._pieces(messages, answered=True)

    def prompt(self, messages: Sequence[Message]) -> Document:
        """A conversation whose last turn is the user's -> document that ends where the answer
        begins.

        Raises:
            UsageError: Roles do not alternate, or the last turn is not the user's.
        """
        return self._pieces(messages, answered=False)

    def _pieces(self, messages: Sequence[Message], *, answered: bool) -> Document:
        system, turns = split_turns(messages)
        _check_end(turns, answered=answered)
        pieces = []
        for number, (user, assistant) in enumerate(turns):
            frame = self.system.replace("{system}", system) if system and number == 0 else ""
            before, _, after = self.user.partition("{content}")
            before = (self.later if number else "") + before.replace("{system}", frame)
            pieces.append(Piece((before, *strip_segments(user.segments), after), learned=False))
            if assistant is not None:
                pieces.append(Piece(strip_segments(assistant.segments), learned=True))
        return tuple(pieces)

    def jinja(self, text_tokenizer: PreTrainedTokenizerBase) -> str:
        """The same wording as a chat template that other programs read (`chat_template.jinja`):
        `apply_chat_template` gives the ids of `prompt` and of `render`.

        Pieces are tokenised apart, so a SentencePiece vocabulary opens each with a space; one text
        has to say them. Differs where an answer ends in a picture and more is said: white space
        beside pictures vanishes, and with it the line break before the next turn.
        """
        before, _, after = self.user.partition("{content}")
        opening, _, closing = self.system.partition("{system}")
        head, _, tail = before.partition("{system}")
        gap = " " if text_tokenizer.tokenize("a")[0].startswith("▁") else ""
        say = {
            "GAP": gap,
            "LATER": gap + self.later,
            "OPENING": opening,
            "CLOSING": closing,
            "HEAD": head,
            "TAIL": tail,
            "AFTER": after,
        }
        template = _JINJA
        for name, words in say.items():
            template = template.replace(name, json.dumps(words))
        return template


_JINJA = """\
{%- set system = messages[0].content | trim if messages[0].role == "system" else "" -%}
{{- bos_token -}}
{%- for message in messages if message.role != "system" -%}
{%- set content = message.content | trim -%}
{%- if message.role != ("assistant" if loop.index0 % 2 else "user") -%}
{{- raise_exception("roles are user, assistant, user, ... after at most one system message") -}}
{%- elif message.role == "assistant" -%}
{{- GAP ~ content -}}
{{- eos_token if loop.last and not add_generation_prompt else "" -}}
{%- else -%}
{%- set frame = OPENING ~ system ~ CLOSING if loop.first and system else "" -%}
{{- ("" if loop.first else LATER) ~ HEAD ~ frame ~ TAIL ~ content ~ AFTER -}}
{%- endif -%}
{%- endfor -%}
"""


@dataclass(frozen=True)
class OwnTemplate:
    """The chat template of the base model: what it writes around answers is known by rendering a
    conversation with and without them.

    Attributes:
        text_tokenizer: Carries the template.
    """

    text_tokenizer: PreTrainedTokenizerBase

    def render(self, messages: Sequence[Message]) -> Document:
        """See `WrittenTemplate`; what the template writes after an answer (its end-of-turn
        token) is learned with it.

        Raises:
            DataError: The template refuses the conversation, or writes earlier turns
                anew once more is said.
        """
        parts, pictures = self._parts(messages, answered=True)
        parts[-1] = (self._without_eos(parts[-1][0]), True)
        return _pieces_of(parts, pictures)

    def prompt(self, messages: Sequence[Message]) -> Document:
        """See `WrittenTemplate`; pieces are those of `render`.

        Raises:
            DataError: The template refuses the conversation, or writes earlier turns
                anew once more is said.
        """
        return _pieces_of(*self._parts(messages, answered=False))

    def _parts(
        self, messages: Sequence[Message], *, answered: bool
    ) -> tuple[list[tuple[str, bool]], _StandIns]:
        """What each message adds to the text, cut where answers begin and end; and the pictures
        that stand-ins stand for.
        """
        _check_end(split_turns(messages)[1], answered=answered)
        pictures = _StandIns.of(messages)
        rows = self._rows(messages, pictures)
        cuts = [
            cut
            for number, row in enumerate(rows)
            if row["role"] == "assistant"
            for cut in ((number, True), (number + 1, False))
        ]
        cuts += [] if answered else [(len(rows), True)]
        # A SentencePiece vocabulary puts the space before each piece itself: one of the template's
        # own would be a second.
        supplies_space = self.text_tokenizer.tokenize("a")[0].startswith("▁")
        parts: list[tuple[str, bool]] = []
        written = ""
        for until, asked in cuts:
            text = self._write(rows[:until], asked)
            if not text.startswith(written):
                raise DataError(
                    "the base model's chat template writes earlier turns anew: "
                    f"{text[: len(written)][-60:]!r} was {written[-60:]!r}",
                    remedy='choose template = "vicuna" or "llama-2"',
                )
            added = text[len(written) :]
            parts.append(
                (added.removeprefix(" ") if parts and supplies_space else added, not asked)
            )
            written = text
        return parts, pictures

    def _rows(self, messages: Sequence[Message], pictures: _StandIns) -> list[dict[str, str]]:
        control = [
            token.content
            for token in self.text_tokenizer.added_tokens_decoder.values()
            if token.special
        ]
        rows = []
        for message in messages:
            content = ""
            for segment in message.segments:
                if isinstance(segment, str):
                    held = next((token for token in control if token in segment), None)
                    if held:
                        # the template writes them as text too, so that they cannot be told apart
                        raise UsageError(
                            f"words hold {held}, which ends or opens turns in the base model's own "
                            "chat template"
                        )
                    content += segment
                else:
                    content += pictures.add(segment)
            rows.append({"role": message.role, "content": content.strip()})
        return rows

    def _write(self, rows: list[dict[str, str]], asked: bool) -> str:
        from jinja2 import TemplateError

        try:
            text = self.text_tokenizer.apply_chat_template(
                rows, tokenize=False, add_generation_prompt=asked
            )
        except TemplateError as error:
            raise DataError(
                f"the base model's chat template refuses the conversation: {error}"
            ) from error
        return text.removeprefix(self.text_tokenizer.bos_token or "")

    def _without_eos(self, text: str) -> str:
        eos = self.text_tokenizer.eos_token
        return text.rstrip().removesuffix(eos) if eos and text.rstrip().endswith(eos) else text


ConversationTemplate = WrittenTemplate | OwnTemplate


def conversation_template(
    name: TemplateName, text_tokenizer: PreTrainedTokenizerBase | None = None
) -> ConversationTemplate:
    """Template's name -> template; `own` is the chat template that `text_tokenizer` carries.

    Raises:
        DataError: `own`, and the text tokenizer has no chat template.
    """
    if name == "own":
        if text_tokenizer is None or not text_tokenizer.chat_template:
            raise DataError(
                'template "own": the base model has no chat template',
                remedy='choose template = "vicuna" or "llama-2"',
            )
        return OwnTemplate(text_tokenizer)
    return WrittenTemplate(**read_prompts()["templates"][name])


def split_turns(messages: Sequence[Message]) -> tuple[str, list[tuple[Message, Message | None]]]:
    """Messages -> system text and turns (user, assistant); the last turn may be without an answer.

    Raises:
        UsageError: Roles do not alternate, an answer is empty, or the system text holds a picture.
    """
    system = ""
    if messages and messages[0].role == "system":
        if not all(isinstance(segment, str) for segment in messages[0].segments):
            raise UsageError(
                "the system message holds a picture; pictures belong into the user's turns"
            )
        system, messages = "".join(messages[0].segments).strip(), messages[1:]  # type: ignore[arg-type]
    roles = [message.role for message in messages]
    for role, expected in zip(roles, itertools.cycle(("user", "assistant")), strict=False):
        if role != expected:
            found = (
                "a system message that is not the first"
                if role == "system"
                else "the assistant's turn comes first"
                if role == "assistant" and role == roles[0]
                else f"two turns of the {role} in a row"
            )
            raise UsageError(f"{found}; expected user, assistant, user, ... in turn")
    if any(
        message.role == "assistant" and not strip_segments(message.segments) for message in messages
    ):
        raise UsageError("an assistant's message is empty; there is nothing to learn from it")
    answers: list[Message | None] = [*messages[1::2]]
    return system, list(zip(messages[::2], answers + [None] * (len(messages) % 2), strict=True))


def check_conversation(messages: Sequence[Message]) -> None:
    """Refuses a conversation that nothing can be learned from.

    Raises:
        UsageError: Roles do not alternate, an answer is empty or missing, or the system text holds
            a picture.
    """
    _check_end(split_turns(messages)[1], answered=True)


def _check_end(turns: Sequence[tuple[Message, Message | None]], *, answered: bool) -> None:
    if not turns or (turns[-1][1] is not None) != answered:
        raise UsageError(
            "a conversation to learn from ends with the assistant's answer"
            if answered
            else "a conversation that is to be answered ends with the user's turn"
        )


def without_words(message: Message) -> Message:
    """A turn -> its pictures alone."""
    pictures = tuple(segment for segment in message.segments if not isinstance(segment, str))
    return replace(message, segments=pictures)


def strip_segments(segments: Sequence[str | Picture]) -> tuple[str | Picture, ...]:
    """Segments without white space at both ends and without empty words."""
    kept = list(segments)
    if kept and isinstance(kept[0], str):
        kept[0] = kept[0].lstrip()
    if kept and isinstance(kept[-1], str):
        kept[-1] = kept[-1].rstrip()
    return tuple(segment for segment in kept if segment)


@dataclass(frozen=True)
class _StandIns:
    """Pictures on their way through a chat template, as numbers between two characters that the
    words do not hold.
    """

    frame: str
    codes: list[Codes]

    @classmethod
    def of(cls, messages: Sequence[Message]) -> _StandIns:
        words = {
            character
            for message in messages
            for segment in message.segments
            if isinstance(segment, str)
            for character in segment
        }
        frame = next((chr(code) for code in _PRIVATE if chr(code) not in words), None)
        if frame is None:
            raise UsageError("the words hold every character for private use")
        return cls(frame, [])

    def add(self, picture: Codes) -> str:
        """Picture -> what stands for it."""
        self.codes.append(picture)
        return f"{self.frame}{len(self.codes) - 1}{self.frame}"

    def segments(self, text: str) -> tuple[Segment, ...]:
        """Text with stand-ins -> words and pictures."""
        parts: list[Segment] = [*re.split(f"{self.frame}(\\d+){self.frame}", text)]
        parts[1::2] = [self.codes[int(number)] for number in parts[1::2]]  # type: ignore[arg-type]
        return tuple(part for part in parts if part != "")


def _pieces_of(parts: Sequence[tuple[str, bool]], pictures: _StandIns) -> Document:
    return tuple(
        Piece(pictures.segments(text), learned, control=True) for text, learned in parts if text
    )
