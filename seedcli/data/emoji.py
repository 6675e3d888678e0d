"""The bundled emoji set -> pictures with words and splits: what `seed-nano` is trained on and what
every command can run on offline.

The file is built by `tools.nano.build_emoji`; licences lie beside it. Pictures stay PNG bytes here;
`data.images` opens them.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from importlib.resources import files
from pathlib import Path
from typing import Literal, get_args

import pyarrow.parquet as pq

from seedcli.errors import DataError, UsageError

EMOJI_FOLDER = Path(str(files("seedcli"))) / "bundled" / "emoji"
EmojiSplit = Literal["train", "validation", "unseen", "vendor", "validation_more", "unseen_more"]
SPLITS: tuple[EmojiSplit, ...] = get_args(EmojiSplit)
# a label of up to a dozen words and six tags stay within the 35 tokens of the retrieval protocol
NUM_CAPTION_TAGS = 6


@dataclass(frozen=True)
class EmojiPicture:
    """One vendor's picture of one emoji.

    Attributes:
        key: `HEXCODE-VENDOR`, unique; a second drawing of an emoji by a vendor ends in `-2`.
        image: PNG bytes, 64 x 64, opaque on white (a palette PNG: convert to RGB).
        vendor: The set of drawings: `google` (Noto Emoji), `twitter` (Twemoji), `fluent` (Microsoft
            Fluent 3D), `fluent-flat`, `noto-2019`, `noto-v1` (Noto's blobs), `emojione`, `fxemoji`
            (Firefox OS) or `streamline`.
        hexcode: lower case code points joined by `-`, without fe0f.
        base_hexcode: the same without skin tone; the unit of counting.
        label: English name, e.g. `waving hand: light skin tone`.
        tags: English search words of the base emoji, sorted as emojibase has them; may be empty.
        group: e.g. `food & drink`; ten values.
        subgroup: e.g. `fruits`; about a hundred values.
        skin_tones: 1 (light) to 5 (dark), one a person; empty for the default.
        gender: `man`, `woman` or None.
        direction: `left` or `right` for emoji that exist in both directions, else None.
        twin_of: the concept that man, woman, person and direction variants share;
            None where there are none.
        is_flag: whether it is in the group of flags, whose names cannot be
            guessed from other flags.
        split: One of `SPLITS`, see `read_emoji`; no base emoji is in train and in a split of
            emoji never trained on, whatever its vendors, skin tones and twins.
    """

    key: str
    image: bytes
    vendor: str
    hexcode: str
    base_hexcode: str
    label: str
    tags: tuple[str, ...]
    group: str
    subgroup: str
    skin_tones: tuple[int, ...]
    gender: str | None
    direction: str | None
    twin_of: str | None
    is_flag: bool
    split: str

    @property
    def name(self) -> str:
        """The label in running words: `woman kneeling: dark skin tone, facing right` -> `woman
        kneeling with dark skin, facing right`.

        Labels of two people stay as they are; other labels map one to one, so that an answer can
        be checked.
        """
        head, separator, rest = self.label.partition(": ")
        if not separator:
            return self.label
        if self.is_flag:
            return f"flag of {rest}"
        if head == "keycap":
            return f"keycap {rest}"
        if head in ("family", "kiss", "couple with heart") or len(self.skin_tones) > 1:
            return self.label
        with_words: list[str] = []
        before, after = "", ""
        for part in rest.split(", "):
            if part.endswith(" skin tone"):
                with_words.insert(0, part.removesuffix(" tone"))
            elif part.endswith(" hair"):
                with_words.append(part)
            elif part == "beard":
                with_words.append("a beard")
            elif part == "bald":
                before = "bald "
            elif part == "facing right":
                after = ", facing right"
            else:
                return self.label
        joined = f" with {' and '.join(with_words)}" if with_words else ""
        return f"{before}{head}{joined}{after}"

    def captions(self) -> tuple[str, str]:
        """The two fixed captions, for evaluation: the label, and the label with its first tags."""
        return self.label, _join(self.label, self.tags[:NUM_CAPTION_TAGS])


def with_article(name: str) -> str:
    """`waving hand` -> `a waving hand`; plurals, names that begin with a capital or a number and
    names of several people get none.
    """
    first, last = name.split()[0], name.split(" with ")[0].split(",")[0].split()[-1]
    if name.startswith("flag of "):
        return f"the {name}"
    if (
        not first[0].islower()
        or ":" in name
        or (last.endswith("s") and not last.endswith(("ss", "us", "is")))
        or first in ("men", "women", "people")
    ):
        return name
    return (
        f"{'an' if first[0] in 'aeiou' and not first.startswith(('uni', 'one', 'eu')) else 'a'} "
        f"{name}"
    )


def _join(label: str, tags: tuple[str, ...]) -> str:
    return f"{label}: {', '.join(tags)}" if tags else label


@lru_cache(maxsize=1)
def _read_all() -> tuple[EmojiPicture, ...]:
    path = EMOJI_FOLDER / "emoji.parquet"
    if not path.is_file():
        raise DataError(
            f"The bundled emoji set is missing: {path}.",
            remedy="reinstall seedcli; the file is part of the package",
        )
    rows = pq.read_table(path).to_pylist()
    return tuple(
        EmojiPicture(**{**row, "tags": tuple(row["tags"]), "skin_tones": tuple(row["skin_tones"])})
        for row in rows
    )


def read_emoji(split: EmojiSplit | None = None) -> list[EmojiPicture]:
    """Split name -> its pictures in a fixed order.

    Args:
        split: `train`, `validation` and `unseen` (base emoji never trained on), `vendor` (pictures
            of trained emoji by a vendor whose pictures of them were never trained on), or None for
            all. These three test splits hold Noto, Twemoji and Fluent 3D alone;
            `validation_more` and `unseen_more` are the same emoji drawn by the other vendors.

    Raises:
        UsageError: no such split.
        DataError: the bundled file is missing.
    """
    if split is not None and split not in SPLITS:
        raise UsageError(f"The emoji set has no split {split!r}; it has {', '.join(SPLITS)}.")
    return [picture for picture in _read_all() if split is None or split == picture.split]
