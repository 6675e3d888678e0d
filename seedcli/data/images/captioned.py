"""What a recipe's `[data]` names -> pictures with their words, in one fixed order: what the parts
of a tokenizer are trained on.

Everything that `seed tokenize` takes as INPUT is taken here too (files, folders, globs, tars,
parquet tables, saved sets), beside sets of the hub and those that come with the package. Pictures
stay undecoded; their words come from a column, from `NAME.txt`, or from the names of files and
folders.
"""

from __future__ import annotations

import hashlib
import json
import random
import re
import tomllib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Any

from seedcli.console import Reporter
from seedcli.data.images.containers import expand
from seedcli.data.images.images import ImageError
from seedcli.data.images.inputs import list_inputs
from seedcli.data.images.items import Columns, Container, Item
from seedcli.data.images.tables import read_opened
from seedcli.data.tables import open_table
from seedcli.data.text_files import decode_text, printable
from seedcli.errors import DataError, UsageError
from seedcli.recipe.pictures import PicturesSection, ValidationSection
from seedcli.storage import exists, is_folder, is_url, open_to_read

if TYPE_CHECKING:
    from torch import Tensor

MAX_TAGS = 6  # in one caption: a label of a dozen words and six tags stay within 35 tokens
_HUB_SET = re.compile(r"[A-Za-z0-9][\w.-]*/[\w.-]+")
# "redDuck_01-small" -> red Duck small
_WORD = re.compile(r"[^\W\d_]+?(?=[A-Z][a-z]|[\W\d_]|$)|[^\W\d_]+")


@dataclass(frozen=True, slots=True)
class TrainingPicture:
    """One picture with its words.

    Attributes:
        key: Stable name, as of `data.images.inputs.Item`.
        image: Path or undecoded bytes.
        captions: What it shows; empty where nothing says so.
        tags: Further words for the same.
        group: Pictures of one group show one thing; it is held out as a whole. Where no column
            says so, pictures that are described alike are a group.
    """

    key: str
    image: bytes | str
    captions: tuple[str, ...]
    tags: tuple[str, ...]
    group: str

    @property
    def concept(self) -> str:
        """Equal for pictures that are described alike."""
        return concept_of(self.captions) or self.key

    def sample_caption(self, rng: random.Random) -> str:
        """Draws a training caption: four in ten a caption, four a caption and a random choice of
        tags, two the tags in front of it; empty where there is none.

        The caption is always there, since tags alone fit many pictures and would make false
        negatives of a contrastive batch.
        """
        if not self.captions:
            return ""
        caption = rng.choice(self.captions) if len(self.captions) > 1 else self.captions[0]
        draw = rng.random()
        if draw < 0.4 or not self.tags:
            return caption
        tags = ", ".join(rng.sample(self.tags, rng.randint(1, min(MAX_TAGS, len(self.tags)))))
        return f"{caption}: {tags}" if draw < 0.8 else f"{tags}: {caption}"


def concept_of(captions: tuple[str, ...]) -> str:
    """Captions -> what tells them from others; empty without captions."""
    return "\n".join(captions)


def read_pictures(data: PicturesSection, *, words: bool = True) -> list[TrainingPicture]:
    """All pictures that a section names, in the order of their source.

    Args:
        data: Where they are and which columns hold what.
        words: Whether a picture must have a caption.

    Raises:
        DataError: No such source, column or row; nothing is left; a picture without words.
        UsageError: The source has no such split.
    """
    data, named = _resolve(data)
    pictures = []
    for item, from_folder in _items(data):
        meta = json.loads(item.meta) if item.meta else {}
        absent = [name for name in data.where if name not in meta]
        if absent:
            raise DataError(
                f"{item.source}: data.where names {', '.join(absent)}; the row has "
                f"{', '.join(meta) or 'no other columns'}"
            )
        if any(meta[name] != value for name, value in data.where.items()):
            continue
        image = item.data if item.data is not None else item.path
        if item.problem or image is None or item.is_video:
            continue
        captions, tags = _words(item, meta, data, from_folder)
        if words and not captions:
            raise DataError(
                f"{item.source} has no caption",
                remedy="name the column with data.caption_column; beside a picture NAME.png "
                "of a folder, NAME.txt says what it shows",
            )
        group = (
            str(meta[data.group_column])
            if data.group_column in meta
            else concept_of(captions) or item.key
        )
        pictures.append(TrainingPicture(item.key, image, captions, tags, group))
    if not pictures:
        what = ", ".join(f"{name} = {value!r}" for name, value in data.where.items())
        raise DataError(f"{named} holds no picture" + (f" with {what}" if what else ""))
    return pictures


