"""Builds the bundled emoji set, `emoji.parquet` and `questions.json` in `seedcli/bundled/emoji`.

    python -m tools.nano.build_emoji [--packages FOLDER] [-o FOLDER] [--offline]

Fetches the npm packages that `tools.nano.drawings` names, unless they lie in the folder already.
Nothing is random: the same packages, Pillow and resvg give the same files. Each picture is stored
as a PNG with a palette of 128 colours, at a mean error of about one grey level of 255. What the
columns mean: `seedcli.data.emoji.EmojiPicture`.
"""

from __future__ import annotations

import argparse
import hashlib
import io
import json
import sys
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image

from seedcli.data.emoji import EMOJI_FOLDER, EmojiPicture
from seedcli.errors import DataError
from tools.nano.drawings import Drawing, fetch_packages, read_drawings, read_package_words
from tools.nano.emoji_words import EmojiWords, find_concept
from tools.nano.evaluation import build_questions
from tools.nano.near_equal import find_near, ink_distance, read_inks

NUM_COLOURS = 128
SPLIT_SEED = 20260
VENDOR_SHARE = 0.1
FIRST_VENDORS = ("google", "twitter", "fluent")  # the splits are made of these
# Distances of tools.nano.near_equal, chosen by looking at sheets of pairs, nearest first. Two sets'
# drawings of one thing look equal up to 8 or so (squares, nearly black noses); up to 25 they look
# like redrawings (flags with and without waves, people in the same pose). Drawings of two things
# differ at a glance from 3 on (another mouth, another hand of the clock).
NEAR_EQUAL, REDRAWN, EQUAL_ELSEWHERE = 8.0, 25.0, 3.0
# Sets that draw the same picture anew, whatever its distance: who knows one knows the other.
REDRAWS = {"google": ("noto-v1", "noto-2019"), "fluent": ("fluent-flat",)}


def draw_uniform(*names: str) -> float:
    """Maps names to a number in [0, 1) that depends on nothing but them and SPLIT_SEED."""
    digest = hashlib.sha256(":".join((str(SPLIT_SEED), *names)).encode()).digest()
    return int.from_bytes(digest[:8], "big") / 2**64


def join_groups(base_hexcodes: list[str], same: list[tuple[str, str]]) -> dict[str, str]:
    """Union-find: base emoji -> the least member of everything it is linked to by `same`."""
    parent = {name: name for name in base_hexcodes}

    def root(name: str) -> str:
        while parent[name] != name:
            name = parent[name]
        return name

    for left, right in same:
        low, high = sorted((root(left), root(right)))
        parent[high] = low
    return {name: root(name) for name in base_hexcodes}


def encode_picture(canvas: Image.Image) -> bytes:
    """RGB picture -> PNG of 128 colours, without dithering."""
    colours = Image.Quantize.MEDIANCUT
    palette = canvas.quantize(NUM_COLOURS, method=colours, kmeans=1, dither=Image.Dither.NONE)
    buffer = io.BytesIO()
    palette.save(buffer, "PNG", optimize=True)
    return buffer.getvalue()


