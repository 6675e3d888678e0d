"""Sets of drawings in npm packages -> drawings of 64 px on white, each with the emoji it shows.

The packages are pinned and fetched by `npm pack`; each lies unpacked in a folder `NAME-VERSION/`,
with `/` and `@` of the name become `-` and nothing. Drawings are PNG, WebP or SVG; resvg draws the
SVG ones.
"""

from __future__ import annotations

import io
import json
import re
import subprocess
import tarfile
import tomllib
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from PIL import Image

from seedcli.errors import DataError
from tools.nano.emoji_words import EmojiWords, Names, normalise_hexcode, read_words

IMAGE_SIZE_PX = 64
WORDS_PACKAGE = "emojibase-data@17.0.0"  # MIT
# Folders of pictures whose names are hexcodes: set -> (package, folder, ending).
PICTURE_SETS = {
    "google": ("emoji-datasource-google@16.0.0", "img/google/64", "png"),  # Apache-2.0
    "twitter": ("emoji-datasource-twitter@16.0.0", "img/twitter/64", "png"),  # CC BY 4.0
    "fluent": ("@lobehub/fluent-emoji-3d@1.1.0", "assets", "webp"),  # MIT
    "noto-2019": ("emoji-datasource-google@5.0.1", "img/google/64", "png"),  # Apache-2.0
}
# Iconify's files of SVG, whose names are words.
ICON_SETS = {
    "fluent-flat": "@iconify-json/fluent-emoji-flat@1.2.6",  # MIT
    "noto-v1": "@iconify-json/noto-v1@1.2.5",  # Apache-2.0
    "emojione": "@iconify-json/emojione@1.2.3",  # CC BY 4.0
    "fxemoji": "@iconify-json/fxemoji@1.2.2",  # Apache-2.0
    "streamline": "@iconify-json/streamline-emojis@1.2.4",  # CC BY 4.0
}
PACKAGES = (WORDS_PACKAGE, *(entry[0] for entry in PICTURE_SETS.values()), *ICON_SETS.values())
NAMES_FILE = Path(__file__).with_name("names.toml")
# Firefox OS draws every person and hand with light skin; Streamline numbers skins 1 (yellow) to 3.
PLAIN_TONE = {"fxemoji": 1}
NUMBERED_TONES = {"streamline": {"2": 1, "3": 4}}


@dataclass(frozen=True)
class Drawing:
    """One drawing of one emoji.

    Attributes:
        vendor: The set, of `PICTURE_SETS` or `ICON_SETS`.
        hexcode: What it shows; normalised, known to emojibase.
        name: What the set calls it.
        canvas: 64 x 64, RGB on white.
    """

    vendor: str
    hexcode: str
    name: str
    canvas: Image.Image


def folder_of(packages: Path, package: str) -> Path:
    """Package `@scope/name@version` -> folder of its files."""
    return packages / package.lstrip("@").replace("/", "-").replace("@", "-") / "package"


def fetch_packages(packages: Path) -> None:
    """Fetches and unpacks by npm what is not yet in the folder.

    Raises:
        DataError: npm is missing, or could not fetch one.
    """
    packages.mkdir(parents=True, exist_ok=True)
    for package in PACKAGES:
        target = folder_of(packages, package).parent
        if target.is_dir():
            continue
        command = ["npm", "pack", "--silent", "--pack-destination", str(packages), package]
        try:
            subprocess.run(command, check=True, capture_output=True, text=True)
        except (OSError, subprocess.CalledProcessError) as error:
            said = (getattr(error, "stderr", "") or str(error)).strip()
            raise DataError(
                f"{package} could not be fetched: {said}",
                remedy="see whether npm is installed and online",
            ) from None
        partial = target.with_name(f"{target.name}.partial")
        with tarfile.open(packages / f"{target.name}.tgz") as archive:
            archive.extractall(partial, filter="data")
        partial.rename(target)


def read_package_words(packages: Path) -> tuple[dict[str, EmojiWords], Names]:
    """Folder of packages -> emojibase's words, and the names that they are known by."""
    folder = folder_of(packages, WORDS_PACKAGE) / "en"
    words = read_words(folder)
    return words, Names(words, folder / "shortcodes")


