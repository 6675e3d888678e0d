"""What requests hold, field by field. Every field of OpenAI's reference is either supported,
ignored and named in the answer's `x-seed-ignored` header, or refused; what is no field is refused.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator

from seedcli.models.visual.config import MAX_GUIDANCE
from seedcli.workflows.serve.errors import ApiError

MAX_ANSWERS = 16  # of one request
MAX_IMAGES = 256  # of one request
MAX_STOP = 4
MAX_NAMED = 16  # fields within messages that the header names

ImageFormat = Literal["data", "url"]
Modality = Literal["text", "image"]
ResponseFormat = Literal["b64_json", "url"]
Seed = Annotated[int, Field(ge=0, le=2**53 - MAX_IMAGES)]
CodeRow = Annotated[list[int], Field(max_length=1024)]


class RefusedUnless:
    """Marks a field that asks for what does not exist here, but for the values that ask for
    nothing.
    """

    def __init__(self, *neutral: Any):
        self.neutral = (None, *neutral)


_IGNORED = "ignored"
Ignored = Annotated[Any, _IGNORED]  # means nothing here and harms nothing


class _Fields(BaseModel):
    """A request."""

    model_config = ConfigDict(extra="forbid", allow_inf_nan=False)

    @property
    def ignored(self) -> list[str]:
        """Fields that were given and are ignored; those that ask for nothing are not named."""
        fields = type(self).model_fields
        return sorted(
            name
            for name in self.model_fields_set
            if _IGNORED in fields[name].metadata and getattr(self, name) not in (None, [], {})
        )

    def check_supported(self) -> None:
        """Refuses fields that ask for what does not exist here.

        Raises:
            ApiError: There is one.
        """
        for name, field in type(self).model_fields.items():
            for mark in field.metadata:
                if isinstance(mark, RefusedUnless) and getattr(self, name) not in mark.neutral:
                    raise ApiError(
                        400,
                        f"{name} is not supported by this server",
                        param=name,
                        code="unsupported_parameter",
                    )


class ImageUrl(BaseModel):
    """A picture: a data URL, one of this server, or, where it is allowed, one of the web."""

    model_config = ConfigDict(extra="forbid")
    url: str
    detail: Literal["auto", "low", "high", "original"] | None = None


class TextPart(BaseModel):
    """Words of a message."""

    model_config = ConfigDict(extra="forbid")
    type: Literal["text"]
    text: str


class ImagePart(BaseModel):
    """A picture of a message."""

    model_config = ConfigDict(extra="allow")
    type: Literal["image_url"]
    image_url: ImageUrl


def _others(model: BaseModel | None) -> list[str]:
    """Keys with a value that are no fields: a name that no header holds is `?`."""
    given = (model.model_extra or {}) if model is not None else {}
    return [
        name if len(name) <= 64 and name.isascii() and name.isidentifier() else "?"
        for name, value in given.items()
        if value is not None and name != "index"  # our own answers number their pictures
    ]


Part = Annotated[TextPart | ImagePart, Field(discriminator="type")]


class AnsweredSegment(BaseModel):
    """Words, or the codes of a picture, of a message."""

    model_config = ConfigDict(extra="forbid")
    text: str | None = None
    image: int | None = None
    codes: CodeRow | None = None


class ChatMessage(BaseModel):
    """A message. `segments` says words and codes as they were, in place of its content; without
    them the `images` of an assistant's are read anew and stand behind its words.
    """

    model_config = ConfigDict(extra="allow")  # what clients send back of answers
    role: Literal["system", "developer", "user", "assistant"]
    content: str | list[Part] | None = None
    name: str | None = None
    images: list[ImagePart] | None = None
    segments: list[AnsweredSegment] | None = None


class StreamOptions(BaseModel):
    """Whether a last chunk tells the tokens."""

    model_config = ConfigDict(extra="allow")
    include_usage: bool | None = False


class ChatRequest(_Fields):
    """`POST /v1/chat/completions`."""

    model: str
    messages: list[ChatMessage] = Field(min_length=1, max_length=4096)
    max_completion_tokens: int | None = Field(None, ge=1)
    max_tokens: int | None = Field(None, ge=1)
    modalities: list[Modality] | None = Field(None, min_length=1)
    n: int | None = Field(None, ge=1, le=MAX_ANSWERS)
    logprobs: bool | None = None
    top_logprobs: int | None = Field(None, ge=0, le=20)
    seed: Seed | None = None
    stop: str | list[str] | None = None
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    temperature: float | None = Field(None, ge=0, le=1000)
    top_p: float | None = Field(None, gt=0, le=1)

    # ours
    top_k: int | None = Field(None, ge=0)
    code_guidance: float | None = Field(None, ge=1, le=1000)
    draw: bool | None = None
    image_format: ImageFormat | None = None
    content_format: Literal["string", "parts"] | None = None

    functions: Ignored = None  # as `tools`
    metadata: Ignored = None
    moderation: Ignored = None
    parallel_tool_calls: Ignored = None
    prompt_cache_key: Ignored = None
    prompt_cache_options: Ignored = None
    prompt_cache_retention: Ignored = None
    reasoning_effort: Ignored = None
    safety_identifier: Ignored = None
    service_tier: Ignored = None
    store: Ignored = None
    # A model may answer without any; chat pages offer theirs with every request (Open WebUI 0.12).
    tools: Ignored = None
    user: Ignored = None
    verbosity: Ignored = None

    audio: Annotated[Any, RefusedUnless()] = None
    frequency_penalty: Annotated[Any, RefusedUnless(0)] = None
    function_call: Annotated[Any, RefusedUnless("none", "auto")] = None
    logit_bias: Annotated[Any, RefusedUnless({})] = None
    prediction: Annotated[Any, RefusedUnless()] = None
    presence_penalty: Annotated[Any, RefusedUnless(0)] = None
    response_format: Annotated[Any, RefusedUnless({"type": "text"})] = None
    tool_choice: Annotated[Any, RefusedUnless("none", "auto")] = None
    web_search_options: Annotated[Any, RefusedUnless()] = None

    @field_validator("stop")
    @classmethod
    def _few_stops(cls, value: str | list[str] | None) -> str | list[str] | None:
        if isinstance(value, list) and len(value) > MAX_STOP:
            raise ValueError(f"has {len(value)} words, expected at most {MAX_STOP}")
        return value

    @property
    def ignored(self) -> list[str]:
        """Fields that were given and are ignored, those within messages included."""
        found = {f"stream_options.{name}" for name in _others(self.stream_options)}
        for message in self.messages:
            found |= {f"messages.{name}" for name in _others(message)}
            found |= {"messages.name"} if message.name is not None else set()
            for part in message.content if isinstance(message.content, list) else ():
                if isinstance(part, ImagePart):
                    found |= {f"messages.content.{name}" for name in _others(part)}
                    if part.image_url.detail not in (None, "auto"):
                        found.add("messages.content.image_url.detail")
        return super().ignored + sorted(found)[:MAX_NAMED]

    @property
    def stops(self) -> list[str]:
        """Words that end the answer."""
        return [self.stop] if isinstance(self.stop, str) else list(self.stop or ())


class _ImagesRequest(_Fields):
    prompt: str
    model: str | None = None
    n: int | None = Field(None, ge=1, le=MAX_ANSWERS)
    size: str | None = None
    response_format: ResponseFormat | None = None
    seed: Seed | None = None  # ours

    input_fidelity: Ignored = None
    moderation: Ignored = None
    quality: Ignored = None
    style: Ignored = None
    user: Ignored = None

    background: Annotated[Any, RefusedUnless("auto", "opaque")] = None
    mask: Annotated[Any, RefusedUnless()] = None
    output_compression: Annotated[Any, RefusedUnless(100)] = None
    output_format: Annotated[Any, RefusedUnless("png")] = None
    partial_images: Annotated[Any, RefusedUnless(0)] = None
    stream: Annotated[Any, RefusedUnless(False)] = None


class GenerationsRequest(_ImagesRequest):
    """`POST /v1/images/generations`."""


class EditsRequest(_ImagesRequest):
    """The fields of `POST /v1/images/edits` that are no files."""


class TokenizeRequest(_Fields):
    """`POST /v1/tokenize`: pictures as data URLs, or as base64 alone."""

    images: list[str] = Field(min_length=1, max_length=MAX_IMAGES)
    model: str | None = None


class DetokenizeRequest(_Fields):
    """`POST /v1/detokenize`: codes of pictures; picture i is drawn with `seed + i`."""

    codes: list[CodeRow] = Field(min_length=1, max_length=MAX_IMAGES)
    model: str | None = None
    seed: Seed = 0
    steps: int | None = Field(None, ge=1, le=1000)
    guidance: float | None = Field(None, ge=1, le=MAX_GUIDANCE)
    response_format: ResponseFormat | None = None
