"""Builds the bundled emoji set, `seedcli/bundled/emoji/emoji.parquet`, from unpacked npm packages.

    python -m tools.nano.build_emoji FOLDER

FOLDER holds one folder a package, as `npm pack NAME@VERSION` followed by `tar xzf` into
`NAME-VERSION/` leaves it (`/` and `@` of the name become `-` and nothing):

    emoji-datasource-google-16.0.0/package/     pictures of Noto Emoji (Apache-2.0), 64 px
    emoji-datasource-twitter-16.0.0/package/    pictures of Twemoji (CC-BY 4.0), 64 px
    lobehub-fluent-emoji-3d-1.1.0/package/      pictures of Microsoft Fluent Emoji 3D (MIT), 256 px
    emojibase-data-17.0.0/package/              English labels, tags and groups (MIT)

Nothing is downloaded and nothing is random: the same packages and Pillow version give the same
file. Each picture is composited on white, made 64 px wide (LANCZOS) and stored as a PNG with a
palette of 128 colours, which keeps the set under 20 MB at a mean error of about one grey level
of 255. What the columns mean: `seedcli.data.emoji.EmojiPicture`.
"""

from __future__ import annotations

import hashlib
import io
import json
import sys
from collections import Counter, defaultdict
from dataclasses import dataclass, replace
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image

from seedcli.data.emoji import EMOJI_FOLDER, EmojiPicture
from seedcli.errors import DataError

IMAGE_SIZE_PX = 64
NUM_COLOURS = 128
SPLIT_SEED = 20260
VENDOR_SHARE = 0.1
PICTURES = {
    "google": ("emoji-datasource-google-16.0.0/package/img/google/64", "png"),
    "twitter": ("emoji-datasource-twitter-16.0.0/package/img/twitter/64", "png"),
    "fluent": ("lobehub-fluent-emoji-3d-1.1.0/package/assets", "webp"),
}
WORDS = "emojibase-data-17.0.0/package/en"

MAN, WOMAN, PERSON = "1f468", "1f469", "1f9d1"
MALE_SIGN, FEMALE_SIGN, RIGHT_ARROW = "2642", "2640", "27a1"
END_TAG = "e007f"
FAMILY, KISS, COUPLE, HOLDING_HANDS = "1f46a", "1f48f", "1f491", "1f9d1-200d-1f91d-200d-1f9d1"
# Twins that have code points of their own: hexcode -> (concept, gender).
SINGLE_TWINS = {
    MAN: (PERSON, "man"), WOMAN: (PERSON, "woman"),
    "1f466": ("1f9d2", "man"), "1f467": ("1f9d2", "woman"),
    "1f474": ("1f9d3", "man"), "1f475": ("1f9d3", "woman"),
    "1f934": ("1fac5", "man"), "1f478": ("1fac5", "woman"),
    "1f385": ("1f9d1-200d-1f384", "man"), "1f936": ("1f9d1-200d-1f384", "woman"),
    "1fac3": ("1fac4", "man"), "1f930": ("1fac4", "woman"),
    "1f57a": ("1f483", "man"), "1f483": ("1f483", "woman"),
    "1f46b": (HOLDING_HANDS, None), "1f46c": (HOLDING_HANDS, "man"),
    "1f46d": (HOLDING_HANDS, "woman"),
}  # fmt: skip


@dataclass(frozen=True)
class EmojiWords:
    """What emojibase says of one hexcode; `base_hexcode`, tags and groups are those of the
    emoji without skin tone.
    """

    base_hexcode: str
    label: str
    tags: tuple[str, ...]
    group: str
    subgroup: str
    skin_tones: tuple[int, ...]
    order: int


def normalise_hexcode(name: str) -> str:
    """Maps any vendor's file stem or emojibase hexcode to one spelling: lower case, `-` between,
    four digits at least, no fe0f.
    """
    parts = [part.zfill(4) for part in name.lower().replace("_", "-").split("-") if part != "fe0f"]
    # Fluent leaves out the end tag of the three subdivision flags (England, Scotland, Wales).
    return "-".join(
        [*parts, END_TAG] if parts[-1].startswith("e00") and parts[-1] != END_TAG else parts
    )


