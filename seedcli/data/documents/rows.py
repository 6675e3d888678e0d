"""Rows of tables, JSON lines and published pickles -> samples, by the names of their fields.

A row may hold `messages` (with `images` and `videos`), `segments`, `codes` with words, `frames`
of a video with words, a picture with words, words alone, or the fields of the official release's
pickles (AILab-CVC/SEED@93b3cf4: torchdata_train.py, torchdata_sft.py), whose `image_ids` are codes.
Pictures may still be files here: segments are then paths or encoded bytes, until
`data.picture_store` has their codes.
"""

from __future__ import annotations

import base64
import random
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from operator import index
from pathlib import Path
from typing import Any

from seedcli.data.documents.columns import ROLES, unpack_messages, unpack_segments
from seedcli.data.documents.documents import Message, Sample
from seedcli.errors import MALFORMED, DataError
from seedcli.storage import as_place, is_url

PLACEHOLDER, VIDEO_PLACEHOLDER = "<image>", "<video>"
# field of a row -> what it holds, and what stands for one of them among words
_PLACES = {"images": ("pictures", PLACEHOLDER), "videos": ("videos", VIDEO_PLACEHOLDER)}
_IMAGE, _PLACEHOLDERS = re.compile("(<image>)"), re.compile("(<image>|<video>)")
_QUESTION, _ANSWER = re.compile(r"\bQuestion: "), re.compile(r"\bAnswer: ")
_NOT_META = {
    *("key", "meta", "codes", "frames", "image", "images", "image_ids", "videos", "text", "texts"),
    *("segments", "messages", "context"),
}


def sample_of_row(
    row: Mapping[str, Any],
    key: str,
    *,
    num_queries: int,
    text_column: str = "text",
    folder: Path = Path(),
    rng: random.Random | None = None,
) -> Sample:
    """Row -> sample; one that fits no known form has neither segments nor messages.

    Args:
        row: The row.
        key: Its name, where it has none of its own.
        num_queries: Codes of a picture.
        text_column: Field of the caption or text.
        folder: That relative picture paths start from.
        rng: Draws among several captions or answers; without one the first is taken.

    Raises:
        DataError: Messages, segments or codes of the wrong shape.
    """
    reader = _RowReader(row, num_queries, text_column, folder, rng)
    meta = {name: value for name, value in row.items() if name not in _NOT_META}
    try:
        content = reader.read()
    except MALFORMED as error:
        raise DataError(
            f"is no row that training reads ({type(error).__name__}: {error})"
        ) from None
    return Sample(str(row.get("key") or row.get("id") or key), *content, meta)


