"""Records of captions, edits, differences, stories and pages -> samples with segments; captions
for measuring too. One function a layout, see `data.published_sets.formats`.
"""

from __future__ import annotations

import contextlib
import posixpath
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from seedcli.data.documents.documents import Sample
from seedcli.data.published_sets.picture_finder import Frames, Named, Reference, name_of
from seedcli.data.published_sets.questions import SHORT_VIDEO_FRAMES
from seedcli.data.published_sets.records import Cell, Record
from seedcli.data.text_files import load_json

_KARPATHY_TRAINING = ("train", "restval")


@dataclass(frozen=True)
class Captioned:
    """A picture with captions of a set.

    Attributes:
        picture: Where it is.
        captions: As written; one or several of those that it has.
        split: Karpathy's part that it is of, or None.
        group: What captions of one picture share, also where each has a row of its own.
        dataset: What the file calls itself, e.g. `coco`.
        meta: What the set calls each caption.
    """

    picture: Reference
    captions: tuple[str, ...]
    group: str
    split: str | None = None
    dataset: str | None = None
    meta: tuple[dict[str, Any], ...] = ()

    def as_samples(self) -> list[Sample]:
        """What training reads, a document a caption; none where the picture is not of the training
        part, so that the test part stays unseen.
        """
        if self.split not in (None, *_KARPATHY_TRAINING):
            return []
        metas = self.meta or ({},) * len(self.captions)
        return [
            Sample("", (self.picture, caption.strip()), meta=meta)
            for caption, meta in zip(self.captions, metas, strict=True)
        ]


def read_captions(record: Record) -> Iterable[Captioned]:
    """COCO's annotations, Karpathy's division of COCO or Flickr30K, lists of `image` and
    `caption`, and tables of the hub: a picture by name or in the table, with one caption
    or several (`caption`, `sentences`, `raw`, `text`).
    """
    said = next(
        record[name]
        for name in ("sentences", "caption", "raw", "comment", "text")
        if record.get(name) is not None
    )
    if isinstance(said, str) and said.lstrip().startswith("["):  # a list in a cell of a CSV
        with contextlib.suppress(ValueError):
            said = load_json(said)
    if isinstance(said, dict):
        said = [said]
    said = [said] if isinstance(said, str) else list(said)
    texts = tuple(str(one["raw"] if isinstance(one, dict) else one) for one in said)
    numbers = [one.get("sentid") if isinstance(one, dict) else None for one in said]
    metas = (
        tuple({"sentid": number} for number in numbers)
        if any(number is not None for number in numbers)
        else ({"id": record["id"]},) * len(texts)
        if record.get("id") is not None
        else ()
    )
    picture = _captioned(record)
    names = ("filename", "file_name", "cocoid", "image_id", "img_id", "imgid")
    group = next((str(record[name]) for name in names if record.get(name) is not None), None)
    if not isinstance(picture, Cell) or group is None:
        group = name_of(picture)
    split, dataset = (
        None if record.get(name) is None else str(record[name]) for name in ("split", "dataset")
    )
    return [Captioned(picture, texts, group, split, dataset, metas)]


def _captioned(record: Record) -> Reference:
    """The picture of a caption: in its table, or by name, with and without the folder."""
    image = record.get("image")
    image = image[0] if isinstance(image, list) else image
    if isinstance(image, Cell):
        return image
    name = next(
        str(one)
        for one in (record.get("filename"), record.get("file_name"), image,
                    record.get("image_name"), record.get("filepath"))
        if one is not None
    )  # fmt: skip
    folder = record.get("filepath") if record.get("filename") else None
    return Named(tuple(dict.fromkeys((posixpath.join(folder or "", name), name))))


def read_journeydb(record: Record) -> Iterable[Sample]:
    """JourneyDB: the caption that was written for the picture, or where
    there is none its prompt.
    """
    caption = (record.get("Task2") or {}).get("Caption") or record["prompt"]
    yield Sample("", (Named((posixpath.normpath(record["img_path"]),)), caption.strip()))


def read_webvid(record: Record) -> Iterable[Sample]:
    """WebVid: frames and caption; the video, or the folder of its frames, lies under the
    page's folder or by itself.
    """
    name = str(record["videoid"])
    names = (*([posixpath.join(record["page_dir"], name)] if record.get("page_dir") else []), name)
    yield Sample(
        "", (Frames(names, SHORT_VIDEO_FRAMES), record["name"].strip()), meta={"videoid": name}
    )


