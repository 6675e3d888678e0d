"""Image-caption sets for retrieval: the bundled emoji, Flickr30K and COCO by name, or a file ->
pictures, captions, which belongs to which.

A named set is looked for under `--data-root`, then on the hub, where only repositories of plain
files are named (a script is never run).
"""

from __future__ import annotations

import functools
import glob
import hashlib
import json
import random
import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from seedcli.benchmarks.image_refs import ImageRef, find_images, no_such_set
from seedcli.benchmarks.named_captions import NAMED_SETS, HubSet
from seedcli.console import Reporter
from seedcli.data.emoji import EmojiPicture, read_emoji
from seedcli.data.published_sets.formats import set_format
from seedcli.data.published_sets.picture_finder import Reference
from seedcli.data.published_sets.pictures import Captioned
from seedcli.data.published_sets.records import read_records
from seedcli.errors import DataError, UsageError
from seedcli.storage import as_place, expand_glob, is_file, is_url

if TYPE_CHECKING:
    from seedcli.data.mixtures.pairs import TarPairs

MAIN_EMOJI_VENDOR = "google"
# COCO's own files, of which published figures are not; a file of one's own in their layout has
# another name
_COCO_FILE = re.compile(r"captions_(train|val)20\d\d")


@dataclass(frozen=True)
class RetrievalSet:
    """Pictures and their captions.

    Attributes:
        name: `emoji`, `flickr30k`, `coco`, or a file's name.
        split: As the set or the file calls it.
        images: N pictures.
        captions: M raw captions.
        txt2img: M numbers of pictures, one a caption.
        subsets: Name -> N flags, selections that are scored beside the whole; the one called
            `main`, if any, is scored in its place.
    """

    name: str
    split: str
    images: tuple[ImageRef, ...]
    captions: tuple[str, ...]
    txt2img: tuple[int, ...]
    subsets: Mapping[str, tuple[bool, ...]] = field(default_factory=dict)

    @property
    def digest(self) -> str:
        """What tells this set from another one: pictures' stamps, captions and
        how they belong together.
        """
        content = [
            self.name,
            self.split,
            [image.stamp for image in self.images],
            self.captions,
            self.txt2img,
        ]
        return hashlib.sha256(json.dumps(content).encode()).hexdigest()[:16]

    def first(self, limit: int) -> RetrievalSet:
        """The first `limit` pictures with their captions."""
        kept = [number for number, image in enumerate(self.txt2img) if image < limit]
        return RetrievalSet(
            self.name,
            self.split,
            self.images[:limit],
            tuple(self.captions[number] for number in kept),
            tuple(self.txt2img[number] for number in kept),
            {name: flags[:limit] for name, flags in self.subsets.items()},
        )


def load_retrieval_set(
    dataset: str,
    *,
    split: str | None = None,
    images: Path | None = None,
    data_root: Path | None = None,
    allow_split: bool = False,
    reporter: Reporter | None = None,
) -> RetrievalSet:
    """Name or file -> set.

    Args:
        dataset: `emoji`, `flickr30k`, `coco`, or the path of a Karpathy-style JSON, of a list of
            `{"image", "caption"}` as BLIP has it, of COCO's own `captions_*.json`, or of a table.
        split: Default: `unseen` for emoji, else `test`; COCO's own files have none.
        images: Folder of a file's pictures.
        data_root: Where named sets lie.
        allow_split: Take a split that is not the published one.
        reporter: Hears of downloads.

    Raises:
        UsageError: No such set or split.
        DataError: Files are missing or damaged, or the split is not the published one.
    """
    if dataset == "emoji":
        return read_emoji_set(split or "unseen")
    if dataset in NAMED_SETS:
        found = _find_named(dataset, split or "test", images, data_root, reporter or Reporter())
    elif is_file(dataset):
        file = as_place(dataset)
        found = read_caption_file([file], split, [images] if images else _folders_beside(file))
    else:
        raise no_such_set(
            dataset, "retrieval", NAMED_SETS, "a file of captions (JSON, JSON Lines, CSV, parquet)"
        )
    _check_published(found, allow_split)
    return found


def is_published_split(found: RetrievalSet) -> bool | None:
    """Whether a set has the size that published numbers are of; None for sets that
    nobody published numbers of.
    """
    if found.name not in NAMED_SETS:
        return None
    return NAMED_SETS[found.name].published.get(found.split) == (
        len(found.images),
        len(found.captions),
    )


def _check_published(found: RetrievalSet, allow_split: bool) -> None:
    if allow_split or is_published_split(found) is not False:
        return
    expected = "; ".join(
        f"{split}: {i:,} images, {c:,} captions"
        for split, (i, c) in NAMED_SETS[found.name].published.items()
    )
    raise DataError(
        f"split {found.split} of {found.name} has {len(found.images):,} images and "
        f"{len(found.captions):,} captions; published numbers are of Karpathy's {expected}",
        remedy="use the Karpathy split, or say --allow-split for numbers that must not be compared "
        "with published ones",
    )