def read_training_pictures(
    data: PicturesSection, validation: ValidationSection | None, *, words: bool = True
) -> tuple[list[TrainingPicture], list[TrainingPicture]]:
    """Pictures to train on, and those that are held out; no picture is in both.

    Raises:
        DataError: As `read_pictures`; or nothing is left to train on.
    """
    if validation is None:
        return read_pictures(data, words=words), []
    if validation.share:
        pictures = read_pictures(data, words=words)
        held = [is_held_out(picture.group, validation.share) for picture in pictures]
        parts = [
            [picture for picture, out in zip(pictures, held, strict=True) if out == wanted]
            for wanted in (False, True)
        ]
    else:
        chosen = {name: value for name, value in validation if value and name != "share"}
        if "where" in chosen:
            chosen["where"] = data.where | chosen["where"]
        out = read_pictures(data.model_copy(update=chosen), words=words)
        keys = {picture.key for picture in out} if "path" not in chosen else set()
        parts = [
            [picture for picture in read_pictures(data, words=words) if picture.key not in keys],
            out,
        ]
    if not all(parts):
        raise DataError(
            f"{len(parts[0])} pictures are left to train on and {len(parts[1])} are held out",
            remedy="another validation.share, or pictures of their own: validation.path",
        )
    return parts[0], parts[1]


def is_held_out(group: str, share: float) -> bool:
    """Whether a group belongs to the held-out share: by its name alone, so that all stages and
    all machines agree.
    """
    digest = hashlib.sha256(group.encode("utf-8", "surrogatepass")).digest()
    return int.from_bytes(digest[:8], "big") / 2**64 < share


def as_retrieval_set(pictures: Sequence[TrainingPicture]) -> dict[str, Any]:
    """Pictures that are files -> Karpathy's JSON, split `test`, which `seed eval retrieval` reads;
    a picture without tags has one caption, else a second one with its tags.
    """
    return {
        "images": [
            {
                "filename": picture.image
                if is_url(picture.image)
                else str(Path(picture.image).resolve()),
                "split": "test",
                "sentences": [
                    {"raw": text}
                    for caption in picture.captions
                    for text in (
                        caption,
                        *(
                            [f"{caption}: {', '.join(picture.tags[:MAX_TAGS])}"]
                            * bool(picture.tags)
                        ),
                    )
                ],
            }
            for picture in pictures
            if isinstance(picture.image, str)
        ]
    }


def caption_texts(pictures: Sequence[TrainingPicture]) -> list[str]:
    """Every distinct caption and tag, sorted: what vocabularies may be learned from."""
    return sorted({text for picture in pictures for text in (*picture.captions, *picture.tags)})


def open_pictures(
    pictures: Sequence[TrainingPicture], image_size_px: int, reporter: Reporter | None = None
) -> tuple[list[TrainingPicture], Tensor]:
    """Pictures -> those that can be opened, and their pixels, uint8 [N,3,S,S], squashed to the
    square; what cannot be opened is counted aloud.

    Raises:
        DataError: None can be opened.
    """
    import torch

    from seedcli.data.images.augmentation import read_squares

    reporter = reporter or Reporter()
    kept, squares, problems = [], [], []
    with reporter.progress("read pictures", len(pictures)) as progress:
        for picture in pictures:
            try:
                squares.append(read_squares([picture.image], image_size_px))
                kept.append(picture)
            except ImageError as error:
                problems.append(f"{picture.key}: {error.reason}")
            progress.advance(1)
    if problems:
        text = f"{len(problems)} of {len(pictures)} pictures cannot be opened; first {problems[0]}"
        if not kept:
            raise DataError(text)
        reporter.warn(f"left out of training: {text}")
    return kept, torch.cat(squares)


