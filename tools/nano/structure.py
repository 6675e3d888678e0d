"""What the emoji set knows about its pictures beside their names: which picture is another one
changed, and what can be asked of one.

Skin tone, gender, direction, colour and drawing style make pairs of pictures that differ in one
thing; groups, tones and numbers of people make questions with one answer. Pure functions of the
bundled table, without wording: `conversations` speaks.
"""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

from seedcli.data.emoji import EmojiPicture

SKIN_TONES = {1: "light", 2: "medium-light", 3: "medium", 4: "medium-dark", 5: "dark"}
NO_TONE = "yellow"  # what an emoji without skin tone looks like
CHANGES = (
    "skin tone",
    "gender",
    "direction",
    "colour",
    "style",
    "gender and skin tone",
    "direction and skin tone",
)
FACTS = (
    "group",
    "subgroup",
    "skin tone",
    "gender",
    "people",
    "direction",
    "colour",
    "style",
    "flag",
    "person",
)

_COLOURS = re.compile(
    r"\b(light blue|red|orange|yellow|green|blue|purple|brown|black|white|grey|pink)\b"
)
_TWO_PEOPLE = re.compile(r"^(kiss|couple with heart)\b|holding hands|with bunny ears|wrestling")
_UNCOUNTED_SUBGROUPS = {
    "people symbols",
    "body parts",
    "hands",
    "hand signs",
    "hand props",
    "fingers open",
    "fingers closed",
    "finger pointing",
}
_SAID_OF_IT = {"with", "without", "of", "in", "on", "at", "and", "no"}  # behind them stands no head
_MOST_OF_A_WORD = 25  # emoji that one short word may mean
_UNCLEAR_GROUPS = {"people & body", "smileys & emotion", "components", "symbols"}


@dataclass(frozen=True)
class Change:
    """One picture turned into another by the same vendor (or, for `style`, by another vendor).

    Attributes:
        kind: One of `CHANGES`.
        source: The picture before.
        target: The picture after.
        old: What the source has, by aspect: e.g. {"tone": "light"}.
        new: What the target has, under the same names; these fill in the wording.
    """

    kind: str
    source: EmojiPicture
    target: EmojiPicture
    old: Mapping[str, str]
    new: Mapping[str, str]


def skin_tone(picture: EmojiPicture) -> str | None:
    """Name of the one skin tone, `yellow` for none, None for pictures of two
    people with a tone each.
    """
    if len(picture.skin_tones) > 1:
        return None
    return SKIN_TONES[picture.skin_tones[0]] if picture.skin_tones else NO_TONE


def count_people(picture: EmojiPicture) -> int | None:
    """Number of people in a picture, None where that is a matter of opinion
    (hands, symbols, things).
    """
    if picture.group != "people & body" or picture.subgroup in _UNCOUNTED_SUBGROUPS:
        return None
    if picture.label.startswith("family: "):
        return len(picture.label.partition(": ")[2].split(","))
    if _TWO_PEOPLE.search(picture.label):
        return 2
    if picture.subgroup == "family":
        return None  # the bare family, pregnant and feeding people: vendors draw them differently
    return 1


