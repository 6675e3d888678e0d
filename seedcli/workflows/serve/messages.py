"""Messages of a request -> a conversation as the model knows it: pictures become codes, and the
whole becomes a prompt. Runs in the reader's thread.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from seedcli.data.documents.documents import Codes, Message, Role, Segment
from seedcli.errors import UsageError
from seedcli.workflows.chat.model import ChatModel
from seedcli.workflows.serve.errors import ApiError, as_api_error
from seedcli.workflows.serve.images import ImageStore, read_url
from seedcli.workflows.serve.requests import (
    MAX_IMAGES,
    ChatMessage,
    ImagePart,
    TextPart,
)

_LONGEST_TOKEN = 50  # characters; more words than the context has tokens of these are not counted


@dataclass(frozen=True)
class MessageReader:
    """Reads messages.

    Attributes:
        model: Reads pictures and writes prompts.
        store: Pictures that this server has drawn.
        allow_urls: Pictures may be fetched.
        max_bytes: Largest picture that is fetched.
    """

    model: ChatModel
    store: ImageStore
    allow_urls: bool
    max_bytes: int

    def prompts(
        self, messages: Sequence[ChatMessage], guided: bool
    ) -> tuple[list[int], list[int] | None]:
        """Messages -> prompt ids of the answer, and those that code guidance moves away from.

        Raises:
            ApiError: They are no conversation, a picture cannot be read, or the context is full.
        """
        return self.encode(self.conversation(messages), guided)

    def encode(
        self, conversation: Sequence[Message], guided: bool
    ) -> tuple[list[int], list[int] | None]:
        """A conversation -> as `prompts`.

        Raises:
            ApiError: Roles do not alternate, or the context is full.
        """
        limit = self.model.llm.max_positions
        length = sum(
            len(part) if isinstance(part, str) else 0
            for message in conversation
            for part in message.segments
        )
        try:
            ids = [] if length > limit * _LONGEST_TOKEN else self.model.encode(conversation)
        except UsageError as error:
            raise ApiError(400, error.message, param="messages") from None
        if not ids or len(ids) >= limit:
            found = f"{len(ids)} tokens" if ids else f"{length:,} characters"
            raise ApiError(
                400,
                f"this model's context has {limit} tokens, the messages have {found}",
                param="messages",
                code="context_length_exceeded",
            )
        return ids, self.model.encode_wordless(conversation) if guided else None

    def conversation(self, messages: Sequence[ChatMessage]) -> list[Message]:
        """Messages -> system, user, assistant, user, ...; messages of one role in a row are one,
        and an assistant's that say nothing are left out.

        Raises:
            ApiError: As `prompts`.
        """
        turns: list[tuple[Role, list[Segment]]] = []
        num_images = 0
        for number, message in enumerate(messages):
            role: Role = "system" if message.role == "developer" else message.role
            segments = self._segments(message, f"messages[{number}]")
            if not any(part if not isinstance(part, str) else part.strip() for part in segments):
                if role == "assistant":  # pictures alone, which the client does not send back
                    continue
                raise ApiError(400, "the message says nothing", param=f"messages[{number}]")
            num_images += sum(not isinstance(part, str) for part in segments)
            if num_images > MAX_IMAGES:
                raise ApiError(
                    400, f"more than {MAX_IMAGES} pictures in one request", param="messages"
                )
            if turns and turns[-1][0] == role:
                earlier = turns[-1][1]
                joined = earlier and isinstance(earlier[-1], str) and segments
                turns[-1] = (role, [*earlier, *(["\n"] if joined else []), *segments])
            else:
                turns.append((role, segments))
        last = turns[-1][0] if turns else "assistant"
        if last != "user":
            raise ApiError(
                400,
                f"the last message is the {last}'s; the user's is expected",
                param="messages",
            )
        return [Message(role, _joined(segments)) for role, segments in turns]

    def read(self, url: str, param: str) -> Codes:
        """Address of a picture -> codes.

        Raises:
            ApiError: It is none, or cannot be read.
        """
        if (codes := self.store.codes(url)) is not None:
            return codes
        image = read_url(url, allow_urls=self.allow_urls, max_bytes=self.max_bytes, param=param)
        return self.codes(image, param)

    def codes(self, image: bytes, param: str) -> Codes:
        """Bytes of a picture -> codes.

        Raises:
            ApiError: It is none.
        """
        try:
            return self.model.read(image)
        except Exception as error:
            raise as_api_error(error, param=param) or error from None

    def _segments(self, message: ChatMessage, param: str) -> list[Segment]:
        if message.segments is not None and message.role in ("user", "assistant"):
            return [
                self._check_codes(each.codes, param)
                if each.codes is not None
                else checked_text(each.text or "", param)
                for each in message.segments
            ]
        content = message.content or ""
        parts = [TextPart(type="text", text=content)] if isinstance(content, str) else content
        if message.role == "assistant":
            parts = [*parts, *(message.images or ())]
        found: list[Segment] = []
        for part in parts:
            if isinstance(part, ImagePart):
                if message.role in ("system", "developer"):
                    raise ApiError(400, "the system's message holds a picture", param=param)
                found.append(self.read(part.image_url.url, param))
            elif part.text:
                found.append(checked_text(part.text, param))
        return found

    def _check_codes(self, codes: Sequence[int], param: str) -> Codes:
        try:
            return self.model.read(tuple(codes))
        except UsageError as error:
            raise ApiError(400, error.message, param=param) from None


def checked_text(text: str, param: str) -> str:
    """Words of a request.

    Raises:
        ApiError: They have no UTF-8.
    """
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise ApiError(
            400, f"the text is no UTF-8 at its character {error.start + 1}", param=param
        ) from None
    return text


def _joined(segments: Sequence[Segment]) -> tuple[Segment, ...]:
    """Segments without two stretches of words in a row."""
    found: list[Segment] = []
    for part in segments:
        if isinstance(part, str) and found and isinstance(found[-1], str):
            found[-1] += part
        else:
            found.append(part)
    return tuple(found)