@dataclass(frozen=True)
class _RowReader:
    row: Mapping[str, Any]
    num_queries: int
    text_column: str
    folder: Path
    rng: random.Random | None

    def read(self) -> tuple[tuple, tuple[Message, ...]]:
        row = self.row
        if row.get("messages"):
            images = [self._picture(value) for value in row.get("images") or ()]
            videos = [self._picture(value) for value in row.get("videos") or ()]
            return (), read_messages(row["messages"], images, self._picture, videos)
        if row.get("segments"):
            return unpack_segments(row["segments"]), ()
        if "source_image_ids" in row or "image_ids" in row:
            return self._published()
        if isinstance(row.get("data"), list):
            return (), _alternate((), [str(text) for text in row["data"]])
        if isinstance(frames := row.get("frames"), list | tuple) and frames:
            if not all(isinstance(one, Mapping) and one.get("codes") for one in frames):
                raise DataError(
                    "frames of a video are a list of {time_s, codes}, as seed tokenize writes it"
                )
            codes = [picture for one in frames for picture in self._codes(one["codes"])]
            return (*codes, *self._words(self.text_column)), ()
        if row.get("codes") is not None:
            return (*self._codes(row["codes"]), *self._words(self.text_column)), ()
        if row.get("image") is not None:
            return (self._picture(row["image"]), *self._words(self.text_column)), ()
        return self._words(self.text_column), ()

    def _published(self) -> tuple[tuple, tuple[Message, ...]]:
        row = self.row
        if "source_image_ids" in row:
            said = (
                self._words("instruction_gpt") + self._words("response")
                if row.get("instruction_gpt")
                else self._words("instruction")
            )
            return (
                *self._codes(row["source_image_ids"]),
                *said,
                *self._codes(row["target_image_ids"]),
            ), ()
        if "texts" in row:
            return self._interleaved(), ()
        images = self._codes(row["image_ids"])
        if "context" in row:
            pairs = [
                (images, self._words("text")),
                *((self._codes(one["image_ids"]), (str(one["text"]),)) for one in row["context"]),
            ]
            return tuple(part for image, text in pairs for part in (*image, *text)), ()
        if isinstance(row.get("data"), list):
            return (), _alternate(images, [str(text) for text in row["data"]])
        numbered = {
            name: [row[f"{name}{n}"] for n in range(len(images)) if f"{name}{n}" in row]
            for name in ("caption", "instruction")
        }
        if numbered["caption"]:
            return tuple(
                part
                for pair in zip(images, map(str, numbered["caption"]), strict=False)
                for part in pair
            ), ()
        if numbered["instruction"]:
            turns = zip(map(str, numbered["instruction"]), images[1:], strict=False)
            return (*images[:1], *(part for turn in turns for part in turn)), ()
        if "outputs" in row:
            return (
                *images,
                *(self._words("inputs") or self._words("instruction")),
                *self._words("outputs"),
            ), ()
        question, answer = str(row.get("question") or ""), self._one(row.get("answer"))
        if _QUESTION.search(question) and _ANSWER.search(answer):
            asked, answers = _QUESTION.split(question)[1:], _ANSWER.split(answer)[1:]
            both = zip(asked, answers, strict=False)
            return (*images, question, answer), _alternate(
                images, [text.strip() for turn in both for text in turn]
            )
        if question or answer:
            return (*images, *(text for text in (question, answer) if text)), ()
        return (*images, *self._words(self.text_column)), ()

    def _interleaved(self) -> tuple:
        """Parallel lists of pictures and texts, exactly one of the two at each place;
        else the row is malformed.
        """
        segments: list = []
        for image, text in zip(self.row["image_ids"], self.row["texts"], strict=False):
            if (image is None) == (text is None):
                return ()
            segments += self._codes(image) if text is None else [str(text)]
        return tuple(segments)

    def _codes(self, value: Any) -> list[tuple[int, ...]]:
        """One picture's codes, several in a row, or a list of several -> codes of each."""
        flat = (
            [code for part in value for code in part]
            if len(value) and isinstance(value[0], Sequence)
            else list(value)
        )
        if not flat or len(flat) % self.num_queries:
            raise DataError(
                f"{len(flat)} codes, where a picture has {self.num_queries}",
                remedy="name the tokenizer that made them",
            )
        return [
            tuple(index(code) for code in flat[start : start + self.num_queries])
            for start in range(0, len(flat), self.num_queries)
        ]

    def _words(self, column: str) -> tuple[str, ...]:
        value = self.row.get(column)
        if value is None and isinstance(self.row.get("metadata"), Mapping):
            value = self.row["metadata"].get(column)
        text = self._one(value)
        return (text,) if text else ()

    def _one(self, value: Any) -> str:
        if isinstance(value, list | tuple):
            value = (self.rng.choice(value) if self.rng else value[0]) if value else None
        return "" if value is None else str(value)

    def _picture(self, value: Any) -> Any:
        """Codes, path or bytes of a picture, also as `datasets` gives it."""
        if isinstance(value, Mapping):
            value = value.get("bytes") or value.get("path")
        if isinstance(value, list | tuple):
            return self._codes(value)[0]
        if isinstance(value, bytes):
            return value
        if isinstance(value, str):
            found = picture_at(value)
            if isinstance(found, bytes):
                return found
            return as_place(found) if is_url(found) else self.folder / found
        raise DataError(
            f"a picture is a path, bytes, or a list of codes; this one is {value!r:.80}"
        )


