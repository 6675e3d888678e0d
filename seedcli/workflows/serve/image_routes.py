"""`/v1/images/*`, `/v1/tokenize` and `/v1/detokenize`: pictures from words, from pictures and
words, and from codes.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from fastapi import Request, Response
from fastapi.exceptions import RequestValidationError
from pydantic import ValidationError
from starlette.datastructures import FormData, UploadFile

from seedcli.data.documents.documents import Message, Segment
from seedcli.data.images.images import ImageError
from seedcli.errors import UsageError
from seedcli.models.language.vocab import format_span
from seedcli.workflows.chat.pictures import Drawing
from seedcli.workflows.serve.answer import Drawn
from seedcli.workflows.serve.answers import image_data
from seedcli.workflows.serve.errors import ApiError, json_response
from seedcli.workflows.serve.images import read_url
from seedcli.workflows.serve.listening import Listening, unless_gone
from seedcli.workflows.serve.messages import checked_text
from seedcli.workflows.serve.requests import (
    MAX_IMAGES,
    DetokenizeRequest,
    EditsRequest,
    GenerationsRequest,
    TokenizeRequest,
)
from seedcli.workflows.serve.service import Service, note

_FILES = ("image", "image[]")


@dataclass(frozen=True)
class ImageRoutes:
    """Answers with pictures and codes."""

    service: Service

    async def generate(self, body: GenerationsRequest, request: Request) -> Response:
        """Words -> pictures.

        Raises:
            ApiError: It asks for what is not there.
        """
        return await self._drawn(body, [], request)

    async def edit(self, request: Request) -> Response:
        """Pictures and words -> pictures; multipart, as OpenAI has it.

        Raises:
            ApiError: As `generate`.
        """
        try:
            form = await request.form(max_files=MAX_IMAGES, max_fields=64)
        except ApiError:
            raise
        except Exception as error:
            if isinstance(error.__cause__, ApiError):
                raise error.__cause__ from None
            raise ApiError(400, "the body is no multipart/form-data") from None
        try:
            files, fields = await _parts(form)
        finally:
            await form.close()
        try:
            body = EditsRequest(**fields)
        except ValidationError as error:
            raise RequestValidationError(error.errors()) from None
        body.check_supported()
        if not files:
            raise ApiError(400, "no picture came with the request", param="image")
        return await self._drawn(body, files, request)

    async def tokenize(self, body: TokenizeRequest, request: Request) -> Response:
        """Pictures -> codes, those of `seed tokenize`.

        Raises:
            ApiError: One is no usable picture.
        """
        service = self.service
        service.check_model(body.model)
        note(request, pictures=len(body.images))
        rows = await service.read(self._tokenize, body.images)
        return json_response(
            {
                "object": "list",
                "model": service.engine.model.tokenizer.name,
                "fingerprint": service.fingerprint,
                "data": [
                    {
                        "object": "codes",
                        "index": index,
                        "codes": codes,
                        "text": format_span(codes),
                    }
                    for index, codes in enumerate(rows)
                ],
            }
        )

    async def detokenize(self, body: DetokenizeRequest, request: Request) -> Response:
        """Codes -> pictures.

        Raises:
            ApiError: Codes that are none, or settings that do not go together.
        """
        service = self.service
        service.check_model(body.model)
        service.check_draws()
        try:
            rows = service.engine.model.tokenizer.check_codes(body.codes)
        except UsageError as error:
            raise ApiError(400, error.message, param="codes") from None
        note(request, pictures=len(rows))
        drawings = await unless_gone(
            request,
            service.draw(
                [(codes, body.seed + number) for number, codes in enumerate(rows)],
                deadline=service.deadline(),
                how=(body.steps, body.guidance),
            ),
        )
        return await self._answer(drawings, body.response_format, request)

    def _tokenize(self, urls: Sequence[str]) -> list[list[int]]:
        tokenizer, settings = self.service.engine.model.tokenizer, self.service.settings

        def read(number: int) -> bytes:
            return read_url(
                urls[number],
                allow_urls=settings.allow_urls,
                max_bytes=settings.max_body_bytes,
                param=f"images[{number}]",
            )

        images = [read(number) for number in range(len(urls))]
        try:
            # one alone and many padded: the codes of `seed tokenize`
            return tokenizer.encode(images).tolist()
        except ImageError as error:
            number = (error.message.split(":")[0]).removeprefix("image ")
            raise ApiError(
                400,
                f"the picture {error.reason}",
                param=f"images[{number}]" if number.isdigit() else "images",
                code="invalid_image",
            ) from None

    async def _drawn(
        self, body: GenerationsRequest | EditsRequest, files: Sequence[bytes], request: Request
    ) -> Response:
        service = self.service
        deadline = service.deadline()
        service.check_model(body.model)
        service.check_draws()
        if body.size not in (None, "auto", service.picture_size):
            raise ApiError(
                400, f"this model draws pictures of {service.picture_size}", param="size"
            )
        sampling = service.sampling()
        guided = sampling.code_guidance > 1
        prompt, wordless = await service.read(self._prompts, body.prompt, files, guided)
        asked = service.ask(
            prompt,
            sampling,
            deadline=deadline,
            image="first",
            seed=body.seed,
            n=body.n,
            wordless=wordless,
            last_image=1,
        )
        with Listening(service.engine, asked) as listening:
            drawings = await unless_gone(request, _pictures(listening))
        headers = {"x-seed-ignored": ", ".join(body.ignored)} if body.ignored else {}
        return await self._answer(drawings, body.response_format, request, headers)

    def _prompts(
        self, words: str, files: Sequence[bytes], guided: bool
    ) -> tuple[list[int], list[int] | None]:
        segments: list[Segment] = [self.service.reader.codes(each, "image") for each in files]
        if words.strip():
            segments.append(checked_text(words, "prompt"))
        if not segments:
            raise ApiError(400, "the prompt says nothing", param="prompt")
        return self.service.reader.encode([Message("user", tuple(segments))], guided)

    async def _answer(
        self,
        drawings: Sequence[Drawing],
        response_format: str | None,
        request: Request,
        headers: dict[str, str] | None = None,
    ) -> Response:
        service = self.service
        content = await asyncio.to_thread(
            image_data,
            drawings,
            service.show(request, response_format),
            urls=response_format == "url",
            fingerprint=service.fingerprint,
        )
        return json_response(content, headers=headers)


async def _pictures(listening: Listening) -> list[Drawing]:
    """The first picture of each answer, in their order."""
    found: dict[int, Drawing] = {}
    async for each in listening.events(lambda: len(found) == len(listening.writings)):
        if each is not None and isinstance(each[1], Drawn):
            found[each[0]] = each[1].drawing
    return [found[number] for number in sorted(found)]


async def _parts(form: FormData) -> tuple[list[bytes], dict[str, Any]]:
    """A form -> its pictures and its fields."""
    files: list[bytes] = []
    fields: dict[str, Any] = {}
    for name, value in form.multi_items():
        if isinstance(value, UploadFile):
            if name not in (*_FILES, "mask"):
                raise ApiError(400, "a file of that name is not expected", param="image")
            if name == "mask":
                raise ApiError(400, "masks are not supported", param="mask")
            files.append(await value.read())
        else:
            fields[name] = value
    return files, fields