class EmojiBuilder:
    """Drawings and words -> the pictures of the set, with their splits, and what was left out.

    The splits are made of the first three sets alone: other sets leave them as they are.
    """

    def __init__(self, found: Mapping[str, Sequence[Drawing]], words: Mapping[str, EmojiWords]):
        self._found, self._words = found, words
        self.concepts = {
            entry.base_hexcode: find_concept(entry.base_hexcode, words[entry.base_hexcode].label)
            for entry in words.values()
        }
        self._by_concept: dict[str, list[str]] = defaultdict(list)
        for base_hexcode, (concept, _, _) in self.concepts.items():
            self._by_concept[concept].append(base_hexcode)
        self.left_out: Counter[str] = Counter()
        self._by_thing: dict[str, list[np.ndarray]] = defaultdict(list)

    def build(self) -> list[EmojiPicture]:
        """Every picture with its words and split, in emojibase's order."""
        first, same = self._first_drawings()
        splits = self._split(first, same)
        drawings = [*first, *self._other_drawings(first)]
        inks = read_inks([drawing.canvas for drawing in drawings])
        assigned = [self._split_of(drawing, splits) for drawing in drawings]
        self._hold_out_redrawings(drawings, inks, assigned)
        self._hold_out_equals(drawings, inks, assigned)
        kept = [
            (drawing, split) for drawing, split in zip(drawings, assigned, strict=True) if split
        ]
        return self._as_pictures(kept)

    def _base(self, drawing: Drawing) -> str:
        return self._words[drawing.hexcode].base_hexcode

    def _place(self, drawing: Drawing) -> tuple[int, str, str]:
        return self._words[drawing.hexcode].order, drawing.hexcode, drawing.name

    def _first_drawings(self) -> tuple[list[Drawing], list[tuple[str, str]]]:
        """Drawings of the first sets, and which base emoji share one.

        Drawings of one set with equal pixels are kept once, under the emoji that comes first
        (Noto's flag of Bouvet Island stays, its copies for Norway and Svalbard go; the alphabet
        decides).
        """
        kept, same = [], []
        for vendor in FIRST_VENDORS:
            first_with: dict[bytes, Drawing] = {}
            for drawing in sorted(self._found[vendor], key=self._place):
                twin = first_with.setdefault(drawing.canvas.tobytes(), drawing)
                if twin is drawing:
                    kept.append(drawing)
                else:
                    same.append((self._base(twin), self._base(drawing)))
                    self.left_out[f"{vendor}: equal to another of the set"] += 1
        return kept, same

    def _other_drawings(self, first: Sequence[Drawing]) -> list[Drawing]:
        """Drawings of the other sets that equal none of their set and are near none of their thing.

        Of equal ones that stays whose emoji the first sets draw least often.
        """
        drawn = Counter(drawing.hexcode for drawing in first)
        for drawing, ink in zip(first, read_inks([one.canvas for one in first]), strict=True):
            self._by_thing[drawing.hexcode].append(ink)
        kept = []
        for vendor in (vendor for vendor in self._found if vendor not in FIRST_VENDORS):
            seen: set[bytes] = set()
            for drawing in sorted(
                self._found[vendor],
                key=lambda one: (drawn[one.hexcode], *self._place(one)),
            ):
                pixels = drawing.canvas.tobytes()
                if pixels in seen:
                    self.left_out[f"{vendor}: equal to another of the set"] += 1
                    continue
                seen.add(pixels)
                (ink,) = read_inks([drawing.canvas])
                others = self._by_thing[drawing.hexcode]
                if others and ink_distance(ink, np.stack(others)).min() < NEAR_EQUAL:
                    self.left_out[f"{vendor}: near-equal to another of the same thing"] += 1
                    continue
                others.append(ink)
                kept.append(drawing)
        return kept

    def _split(
        self, first: Sequence[Drawing], same: Sequence[tuple[str, str]]
    ) -> dict[str, tuple[str, str | None]]:
        """Base emoji -> split, and the set whose drawings of it are held out.

        A split takes a whole group: all skin tones of a base emoji, its man, woman, person and
        direction twins, and every emoji that shares a picture with one of them.
        """
        twins = [
            (members[0], other) for members in self._by_concept.values() for other in members[1:]
        ]
        groups = join_groups(list(self.concepts), [*same, *twins])
        vendors_of: dict[str, set[str]] = defaultdict(set)
        for drawing in first:
            vendors_of[self._base(drawing)].add(drawing.vendor)
        splits: dict[str, tuple[str, str | None]] = {}
        for base, group in groups.items():
            share = draw_uniform("split", group)
            split = "train" if share < 0.8 else "validation" if share < 0.9 else "unseen"
            held_out = None
            if (
                split == "train"
                and draw_uniform("vendor", group) < VENDOR_SHARE
                and len(vendors_of[base]) == len(FIRST_VENDORS)
            ):
                place = int(draw_uniform("which vendor", group) * len(FIRST_VENDORS))
                held_out = sorted(FIRST_VENDORS)[place]
            splits[base] = (split, held_out)
        return splits

    def _split_of(self, drawing: Drawing, splits: Mapping[str, tuple[str, str | None]]) -> str:
        """Split of a drawing; empty for what is left out."""
        split, held_out = splits[self._base(drawing)]
        if held_out and drawing.vendor == held_out:
            return "vendor"
        if held_out and drawing.vendor in REDRAWS.get(held_out, ()):
            self.left_out[f"{drawing.vendor}: the set of a held-out drawing, drawn anew"] += 1
            return ""
        return split if split == "train" or drawing.vendor in FIRST_VENDORS else f"{split}_more"

    def _hold_out_redrawings(
        self, drawings: Sequence[Drawing], inks: np.ndarray, splits: list[str]
    ) -> None:
        """Takes what is near a held-out drawing of the same thing out of the other sets' train."""
        rows: dict[str, list[int]] = defaultdict(list)
        for row, drawing in enumerate(drawings):
            rows[drawing.hexcode].append(row)
        for held_out in (row for row, split in enumerate(splits) if split == "vendor"):
            others = [
                row
                for row in rows[drawings[held_out].hexcode]
                if splits[row] == "train" and drawings[row].vendor not in FIRST_VENDORS
            ]
            distances = ink_distance(inks[held_out], inks[others]) if others else ()
            for row, distance in zip(others, distances, strict=True):
                if distance < REDRAWN:
                    self.left_out[f"{drawings[row].vendor}: near a held-out drawing"] += 1
                    splits[row] = ""

    def _hold_out_equals(
        self, drawings: Sequence[Drawing], inks: np.ndarray, splits: list[str]
    ) -> None:
        """Takes drawings out of training that as good as equal a test picture of another emoji."""
        train = [row for row, split in enumerate(splits) if split == "train"]
        test = [row for row, split in enumerate(splits) if split not in ("", "train")]
        for place, other, _ in find_near(inks[test], inks[train], EQUAL_ELSEWHERE):
            row = train[other]
            if splits[row] and self._base(drawings[row]) != self._base(drawings[test[place]]):
                self.left_out[
                    f"{drawings[row].vendor}: equal to a test picture of another emoji"
                ] += 1
                splits[row] = ""

    def _as_pictures(self, kept: Sequence[tuple[Drawing, str]]) -> list[EmojiPicture]:
        with_right = {
            (concept, gender) for concept, gender, right in self.concepts.values() if right
        }
        numbers: Counter[tuple[str, str]] = Counter()
        pictures = []
        for drawing, split in kept:
            entry = self._words[drawing.hexcode]
            concept, gender, faces_right = self.concepts[entry.base_hexcode]
            numbers[drawing.hexcode, drawing.vendor] += 1
            number = numbers[drawing.hexcode, drawing.vendor]
            left = "left" if (concept, gender) in with_right else None
            pictures.append(
                EmojiPicture(
                    key=f"{drawing.hexcode}-{drawing.vendor}"
                    + (f"-{number}" if number > 1 else ""),
                    image=encode_picture(drawing.canvas),
                    vendor=drawing.vendor,
                    hexcode=drawing.hexcode,
                    base_hexcode=entry.base_hexcode,
                    label=entry.label,
                    tags=entry.tags,
                    group=entry.group,
                    subgroup=entry.subgroup,
                    skin_tones=entry.skin_tones,
                    gender=gender,
                    direction="right" if faces_right else left,
                    twin_of=concept if len(self._by_concept[concept]) > 1 else None,
                    is_flag=entry.group == "flags",
                    split=split,
                )
            )
        order = {picture.hexcode: self._words[picture.hexcode].order for picture in pictures}
        return sorted(
            pictures, key=lambda one: (order[one.hexcode], one.hexcode, one.vendor, one.key)
        )


