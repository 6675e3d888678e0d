"""Picture-caption sets -> pictures with their reference captions: the sets of
`retrieval_sets`, one sample a picture.

Karpathy's test splits are what published caption scores are of, too. The bundled emoji come with
their names, among which a model can be asked for the likeliest.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field

from seedcli.benchmarks.retrieval_sets import ImageRef, RetrievalSet, is_published_split
from seedcli.data.emoji import read_emoji, with_article


@dataclass(frozen=True)
class CaptionedPicture:
    """One picture.

    Attributes:
        picture: To be read later.
        references: Its captions, at least one.
        group: What pictures that hang together share, for intervals: itself, or the emoji
            that several vendors drew.
        name: What an emoji is called in running words, e.g. `a waving hand`; None for others.
        label: What an emoji is called in the set; None for others.
    """

    picture: ImageRef
    references: tuple[str, ...]
    group: str
    name: str | None = None
    label: str | None = None


@dataclass(frozen=True)
class CaptionSet:
    """Pictures of one split.

    Attributes:
        name: `emoji`, `flickr30k`, `coco`, or a file's name.
        split: As the set calls it.
        pictures: By key, in the order of the set.
        published_split: Whether it is the split that published numbers are of; None for sets that
            nobody published numbers of.
        digest: Tells this set from another one, or from itself before a change.
        subsets: Name -> keys of pictures that are scored beside the whole.
    """

    name: str
    split: str
    pictures: dict[str, CaptionedPicture]
    published_split: bool | None
    digest: str
    subsets: Mapping[str, frozenset[str]] = field(default_factory=dict)


def captions_by_picture(found: RetrievalSet) -> CaptionSet:
    """A retrieval set, one sample a picture; pictures without captions are left out."""
    references: dict[int, list[str]] = {}
    for caption, number in zip(found.captions, found.txt2img, strict=True):
        references.setdefault(number, []).append(caption)
    pictures = {
        f"{number:06d}": CaptionedPicture(picture, tuple(references[number]), picture.name)
        for number, picture in enumerate(found.images)
        if number in references
    }
    return CaptionSet(found.name, found.split, pictures, is_published_split(found), found.digest)


def emoji_captions(split: str) -> CaptionSet:
    """Split of the bundled emoji: every vendor's picture in the default skin tone, with its label,
    and label and tags, as references; subsets are the vendors, and all but flags, whose names
    cannot be guessed from other flags.

    Raises:
        UsageError: No such split.
    """
    pictures = [one for one in read_emoji(split) if not one.skin_tones]  # type: ignore[arg-type]
    # the first so many are of all groups
    pictures.sort(key=lambda one: hashlib.sha256(one.key.encode()).digest())
    samples = {
        one.key: CaptionedPicture(
            ImageRef.holding(one.key, one.image),
            tuple(dict.fromkeys(one.captions())),
            one.base_hexcode,
            with_article(one.name),
            one.label,
        )
        for one in pictures
    }
    subsets = {"no_flags": frozenset(one.key for one in pictures if not one.is_flag)}
    for vendor in sorted({one.vendor for one in pictures}):
        subsets[f"vendor_{vendor}"] = frozenset(one.key for one in pictures if one.vendor == vendor)
    content = "\n".join(f"{one.picture.stamp} {one.references}" for one in samples.values())
    return CaptionSet(
        "emoji", split, samples, None, hashlib.sha256(content.encode()).hexdigest()[:16], subsets
    )