def read_drawings(
    packages: Path, words: Mapping[str, EmojiWords], names: Names
) -> tuple[dict[str, list[Drawing]], dict[str, list[str]]]:
    """Folder of packages -> drawings by set, and by set the names that say no emoji.

    A set may hold several drawings of one emoji.

    Raises:
        DataError: A package is missing, or `names.toml` names what is not there.
    """
    missing = [package for package in PACKAGES if not folder_of(packages, package).is_dir()]
    if missing:
        raise DataError(
            f"{packages} lacks {', '.join(missing)}.", remedy="Leave out --offline to fetch them."
        )
    found, unknown = {}, {}
    for vendor, (package, folder, ending) in PICTURE_SETS.items():
        paths: dict[str, Path] = {}
        for path in sorted((folder_of(packages, package) / folder).glob(f"*.{ending}")):
            paths.setdefault(normalise_hexcode(path.stem), path)
        unknown[vendor] = sorted(set(paths) - set(words))
        found[vendor] = [
            Drawing(vendor, hexcode, path.stem, read_picture(path))
            for hexcode, path in paths.items()
            if hexcode in words
        ]
    said = tomllib.loads(NAMES_FILE.read_text(encoding="utf-8"))
    for vendor, package in ICON_SETS.items():
        icons = read_icons(folder_of(packages, package))
        plain = {re.sub(r"-\d$", "", name) for name in icons}
        strangers = sorted(set(said.get(vendor, ())) - set(icons) - plain)
        if strangers:
            raise DataError(f"{NAMES_FILE.name}: {package} has no drawing {', '.join(strangers)}")
        found[vendor], unknown[vendor] = [], []
        for name, icon in icons.items():
            hexcode = name_icon(vendor, name, icon, names, said.get(vendor, {}))
            if hexcode is None:
                unknown[vendor].append(name)
            else:
                found[vendor].append(Drawing(vendor, hexcode, name, draw_icon(icon["svg"])))
    return found, unknown


def read_picture(path: Path) -> Image.Image:
    """Picture file -> 64 px, RGB on white."""
    with Image.open(path) as opened:
        return composite(opened.convert("RGBA"))


def composite(picture: Image.Image) -> Image.Image:
    """RGBA -> 64 px (LANCZOS), RGB on white."""
    if picture.size != (IMAGE_SIZE_PX, IMAGE_SIZE_PX):
        picture = picture.resize((IMAGE_SIZE_PX, IMAGE_SIZE_PX), Image.Resampling.LANCZOS)
    canvas = Image.new("RGBA", picture.size, "white")
    canvas.alpha_composite(picture)
    return canvas.convert("RGB")


def read_icons(folder: Path) -> dict[str, dict[str, Any]]:
    """Iconify's package -> by name: `svg`, `names` (with aliases), `hexcode` where it is told.

    Aliases that mirror another drawing are drawings of their own; hidden ones are left out.
    """
    content = json.loads((folder / "icons.json").read_text(encoding="utf-8"))
    codes = json.loads((folder / "chars.json").read_text(encoding="utf-8"))
    hexcodes = {name: normalise_hexcode(code) for code, name in codes.items()}
    aliases = content.get("aliases", {})
    also: dict[str, list[str]] = defaultdict(list)
    for alias, entry in aliases.items():
        if not entry.get("hFlip"):
            also[entry["parent"]].append(alias)
    icons = {}
    for name, entry in [*content["icons"].items(), *aliases.items()]:
        mirrored = bool(entry.get("hFlip"))
        if entry.get("hidden") or ("parent" in entry and not mirrored):
            continue
        source = content["icons"][entry["parent"]] if mirrored else entry
        width, height = (source.get(side, content[side]) for side in ("width", "height"))
        left, top = source.get("left", 0), source.get("top", 0)
        flip = f' transform="translate({2 * left + width} 0) scale(-1 1)"' if mirrored else ""
        svg = (
            '<svg xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink" '
            f'viewBox="{left} {top} {width} {height}"><g{flip}>{source["body"]}</g></svg>'
        )
        icons[name] = {"svg": svg, "names": [name, *also[name]], "hexcode": hexcodes.get(name)}
    return icons


def name_icon(
    vendor: str, name: str, icon: Mapping[str, Any], names: Names, said: Mapping[str, str]
) -> str | None:
    """A set's drawing -> hexcode of what it shows, None where nothing says it.

    What `names.toml` says goes before what the set says, and that before the reading of its name.

    Raises:
        DataError: `names.toml` gives a label that emojibase does not have.
    """
    number = re.search(r"-(\d)$", name) if vendor in NUMBERED_TONES else None
    plain = name[: number.start()] if number else name
    tone = PLAIN_TONE.get(vendor)
    if number:
        tone = NUMBERED_TONES[vendor].get(number[1])
    label = said.get(name, said.get(plain))
    if label is not None:
        hexcode = names.find([label]) if label else None
        if label and hexcode is None:
            raise DataError(f"{NAMES_FILE.name}: {vendor}.{name}: emojibase has no {label!r}")
    else:
        hexcode = icon["hexcode"] or names.find([plain, *icon["names"]])
    return names.with_tone(hexcode, tone) if hexcode and tone else hexcode


def draw_icon(svg: str) -> Image.Image:
    """SVG -> 64 px, RGB on white."""
    import resvg_py

    drawn = resvg_py.svg_to_bytes(svg_string=svg, width=IMAGE_SIZE_PX, height=IMAGE_SIZE_PX)
    with Image.open(io.BytesIO(bytes(drawn))) as opened:
        return composite(opened.convert("RGBA"))