def write_emoji(pictures: Sequence[EmojiPicture], path: Path) -> None:
    """Pictures -> one parquet file; PNG bytes do not compress further, the words do."""
    text = pa.string()
    types = {"image": pa.binary(), "tags": pa.list_(text), "skin_tones": pa.list_(pa.int8())}
    types["is_flag"] = pa.bool_()
    names = list(EmojiPicture.__dataclass_fields__)
    schema = pa.schema([(name, types.get(name, text)) for name in names])
    columns: dict[str, list[Any]] = {name: [] for name in names}
    for picture in pictures:
        for name in names:
            value = getattr(picture, name)
            columns[name].append(list(value) if isinstance(value, tuple) else value)
    path.parent.mkdir(parents=True, exist_ok=True)
    table = pa.table(columns, schema=schema)
    pq.write_table(table, path, compression="zstd", compression_level=19, row_group_size=len(table))


def write_questions(path: Path) -> dict[str, dict[str, int]]:
    """Writes the questions about the set -> their number by split and kind."""
    content = build_questions()
    line = json.dumps(content, indent=0, ensure_ascii=False, separators=(",", ":"))
    path.write_text(line + "\n", encoding="utf-8")
    return {
        split: {kind: sum(map(len, answers.values())) for kind, answers in kinds.items()}
        for split, kinds in content["splits"].items()
    }


