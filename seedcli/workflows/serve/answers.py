"""What is answered, in OpenAI's shapes: events of the engine -> messages, chunks, usage."""

from __future__ import annotations

import re
import secrets
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from seedcli.models.language.rows import Likelihood
from seedcli.workflows.serve.answer import Drawn, Ended, Event, Picture, Words
from seedcli.workflows.serve.images import ImageStore, to_base64, to_png

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

    from seedcli.workflows.chat.pictures import Drawing

_BYTE = re.compile(r"<0x([0-9A-F]{2})>")


@dataclass
class Choice:
    """One answer as it grows.

    Attributes:
        index: Among the answers of the request.
        content: Its words.
        segments: Words and codes in their order.
        images: Pictures by their number.
        logprobs: Of its tokens, as OpenAI writes them.
        finish: Why it ended.
        num_tokens: Written.
        num_pictures: Complete as codes; drawn or not.
    """

    index: int
    content: str = ""
    segments: list[dict[str, Any]] = field(default_factory=list)
    images: dict[int, dict[str, Any]] = field(default_factory=dict)
    logprobs: list[dict[str, Any]] = field(default_factory=list)
    finish: str | None = None
    num_tokens: int = 0
    num_pictures: int = 0
    num_drawn: int = 0

    @property
    def complete(self) -> bool:
        """Nothing follows."""
        return self.finish is not None and self.num_drawn == self.num_pictures

    def add(self, event: Event, show: Show) -> dict[str, Any]:
        """An event -> what a streamed chunk says of it."""
        match event:
            case Words(text, tokens):
                piece = self._spaced(text)
                self.content += piece
                if self.segments and "text" in self.segments[-1]:
                    self.segments[-1]["text"] += text
                else:
                    self.segments.append({"text": text})
                self.logprobs += (entries := show.logprobs(tokens))
                return {"delta": {"content": piece}, "logprobs": entries}
            case Picture(number, codes, tokens):
                self.num_pictures += 1
                segment = {"image": number, "codes": list(codes)}
                self.segments.append(segment)
                self.logprobs += (entries := show.logprobs(tokens))
                placed = {"index": len(self.segments) - 1, **segment}
                return {"delta": {"segments": [placed]}, "logprobs": entries}
            case Drawn(number, drawing):
                self.num_drawn += 1
                if drawing.image is None:
                    return {"delta": {}}
                item = {
                    "type": "image_url",
                    "image_url": {"url": show.picture(drawing)},
                    "index": number,
                }
                self.images[number] = item
                return {"delta": {"images": [item]}}
            case Ended(finish, num_tokens):
                self.finish, self.num_tokens = finish, num_tokens
                return {"delta": {}}
        raise TypeError(type(event))

    def message(self, *, parts: bool) -> dict[str, Any]:
        """The whole answer; with `parts` its content is a list of words and pictures."""
        images = [self.images[number] for number in sorted(self.images)]
        content: Any = self.content.strip()
        if parts:
            content = [
                {"type": "text", "text": segment["text"]}
                if "text" in segment
                else self.images.get(segment["image"], {"type": "codes", **segment})
                for segment in self.segments
            ]
        return {
            "role": "assistant",
            "content": content,
            "refusal": None,
            "images": images,
            "segments": self.segments,
        }

    def _spaced(self, text: str) -> str:
        """Words behind a picture do not run into those before it."""
        if not self.content:
            return text.lstrip()
        behind = self.segments and "text" not in self.segments[-1]
        apart = self.content[-1].isspace() or text[:1].isspace()
        return text if apart or not behind else f" {text}"


@dataclass(frozen=True)
class Show:
    """How pictures and tokens are told.

    Attributes:
        store: Gives pictures an address.
        base_url: Of this server, where pictures are told by address; None tells them as data.
        text_tokenizer: Names tokens.
    """

    store: ImageStore
    base_url: str | None
    text_tokenizer: PreTrainedTokenizerBase

    def picture(self, drawing: Drawing) -> str:
        """A drawn picture -> its URL."""
        png = to_png(drawing)
        if self.base_url is None:
            return f"data:image/png;base64,{to_base64(png)}"
        return self.base_url + self.store.keep(png, drawing.codes)

    def logprobs(self, tokens: Sequence[tuple[int, Likelihood]]) -> list[dict[str, Any]]:
        """Tokens with their log-probabilities, as OpenAI writes them."""
        return [
            {
                **self._token(token, likelihood.chosen),
                "top_logprobs": [self._token(*each) for each in likelihood.likeliest],
            }
            for token, likelihood in tokens
        ]

    def _token(self, token: int, logprob: float) -> dict[str, Any]:
        name = str(self.text_tokenizer.convert_ids_to_tokens(token))
        text = name.replace("▁", " ")
        byte = _BYTE.fullmatch(name)
        return {
            "token": text,
            "logprob": max(logprob, -9999.0),  # as OpenAI's for what is impossible
            "bytes": [int(byte[1], 16)] if byte else list(text.encode()),
        }


@dataclass(frozen=True)
class Envelope:
    """What all chunks of one answer have in common.

    Attributes:
        model: Name of the model.
        fingerprint: Of its codes.
        seed: Of the first answer.
        prompt_tokens: Of the prompt.
    """

    model: str
    fingerprint: str
    seed: int
    prompt_tokens: int
    id: str = field(default_factory=lambda: f"chatcmpl-{secrets.token_hex(12)}")
    created: int = field(default_factory=lambda: int(time.time()))

    def completion(
        self, choices: Sequence[Choice], *, parts: bool, logprobs: bool
    ) -> dict[str, Any]:
        """A whole answer."""
        return self._body("chat.completion") | {
            "choices": [
                {
                    "index": choice.index,
                    "message": choice.message(parts=parts),
                    "finish_reason": choice.finish,
                    "logprobs": {"content": choice.logprobs, "refusal": None} if logprobs else None,
                }
                for choice in choices
            ],
            "usage": self.usage(choices),
        }

    def chunk(self, index: int, said: dict[str, Any], finish: str | None = None) -> dict[str, Any]:
        """A piece of a streamed answer."""
        entries = said.get("logprobs")
        return self._body("chat.completion.chunk") | {
            "choices": [
                {
                    "index": index,
                    "delta": said["delta"],
                    "finish_reason": finish,
                    "logprobs": {"content": entries, "refusal": None} if entries else None,
                }
            ]
        }

    def usage_chunk(self, choices: Sequence[Choice]) -> dict[str, Any]:
        """The last piece, where tokens are to be told."""
        return self._body("chat.completion.chunk") | {
            "choices": [],
            "usage": self.usage(choices),
        }

    def usage(self, choices: Sequence[Choice]) -> dict[str, int]:
        """Tokens read and written."""
        written = sum(choice.num_tokens for choice in choices)
        return {
            "prompt_tokens": self.prompt_tokens,
            "completion_tokens": written,
            "total_tokens": self.prompt_tokens + written,
        }

    def _body(self, kind: str) -> dict[str, Any]:
        return {
            "id": self.id,
            "object": kind,
            "created": self.created,
            "model": self.model,
            "system_fingerprint": self.fingerprint,
            "seed": self.seed,
        }


def image_data(
    drawings: Sequence[Drawing], show: Show, *, urls: bool, fingerprint: str
) -> dict[str, Any]:
    """Pictures -> the answer of the image routes."""
    return {
        "created": int(time.time()),
        "data": [
            ({"url": show.picture(each)} if urls else {"b64_json": to_base64(to_png(each))})
            | {"codes": list(each.codes)}
            for each in drawings
        ],
        "fingerprint": fingerprint,
    }
