"""Image-text pairs for training the tokenizer: named sources -> one weighted, shuffled, endless
sequence that is addressed by number.

Sample `n` of a mixture is a pure function of (seed, n): which source, which row, which caption,
which augmentation. So a run's position is one integer, any number of ranks reads the same samples,
and nothing is replayed on resume. Sources are therefore random-access: memory-mapped tables through
`datasets`, and tars through an index of their members.
"""

from __future__ import annotations

import dataclasses
import random
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple, Protocol

import braceexpand
import numpy as np
import torch
from PIL import Image

from seedcli.data.documents.left_out import ROWS
from seedcli.data.images.augmentation import normalize_views, random_views
from seedcli.data.images.captioned import TrainingPicture
from seedcli.data.images.images import ImageError, Preprocess, open_image
from seedcli.data.images.tars import (
    TEXT_COLUMNS,
    Member,
    TarPicture,
    caption_of,
    indexed_tar,
    place_of,
    read_pictures,
)
from seedcli.data.sample_order import SampleOrder, derived_seed, find_block
from seedcli.data.tables import cached_index, open_table
from seedcli.errors import DataError
from seedcli.models.visual.config import PreprocessConfig
from seedcli.models.weights.cache import writable_cache
from seedcli.storage import as_place, read_range

_ATTEMPTS = 20


@dataclass(frozen=True)
class Pair:
    """One picture with its words; `image` is a path or encoded bytes, None where a row has none."""

    image: bytes | str | None
    caption: str


class PairBatch(NamedTuple):
    """Pairs of a batch.

    Attributes:
        pixels: [B,3,S,S].
        captions: Of each.
        left_out: By number of the source: how many rows were drawn, and why how many of them gave
            way to the next one. Plain, so that it travels between processes.
    """

    pixels: torch.Tensor
    captions: list[str]
    left_out: dict[int, dict[str, int]]


class PairSource(Protocol):
    """A finite, random-access source of pairs."""

    def __len__(self) -> int: ...

    def read(self, index: int, rng: random.Random) -> Pair:
        """Row `index`; `rng` draws among several captions or pictures of the row."""


class PicturePairs:
    """Pictures with words that were listed beforehand, a row a group of them or a row a picture.

    By group, a contrastive batch smaller than the set never holds two pictures of one thing, which
    would be false negatives of each other.
    """

    def __init__(self, pictures: Sequence[TrainingPicture], *, by_picture: bool = False):
        groups: dict[str, list[TrainingPicture]] = {}
        for picture in pictures:
            groups.setdefault(picture.key if by_picture else picture.group, []).append(picture)
        self._rows = list(groups.values())

    def __len__(self) -> int:
        return len(self._rows)

    def read(self, index: int, rng: random.Random) -> Pair:
        picture = rng.choice(self._rows[index])
        return Pair(picture.image, picture.sample_caption(rng))


class TablePairs:
    """Rows of anything `datasets` reads without code from the hub: parquet, JSON lines, CSV, an
    image folder, a hub id, a saved set.
    """

    def __init__(self, path: str, *, split: str, image_column: str, caption_column: str):
        import datasets

        table = open_table(path, split=split)
        absent = [
            column for column in (image_column, caption_column) if column not in table.column_names
        ]
        if absent:
            raise DataError(
                f"training source {path} has no column {', '.join(absent)}; it has "
                f"{', '.join(table.column_names)}"
            )
        if isinstance(table.features[image_column], datasets.Image):
            table = table.cast_column(image_column, datasets.Image(decode=False))
        self._table, self._image_column, self._caption_column = table, image_column, caption_column
        self._folder = as_place(path).parent

    def __len__(self) -> int:
        return len(self._table)

    def read(self, index: int, rng: random.Random) -> Pair:
        row = self._table[index]
        image, caption = row[self._image_column], row[self._caption_column]
        if isinstance(image, dict):
            image = image.get("bytes") or image.get("path")
        if image is not None and not isinstance(image, bytes):
            image = str(self._folder / str(image))
        if isinstance(caption, list):
            caption = rng.choice(caption) if caption else None
        return Pair(image, "" if caption is None else str(caption))