def read_emoji_set(split: str) -> RetrievalSet:
    """Split of the bundled emoji -> one picture per emoji and vendor, default skin tone, two
    captions each (the label; label and tags).

    Skin tones are left out, since their captions differ in two words only. Candidates are of one
    vendor, so that a caption has one right picture: `main` is Noto Emoji, in the splits without
    it the vendor of most pictures; the other vendors are subsets, with the first of an emoji's
    pictures. In split `vendor` each emoji has one picture, by the vendor held out. Further
    subsets of `main`: `no_flags`, since the name of an unseen flag cannot be guessed from others,
    and `no_flags_no_twins`, without emoji that exist as man and woman, or in two directions, since
    these differ in a detail.

    Raises:
        UsageError: No such split.
    """
    first: dict[tuple[str, str], EmojiPicture] = {}
    for picture in read_emoji(split):  # type: ignore[arg-type]
        if not picture.skin_tones:
            first.setdefault((picture.hexcode, picture.vendor), picture)
    vendors = Counter(vendor for _, vendor in first)
    main_vendor = (
        MAIN_EMOJI_VENDOR if MAIN_EMOJI_VENDOR in vendors else max(vendors, key=vendors.__getitem__)
    )
    # stable: main vendor first
    pictures = sorted(first.values(), key=lambda picture: picture.vendor != main_vendor)
    main = [split == "vendor" or picture.vendor == main_vendor for picture in pictures]

    def flags(condition: Callable[[EmojiPicture], bool]) -> tuple[bool, ...]:
        return tuple(
            is_main and condition(picture) for is_main, picture in zip(main, pictures, strict=True)
        )

    subsets = {
        "main": tuple(main),
        "no_flags": flags(lambda picture: not picture.is_flag),
        "no_flags_no_twins": flags(lambda picture: not picture.is_flag and picture.twin_of is None),
    }
    if split != "vendor":
        others = sorted({picture.vendor for picture in pictures} - {main_vendor})
        subsets |= {
            f"vendor_{vendor}": tuple(picture.vendor == vendor for picture in pictures)
            for vendor in others
        }
    captions = [
        (caption, number)
        for number, picture in enumerate(pictures)
        for caption in dict.fromkeys(picture.captions())
    ]
    refs = [ImageRef.holding(picture.key, picture.image) for picture in pictures]
    return RetrievalSet(
        "emoji",
        split,
        tuple(refs),
        tuple(text for text, _ in captions),
        tuple(number for _, number in captions),
        subsets,
    )


def read_caption_file(
    paths: Sequence[Path], split: str | None, folders: Sequence[Path], name: str | None = None
) -> RetrievalSet:
    """File of captions, in any layout that `seed tokens build coco-captions` reads, and places
    that may hold the pictures -> set. Captions of one picture belong together, however many rows
    they stand in.

    Args:
        paths: The file, or the tables of one split.
        split: Karpathy's part; `test` by default, where the file has parts.
        folders: Where pictures are looked for; those in a table are taken from it.
        name: Of the set, where the file is a named one's.

    Raises:
        UsageError: The file has no such split.
        DataError: It is damaged, of no known layout, or pictures are missing.
    """
    source = paths[0]
    rows = list(_captioned(paths))
    counts = Counter(row.split for row in rows if row.split)
    own = source.stem.removeprefix("captions_") if source.stem.startswith("captions_") else None
    if split is not None and own is not None and not counts and split != own:
        raise UsageError(
            f"{source} has no splits, so no {split!r}",
            remedy=f"leave --split out; its images are called {own}",
        )
    split = split or own or "test"
    if counts and split not in counts:
        has = ", ".join(f"{part} ({count:,})" for part, count in counts.items())
        raise UsageError(f"{source} has no split {split!r}; it has {has}", remedy="--split SPLIT")
    captions: dict[Reference, list[str]] = {}
    first: dict[str, Reference] = {}
    for row in rows:
        if row.split in (None, split):
            reference = first.setdefault(row.group, row.picture)
            captions.setdefault(reference, []).extend(row.captions)
    found = find_images(captions, folders, source=str(source))
    known = next((row.dataset for row in rows if row.dataset in NAMED_SETS), None)
    if _COCO_FILE.fullmatch(source.stem):
        known = "coco"
    return RetrievalSet(
        name or known or source.stem,
        split,
        tuple(found[reference][0] for reference in captions),
        tuple(text for texts in captions.values() for text in texts),
        tuple(number for number, texts in enumerate(captions.values()) for _ in texts),
    )


