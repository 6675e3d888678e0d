"""What requests hold, field by field. Every field of OpenAI's reference is either supported,
ignored and named in the answer's `x-seed-ignored` header, or refused; what is no field is refused.
"""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator

MAX_ANSWERS = 16  # of one request
MAX_IMAGES = 256  # of one request
MAX_STOP = 4
MAX_NAMED = 16  # fields within messages that the header names

ImageFormat = Literal["data", "url"]
Modality = Literal["text", "image"]
ResponseFormat = Literal["b64_json", "url"]
Seed = Annotated[int, Field(ge=0, le=2**53 - MAX_IMAGES)]
CodeRow = Annotated[list[int], Field(max_length=1024)]


class _Fields(BaseModel):
    """A request.

    Attributes:
        IGNORED: Fields that mean nothing here and harm nothing.
        NEUTRAL: Fields that are refused, with the values that ask for nothing.
    """

    model_config = ConfigDict(extra="forbid", allow_inf_nan=False)

    IGNORED: ClassVar[frozenset[str]] = frozenset()
    NEUTRAL: ClassVar[dict[str, tuple[Any, ...]]] = {}

    @property
    def ignored(self) -> list[str]:
        """Fields that were given and are ignored."""
        return sorted(self.IGNORED & self.model_fields_set)

    @property
    def refused(self) -> str | None:
        """The first field that asks for what does not exist here."""
        for name, neutral in self.NEUTRAL.items():
            value = getattr(self, name)
            if value is not None and value not in neutral:
                return name
        return None


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

    IGNORED = frozenset(
        {
            "metadata",
            "moderation",
            "parallel_tool_calls",
            "prompt_cache_key",
            "prompt_cache_options",
            "prompt_cache_retention",
            "reasoning_effort",
            "safety_identifier",
            "service_tier",
            "store",
            "user",
            "verbosity",
        }
    )
    NEUTRAL = {
        "audio": (),
        "frequency_penalty": (0,),
        "function_call": ("none", "auto"),
        "functions": ([],),
        "logit_bias": ({},),
        "prediction": (),
        "presence_penalty": (0,),
        "response_format": ({"type": "text"},),
        "tool_choice": ("none", "auto"),
        "tools": ([],),
        "web_search_options": (),
    }

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

    audio: Any = None
    frequency_penalty: Any = None
    function_call: Any = None
    functions: Any = None
    logit_bias: Any = None
    metadata: Any = None
    moderation: Any = None
    parallel_tool_calls: Any = None
    prediction: Any = None
    presence_penalty: Any = None
    prompt_cache_key: Any = None
    prompt_cache_options: Any = None
    prompt_cache_retention: Any = None
    reasoning_effort: Any = None
    response_format: Any = None
    safety_identifier: Any = None
    service_tier: Any = None
    store: Any = None
    tool_choice: Any = None
    tools: Any = None
    user: Any = None
    verbosity: Any = None
    web_search_options: Any = None

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
    IGNORED = frozenset({"moderation", "quality", "style", "user", "input_fidelity"})
    NEUTRAL = {
        "background": ("auto", "opaque"),
        "mask": (),
        "output_compression": (100,),
        "output_format": ("png",),
        "partial_images": (0,),
        "stream": (False,),
    }

    prompt: str
    model: str | None = None
    n: int | None = Field(None, ge=1, le=MAX_ANSWERS)
    size: str | None = None
    response_format: ResponseFormat | None = None
    seed: Seed | None = None  # ours

    background: Any = None
    input_fidelity: Any = None
    mask: Any = None
    moderation: Any = None
    output_compression: Any = None
    output_format: Any = None
    partial_images: Any = None
    quality: Any = None
    stream: Any = None
    style: Any = None
    user: Any = None


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
    guidance: float | None = Field(None, ge=1, le=1000)
    response_format: ResponseFormat | None = None