def read_messages(
    value: Any, images: Sequence[Any], picture: Any, videos: Sequence[Any] = ()
) -> tuple[Message, ...]:
    """The `messages` of a row -> messages. Content is text with a placeholder for each picture, a
    list of parts, or segments.

    Args:
        value: A list of {role, content} or {role, segments}; parts of content are {"type": "text",
            "text"} and {"type": "image", "image"}, where a missing `image` (or the word itself)
            takes the next of `images`, and OpenAI's {"type": "image_url", "image_url": {"url"}};
            with `video` in place of `image` for videos.
        images: What placeholders stand for, in order over the whole conversation.
        picture: A picture's value -> codes, path or bytes; a video's -> its path, which stands for
            its frames.
        videos: As `images`; without any, the video placeholder is a word like others.

    Raises:
        DataError: Roles or parts of another kind, or more or fewer placeholders than pictures.
    """
    first = value[0] if isinstance(value, list) and value else None
    if isinstance(first, Mapping) and "segments" in first:
        return unpack_messages(value)
    given = {"images": images, "videos": videos}
    left = {field: list(values) for field, values in given.items()}

    def take(field: str) -> Any:
        if not left[field]:
            what, mark = _PLACES[field]
            raise DataError(
                f"more places for {what} ({mark}) in the messages than the {len(given[field])} in "
                f"`{field}`"
            )
        return left[field].pop(0)

    found = []
    for message in value if isinstance(value, list) else [value]:
        if (
            not isinstance(message, Mapping)
            or message.get("role") not in ROLES
            or "content" not in message
        ):
            raise DataError(
                f"a message is {{role, content}} with a role of {', '.join(ROLES)}; this one is "
                f"{message!r:.80}"
            )
        content = message["content"]
        segments: list[Any] = []
        for part in [{"type": "text", "text": content}] if isinstance(content, str) else content:
            kind = part.get("type") if isinstance(part, Mapping) else None
            if kind == "text" and isinstance(part.get("text"), str):
                for text in (_PLACEHOLDERS if videos else _IMAGE).split(part["text"]):
                    if text == PLACEHOLDER:
                        segments.append(take("images"))
                    elif text == VIDEO_PLACEHOLDER and videos:
                        segments.append(take("videos"))
                    elif text:
                        segments.append(text)
            elif kind in ("image", "image_url", "video", "video_url"):
                names = (kind, "codes", "path", kind.removesuffix("_url"))
                own = next((part[name] for name in names if part.get(name) is not None), None)
                own = own.get("url") if kind.endswith("_url") and isinstance(own, dict) else own
                segments.append(take(f"{kind[:5]}s") if own is None else picture(own))
            else:
                raise DataError(
                    'a part of content is {"type": "text"}, {"type": "image"} or {"type": '
                    f'"video"}}; this one is {part!r:.80}'
                )
        found.append(Message(message["role"], tuple(segments)))
    for field, unused in left.items():
        if unused:
            (what, mark), total = _PLACES[field], len(given[field])
            raise DataError(
                f"{total} {what}, but {total - len(unused)} places for them ({mark}) in the "
                "messages"
            )
    return tuple(found)


def picture_at(value: str) -> bytes | str:
    """What a row says of a picture, as OpenAI has it too -> the bytes of
    `data:image/png;base64,...`, or a path.

    Raises:
        DataError: Damaged base64, or an address, which is not fetched.
    """
    kind, _, encoded = value.partition(",")
    if kind.startswith("data:") and kind.endswith(";base64"):
        try:
            return base64.b64decode(encoded, validate=True)
        except ValueError as error:
            raise DataError(f"a picture's data URL is damaged ({error})") from None
    if value.startswith(("http://", "https://")):
        raise DataError(
            f"a picture is an address, and addresses are not fetched: {value:.80}",
            remedy="img2dataset fetches pictures",
        )
    return value.removeprefix("file://")


def _alternate(images: Sequence[Any], texts: Sequence[str]) -> tuple[Message, ...]:
    """Pictures and alternating texts -> conversation that ends with an answer, the
    pictures in its first turn.
    """
    turns = [(texts[place], texts[place + 1]) for place in range(0, len(texts) - 1, 2)]
    messages = []
    for number, (asked, answered) in enumerate(turns):
        messages += [
            Message("user", (*(() if number else images), asked)),
            Message("assistant", (answered,)),
        ]
    return tuple(messages)
