"""Image-caption sets for retrieval: the bundled emoji, Flickr30K and COCO by name, or a file ->
pictures, captions, which belongs to which.

A named set is looked for under `--data-root`, then on the hub, where only repositories of plain
files are named (a script is never run).
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
import random
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from seedcli.console import Reporter
from seedcli.data.emoji import EmojiPicture, read_emoji
from seedcli.data.mixtures.pairs import PairSource, TablePairs, TarPairs
from seedcli.errors import DataError, UsageError
from seedcli.files import parse_json

MAIN_EMOJI_VENDOR = "google"


@dataclass(frozen=True)
class ImageRef:
    """A picture to be read later.

    Attributes:
        name: What errors call it.
        stamp: Changes when the picture does; part of the key of cached embeddings.
        read: Gives encoded bytes or a path.
    """

    name: str
    stamp: str
    read: Callable[[], bytes | str | Path]


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


@dataclass(frozen=True)
class HubSet:
    """Plain files of a hub dataset: tars of `.jpg` + `.txt` (captions a line), or parquet with
    `image` and `text` (a list).
    """

    repo: str
    revision: str
    pattern: str
    size_gb: float


@dataclass(frozen=True)
class NamedSet:
    """Where a published set is looked for.

    Attributes:
        published: Split -> images and captions, as published numbers use them.
        files: Caption files under the data root, the first that exists wins.
        image_folders: Where their pictures may lie under the data root.
        hub: Tried in order when nothing lies there.
    """

    published: Mapping[str, tuple[int, int]]
    files: tuple[str, ...]
    image_folders: tuple[str, ...]
    hub: tuple[HubSet, ...]


# Published: the 5K and 1K test splits of Karpathy and Fei-Fei (2015), as BLIP-2 and SEED use them.
# Hub: as pages of 2024-2026 showed them.
NAMED_SETS = {
    "flickr30k": NamedSet(
        published={"test": (1_000, 5_000)},
        files=("flickr30k/dataset_flickr30k.json", "flickr30k/flickr30k_test.json"),
        image_folders=(
            "flickr30k/images",
            "flickr30k/flickr30k-images",
            "flickr30k/flickr30k_images",
            "flickr30k",
        ),
        hub=(
            HubSet(
                "clip-benchmark/wds_flickr30k",
                "f8af3ceee1b944bf761340682621dfafd23974d2",
                "test/*.tar",
                0.15,
            ),
            HubSet("royokong/flickr30k_test", "main", "data/test-*.parquet", 0.15),
        ),
    ),
    "coco": NamedSet(
        published={"test": (5_000, 25_010)},
        files=(
            "coco/dataset_coco.json",
            "coco/coco_karpathy_test.json",
            "coco/annotations/coco_karpathy_test.json",
        ),
        image_folders=("coco/images", "coco", "coco/images/val2014", "coco/val2014"),
        hub=(
            HubSet(
                "clip-benchmark/wds_mscoco_captions",
                "3bf9ad5d280b03126293bcc691585015e29ce691",
                "test/*.tar",
                0.84,
            ),
            HubSet("royokong/coco_test", "main", "data/test-*.parquet", 0.8),
        ),
    ),
}


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
            `{"image", "caption"}` as BLIP has it, or of COCO's own `captions_*.json`.
        split: Default: `unseen` for emoji, else `test`; COCO's own files have none.
        images: Folder of a file's pictures.
        data_root: Where named sets lie.
        allow_split: Take a split that is not the published one.
        reporter: Hears of downloads.

    Raises:
        UsageError: No such set, file or split.
        DataError: Files are missing or damaged, or the split is not the published one.
    """
    if dataset == "emoji":
        return read_emoji_set(split or "unseen")
    if dataset in NAMED_SETS:
        found = _find_named(dataset, split or "test", images, data_root, reporter or Reporter())
    elif Path(dataset).is_file():
        found = read_caption_file(
            Path(dataset), split, [images] if images else _folders_beside(Path(dataset))
        )
    else:
        raise UsageError(
            f"no retrieval set or file is called {dataset!r}",
            remedy=f"--dataset takes emoji, {', '.join(NAMED_SETS)}, or a JSON file of captions",
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
    refs = [
        ImageRef(
            picture.key,
            hashlib.sha256(picture.image).hexdigest(),
            lambda image=picture.image: image,
        )
        for picture in pictures
    ]
    return RetrievalSet(
        "emoji",
        split,
        tuple(refs),
        tuple(text for text, _ in captions),
        tuple(number for _, number in captions),
        subsets,
    )


def read_caption_file(
    path: Path, split: str | None, folders: Iterable[Path], name: str | None = None
) -> RetrievalSet:
    """JSON of captions + folders that may hold the pictures -> set; the three layouts are
    told apart by their keys.

    Raises:
        UsageError: The file has no such split.
        DataError: It is damaged, of no known layout, or pictures are missing.
    """
    try:
        content = parse_json(path.read_bytes())
    except (OSError, ValueError) as error:
        raise DataError(f"{path} cannot be read as JSON: {error}") from None
    try:
        if isinstance(content, list):
            rows, split, known = _read_blip(content), split or "test", None
        elif isinstance(content, dict) and "annotations" in content:
            rows, split, known = *_read_coco(path, split), "coco"
        elif isinstance(content, dict) and "images" in content:
            rows, split, known = (
                _read_karpathy(content, path, split or "test"),
                split or "test",
                content.get("dataset"),
            )
        else:
            raise KeyError("neither a list, nor `images`")
    except (KeyError, TypeError, AttributeError, IndexError) as error:
        raise DataError(
            f"{path} has none of the known layouts of caption files "
            f"({type(error).__name__}: {error})",
            remedy='{"images": [{"filename", "split", "sentences": [{"raw"}]}]}, [{"image", '
            '"caption"}], or COCO\'s captions_*.json',
        ) from None
    found = _find_images([names for names, _ in rows], list(folders), path)
    captions = [(caption, number) for number, (_, texts) in enumerate(rows) for caption in texts]
    refs = [
        ImageRef(
            str(file),
            f"{file}:{file.stat().st_size}:{file.stat().st_mtime_ns}",
            lambda file=file: file,
        )
        for file in found
    ]
    name = name or (known if known in NAMED_SETS else path.stem)
    return RetrievalSet(
        name,
        split,
        tuple(refs),
        tuple(text for text, _ in captions),
        tuple(number for _, number in captions),
    )


Rows = list[tuple[list[str], list[str]]]  # per picture: relative paths it may have, captions


def _read_karpathy(content: dict[str, Any], path: Path, split: str) -> Rows:
    counts = Counter(item.get("split", split) for item in content["images"])
    if split not in counts:
        has = ", ".join(f"{name} ({count:,})" for name, count in counts.items())
        raise UsageError(
            f"{path} has no split {split!r}; it has {has or 'no images'}", remedy="--split SPLIT"
        )
    return [
        (
            [
                f"{item['filepath']}/{item['filename']}"
                if item.get("filepath")
                else item["filename"],
                item["filename"],
            ],
            [s["raw"] for s in item["sentences"]],
        )
        for item in content["images"]
        if item.get("split", split) == split
    ]


def _read_blip(content: list[dict[str, Any]]) -> Rows:
    return [
        (
            [item["image"], Path(item["image"]).name],
            [item["caption"]] if isinstance(item["caption"], str) else list(item["caption"]),
        )
        for item in content
    ]


def _read_coco(path: Path, split: str | None) -> tuple[Rows, str]:
    from pycocotools.coco import COCO

    with contextlib.redirect_stdout(io.StringIO()):
        coco = COCO(str(path))
    own = path.stem.removeprefix("captions_")
    if split not in (None, own):
        raise UsageError(
            f"{path} has no splits, so no {split!r}",
            remedy=f"leave --split out; its images are called {own}",
        )
    rows = []
    for number in sorted(coco.imgs):
        name = coco.imgs[number]["file_name"]
        texts = [
            annotation["caption"] for annotation in coco.loadAnns(coco.getAnnIds(imgIds=[number]))
        ]
        rows.append(([name, f"{own}/{name}"], texts))
    return rows, own


def _folders_beside(path: Path) -> list[Path]:
    return [path.parent, path.parent / "images", path.parent.parent, path.parent.parent / "images"]


def _find_images(names: list[list[str]], folders: list[Path], source: Path) -> list[Path]:
    found, missing = [], []
    for choices in names:
        file = next(
            (folder / name for folder in folders for name in choices if (folder / name).is_file()),
            None,
        )
        if file is None:
            missing.append(choices[0])
        else:
            found.append(file)
    if missing:
        raise DataError(
            f"{len(missing):,} of {len(names):,} pictures of {source} are missing, first "
            f"{missing[0]}; looked in {', '.join(map(str, folders))}",
            remedy="--images DIR says where they lie",
        )
    if not found:
        raise DataError(f"{source} names no pictures")
    return found


def _find_named(
    dataset: str, split: str, images: Path | None, data_root: Path | None, reporter: Reporter
) -> RetrievalSet:
    named, tried = NAMED_SETS[dataset], []
    if data_root is not None:
        for file in (data_root / name for name in named.files):
            if file.is_file():
                folders = (
                    [images] if images else [data_root / folder for folder in named.image_folders]
                )
                return read_caption_file(file, split, folders, dataset)
            tried.append(f"{file}: no such file")
        tars = data_root / dataset / split
        if any(tars.glob("*.tar")):
            return _read_pairs(
                dataset,
                split,
                [
                    (TarPairs(str(tar), caption_key="txt"), tar, None)
                    for tar in _sorted(tars.glob("*.tar"))
                ],
            )
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

    reporter.note(
        f"{dataset}: {hub.repo} on the hub (about {hub.size_gb:g} GB, unless it is in the cache)"
    )
    try:
        folder = huggingface_hub.snapshot_download(
            hub.repo, repo_type="dataset", revision=hub.revision, allow_patterns=[hub.pattern]
        )
    # the client's errors have no common ancestor: httpx's, its own, OSError
    except Exception as error:
        raise DataError(f"{type(error).__name__}: {str(error).strip().splitlines()[0]}") from error
    files = _sorted(Path(folder).glob(hub.pattern))
    if not files:
        raise DataError(f"holds no {hub.pattern}")
    if hub.pattern.endswith(".tar"):
        return _read_pairs(
            dataset, split, [(TarPairs(str(file), caption_key="txt"), file, None) for file in files]
        )
    import pyarrow.parquet as pq

    tables = [
        TablePairs(str(file), split="train", image_column="image", caption_column="text")
        for file in files
    ]
    texts = [pq.read_table(file, columns=["text"])["text"].to_pylist() for file in files]
    return _read_pairs(dataset, split, list(zip(tables, files, texts, strict=True)))


def _read_pairs(
    dataset: str, split: str, parts: list[tuple[PairSource, Path, list[list[str]] | None]]
) -> RetrievalSet:
    """Sources with their files, and their captions where these do not come as lines of one text."""
    # the sources of a retrieval set have nothing to draw; the interface of training wants it
    rng = random.Random(0)
    refs: list[ImageRef] = []
    captions: list[str] = []
    txt2img: list[int] = []
    for source, file, texts in parts:
        stamp = f"{file.name}:{file.stat().st_size}"
        for row in range(len(source)):
            lines = texts[row] if texts is not None else source.captions(row)
            captions += lines
            txt2img += [len(refs)] * len(lines)
            refs.append(
                ImageRef(
                    f"{file}[{row}]",
                    f"{stamp}:{row}",
                    lambda source=source, row=row: source.read(row, rng).image,
                )
            )
    return RetrievalSet(dataset, split, tuple(refs), tuple(captions), tuple(txt2img))


def _sorted(files: Iterable[Path]) -> list[Path]:
    """Numbered shards in numeric order, others by name."""
    return sorted(files, key=lambda file: (int(file.stem) if file.stem.isdigit() else 0, file.name))
