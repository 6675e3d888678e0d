"""The emoji train split -> the tables that seed-nano's language model is trained on, for any
visual tokenizer: captions with pictures, words alone, and conversations.

  python -m tools.nano.documents -o runs/nano-documents

A row is drawn of a base emoji, not of a picture, else the many skin tones would crowd out
everything but people. What is read may be an augmented view; what is drawn is the picture itself,
so that it is learnable. Two builds on one machine are equal.
"""

from __future__ import annotations

import argparse
import io
import json
import random
import sys
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import torch
from PIL import Image

from seedcli.data.emoji import EmojiPicture
from seedcli.data.images.augmentation import random_views, read_squares
from seedcli.files import published
from seedcli.models.visual.config import PreprocessConfig
from tools.nano.conversations import EmojiSpeaker, PictureTurn, draw_caption, read_structure
from tools.nano.manners import EVERYDAY, STYLES, VARIED, Manner
from tools.nano.structure import EmojiStructure

# milder than the tokenizer's own training: the words must stay true (left, right, small, dark)
VIEW = PreprocessConfig(
    image_size_px=64,
    geometry="random-affine",
    interpolation="bilinear",
    rotation_deg=8.0,
    shift=0.06,
    scale=(0.85, 1.05),
    brightness=0.1,
)
DRAWS = 32  # rows of an emoji
# extra rows of an emoji with skin tones or twins, which are a fifth of the emoji and all of the
# edits
_REPEATS_OF_VARIANTS = 2
# Share of rows that become conversations: people, with rows for skin tones, flags and symbols
# would be six in ten of them, and things are what is asked for.
_TALKED_OF = {"people & body": 0.6, "flags": 0.4, "symbols": 0.4, "components": 0.4}
_BATCH = 512

_TEXT, _BYTES = pa.string(), pa.binary()
_PART = pa.struct([("type", _TEXT), ("text", _TEXT)])
_MESSAGES = pa.list_(pa.struct([("role", _TEXT), ("content", pa.list_(_PART))]))
_WORDS = pa.list_(pa.struct([("role", _TEXT), ("content", _TEXT)]))
SCHEMAS = {
    "read": pa.schema([("key", _TEXT), ("image", _BYTES), ("text", _TEXT)]),
    "drawn": pa.schema([("key", _TEXT), ("image", _BYTES), ("text", _TEXT)]),
    "texts": pa.schema([("key", _TEXT), ("text", _TEXT)]),
    "text-conversations": pa.schema([("key", _TEXT), ("messages", _WORDS)]),
    "conversations": pa.schema(
        [("key", _TEXT), ("messages", _MESSAGES), ("images", pa.list_(_BYTES)), ("task", _TEXT)]
    ),
}
SCHEMAS |= dict.fromkeys(("everyday", "styles"), SCHEMAS["conversations"])
_MANNERS = {"conversations": VARIED, "everyday": EVERYDAY, "styles": STYLES}
Row = dict[str, Any]
# a picture of a row until its batch is written: itself, or a view of it
Shown = tuple[EmojiPicture, bool]


class DocumentTables:
    """Draws the rows of each table; everything random follows from its name and the row's number.

    Args:
        structure: The pictures, and how they belong together.
    """

    def __init__(self, structure: EmojiStructure):
        speakers = {name: EmojiSpeaker(structure, one) for name, one in _MANNERS.items()}
        self._speaker = speakers["conversations"]
        self._emoji = structure.by_emoji
        variants = [row for row in self._emoji if len({one.skin_tones for one in row}) > 1]
        self._repeated = self._emoji + variants * _REPEATS_OF_VARIANTS
        self._draw: dict[str, Callable[[EmojiPicture, random.Random], Row]] = {
            "read": lambda one, rng: {"image": _view(one, rng), "text": draw_caption(one, rng)},
            "drawn": lambda one, rng: {"image": (one, False), "text": draw_caption(one, rng)},
            "texts": lambda one, rng: {"text": self._text(one, rng)},
            "text-conversations": lambda one, rng: {
                "messages": [
                    {"role": role, "content": "".join(_words(said))}
                    for role, said in self._speaker.converse_in_text(one, rng)
                ]
            },
        }
        for name, manner in _MANNERS.items():
            self._draw[name] = partial(_conversation, speakers[name], manner)

    def rows(self, table: str, draws: int) -> Iterator[Row]:
        """Rows of a table, its pictures not yet drawn as views."""
        emoji = self._emoji if table in ("read", "drawn") else self._repeated
        manner = _MANNERS.get(table)
        for number in range(draws * len(emoji) * (manner.repeats if manner else 1)):
            rng = random.Random(f"{table} {number}")
            drawings = emoji[number % len(emoji)]
            if manner:
                drawings = drawings + [one for one in drawings if one.vendor in manner.often]
            picture = rng.choice(drawings)
            if manner and rng.random() >= _TALKED_OF.get(picture.group, 1):
                continue
            yield {"key": picture.key, **self._draw[table](picture, rng)}

    def _text(self, picture: EmojiPicture, rng: random.Random) -> str:
        """A caption, tags or a sentence, or what a conversation says beside its pictures."""
        draw = rng.random()
        if draw < 0.5:
            return self._speaker.write_text(picture, rng)
        if draw < 0.65:
            return _as_text(self._speaker.converse_in_text(picture, rng))
        return _as_text(self._speaker.converse(picture, rng)[1])


