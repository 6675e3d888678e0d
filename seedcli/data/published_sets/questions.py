"""Records of question sets -> samples: pictures or frames, question, answer. One function a layout,
see `data.set_formats`.

Questions that want a short answer say so in the published words (AILab-CVC/SEED@93b3cf4,
torchdata_eval.py); these are in `prompts.toml`. Where people gave several answers the most frequent
one is taken, the first of equals (ours; upstream draws one).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any

from seedcli.data.documents.conversations import read_prompts
from seedcli.data.documents.documents import Sample
from seedcli.data.published_sets.picture_finder import Frames, Named
from seedcli.data.published_sets.records import Record

# AILab-CVC/SEED@93b3cf4: MSR-VTT, MSVD, WebVid; NExT-QA, Video-ChatGPT
SHORT_VIDEO_FRAMES, LONG_VIDEO_FRAMES = 4, 8


def coco_names(image_id: Any, *subsets: str) -> tuple[str, ...]:
    """COCO's number of a picture -> the names that its files have had: bare since 2017,
    with the subset in 2014.
    """
    number = f"{int(image_id):012d}.jpg"
    return (*(f"COCO_{subset}_{number}" for subset in subsets or ("train2014", "val2014")), number)


def most_frequent(answers: Sequence[Any]) -> str:
    """Answers, as text or as objects with `answer` -> the one that most people gave."""
    texts = [str(one["answer"] if isinstance(one, dict) else one).strip() for one in answers]
    return Counter(text for text in texts if text).most_common(1)[0][0]


def read_vqa(record: Record) -> Iterable[Sample]:
    """VQAv2, OK-VQA: a question with the annotation of the same `question_id`."""
    subset = record.get("data_subtype")
    picture = Named(coco_names(record["image_id"], *([subset] if subset else [])))
    return [
        _short(
            picture,
            record["question"],
            record.get("multiple_choice_answer") or most_frequent(record["answers"]),
            record,
        )
    ]


def read_vizwiz(record: Record) -> Iterable[Sample]:
    """VizWiz: a question with ten answers and the name of its picture."""
    return [
        _short(
            Named((record["image"],)), record["question"], most_frequent(record["answers"]), record
        )
    ]


def read_aokvqa(record: Record) -> Iterable[Sample]:
    """A-OKVQA: ten direct answers, or where there are none the right choice."""
    direct = record.get("direct_answers")
    answer = most_frequent(direct) if direct else record["choices"][record["correct_choice_idx"]]
    return [_short(Named(coco_names(record["image_id"])), record["question"], answer, record)]


def read_textvqa(record: Record) -> Iterable[Sample]:
    """TextVQA: pictures of OpenImages by their id."""
    return [
        _short(
            Named((f"{record['image_id']}.jpg",)),
            record["question"],
            most_frequent(record["answers"]),
            record,
        )
    ]


def read_ocrvqa(record: Record) -> Iterable[Sample]:
    """OCR-VQA: a book cover with several questions; those of its training part (split 1)."""
    if int(record.get("split", 1)) != 1:
        return []
    pairs = zip(record["questions"], record["answers"], strict=True)
    return [
        _short(Named((str(record["id"]),)), question, answer, {"id": record["id"]})
        for question, answer in pairs
    ]


def read_textcaps(record: Record) -> Iterable[Sample]:
    """TextCaps: a caption, asked for in the published words."""
    names = (
        *([record["image_path"]] if record.get("image_path") else []),
        f"{record['image_id']}.jpg",
    )
    question = read_prompts()["question"]["describe_image"]
    return [Sample("", (Named(names), question, record["caption_str"].strip()), meta=_meta(record))]


def read_vsr(record: Record) -> Iterable[Sample]:
    """VSR: a statement about where things are, true (1) or not (0); the wording is ours."""
    question = read_prompts()["question"]["statement"].replace(
        "{statement}", record["caption"].strip()
    )
    return [
        _short(Named((record["image"],)), question, "Yes" if int(record["label"]) else "No", record)
    ]


def read_msrvtt_qa(record: Record) -> Iterable[Sample]:
    """MSR-VTT-QA, MSVD-QA: a video by number."""
    number = record["video_id"]
    video = Frames((f"video{number}", f"vid{number}", str(number)), SHORT_VIDEO_FRAMES)
    return [_short(video, record["question"], record["answer"], record)]


def read_nextqa(record: Record) -> Iterable[Sample]:
    """NExT-QA, open-ended, or multiple-choice with the right one of `a0` to `a4` by number."""
    answer = record[f"a{int(record['answer'])}"] if record.get("a0") else record["answer"]
    question = record["question"].strip()
    asked = question if question.endswith("?") else f"{question}?"
    return [
        _short(
            Frames((str(record["video"]),), LONG_VIDEO_FRAMES), asked, answer, {"id": record["qid"]}
        )
    ]


def read_activitynet_qa(record: Record) -> Iterable[Sample]:
    """ActivityNet-QA: a question with the answer of the same `question_id`; eight frames as NExT-QA
    beside it, unpublished.
    """
    name = str(record["video_name"])
    video = Frames((f"v_{name}", name), LONG_VIDEO_FRAMES)
    return [_short(video, record["question"].strip().rstrip("?") + "?", record["answer"], record)]


def read_video_chatgpt(record: Record) -> Iterable[Sample]:
    """Video-ChatGPT's instructions: question and long answer as they are."""
    video = Frames((str(record["video_id"]),), LONG_VIDEO_FRAMES)
    return [Sample("", (video, record["q"].strip(), record["a"].strip()), meta=_meta(record))]


def read_msrvtt_captions(record: Record) -> Iterable[Sample]:
    """MSR-VTT's sentences, asked for in the published words."""
    return [_video_caption(str(record["video_id"]), record["caption"], record)]


def read_msvd_captions(record: Record) -> Iterable[Sample]:
    """MSVD's list: the clip's name, a blank, a sentence."""
    return [_video_caption(record["name"], record["text"], {"id": record["name"]})]


def _video_caption(name: str, caption: str, record: Record) -> Sample:
    question = read_prompts()["question"]["describe_video"]
    return Sample(
        "", (Frames((name,), SHORT_VIDEO_FRAMES), question, caption.strip()), meta=_meta(record)
    )


def _short(picture: Named | Frames, question: str, answer: Any, record: Record) -> Sample:
    asked = f"{question.strip()} {read_prompts()['question']['short_answer']}"
    return Sample("", (picture, asked, str(answer).strip()), meta=_meta(record))


def _meta(record: Record) -> dict[str, Any]:
    """What a set calls the record, so that it can be found there."""
    for name in ("question_id", "id", "caption_id", "sen_id", "video_id"):
        if record.get(name) is not None:
            return {name: record[name]}
    return {}