def _captioned(paths: Sequence[Path]) -> Iterator[Captioned]:
    for found in read_records(paths):
        try:
            parsed = set_format("coco-captions").parse(found.record or {})
        except DataError as error:
            raise DataError(
                f"{found.path}, record {found.number}: {error.message}",
                remedy='{"images": [{"filename", "split", "sentences": [{"raw"}]}]}, [{"image", '
                '"caption"}], COCO\'s captions_*.json, or a table with such columns',
            ) from None
        yield from (one for one in parsed if isinstance(one, Captioned))


def _folders_beside(path: Path) -> list[Path]:
    beside = [path.parent, path.parent / "images"]
    if is_url(path):  # all of a bucket would be listed
        return beside
    return [*beside, path.parent.parent, path.parent.parent / "images"]


def _find_named(
    dataset: str, split: str, images: Path | None, data_root: Path | None, reporter: Reporter
) -> RetrievalSet:
    named, tried = NAMED_SETS[dataset], []
    if data_root is not None:
        for file in (data_root / name for name in named.files):
            if is_file(file):
                folders = (
                    [images] if images else [data_root / folder for folder in named.image_folders]
                )
                return read_caption_file([file], split, folders, dataset)
            tried.append(f"{file}: no such file")
        tars = data_root / dataset / split
        if found := expand_glob(f"{glob.escape(str(tars))}/*.tar"):
            return _read_tars(dataset, split, _sorted(map(as_place, found)))
        tried.append(f"{tars}/*.tar: no such files")
    else:
        tried.append("no --data-root was given")
    if split in named.published:
        for hub in named.hub:
            try:
                return _read_hub(hub, dataset, split, reporter)
            except DataError as error:
                tried.append(f"{hub.repo} on the hub: {error}")
    remedy = (
        f"--data-root DIR with DIR/{named.files[0]} (Karpathy's JSON) and its pictures in "
        f"DIR/{named.image_folders[0]}/"
    )
    raise DataError(
        f"split {split} of {dataset} was not found:\n  " + "\n  ".join(tried), remedy=remedy
    )


def _read_hub(hub: HubSet, dataset: str, split: str, reporter: Reporter) -> RetrievalSet:
    import huggingface_hub

    from seedcli.models.weights.transfer import one_failure, require_address

    reporter.note(
        f"{dataset}: {hub.repo} on the hub (about {hub.size_gb:g} GB, unless it is in the cache)"
    )
    unreachable: Exception | None = None
    try:
        require_address(huggingface_hub.constants.ENDPOINT)
    except ConnectionError as error:
        unreachable = error  # it may be in the cache all the same
    try:
        with one_failure():
            folder = huggingface_hub.snapshot_download(
                hub.repo,
                repo_type="dataset",
                revision=hub.revision,
                allow_patterns=[hub.pattern],
                local_files_only=unreachable is not None,
            )
    # the client's errors have no common ancestor: httpx's, its own, OSError
    except Exception as error:
        cause = unreachable or error
        raise DataError(f"{type(cause).__name__}: {str(cause).strip().splitlines()[0]}") from error
    files = _sorted(Path(folder).glob(hub.pattern))
    if not files:
        raise DataError(f"holds no {hub.pattern}")
    if hub.pattern.endswith(".tar"):
        return _read_tars(dataset, split, files)
    return read_caption_file(files, split, [], dataset)


def _read_tars(dataset: str, split: str, tars: Sequence[Path]) -> RetrievalSet:
    """Webdataset tars of pictures and captions, one a line."""
    from seedcli.data.mixtures.pairs import TarPairs  # torch; sets that are missing need none

    refs: list[ImageRef] = []
    captions: list[str] = []
    txt2img: list[int] = []
    for tar in tars:
        source = TarPairs(str(tar), caption_key="txt")
        stamp = f"{tar.name}:{tar.stat().st_size}"
        for row in range(len(source)):
            lines = source.captions(row)
            captions += lines
            txt2img += [len(refs)] * len(lines)
            refs.append(
                ImageRef(
                    f"{tar}[{row}]",
                    f"{stamp}:{row}",
                    functools.partial(_read_tar, source, row),
                )
            )
    return RetrievalSet(dataset, split, tuple(refs), tuple(captions), tuple(txt2img))


def _read_tar(source: TarPairs, row: int) -> bytes | str:
    # a retrieval set has nothing to draw; the interface of training wants it
    return source.read(row, random.Random(0)).image


def _sorted(files: Iterable[Path]) -> list[Path]:
    """Numbered shards in numeric order, others by name."""
    return sorted(files, key=lambda file: (int(file.stem) if file.stem.isdigit() else 0, file.name))