class TarPairs:
    """Webdataset tars, read as `seed tokenize` reads them (`data.images.tars`); a picture with its
    words is a row, found by an index of offsets and read with two seeks.

    The index of a tar is made once (about a second for 10,000 rows) and kept in the cache folder,
    32 bytes a row, memory-mapped. Rows are read in random order: tars belong on a local disk or on
    storage that is quick at random reads. Of an object in a bucket a row is two requests.

    Args:
        pattern: Tars, `{000..127}` for ranges.
        caption_key: What holds the caption: a kind of member (`txt`), `json` for a usual field of
            the sample's JSON, or the name of such a field.
        cache: Folder of the index.

    Attributes:
        left_out: Why pictures or words are no rows, and how many.

    Raises:
        DataError: A tar that cannot be read, no row at all, or a field that the first row lacks.
    """

    def __init__(self, pattern: str, *, caption_key: str, cache: Path | None = None):
        cache = cache or writable_cache()
        self._tars = [as_place(path) for path in braceexpand.braceexpand(pattern)]
        self._caption_key = caption_key
        with ThreadPoolExecutor() as pool:
            found = list(
                pool.map(
                    lambda tar: cached_index(
                        tar, f"pairs {caption_key}", cache, lambda path: _index(path, caption_key)
                    ),
                    self._tars,
                )
            )
        whole = [(index[:, 1] >= 0) & (index[:, 3] >= 0) for index in found]
        self._indices = [
            index if kept.all() else index[kept] for index, kept in zip(found, whole, strict=True)
        ]
        self.left_out = {
            reason: number
            for reason, column in ((f"no {caption_key} beside the picture", 3), ("no picture", 1))
            if (number := sum(int((index[:, column] < 0).sum()) for index in found))
        }
        self._ends = np.cumsum([len(index) for index in self._indices])
        self._check(pattern)

    def _check(self, pattern: str) -> None:
        remedy = "`caption_key` of the source: txt, json, or a field of the JSON"
        if not len(self):
            reasons = ", ".join(f"{number:,} with {why}" for why, number in self.left_out.items())
            raise DataError(
                f"training source {pattern} holds no rows: {reasons or 'no pictures'}",
                remedy=remedy,
            )
        if self._caption_key != "txt" and self._read(0)[1] is None:
            raise DataError(
                f"training source {pattern}: the first row has no {self._caption_key!r}; looked "
                f"for are {', '.join(TEXT_COLUMNS)}, or one that is named",
                remedy=remedy,
            )

    def __len__(self) -> int:
        return int(self._ends[-1])

    def read(self, index: int, rng: random.Random) -> Pair:
        image, caption = self._read(index)
        return Pair(image, rng.choice(caption) if isinstance(caption, list) else caption or "")

    def captions(self, index: int) -> list[str]:
        """All captions of a row: of a list, or of a text with one a line."""
        _, caption = self._read(index)
        lines = caption if isinstance(caption, list) else (caption or "").split("\n")
        return [line.strip() for line in lines if line.strip()]

    def _read(self, index: int) -> tuple[bytes, str | list[str] | None]:
        number, row = find_block(self._ends, index)
        image_offset, image_size, caption_offset, caption_size = map(
            int, self._indices[number][row]
        )
        image = read_range(self._tars[number], image_offset, image_size)
        words = read_range(self._tars[number], abs(caption_offset), caption_size)
        # the sign of its place says that the words are JSON, see `_index`
        member = Member("", "json" if caption_offset < 0 else "txt", None)
        try:
            return image, caption_of(member, words, self._caption_key)
        except ValueError:
            return image, None


