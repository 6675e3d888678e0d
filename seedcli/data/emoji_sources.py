"""The emoji kinds of document sources: captions with codes, words alone, and conversations. Rows
are emoji, not pictures: see `rows_of`.
"""

from __future__ import annotations

import hashlib
import io
import random
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from seedcli.data.documents.documents import Codes, Message, Sample
from seedcli.data.emoji import EmojiPicture
from seedcli.data.emoji_documents import EmojiSpeaker, PictureTurn, draw_caption, read_structure
from seedcli.data.emoji_structure import EmojiStructure
from seedcli.data.tables import save_array
from seedcli.data.tokens.picture_store import EncodePictures
from seedcli.errors import DataError
from seedcli.models.visual.config import PreprocessConfig

_VIEW = PreprocessConfig(
    image_size_px=64,
    geometry="random-affine",
    interpolation="bilinear",
    rotation_deg=8.0,
    shift=0.06,
    scale=(0.85, 1.05),
    brightness=0.1,
)  # milder than the tokenizer's own training: the words must stay true (left, right, small, dark)
_BATCH = 256
# extra rows of an emoji with skin tones or twins, which are a fifth of the emoji and all of the
# edits
_REPEATS_OF_VARIANTS = 2


def rows_of(structure: EmojiStructure, *, repeat_variants: bool) -> list[list[EmojiPicture]]:
    """A row is a base emoji, its picture drawn when it is read; else the many skin tones would
    crowd out everything but people.
    """
    rows = list(structure.by_emoji)
    if repeat_variants:
        rows += [
            row
            for row in rows
            if len({one.skin_tones for one in row}) > 1
            for _ in range(_REPEATS_OF_VARIANTS)
        ]
    return rows


class EmojiCodes:
    """Codes of a split's pictures: view 0 is the picture, the others are augmented (never
    mirrored). Computed once and cached.

    Args:
        pictures: Which.
        views: Views of each.
        codes_of: PNG bytes -> codes, by the visual tokenizer.
        fingerprint: That tokenizer's.
        cache: Folder for the files of codes.
    """

    def __init__(
        self,
        pictures: Sequence[EmojiPicture],
        views: int,
        *,
        codes_of: EncodePictures,
        fingerprint: str,
        cache: Path,
    ):
        content = hashlib.sha256(fingerprint.encode())
        for picture in pictures:
            content.update(picture.key.encode() + picture.image)
        found = []
        for view in range(views):  # a file each: more views later compute only the new ones
            name = hashlib.sha256(
                repr((content.hexdigest(), view, _VIEW if view else None)).encode()
            ).hexdigest()[:24]
            path = cache / "emoji-codes" / f"{name}.npy"
            if not path.is_file():
                save_array(path, self._encode(pictures, view, codes_of))
            found.append(np.load(path))
        self._codes = np.stack(found, axis=1)
        self._places = {picture.key: place for place, picture in enumerate(pictures)}

    @staticmethod
    def _encode(
        pictures: Sequence[EmojiPicture], view: int, codes_of: EncodePictures
    ) -> np.ndarray:
        rows: list[Codes] = []
        for start in range(0, len(pictures), _BATCH):
            images = [picture.image for picture in pictures[start : start + _BATCH]]
            rows += codes_of(_augmented(images, seed=view * 1_000_003 + start) if view else images)
        return np.asarray(rows, dtype=np.uint16)

    def draw(self, picture: EmojiPicture, rng: random.Random) -> Codes:
        """Codes [Q] of one of the picture's views."""
        return tuple(
            self._codes[self._places[picture.key], rng.randrange(self._codes.shape[1])].tolist()
        )

    def own(self, picture: EmojiPicture) -> Codes:
        """Codes [Q] of the picture itself."""
        return tuple(self._codes[self._places[picture.key], 0].tolist())