class EmojiStructure:
    """Pictures -> what each can be turned into and what can be asked of it,
    among these pictures alone.
    """

    def __init__(self, pictures: Sequence[EmojiPicture], styles: Mapping[str, str]):
        self.pictures = list(pictures)
        self._styles = styles

    @cached_property
    def by_emoji(self) -> list[list[EmojiPicture]]:
        """Pictures of each base emoji, all vendors and skin tones together, in the set's order."""
        return list(_grouped(self.pictures, lambda picture: picture.base_hexcode).values())

    @cached_property
    def _of_hexcode(self) -> dict[str, list[EmojiPicture]]:
        return _grouped(self.pictures, lambda picture: picture.hexcode)

    @cached_property
    def _of_tone(self) -> dict[tuple, list[EmojiPicture]]:
        return _grouped(
            (one for one in self.pictures if skin_tone(one)),
            lambda one: (one.vendor, one.base_hexcode),
        )

    @cached_property
    def _of_concept(self) -> dict[tuple, list[EmojiPicture]]:
        """Vendor and concept -> its variants, unless two of them have the same gender, direction
        and skin tone (kisses, families).
        """
        groups = _grouped(
            (one for one in self.pictures if one.twin_of and skin_tone(one)),
            lambda one: (one.vendor, one.twin_of),
        )
        return {
            key: members
            for key, members in groups.items()
            if len({(one.gender, one.direction, one.skin_tones) for one in members}) == len(members)
        }

    @cached_property
    def _colour_of(self) -> dict[str, tuple[str, str]]:
        """Picture key -> (label without its colour, colour), where another
        colour of the same exists.
        """
        found = {}
        for one in self.pictures:
            match = _COLOURS.search(one.label)
            if match and "hair" not in one.label and not one.is_flag:
                found[one.key] = (
                    one.label[: match.start()] + "{}" + one.label[match.end() :],
                    match[0],
                )
        colours: dict[str, set[str]] = defaultdict(set)
        for pattern, colour in found.values():
            colours[pattern].add(colour)
        return {key: pair for key, pair in found.items() if len(colours[pair[0]]) > 1}

    @cached_property
    def _of_colour(self) -> dict[tuple, list[EmojiPicture]]:
        coloured = (one for one in self.pictures if one.key in self._colour_of)
        return _grouped(coloured, lambda one: (one.vendor, self._colour_of[one.key][0]))

    def changes(self, source: EmojiPicture) -> list[Change]:
        """Every picture that `source` can be turned into by a request, in a fixed order."""
        found = []
        tone = skin_tone(source)
        for other in self._of_tone.get((source.vendor, source.base_hexcode), ()):
            if tone and other.hexcode != source.hexcode:
                found.append(
                    Change(
                        "skin tone", source, other, {"tone": tone}, {"tone": skin_tone(other) or ""}
                    )
                )
        variants = self._of_concept.get((source.vendor, source.twin_of), ()) if tone else ()
        for other in variants:
            found += _twin_change(source, other)
        if source.key in self._colour_of:
            pattern, colour = self._colour_of[source.key]
            for other in self._of_colour[source.vendor, pattern]:
                if other.key != source.key:
                    found.append(
                        Change(
                            "colour",
                            source,
                            other,
                            {"colour": colour},
                            {"colour": self._colour_of[other.key][1]},
                        )
                    )
        for other in self._of_hexcode[source.hexcode]:
            if other.vendor != source.vendor:
                found.append(
                    Change(
                        "style",
                        source,
                        other,
                        {"style": self._styles[source.vendor]},
                        {"style": self._styles[other.vendor]},
                    )
                )
        return found

    def facts(self, picture: EmojiPicture) -> dict[str, str]:
        """What can be asked of a picture and has one answer: kind (of `FACTS`) -> answer."""
        people, tone = count_people(picture), skin_tone(picture)
        has_tones = (
            len(
                {
                    one.skin_tones
                    for one in self._of_tone.get((picture.vendor, picture.base_hexcode), ())
                }
            )
            > 1
        )
        answers = {
            "group": picture.group,
            "subgroup": picture.subgroup,
            "skin tone": tone if has_tones else None,
            "gender": picture.gender
            if (picture.vendor, picture.twin_of) in self._of_concept
            else None,
            "people": None if people is None else str(people),
            "direction": picture.direction,
            "colour": self._colour_of[picture.key][1] if picture.key in self._colour_of else None,
            "style": self._styles[picture.vendor],
            "flag": "yes" if picture.is_flag else "no",
            "person": "yes" if people else None if picture.group in _UNCLEAR_GROUPS else "no",
        }
        return {kind: answer for kind, answer in answers.items() if answer is not None}


def _grouped(pictures: Iterable[EmojiPicture], key) -> dict:
    groups: dict = defaultdict(list)
    for picture in pictures:
        groups[key(picture)].append(picture)
    return dict(groups)


def _twin_change(source: EmojiPicture, other: EmojiPicture) -> list[Change]:
    tones = {"tone": (skin_tone(source) or "", skin_tone(other) or "")}
    genders = {"gender": (source.gender or "person", other.gender or "person")}
    directions = {"direction": (source.direction or "", other.direction or "")}
    differ = tuple(a != b for a, b in (tones["tone"], genders["gender"], directions["direction"]))
    if differ[2] and "" in directions["direction"]:
        return []  # a variant whose direction the set does not state
    table = {
        (False, True, False): ("gender", genders),
        (False, False, True): ("direction", directions),
        (True, True, False): ("gender and skin tone", genders | tones),
        (True, False, True): ("direction and skin tone", directions | tones),
    }
    if differ not in table:
        return []
    kind, values = table[differ]
    old, new = ({name: pair[place] for name, pair in values.items()} for place in (0, 1))
    return [Change(kind, source, other, old, new)]


def short_names(structure: EmojiStructure) -> dict[str, str]:
    """Code points -> the one word that people ask for such an emoji with: `apple` for a red and a
    green apple. It is the last word of a plain name and a tag, and no emoji's whole name.
    """
    pictures = {picture.hexcode: picture for row in structure.by_emoji for picture in row}
    names = {picture.name for picture in pictures.values()}
    found = {
        hexcode: word
        for hexcode, picture in pictures.items()
        if (word := picture.name.rpartition(" ")[2]) in picture.tags
        and word not in names
        and picture.group != "people & body"
        and not _SAID_OF_IT & set(picture.name.split())
    }
    counts = Counter(found.values())
    return {hexcode: word for hexcode, word in found.items() if counts[word] <= _MOST_OF_A_WORD}
