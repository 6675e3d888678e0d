"""Records of dialogues -> samples with messages. One function a layout, see `data.set_formats`.

Answers end as sentences, as upstream has them (AILab-CVC/SEED@93b3cf4, torchdata_sft.py); a user's
own messages stay as they are.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from seedcli.data.documents.conversations import read_prompts
from seedcli.data.documents.documents import Message, Sample
from seedcli.data.documents.forms import finish_sentence
from seedcli.data.documents.rows import PLACEHOLDER, picture_at, read_messages
from seedcli.data.published_sets.picture_finder import Named
from seedcli.data.published_sets.questions import coco_names
from seedcli.data.published_sets.records import Cell, Record
from seedcli.errors import DataError

_ROLES = {
    "human": "user",
    "user": "user",
    "gpt": "assistant",
    "assistant": "assistant",
    "system": "system",
}


def read_own(record: Record) -> Iterable[Sample]:
    """A user's own conversation: what `data.rows` reads as `messages`, and what `/save`
    of `seed chat` writes.
    """
    images = [_own_picture(value) for value in record.get("images") or ()]
    videos = [_own_picture(value) for value in record.get("videos") or ()]
    meta = {
        name: value
        for name, value in record.items()
        if name not in ("messages", "images", "videos", "key", "model", "fingerprint")
    }
    name = record.get("key") or record.get("id") or ""
    return [
        Sample(
            str(name),
            messages=read_messages(record["messages"], images, _own_picture, videos),
            meta=meta,
        )
    ]


def _own_picture(value: Any) -> Any:
    if isinstance(value, Cell):
        return value
    if isinstance(value, Mapping):
        value = value.get("path")
    if isinstance(value, str):
        found = picture_at(value)
        return found if isinstance(found, bytes) else Named((found,))
    if isinstance(value, list) and value and all(isinstance(code, int) for code in value):
        return tuple(value)
    raise DataError(f"a picture is a path or a list of codes; this one is {value!r:.80}")


def read_llava(record: Record) -> Iterable[Sample]:
    """LLaVA, LLaVA-595K, LLaVAR: turns of human and gpt, `<image>` where a picture stands;
    without one they stand first.
    """
    image = record.get("image")
    images = [
        Named((one,)) if isinstance(one, str) else one
        for one in (image if isinstance(image, list) else [image])
        if one
    ]
    return [
        _dialogue(images, record["conversations"], {"id": record["id"]} if "id" in record else {})
    ]


def read_svit(record: Record) -> Iterable[Sample]:
    """SVIT: several conversations about one picture of Visual Genome, each a document."""
    picture, meta = Named((f"{record['image_id']}.jpg",)), {"image_id": record["image_id"]}
    return [_dialogue([picture], one["content"], meta) for one in record["conversations"]]


def read_lrv(record: Record) -> Iterable[Sample]:
    """LRV-Instruction: one question about one picture."""
    turns = [
        {"from": "human", "value": record["question"]},
        {"from": "gpt", "value": record["answer"]},
    ]
    return [_dialogue([Named((str(record["image_id"]),))], turns, {"image_id": record["image_id"]})]


def read_visdial(record: Record) -> Iterable[Sample]:
    """VisDial: ten questions after a caption, texts by their numbers in two lists; before the first
    stand the picture and a line that says so (its wording is ours).
    """
    picture = Named(
        (
            *coco_names(record["image_id"]),
            f"VisualDialog_val2018_{int(record['image_id']):012d}.jpg",
        )
    )
    opening = read_prompts()["question"]["dialogue"].replace(
        "{caption}", finish_sentence(record["caption"])
    )
    turns = []
    for number, turn in enumerate(record["dialog"]):
        if "answer" not in turn:  # the last of a validation dialogue, answered elsewhere
            break
        question = record["questions"][turn["question"]].strip().rstrip("?").rstrip() + "?"
        turns += [
            {"from": "human", "value": question if number else f"{opening} {question}"},
            {"from": "gpt", "value": record["answers"][turn["answer"]]},
        ]
    return [_dialogue([picture], turns, {"image_id": record["image_id"]})]


def _dialogue(
    images: Sequence[Any], turns: Sequence[Mapping[str, Any]], meta: dict[str, Any]
) -> Sample:
    said = [{"role": _ROLES[turn["from"]], "content": str(turn["value"]).strip()} for turn in turns]
    if images and not any(PLACEHOLDER in one["content"] for one in said):
        first = next(one for one in said if one["role"] == "user")
        first["content"] = PLACEHOLDER * len(images) + first["content"]
    messages = []
    for message in read_messages(said, images, None):
        *before, last = (
            part.strip() if isinstance(part, str) else part for part in message.segments
        )
        finished = (
            finish_sentence(last) if message.role == "assistant" and isinstance(last, str) else last
        )
        messages.append(Message(message.role, tuple(part for part in (*before, finished) if part)))
    return Sample("", messages=tuple(messages), meta=meta)