def read_words(folder: Path) -> dict[str, EmojiWords]:
    """Reads emojibase's `data.json` and `messages.json` to normalised hexcode -> words, skin
    tone variants included.
    """
    entries = json.loads((folder / "data.json").read_text(encoding="utf-8"))
    messages = json.loads((folder / "messages.json").read_text(encoding="utf-8"))
    groups = {item["order"]: item["message"] for item in messages["groups"]}
    subgroups = {item["order"]: item["message"] for item in messages["subgroups"]}
    words: dict[str, EmojiWords] = {}
    for entry in entries:
        base_hexcode = normalise_hexcode(entry["hexcode"])
        base = EmojiWords(
            base_hexcode=base_hexcode,
            label=entry["label"],
            tags=tuple(entry.get("tags", ())),
            # The 26 regional indicators are the only ones that emojibase leaves without a group.
            group=groups[entry["group"]] if "group" in entry else "components",
            subgroup=subgroups[entry["subgroup"]] if "subgroup" in entry else "regional indicators",
            skin_tones=(),
            order=entry.get("order", 1_000_000),
        )
        words[base_hexcode] = base
        for skin in entry.get("skins", ()):
            tone = skin["tone"]
            words[normalise_hexcode(skin["hexcode"])] = replace(
                base,
                label=skin["label"],
                skin_tones=tuple(tone) if isinstance(tone, list) else (tone,),
                order=skin["order"],
            )
    return words


def find_concept(base_hexcode: str, label: str) -> tuple[str, str | None, bool]:
    """Maps a base emoji to (concept without gender and direction, gender or None, whether it is the
    facing-right variant).
    """
    if base_hexcode in SINGLE_TWINS:
        return *SINGLE_TWINS[base_hexcode], False
    for prefix, concept in (("family", FAMILY), ("kiss:", KISS), ("couple with heart", COUPLE)):
        if label.startswith(prefix):
            return concept, None, False
    parts = [part for part in base_hexcode.split("-") if part != "200d"]
    faces_right = RIGHT_ARROW in parts[1:]
    gender = None
    if MALE_SIGN in parts[1:] or (len(parts) > 1 and parts[0] == MAN):
        gender = "man"
    elif FEMALE_SIGN in parts[1:] or (len(parts) > 1 and parts[0] == WOMAN):
        gender = "woman"
    kept = [part for part in parts[1:] if part not in (MALE_SIGN, FEMALE_SIGN, RIGHT_ARROW)]
    if gender is None and not faces_right:
        return base_hexcode, None, False
    first = PERSON if kept and parts[0] in (MAN, WOMAN) else parts[0]
    return "-200d-".join([first, *kept]), gender, faces_right


def render_picture(path: Path) -> tuple[bytes, str]:
    """Picture file -> (PNG bytes, hash of its pixels before the palette): 64 px, RGB on white, 128
    colours without dithering.
    """
    with Image.open(path) as opened:
        picture = opened.convert("RGBA")
    if picture.size != (IMAGE_SIZE_PX, IMAGE_SIZE_PX):
        picture = picture.resize((IMAGE_SIZE_PX, IMAGE_SIZE_PX), Image.Resampling.LANCZOS)
    canvas = Image.new("RGBA", picture.size, "white")
    canvas.alpha_composite(picture)
    canvas = canvas.convert("RGB")
    palette = canvas.quantize(
        NUM_COLOURS, method=Image.Quantize.MEDIANCUT, kmeans=1, dither=Image.Dither.NONE
    )
    buffer = io.BytesIO()
    palette.save(buffer, "PNG", optimize=True)
    return buffer.getvalue(), hashlib.sha256(canvas.tobytes()).hexdigest()


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


