"""Records of captions, edits, differences, stories and pages -> samples with segments. One function
a layout, see `data.set_formats`.
"""

from __future__ import annotations

import posixpath
from collections.abc import Iterable
from typing import Any

from seedcli.data.documents.documents import Sample
from seedcli.data.published_sets.picture_finder import Frames, Named
from seedcli.data.published_sets.questions import SHORT_VIDEO_FRAMES
from seedcli.data.published_sets.records import Record

_KARPATHY_TRAINING = ("train", "restval")


def read_coco_caption(record: Record) -> Iterable[Sample]:
    """COCO: one of the five captions of a picture, a document each."""
    return [
        Sample(
            "",
            (Named((record["file_name"],)), record["caption"].strip()),
            meta={"id": record["id"]},
        )
    ]


def read_karpathy(record: Record) -> Iterable[Sample]:
    """Karpathy's division of COCO or Flickr30K: the captions of its training part, so that its
    test part stays unseen.
    """
    if record["split"] not in _KARPATHY_TRAINING:
        return []
    name = Named(
        tuple(
            posixpath.join(folder, record["filename"])
            for folder in (record.get("filepath") or "", "")
        )
    )
    return [
        Sample("", (name, one["raw"].strip()), meta={"sentid": one.get("sentid")})
        for one in record["sentences"]
    ]


def read_journeydb(record: Record) -> Iterable[Sample]:
    """JourneyDB: the caption that was written for the picture, or where
    there is none its prompt.
    """
    caption = (record.get("Task2") or {}).get("Caption") or record["prompt"]
    return [Sample("", (Named((posixpath.normpath(record["img_path"]),)), caption.strip()))]


def read_webvid(record: Record) -> Iterable[Sample]:
    """WebVid: frames and caption; the folder of frames lies under the
    page's folder or by itself.
    """
    name = str(record["videoid"])
    names = (*([posixpath.join(record["page_dir"], name)] if record.get("page_dir") else []), name)
    return [
        Sample(
            "", (Frames(names, SHORT_VIDEO_FRAMES), record["name"].strip()), meta={"videoid": name}
        )
    ]


def read_pix2pix_table(record: Record) -> Iterable[Sample]:
    """InstructPix2Pix as a table: picture, instruction, changed picture; the rewritten instruction
    and reply where a row has them.
    """
    said = (
        (record["instruction_gpt"], record["response"])
        if record.get("instruction_gpt")
        else (record["edit_prompt"],)
    )
    return [
        Sample(
            "", (record["original_image"], *(text.strip() for text in said), record["edited_image"])
        )
    ]


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
    return [
        Sample(
            "",
            (record["source_img"], record["instruction"].strip(), record["target_img"]),
            meta={"img_id": str(record.get("img_id"))},
        )
    ]


def read_magicbrush_turn(record: Record) -> Iterable[Sample]:
    """MagicBrush's `edit_turns.json`."""
    return [
        Sample(
            "",
            (_brushed(record["input"]), record["instruction"].strip(), _brushed(record["output"])),
        )
    ]


def read_magicbrush_session(record: Record) -> Iterable[Sample]:
    """MagicBrush's `edit_sessions.json`: the turns of a session, each on the picture
    that the one before gave.
    """
    turns = record["items"]
    said = [
        part for turn in turns for part in (turn["instruction"].strip(), _brushed(turn["output"]))
    ]
    return [Sample("", (_brushed(turns[0]["input"]), *said), meta={"id": record["id"]})]


def _brushed(name: str) -> Named:
    return Named((f"{name.split('-')[0]}/{name}", name))


def read_difference(record: Record) -> Iterable[Sample]:
    """MIMIC-IT's general differences (CGD): two pictures of COCO, an instruction, an answer."""
    ids = record.get("image_ids") or record["images"]
    pictures = [
        Named((one, f"{one.removeprefix('CGD_IMG_')}.jpg")) if isinstance(one, str) else one
        for one in ids
    ]
    return [
        Sample(
            "",
            (*pictures, record["instruction"].strip(), record["answer"].strip()),
            meta={"id": record.get("id")},
        )
    ]


def read_story(record: Record) -> Iterable[Sample]:
    """VIST: sentences and pictures of a story in the order that its author gave them."""
    parts: list[Any] = []
    for part in record["parts"]:
        parts += [
            (part.get("original_text") or part["text"]).strip(),
            Named((str(part["photo_flickr_id"]),)),
        ]
    return [Sample("", tuple(parts), meta={"story_id": record["story_id"]})]


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
    return [Sample("", tuple(part for part in segments if part), meta={"url": record.get("url")})]


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
    return [Sample("", tuple(part for part in segments if part))]