def _index(path: Path, caption_key: str) -> list[tuple[int, ...]]:
    """Tar -> (image offset, size, caption offset, size) of every picture, in the tar's order;
    sizes of -1 where it has no words, or words no picture. The offset of JSON is negative.

    Words that stand apart from their picture find it here, since the whole tar is known.
    """
    found: list[TarPicture] = []
    bare: dict[str, int] = {}
    with indexed_tar(str(path), what="training source") as tar:
        for one in read_pictures(tar, place_of, words=caption_key):
            if one.image is None and one.words and one.sample in bare:
                place = bare.pop(one.sample)
                found[place] = found[place]._replace(words=one.words)
                continue
            if one.image and not one.words:
                bare[one.sample] = len(found)
            found.append(one)
    rows = []
    for one in found:
        offset, size = one.words.content if one.words else (0, -1)
        sign = -1 if one.words and one.words.kind == "json" else 1
        rows.append((*(one.image.content if one.image else (0, -1)), sign * offset, size))
    return rows


class Mixture:
    """Weighted sources as one endless sequence of augmented pairs.

    Args:
        sources: Source and its share of samples; shares are relative.
        seed: Everything random follows from it and from the sample's number.
        preprocess: The preset's training preprocessing.
        words: Whether a row must have a caption.
    """

    def __init__(
        self,
        sources: Sequence[tuple[PairSource, float]],
        *,
        seed: int,
        preprocess: PreprocessConfig,
        words: bool = True,
    ):
        self._sources = [source for source, _ in sources]
        self._seed, self._words = seed, words
        # Affine views are made a batch at a time, from plain squares: for small pictures that is
        # several times faster.
        self._batched = preprocess.geometry == "random-affine"
        self._config = preprocess
        self._preprocess = Preprocess(
            dataclasses.replace(preprocess, geometry="squash") if self._batched else preprocess
        )
        self._order = SampleOrder([(len(source), weight) for source, weight in sources], seed=seed)

    def __len__(self) -> int:
        """Rows of all sources; one pass over the largest of them takes at least as many samples."""
        return len(self._order)

    def locate(self, n: int) -> tuple[int, int]:
        """Sample number -> (source number, row), shuffled anew on each pass over a source,
        without a table of rows.
        """
        return self._order.locate(n)

    def sample(self, n: int, left_out: Counter[str] | None = None) -> tuple[torch.Tensor, str]:
        """Sample `n` -> pixels [3,S,S] (for affine views the uint8 square) and caption.

        A row without a caption, or with a picture that cannot be opened, gives way to the next one
        of its source; `left_out` counts the rows, and why.

        Raises:
            DataError: Twenty rows in a row are of no use.
        """
        number, row = self.locate(n)
        source, rng = self._sources[number], random.Random(derived_seed(self._seed, n))
        left_out = Counter() if left_out is None else left_out
        for attempt in range(_ATTEMPTS):
            pair = source.read((row + attempt) % len(source), rng)
            left_out[ROWS] += 1
            try:
                image = self._open(pair)
            except ImageError as error:
                reason = error.reason
                left_out[error.kind] += 1
                continue
            if self._batched:
                return self._preprocess.to_square(image), pair.caption
            torch.manual_seed(rng.getrandbits(63))
            return self._preprocess(image), pair.caption
        raise DataError(
            f"{_ATTEMPTS} rows in a row are of no use near row {row} of training source "
            f"{number + 1}; the last one {reason}",
            remedy="look at the source that the recipe names there under [data]",
        )

    def batch(self, step: int, *, batch_size: int, rows: slice) -> PairBatch:
        """Rows of global batch `step`; leaves torch's generator as it was."""
        numbers = range(step * batch_size, (step + 1) * batch_size)[rows]
        left_out: dict[int, Counter[str]] = {}
        with torch.random.fork_rng(devices=[]):
            drawn = [
                self.sample(n, left_out.setdefault(self.locate(n)[0], Counter())) for n in numbers
            ]
            pictures, captions = zip(*drawn, strict=True)
            pixels = torch.stack(pictures)
            if self._batched:
                torch.manual_seed(derived_seed(self._seed, numbers[0]))
                pixels = normalize_views(random_views(pixels, self._config), self._config)
        return PairBatch(
            pixels, list(captions), {number: dict(why) for number, why in left_out.items()}
        )

    def _open(self, pair: Pair) -> Image.Image:
        if pair.image is None:
            raise ImageError("has no picture")
        if self._words and not pair.caption.strip():
            raise ImageError("has no caption")
        return open_image(pair.image)