def build_emoji(packages: Path) -> list[EmojiPicture]:
    """Packages folder -> every distinct picture with its words and split, in emojibase's order.

    Pictures of one vendor with equal pixels are kept once, under the emoji that comes first (Noto's
    flag of Bouvet Island stays, its copies for Norway and Svalbard go; the alphabet decides). A
    split takes a whole group: all vendors and skin tones of a base emoji, its man, woman, person
    and direction twins, and every emoji that shares a picture with one of them.

    Raises:
        DataError: a package is missing, or a picture has no words.
    """
    for folder in (WORDS, *(folder for folder, _ in PICTURES.values())):
        if not (packages / folder).is_dir():
            raise DataError(
                f"{packages / folder} does not exist.",
                remedy="Unpack the npm packages named in tools/nano/build_emoji.py there.",
            )
    words = read_words(packages / WORDS)
    concepts = {
        entry.base_hexcode: find_concept(entry.base_hexcode, words[entry.base_hexcode].label)
        for entry in words.values()
    }

    rendered: list[tuple[str, str, bytes]] = []
    same: list[tuple[str, str]] = []
    for vendor, (folder, suffix) in PICTURES.items():
        paths: dict[str, Path] = {}
        for path in sorted((packages / folder).glob(f"*.{suffix}")):
            paths.setdefault(normalise_hexcode(path.stem), path)
        unknown = sorted(set(paths) - set(words))
        if unknown:
            raise DataError(
                f"{vendor}: {len(unknown)} pictures have no words in emojibase, first "
                f"{unknown[:3]}."
            )
        first_with: dict[str, str] = {}
        for hexcode in sorted(paths, key=lambda code: (words[code].order, code)):
            image, pixel_hash = render_picture(paths[hexcode])
            if pixel_hash in first_with:
                same.append(
                    (words[first_with[pixel_hash]].base_hexcode, words[hexcode].base_hexcode)
                )
                continue
            first_with[pixel_hash] = hexcode
            rendered.append((vendor, hexcode, image))

    by_concept: dict[str, list[str]] = defaultdict(list)
    for base_hexcode, (concept, _, _) in concepts.items():
        by_concept[concept].append(base_hexcode)
    same += [(members[0], other) for members in by_concept.values() for other in members[1:]]
    groups = join_groups(list(concepts), same)
    with_right = {
        (concept, gender) for concept, gender, faces_right in concepts.values() if faces_right
    }
    vendors_of: dict[str, set[str]] = defaultdict(set)
    for vendor, hexcode, _ in rendered:
        vendors_of[words[hexcode].base_hexcode].add(vendor)

    pictures = []
    for vendor, hexcode, image in rendered:
        entry = words[hexcode]
        concept, gender, faces_right = concepts[entry.base_hexcode]
        group = groups[entry.base_hexcode]
        share = draw_uniform("split", group)
        split = "train" if share < 0.8 else "validation" if share < 0.9 else "unseen"
        held_out_vendor = None
        if (
            split == "train"
            and draw_uniform("vendor", group) < VENDOR_SHARE
            and len(vendors_of[entry.base_hexcode]) == len(PICTURES)
        ):
            held_out_vendor = sorted(PICTURES)[
                int(draw_uniform("which vendor", group) * len(PICTURES))
            ]
        direction = "right" if faces_right else "left" if (concept, gender) in with_right else None
        pictures.append(
            EmojiPicture(
                key=f"{hexcode}-{vendor}",
                image=image,
                vendor=vendor,
                hexcode=hexcode,
                base_hexcode=entry.base_hexcode,
                label=entry.label,
                tags=entry.tags,
                group=entry.group,
                subgroup=entry.subgroup,
                skin_tones=entry.skin_tones,
                gender=gender,
                direction=direction,
                twin_of=concept if len(by_concept[concept]) > 1 else None,
                is_flag=entry.group == "flags",
                split=split,
                vendor_held_out=vendor == held_out_vendor,
            )
        )
    return sorted(
        pictures,
        key=lambda picture: (words[picture.hexcode].order, picture.hexcode, picture.vendor),
    )


def write_emoji(pictures: list[EmojiPicture], path: Path) -> None:
    """Pictures -> one parquet file; PNG bytes do not compress further, the words do."""
    text, flag = pa.string(), pa.bool_()
    types = {
        "image": pa.binary(),
        "tags": pa.list_(text),
        "skin_tones": pa.list_(pa.int8()),
        "is_flag": flag,
        "vendor_held_out": flag,
    }
    names = list(EmojiPicture.__dataclass_fields__)
    schema = pa.schema([(name, types.get(name, text)) for name in names])
    columns = {name: [getattr(picture, name) for picture in pictures] for name in names}
    table = pa.table(
        {
            name: [list(v) if isinstance(v, tuple) else v for v in values]
            for name, values in columns.items()
        },
        schema=schema,
    )
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(
        table, path, compression="zstd", compression_level=19, row_group_size=len(pictures)
    )


def count_emoji(pictures: list[EmojiPicture]) -> dict[str, dict[str, int]]:
    """Pictures -> per split (held-out vendor apart as `vendor`) the number of pictures, base
    emoji, flags and twins.
    """
    counts: dict[str, Counter[str]] = defaultdict(Counter)
    bases: dict[str, dict[str, EmojiPicture]] = defaultdict(dict)
    for picture in pictures:
        split = "vendor" if picture.vendor_held_out else picture.split
        counts[split]["pictures"] += 1
        bases[split][picture.base_hexcode] = picture
    for split, members in bases.items():
        counts[split]["base_emoji"] = len(members)
        counts[split]["flags"] = sum(picture.is_flag for picture in members.values())
        counts[split]["twins"] = sum(picture.twin_of is not None for picture in members.values())
    return {split: dict(counter) for split, counter in counts.items()}


if __name__ == "__main__":
    built = build_emoji(Path(sys.argv[1]))
    target = Path(sys.argv[2]) if len(sys.argv) > 2 else EMOJI_FOLDER / "emoji.parquet"
    write_emoji(built, target)
    json.dump(
        {"file": str(target), "bytes": target.stat().st_size, "splits": count_emoji(built)},
        sys.stdout,
        indent=1,
    )
