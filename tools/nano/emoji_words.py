"""What emojibase says of each emoji, and how names of drawings in words are read as hexcodes."""

from __future__ import annotations

import json
import re
import unicodedata
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

MAN, WOMAN, PERSON = "1f468", "1f469", "1f9d1"
MALE_SIGN, FEMALE_SIGN, RIGHT_ARROW = "2642", "2640", "27a1"
END_TAG = "e007f"
FAMILY, KISS, COUPLE = "1f46a", "1f48f", "1f491"
HOLDING_HANDS = "1f9d1-200d-1f91d-200d-1f9d1"
# Twins that have code points of their own: hexcode -> (concept, gender).
SINGLE_TWINS = {
    MAN: (PERSON, "man"), WOMAN: (PERSON, "woman"),
    "1f466": ("1f9d2", "man"), "1f467": ("1f9d2", "woman"),
    "1f474": ("1f9d3", "man"), "1f475": ("1f9d3", "woman"),
    "1f934": ("1fac5", "man"), "1f478": ("1fac5", "woman"),
    "1f385": ("1f9d1-200d-1f384", "man"), "1f936": ("1f9d1-200d-1f384", "woman"),
    "1fac3": ("1fac4", "man"), "1f930": ("1fac4", "woman"),
    "1f57a": ("1f483", "man"), "1f483": ("1f483", "woman"),
    "1f46b": (HOLDING_HANDS, None),
    "1f46c": (HOLDING_HANDS, "man"), "1f46d": (HOLDING_HANDS, "woman"),
}  # fmt: skip
TONES = {"light": 1, "medium-light": 2, "medium": 3, "medium-dark": 4, "dark": 5}
SHORTCODES = ("cldr", "emojibase", "github", "iamcal", "joypixels")
_TONE_AT_THE_END = re.compile(r"[-:](light|medium-light|medium|medium-dark|dark)(-skin-tone)?$")


@dataclass(frozen=True)
class EmojiWords:
    """What emojibase says of one hexcode.

    `base_hexcode`, tags and groups are those of the emoji without skin tone.
    """

    base_hexcode: str
    label: str
    tags: tuple[str, ...]
    group: str
    subgroup: str
    skin_tones: tuple[int, ...]
    order: int


def normalise_hexcode(name: str) -> str:
    """Maps any set's file stem or emojibase's hexcode to one spelling.

    Lower case, `-` between, four digits at least, no fe0f.
    """
    parts = [part.zfill(4) for part in name.lower().replace("_", "-").split("-") if part != "fe0f"]
    # Fluent leaves out the end tag of the three subdivision flags (England, Scotland, Wales).
    tags = parts[-1].startswith("e00") and parts[-1] != END_TAG
    return "-".join([*parts, END_TAG] if tags else parts)


def read_words(folder: Path) -> dict[str, EmojiWords]:
    """Folder of emojibase's English files -> normalised hexcode -> words, skin tones included."""
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
            tones = tuple(tone) if isinstance(tone, list) else (tone,)
            variant = replace(base, label=skin["label"], skin_tones=tones, order=skin["order"])
            words[normalise_hexcode(skin["hexcode"])] = variant
    return words


def find_concept(base_hexcode: str, label: str) -> tuple[str, str | None, bool]:
    """Base emoji -> (concept without gender and direction, gender or None, faces right)."""
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


class Names:
    """Names in words -> hexcodes: labels first, then short names of five services, then Unicode's.

    Only letters and digits of a name count, so `1st-place-medal` and `1st place medal` are one.
    """

    def __init__(self, words: Mapping[str, EmojiWords], shortcodes: Path):
        self._words = words
        self._hexcodes: dict[str, str] = {}
        for hexcode, entry in words.items():
            self._hexcodes.setdefault(entry.label, hexcode)  # `keycap: #` and `keycap: *` differ
        for hexcode, entry in words.items():
            self._add(entry.label, hexcode)
        for service in SHORTCODES:
            table = json.loads((shortcodes / f"{service}.json").read_text(encoding="utf-8"))
            for hexcode, names in table.items():
                for name in [names] if isinstance(names, str) else names:
                    self._add(name, normalise_hexcode(hexcode))
        for hexcode in (one for one in words if "-" not in one):
            self._add(unicodedata.name(chr(int(hexcode, 16)), ""), hexcode)
        self._variants: dict[tuple[str, int], str] = {}
        for hexcode, entry in words.items():
            if len(set(entry.skin_tones)) == 1:
                self._variants.setdefault((entry.base_hexcode, entry.skin_tones[0]), hexcode)

    def _add(self, name: str, hexcode: str) -> None:
        if name and hexcode in self._words:
            self._hexcodes.setdefault(_letters(name), hexcode)

    def find(self, names: Iterable[str]) -> str | None:
        """Names of a drawing -> hexcode of the first that is known; a skin tone may stand last."""
        for name in names:
            name = re.sub(r"^flag-for-(flag-)?", "flag-", name)
            name = re.sub(r"^letter-([a-z])$", r"regional-indicator-\1", name)
            found = self._hexcodes.get(name, self._hexcodes.get(_letters(name)))
            tone = _TONE_AT_THE_END.search(name)
            if found is None and tone:
                base = self._hexcodes.get(_letters(name[: tone.start()]))
                found = self._variants.get((base, TONES[tone[1]])) if base else None
            if found is not None:
                return found
        return None

    def with_tone(self, hexcode: str, tone: int) -> str:
        """Emoji -> the same with a skin tone, of all people in it; itself where it has no tones."""
        return self._variants.get((hexcode, tone), hexcode)


def _letters(name: str) -> str:
    plain = unicodedata.normalize("NFKD", name.lower().replace("&", "and"))
    return "".join(letter for letter in plain if letter.isascii() and letter.isalnum())