@lru_cache(maxsize=1)
def bundled_sets() -> dict[str, Any]:
    """Names of the sets that come with the package -> what a recipe would say of them."""
    return tomllib.loads((_bundled() / "datasets.toml").read_text(encoding="utf-8"))


def _bundled() -> Path:
    return Path(str(files("seedcli"))) / "bundled"


def _resolve(data: PicturesSection) -> tuple[PicturesSection, str]:
    """A bundled set's name -> its file, columns and rows; anything else stays as it is."""
    known = bundled_sets().get(data.path)
    if known is None or Path(data.path).exists():
        if data.split and not is_hub_set(data.path):
            raise UsageError(
                f"{data.path} has no splits, but split = {data.split!r}",
                remedy="choose rows by their values: where = { column = value }",
            )
        return data, data.path
    facts = {name: value for name, value in known.items() if name != "splits"}
    if data.split and data.split not in known["splits"]:
        raise UsageError(
            f"{data.path} has no split {data.split!r}; it has {', '.join(known['splits'])}"
        )
    facts["path"] = str(_bundled() / facts["path"])
    facts["where"] = known["splits"].get(data.split, {}) | data.where
    given = {name: getattr(data, name) for name in facts if name.endswith("_column")}
    facts |= {name: value for name, value in given.items() if value}
    return data.model_copy(update=facts | {"split": ""}), f"{data.path}, split {data.split}"


def is_hub_set(path: str) -> bool:
    """Whether nothing here is called so, and a set of the hub could be."""
    return not Path(path).exists() and _HUB_SET.fullmatch(path) is not None


def _items(data: PicturesSection) -> Iterator[tuple[Item, bool]]:
    """Items and whether their names may speak for them, as those of files do."""
    columns = Columns(image=data.image_column or None, text=data.caption_column or None)
    if is_hub_set(data.path):
        table = open_table(data.path, split=data.split or "train")
        items = read_opened(table, Container("dataset", data.path), columns)
    else:
        items = expand(list_inputs([data.path]), columns)
    for item in items:
        yield item, item.path is not None and item.source == printable(item.path)


def _words(
    item: Item, meta: dict[str, Any], data: PicturesSection, from_folder: bool
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Captions and tags of an item."""
    given: Any = meta.get(data.caption_column) if data.caption_column else None
    beside = item.text_path
    if from_folder and not is_url(item.path):  # also beside a file that was named itself
        beside = str(Path(item.path).with_suffix(".txt"))
    if given is None and beside and exists(beside):
        with open_to_read(beside) as file:
            given = decode_text(file.read()).strip()
    given = item.text if given is None else given
    captions = tuple(
        text.strip() for text in (given if isinstance(given, list) else [given]) if _is_text(text)
    )
    tags = meta.get(data.tags_column) if data.tags_column else None
    if isinstance(tags, str):
        tags = tags.split(",")
    tags = tuple(tag.strip() for tag in tags or () if _is_text(tag))
    if captions or not from_folder:
        return captions, tags
    # below the folder that was named, its own name says nothing of one picture
    *folders, name = Path(item.key).with_suffix("").parts
    folders = folders[1:] if is_folder(data.path) else []
    name, *above = (" ".join(_WORD.findall(part)).lower() for part in (name, *reversed(folders)))
    return (name,) if name else tuple(above[:1]), (*tags, *(part for part in above if part))


def _is_text(text: Any) -> bool:
    return isinstance(text, str) and bool(text.strip())