def count_emoji(pictures: Sequence[EmojiPicture]) -> dict[str, dict[str, Any]]:
    """Pictures -> per split the number of pictures, by vendor too, base emoji, flags and twins."""
    members: dict[str, list[EmojiPicture]] = defaultdict(list)
    for picture in pictures:
        members[picture.split].append(picture)
    counts = {}
    for split, found in members.items():
        bases = {picture.base_hexcode: picture for picture in found}.values()
        counts[split] = {
            "pictures": len(found),
            "base_emoji": len(bases),
            "flags": sum(picture.is_flag for picture in bases),
            "twins": sum(picture.twin_of is not None for picture in bases),
            "vendors": dict(Counter(picture.vendor for picture in found).most_common()),
        }
    return counts


def build_emoji(packages: Path, target: Path, *, offline: bool = False) -> dict[str, Any]:
    """Folder of packages -> both files in the folder `target`, and what is in them.

    Raises:
        DataError: A package cannot be fetched, is missing, or names do not fit.
    """
    if not offline:
        fetch_packages(packages)
    words, names = read_package_words(packages)
    found, unknown = read_drawings(packages, words, names)
    builder = EmojiBuilder(found, words)
    pictures = builder.build()
    path = target / "emoji.parquet"
    write_emoji(pictures, path)
    report = {
        "file": str(path),
        "bytes": path.stat().st_size,
        "splits": count_emoji(pictures),
        "left_out": dict(sorted(builder.left_out.items())),
        "without_emoji": {vendor: len(strangers) for vendor, strangers in unknown.items()},
    }
    if target.resolve() == EMOJI_FOLDER.resolve():
        report["questions"] = write_questions(target / "questions.json")
    return report


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Builds the bundled emoji set.")
    parser.add_argument("--packages", type=Path, default=Path("runs/npm"), help="their folder")
    parser.add_argument(
        "-o", "--output", type=Path, default=EMOJI_FOLDER, help="folder of the files"
    )
    parser.add_argument("--offline", action="store_true", help="fetch nothing")
    arguments = parser.parse_args()
    try:
        report = build_emoji(arguments.packages, arguments.output, offline=arguments.offline)
    except DataError as error:
        sys.stderr.write(f"error: {error}\n  -> {error.remedy}\n")
        sys.exit(error.exit_code)
    json.dump(report, sys.stdout, indent=1)
    sys.stdout.write("\n")
