"""`POST /v1/chat/completions`: a request -> an answer, whole or as it is written."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from fastapi import Request, Response
from fastapi.responses import StreamingResponse

from seedcli.workflows.serve.answer import Asked, Drawn, Event
from seedcli.workflows.serve.answers import Choice, Envelope, Show
from seedcli.workflows.serve.errors import ApiError, as_api_error, json_response
from seedcli.workflows.serve.listening import Listening, unless_gone
from seedcli.workflows.serve.requests import ChatRequest
from seedcli.workflows.serve.service import Service, note

if TYPE_CHECKING:
    from seedcli.models.language.image_grammar import ImageNeed


@dataclass(frozen=True)
class ChatRoute:
    """Answers conversations."""

    service: Service

    async def __call__(self, body: ChatRequest, request: Request) -> Response:
        """A request -> its answer.

        Raises:
            ApiError: It cannot be answered.
        """
        asked = await self._read(body)
        headers = {"x-seed-ignored": ", ".join(body.ignored)} if body.ignored else {}
        service = self.service
        envelope = Envelope(
            service.model_name, service.fingerprint, asked[0].seed, len(asked[0].prompt)
        )
        show = service.show(request, body.image_format)
        note(request, prompt_tokens=len(asked[0].prompt), answers=len(asked))
        answering = _Answering(Listening(service.engine, asked), envelope, show)
        if body.stream:
            options = body.stream_options
            chunks = answering.chunks(request, usage=bool(options and options.include_usage))
            return StreamingResponse(chunks, media_type="text/event-stream", headers=headers)
        with answering.listening:
            choices = await unless_gone(request, answering.whole())
        note(request, tokens=sum(each.num_tokens for each in choices))
        content = envelope.completion(
            choices, parts=body.content_format == "parts", logprobs=bool(body.logprobs)
        )
        return json_response(content, headers=headers)

    async def _read(self, body: ChatRequest) -> list[Asked]:
        """Raises: ApiError: It asks for what is not there."""
        service = self.service
        deadline = service.deadline()
        service.check_model(body.model)
        need, last_image = wanted_images(body, service.engine.model.must_draw)
        sampling = service.sampling(
            temperature=body.temperature,
            top_p=body.top_p,
            top_k=body.top_k,
            code_guidance=body.code_guidance,
            max_new_tokens=body.max_completion_tokens or body.max_tokens,
        )
        guided = sampling.code_guidance > 1
        prompt, wordless = await service.read(service.reader.prompts, body.messages, guided)
        return service.ask(
            prompt,
            sampling,
            deadline=deadline,
            image=need,
            seed=body.seed,
            n=body.n,
            wordless=wordless,
            stop=body.stops,
            num_likeliest=(body.top_logprobs or 0) if body.logprobs else None,
            last_image=last_image,
        )


def wanted_images(body: ChatRequest, must_draw: ImageNeed) -> tuple[ImageNeed, int | None]:
    """What a request says of pictures, and how the model answers where one must come -> whether
    they may or must come, and the last one.

    Raises:
        ApiError: Fields that do not go together.
    """
    kinds = set(body.modalities or ("text", "image"))
    if body.draw and "image" not in kinds:
        raise ApiError(400, "draw asks for a picture, modalities for words alone", param="draw")
    if body.top_logprobs and not body.logprobs:
        raise ApiError(400, "top_logprobs needs logprobs: true", param="top_logprobs")
    if body.stream and body.content_format == "parts":
        raise ApiError(
            400,
            "content_format parts does not go with stream: streamed words and pictures are told "
            "apart by content and images",
            param="content_format",
        )
    if kinds == {"text"}:
        return "never", None
    if kinds == {"image"}:
        return "first", 1
    return (must_draw if body.draw else "allowed"), None


class _Answering:
    """One request while it is answered."""

    def __init__(self, listening: Listening, envelope: Envelope, show: Show):
        self.listening, self._envelope, self._show = listening, envelope, show
        self._choices = [Choice(index) for index in range(len(listening.writings))]

    async def whole(self) -> Sequence[Choice]:
        """All answers, when they are complete."""
        async for found in self._events():
            if found is not None:
                index, event = found
                await self._add(index, event)
        return self._choices

    async def chunks(self, request: Request, *, usage: bool) -> AsyncIterator[str]:
        """Server-sent events: each piece as it comes, and `[DONE]`."""
        envelope = self._envelope
        told: set[int] = set()
        with self.listening:
            for choice in self._choices:
                opening = {"delta": {"role": "assistant", "content": "", "refusal": None}}
                yield _sent(envelope.chunk(choice.index, opening))
            try:
                async with aclosing(self._events()) as events:
                    async for found in events:
                        if found is None:
                            yield ": waiting\n\n"  # a comment: proxies keep the line open
                            continue
                        index, event = found
                        said = await self._add(index, event)
                        if said["delta"]:
                            yield _sent(envelope.chunk(index, said))
                        choice = self._choices[index]
                        if choice.complete and index not in told:
                            told.add(index)
                            yield _sent(envelope.chunk(index, {"delta": {}}, choice.finish))
            except Exception as error:
                known = as_api_error(error)
                shown = known or ApiError(
                    500, "the server failed; its log says where", code="internal_error"
                )
                yield _sent(shown.body)
                note(request, failed=shown.code)
                if known is None:
                    raise
                return
            if usage:
                yield _sent(envelope.usage_chunk(self._choices))
            note(request, tokens=sum(each.num_tokens for each in self._choices))
            yield "data: [DONE]\n\n"

    def _events(self) -> AsyncGenerator[tuple[int, Event] | None]:
        return self.listening.events(lambda: all(each.complete for each in self._choices))

    async def _add(self, index: int, event: Any) -> dict[str, Any]:
        choice = self._choices[index]
        if isinstance(event, Drawn):  # a PNG takes a while
            return await asyncio.to_thread(choice.add, event, self._show)
        return choice.add(event, self._show)


def _sent(content: dict[str, Any]) -> str:
    return f"data: {json.dumps(content)}\n\n"
