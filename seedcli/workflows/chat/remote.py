"""A conversation with a server: `seed chat --url`. The server reads and draws; what was said stays
here, pictures as codes.
"""

from __future__ import annotations

import base64
import contextlib
import dataclasses
import io
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from seedcli.console import Reporter
from seedcli.data.documents.conversations import strip_segments
from seedcli.data.documents.documents import Codes, Message
from seedcli.data.images.images import ImageSource, read_image
from seedcli.errors import DataError, UsageError
from seedcli.files import published
from seedcli.models.language.generate import SamplingSettings
from seedcli.models.weights.llm_description import LlmFacts
from seedcli.workflows.chat.conversation import Conversation, Tell
from seedcli.workflows.chat.model import ChatModel, codes_of
from seedcli.workflows.chat.pictures import Drawing, free_path
from seedcli.workflows.chat.turns import Turn
from seedcli.workflows.serve.client import ServerClient, ServerError

_SENT = ("temperature", "top_p", "top_k", "code_guidance")  # settings of a request by their names


@dataclass(frozen=True)
class RemoteModel:
    """What a conversation knows of the model behind a server.

    Attributes:
        client: Speaks to it.
        facts: What the server says of the model.
        given: Sampling settings that the user gave; the others are the server's.
        output: Folder of drawn pictures; None keeps none.
    """

    client: ServerClient
    facts: LlmFacts
    given: dict[str, Any] = field(default_factory=dict)
    output: Path | None = None

    @classmethod
    def open(
        cls,
        url: str,
        *,
        key: str | None = None,
        model: str | None = None,
        sampling: dict[str, Any] | None = None,
        output: Path | None = None,
    ) -> RemoteModel:
        """Asks a server who answers.

        Raises:
            UsageError: No address, no such model there, or a model that speaks no codes.
            DataError, ServerError: There is no server, or it refuses.
        """
        client = ServerClient(url, key=key)
        found = {each["id"]: each for each in client.models()}
        name = next(iter(found), None) if model is None else model
        if name not in found:
            raise UsageError(
                f"{url} has no model {model or 'at all'}",
                remedy=f"--model {next(iter(found))}" if found else None,
            )
        codes = found[name].get("codes")
        if not isinstance(codes, dict):
            raise UsageError(
                f"{name} at {url} does not say which codes it speaks", remedy="seed serve does"
            )
        facts = LlmFacts(
            name=name,
            visual_tokenizer=codes["visual_tokenizer"],
            visual_fingerprint=codes["fingerprint"],
            num_queries=codes["num_queries"],
            num_codes=codes["num_codes"],
        )
        SamplingSettings(**(sampling or {}))
        return cls(client, facts, sampling or {}, output)

    @property
    def sampling(self) -> SamplingSettings:
        """Only the seed and what the user gave of it count."""
        return SamplingSettings(**self.given)

    def read(self, image: ImageSource | Codes) -> Codes:
        """A picture in any form -> codes, by the server; or codes.

        Raises:
            ImageError: It is no usable image.
        """
        if isinstance(image, tuple):
            return codes_of(self.facts, image, "attached codes")
        file = io.BytesIO()
        read_image(image).save(file, "PNG")
        (found,) = self.client.codes([file.getvalue()])
        return codes_of(self.facts, found, "the server's codes")

    read_all = ChatModel.read_all  # made of `read` alone


class RemoteChat(Conversation):
    """A conversation whose answers a server writes and draws."""

    model: RemoteModel

    def __init__(self, model: RemoteModel, *, reporter: Reporter | None = None):
        super().__init__(model, reporter=reporter)

    def _write(self, before: Sequence[Message], asked: Message, draw: bool, tell: Tell) -> Turn:
        while True:
            try:
                return self._hear([*before[self._forgotten :], asked], draw, tell)
            except ServerError as error:
                full = error.code == "context_length_exceeded"
                if not full or self._forgotten >= len(before):
                    raise
                self._forgotten += 2
                self._reporter.note(
                    f"the context is full: turn {self._forgotten // 2} is forgotten"
                )

    def _hear(self, messages: Sequence[Message], draw: bool, tell: Tell) -> Turn:
        settings, given = self.sampling, self.model.given
        body: dict[str, Any] = {
            "model": self.model.facts.name,
            "messages": [_message(each) for each in messages],
            "seed": self.next_seed,
            "draw": draw,
            **{name: getattr(settings, name) for name in _SENT if name in given},
        }
        if "max_new_tokens" in given:
            body["max_tokens"] = settings.max_new_tokens
        growing = _Growing(self.model.output, tell)
        with contextlib.closing(self.model.client.chat(body)) as chunks:
            for chunk in chunks:
                for choice in chunk["choices"]:
                    growing.add(choice)
        return Turn(
            segments=strip_segments(growing.segments), ended=growing.finish == "stop", malformed=0
        )


class _Growing:
    """An answer as its chunks come.

    Attributes:
        segments: Words and images in their order; an image has its picture once it has come.
        finish: Why it ended.
    """

    def __init__(self, output: Path | None, tell: Tell):
        self._output, self._tell = output, tell
        self.segments: list[str | Drawing] = []
        self.finish: str | None = None
        self._places: list[int] = []  # of images, among the segments

    def add(self, choice: dict[str, Any]) -> None:
        """One more chunk."""
        delta = choice["delta"]
        self.finish = choice.get("finish_reason") or self.finish
        if text := delta.get("content"):
            if self.segments and isinstance(self.segments[-1], str):
                self.segments[-1] += text
            else:
                self.segments.append(text)
            self._tell(text)
        for segment in delta.get("segments", ()):
            self._places.append(len(self.segments))
            self.segments.append(Drawing(codes=tuple(segment["codes"])))
        for item in delta.get("images", ()):
            place = self._places[item["index"]]
            drawing = self._drawn(self.segments[place], item["image_url"]["url"])
            self.segments[place] = drawing
            self._tell(drawing)

    def _drawn(self, image: Drawing, url: str) -> Drawing:
        png = base64.b64decode(url.partition(",")[2])
        path = None
        if self._output is not None:
            path = free_path(self._output)
            try:
                with published(path) as partial:
                    partial.write_bytes(png)  # it says what it was drawn from
            except OSError as error:
                raise DataError(
                    f"{path} cannot be written ({error.strerror})", remedy="choose another -o"
                ) from None
        return dataclasses.replace(image, image=read_image(png), path=path)


def _message(message: Message) -> dict[str, Any]:
    return {
        "role": message.role,
        "segments": [
            {"text": part} if isinstance(part, str) else {"codes": list(part)}
            for part in message.segments
        ],
    }