def _augmented(images: Sequence[bytes], *, seed: int) -> list[bytes]:
    import torch
    from PIL import Image

    from seedcli.data.images.augmentation import random_views, read_squares

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        views = random_views(read_squares(images, _VIEW.image_size_px), _VIEW)
    encoded = []
    for array in views.mul(255).round().byte().permute(0, 2, 3, 1).numpy():
        buffer = io.BytesIO()
        Image.fromarray(array).save(buffer, "PNG", compress_level=1)
        encoded.append(buffer.getvalue())
    return encoded


class EmojiCaptions:
    """Rows are emoji -> a picture's codes and a caption."""

    def __init__(self, split: str, codes: EmojiCodes):
        self._rows, self._codes = rows_of(_structure(split), repeat_variants=False), codes

    def __len__(self) -> int:
        return len(self._rows)

    def read(self, row: int, rng: random.Random) -> Sample:
        """A picture of emoji `row`; `rng` draws picture, view and caption."""
        picture = rng.choice(self._rows[row])
        return Sample(picture.key, (self._codes.draw(picture, rng), draw_caption(picture, rng)))


class EmojiTexts:
    """Rows are emoji -> words alone: captions, tags, sentences, and what conversations say
    beside their pictures.

    Args:
        split: Of the emoji set.
        conversations: Samples of messages that need no picture, for the form `messages`; else one
            text each, for the form `text`.
    """

    def __init__(self, split: str, *, conversations: bool):
        structure = _structure(split)
        self._rows, self._speaker, self._conversations = (
            rows_of(structure, repeat_variants=True),
            EmojiSpeaker(structure),
            conversations,
        )

    def __len__(self) -> int:
        return len(self._rows)

    def read(self, row: int, rng: random.Random) -> Sample:
        """Words about emoji `row`."""
        picture = rng.choice(self._rows[row])
        if self._conversations:
            turns = self._speaker.converse_in_text(picture, rng)
            messages = (
                Message(role, tuple(one for one in said if isinstance(one, str)))
                for role, said in turns
            )
            return Sample(picture.key, messages=tuple(messages))
        draw = rng.random()
        if draw < 0.5:
            return Sample(picture.key, (self._speaker.write_text(picture, rng),))
        turns = (
            self._speaker.converse_in_text(picture, rng)
            if draw < 0.65
            else self._speaker.converse(picture, rng)[1]
        )
        return Sample(picture.key, (_as_text(turns),))


def _as_text(turns: Sequence[PictureTurn]) -> str:
    """A conversation's words in the published layout, which is what the vocabulary must know;
    pictures are left out.
    """
    names = {"user": "USER: ", "assistant": "ASSISTANT:"}
    return "\n".join(
        names[role] + " ".join(one for one in said if isinstance(one, str)) for role, said in turns
    )


class EmojiInstructions:
    """Rows are emoji -> a conversation. The user's pictures are any view; answers hold the picture
    itself, so that they are learnable.
    """

    def __init__(self, split: str, codes: EmojiCodes):
        structure = _structure(split)
        self._rows, self._speaker, self._codes = (
            rows_of(structure, repeat_variants=True),
            EmojiSpeaker(structure),
            codes,
        )

    def __len__(self) -> int:
        return len(self._rows)

    def read(self, row: int, rng: random.Random) -> Sample:
        """A conversation about emoji `row`; `meta` names its task."""
        picture = rng.choice(self._rows[row])
        task, turns = self._speaker.converse(picture, rng)
        messages = []
        for role, said in turns:
            codes = (
                self._codes.own if role == "assistant" else lambda one: self._codes.draw(one, rng)
            )
            messages.append(
                Message(role, tuple(one if isinstance(one, str) else codes(one) for one in said))
            )
        return Sample(picture.key, messages=tuple(messages), meta={"task": task})


def _structure(split: str) -> EmojiStructure:
    if split != "train":
        raise DataError(
            f"emoji split {split!r} in training data; the others are kept for evaluation",
            remedy='write path = "train" in the recipe',
        )
    return read_structure("train")