def _conversation(
    speaker: EmojiSpeaker, manner: Manner, picture: EmojiPicture, rng: random.Random
) -> Row:
    task, turns = speaker.converse(picture, rng)
    messages, images = [], []
    for role, said in turns:
        parts = []
        for one in said:
            words = isinstance(one, str)
            parts.append({"type": "text" if words else "image", "text": one if words else None})
            if not isinstance(one, str):
                images.append(
                    (one, False) if role == "assistant" else _view(one, rng, manner.itself)
                )
        messages.append({"role": role, "content": parts})
    return {"messages": messages, "images": images, "task": task}


def _view(picture: EmojiPicture, rng: random.Random, itself: float = VARIED.itself) -> Shown:
    return picture, rng.random() >= itself


def _words(said: Sequence[str | EmojiPicture]) -> list[str]:
    return [one for one in said if isinstance(one, str)]


def _as_text(turns: Sequence[PictureTurn]) -> str:
    """A conversation's words in the published layout, which is what the vocabulary must know;
    pictures are left out.
    """
    names = {"user": "USER: ", "assistant": "ASSISTANT:"}
    return "\n".join(names[role] + " ".join(_words(said)) for role, said in turns)


def draw_pictures(rows: Sequence[Row], seed: int) -> None:
    """Puts PNG bytes in place of the pictures of some rows, those of views drawn in one batch."""
    places: list[tuple[Row | list, str | int, Shown]] = []
    for row in rows:
        if "image" in row:
            places.append((row, "image", row["image"]))
        images = row.get("images", [])
        places += [(images, number, one) for number, one in enumerate(images)]
    moved = [picture.image for _, _, (picture, is_view) in places if is_view]
    views = iter(_augmented(moved, seed) if moved else ())
    for holder, place, (picture, is_view) in places:
        holder[place] = next(views) if is_view else picture.image  # type: ignore[index,call-overload]


def _augmented(images: Sequence[bytes], seed: int) -> Iterator[bytes]:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        views = random_views(read_squares(images, VIEW.image_size_px), VIEW)
    for array in views.mul(255).round().byte().permute(0, 2, 3, 1).numpy():
        buffer = io.BytesIO()
        Image.fromarray(array).save(buffer, "PNG", compress_level=1)
        yield buffer.getvalue()


def write_documents(folder: Path, structure: EmojiStructure, *, draws: int) -> dict[str, int]:
    """Writes the tables `NAME.parquet`, each whole or not at all -> their numbers of rows."""
    tables, counts = DocumentTables(structure), {}
    for name, schema in SCHEMAS.items():
        counts[name] = 0
        rows = tables.rows(name, draws)
        with (
            published(folder / f"{name}.parquet") as partial,
            pq.ParquetWriter(partial, schema, compression="zstd") as writer,
        ):
            while batch := list(islice(rows, _BATCH)):
                draw_pictures(batch, seed=counts[name])
                writer.write_table(pa.Table.from_pylist(batch, schema))
                counts[name] += len(batch)
    return counts


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(
        description="Write the tables that seed-nano's language model is trained on."
    )
    parser.add_argument("-o", dest="folder", type=Path, default=Path("runs/nano-documents"))
    parser.add_argument("--draws", type=int, default=DRAWS, help="rows of an emoji")
    options = parser.parse_args()
    counts = write_documents(options.folder, read_structure("train"), draws=options.draws)
    json.dump(counts, sys.stdout)
    sys.stdout.write("\n")


if __name__ == "__main__":
    main()
