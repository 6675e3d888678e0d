"""What an answer is, and how words and images are put together."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from seedcli.data.documents.conversations import Picture, strip_segments
from seedcli.errors import UsageError
from seedcli.workflows.chat.pictures import Drawing

if TYPE_CHECKING:
    from PIL import Image

IMAGE_MARK = "<image>"


@dataclass(frozen=True, kw_only=True)
class Turn:
    """One answer.

    Attributes:
        segments: Words and images in their order.
        ended: The model ended it itself; False where it ran out of tokens.
        malformed: Image spans that were none, left out; 0 under the grammar.
    """

    segments: tuple[str | Drawing, ...]
    ended: bool
    malformed: int

    @property
    def drawings(self) -> list[Drawing]:
        """Its images in order, drawn or not."""
        return images_of(self.segments)

    @property
    def text(self) -> str:
        """Its words, with `<image>` where images stand."""
        return " ".join(
            part.strip() if isinstance(part, str) else IMAGE_MARK for part in self.segments
        )

    @property
    def images(self) -> list[Image.Image]:
        """Its pictures in order; empty where nothing is drawn."""
        return [each.image for each in self.drawings if each.image is not None]

    @property
    def files(self) -> list[str]:
        """Files of its pictures in order; empty where none are kept."""
        return [str(each.path) for each in self.drawings if each.path is not None]

    @property
    def codes(self) -> list[list[int]]:
        """Codes of its images in order."""
        return [list(each.codes) for each in self.drawings]


def images_of(segments: Iterable[str | Picture]) -> list[Picture]:
    """Words and images -> the images in their order."""
    return [part for part in segments if not isinstance(part, str)]


def interleave(text: str, images: Sequence[Sequence[Picture]]) -> tuple[str | Picture, ...]:
    """Words with `<image>` marks and what was attached, each a picture or the frames of a video ->
    segments; without marks images stand first, as in training.

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
        segments: list[str | Picture] = [*itertools.chain.from_iterable(images), text]
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
            segments += [*image, following]
    if not (stripped := strip_segments(segments)):
        raise UsageError("nothing is said: neither words nor an image")
    return stripped