def read_pix2pix_table(record: Record) -> Iterable[Sample]:
    """InstructPix2Pix as a table: picture, instruction, changed picture; the rewritten instruction
    and reply where a row has them.
    """
    said = (
        (record["instruction_gpt"], record["response"])
        if record.get("instruction_gpt")
        else (record["edit_prompt"],)
    )
    yield Sample(
        "", (record["original_image"], *(text.strip() for text in said), record["edited_image"])
    )


def read_pix2pix_folder(record: Record) -> Iterable[Sample]:
    """InstructPix2Pix as released: a folder with `prompt.json` and pairs of pictures by
    seed, each pair a document.
    """
    folder, instruction = record["folder"], record["prompt"]["edit"].strip()
    return [
        Sample(
            "",
            (Named((f"{folder}/{seed}_0.jpg",)), instruction, Named((f"{folder}/{seed}_1.jpg",))),
            meta={"folder": folder},
        )
        for seed in record["seeds"]
    ]


def read_magicbrush_table(record: Record) -> Iterable[Sample]:
    """MagicBrush as a table: one turn of an edit session."""
    yield Sample(
        "",
        (record["source_img"], record["instruction"].strip(), record["target_img"]),
        meta={"img_id": str(record.get("img_id"))},
    )


def read_magicbrush_turn(record: Record) -> Iterable[Sample]:
    """MagicBrush's `edit_turns.json`."""
    yield Sample(
        "",
        (_brushed(record["input"]), record["instruction"].strip(), _brushed(record["output"])),
    )


def read_magicbrush_session(record: Record) -> Iterable[Sample]:
    """MagicBrush's `edit_sessions.json`: the turns of a session, each on the picture
    that the one before gave.
    """
    turns = record["items"]
    said = [
        part for turn in turns for part in (turn["instruction"].strip(), _brushed(turn["output"]))
    ]
    yield Sample("", (_brushed(turns[0]["input"]), *said), meta={"id": record["id"]})


def _brushed(name: str) -> Named:
    return Named((f"{name.split('-')[0]}/{name}", name))


def read_difference(record: Record) -> Iterable[Sample]:
    """MIMIC-IT's general differences (CGD): two pictures of COCO, an instruction, an answer."""
    ids = record.get("image_ids") or record["images"]
    pictures = [
        Named((one, f"{one.removeprefix('CGD_IMG_')}.jpg")) if isinstance(one, str) else one
        for one in ids
    ]
    yield Sample(
        "",
        (*pictures, record["instruction"].strip(), record["answer"].strip()),
        meta={"id": record.get("id")},
    )


def read_cauldron(record: Record) -> Iterable[Sample]:
    """The Cauldron's shape (CGD and others): pictures in the table, turns of user and assistant;
    a document a turn, with all its pictures.
    """
    return [
        Sample("", (*record["images"], turn["user"].strip(), turn["assistant"].strip()))
        for turn in record["texts"]
    ]


def read_story(record: Record) -> Iterable[Sample]:
    """VIST: sentences and pictures of a story in the order that its author gave them."""
    parts: list[Any] = []
    for part in sorted(record["parts"], key=lambda one: int(one["worker_arranged_photo_order"])):
        parts += [
            (part.get("original_text") or part["text"]).strip(),
            Named((str(part["photo_flickr_id"]),)),
        ]
    yield Sample("", tuple(parts), meta={"story_id": record["story_id"]})


def read_mmc4(record: Record) -> Iterable[Sample]:
    """MMC4: sentences, each after the pictures that were matched with it."""
    matched: dict[int, list[Named]] = {}
    for image in record["image_info"]:
        names = tuple(str(image[name]) for name in ("image_name", "raw_url") if image.get(name))
        matched.setdefault(int(image["matched_text_index"]), []).append(Named(names))
    segments = [
        part
        for number, text in enumerate(record["text_list"])
        for part in (*matched.get(number, ()), text.strip())
    ]
    yield Sample("", tuple(part for part in segments if part), meta={"url": record.get("url")})


def read_obelics(record: Record) -> Iterable[Sample]:
    """OBELICS: two parallel lists, of addresses and of texts, one of the two at each place."""
    segments: list[Any] = []
    for image, text in zip(record["images"], record["texts"], strict=True):
        segments += (
            [Named((image,))]
            if isinstance(image, str)
            else [image]
            if image is not None
            else [text.strip()]
            if text
            else []
        )
    yield Sample("", tuple(part for part in segments if part))
