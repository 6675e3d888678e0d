"""Records of question sets -> questions, for training and for measuring alike. One function a
layout, see `data.published_sets.formats`.

Training asks for short answers in the published words (AILab-CVC/SEED@93b3cf4,
torchdata_eval.py; `prompts.toml`) and learns the answer that most people gave, the first of equals
(ours; upstream draws one). Measuring asks in its own words and scores against all answers.
"""

from __future__ import annotations

import ast
import dataclasses
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from seedcli.data.documents.conversations import read_prompts
from seedcli.data.documents.documents import Sample
from seedcli.data.published_sets.picture_finder import Frames, Named, Reference, name_of
from seedcli.data.published_sets.records import Cell, Record

# AILab-CVC/SEED@93b3cf4: MSR-VTT, MSVD, WebVid; NExT-QA, Video-ChatGPT
SHORT_VIDEO_FRAMES, LONG_VIDEO_FRAMES = 4, 8
Scoring = Literal["vqa", "exact", "choice"]
_CHOICE_LETTERS = "ABCD"


@dataclass(frozen=True)
class Question:
    """One question as a set states it.

    Attributes:
        key: As the set has it; measuring makes it unique.
        pictures: What it is about, in the order in which they are shown.
        question: As written.
        answers: Of the annotators, or the one right answer; none where an evaluation server keeps
            them.
        kind: What scores are split by.
        choices: Of a multiple-choice question; the right one is `answers[0]`.
        stemmed: Answers are word stems, as OK-VQA's: what is compared with them is stemmed too.
        target: What training learns, where it is not the most frequent of `answers`.
        asked: Training's question where it is not `question` with the request for a short answer.
        meta: What the set calls it, so that it can be found there.
    """

    key: str
    pictures: tuple[Reference, ...]
    question: str
    answers: tuple[str, ...] = ()
    kind: str = ""
    choices: tuple[str, ...] = ()
    stemmed: bool = False
    target: str | None = None
    asked: str | None = None
    meta: dict[str, Any] = field(default_factory=dict)

    @property
    def picture(self) -> str:
        """Name of the first picture or video."""
        return name_of(self.pictures[0]) if self.pictures else self.key

    @property
    def scoring(self) -> Scoring:
        """`choice` with choices, `vqa` with answers of several annotators,
        `exact` with one answer.
        """
        return "choice" if self.choices else "vqa" if len(self.answers) > 1 else "exact"

    def as_sample(self) -> Sample:
        """What training reads.

        Raises:
            IndexError: It has no answer.
        """
        short = f"{self.question.strip()} {read_prompts()['question']['short_answer']}"
        target = most_frequent(self.answers) if self.target is None else self.target
        return Sample("", (*self.pictures, self.asked or short, target.strip()), meta=self.meta)


def coco_names(image_id: Any, *subsets: str) -> tuple[str, ...]:
    """COCO's number of a picture -> the names that its files have had: bare since 2017,
    with the subset in 2014.
    """
    number = f"{int(image_id):012d}.jpg"
    return (*(f"COCO_{subset}_{number}" for subset in subsets or ("train2014", "val2014")), number)


def most_frequent(answers: Sequence[str]) -> str:
    """Answers -> the one that most people gave."""
    return Counter(text for text in map(str.strip, answers) if text).most_common(1)[0][0]


def _answers(record: Record, field: str = "answer") -> tuple[str, ...]:
    """`answers` as texts, as objects with a field, or as the text of a list."""
    found = _listed(record.get("answers"))
    return tuple(str(one[field] if isinstance(one, Mapping) else one).strip() for one in found)


def _listed(value: Any) -> Sequence[Any]:
    """A list, or what a cell of a table says of one."""
    try:
        found = ast.literal_eval(value) if isinstance(value, str) and value else value or ()
    except (SyntaxError, RecursionError, MemoryError):
        raise ValueError(f"{value!r:.80} is no list") from None
    if not isinstance(found, list | tuple):
        raise TypeError(f"{value!r:.80} is no list")
    return found


def _key(record: Record, *names: str) -> str:
    found = (record.get(name) for name in (*names, "question_id", "id", "key"))
    return next((str(one) for one in found if one is not None), "")


def _picture(record: Record, *names: str) -> tuple[Reference]:
    """The picture that lies in the record's table, else the one of these names."""
    cell = record.get("image")
    return (cell if isinstance(cell, Cell) else Named(names),)


def read_vqa(record: Record) -> Iterable[Question]:
    """VQAv2, OK-VQA: a question with the annotation of the same `question_id`; also as a table that
    holds the pictures.

    OK-VQA's `answer` is a stem; its `raw_answer` is what was said, and what training learns.
    """
    subset = record.get("data_subtype")
    # test-dev is a part of test2015
    subset = f"test{subset[-4:]}" if subset and subset.startswith("test") else subset
    names = (
        coco_names(record["image_id"], *([subset] if subset else []))
        if "image_id" in record
        else ()
    )
    listed = record.get("answers") or ()
    stemmed = any(isinstance(one, Mapping) and "raw_answer" in one for one in listed)
    target = record.get("multiple_choice_answer")
    if stemmed:
        target = most_frequent(_answers(record, "raw_answer"))
    yield Question(
        _key(record, "question_id"),
        _picture(record, *names),
        record["question"],
        _answers(record),
        kind=str(record.get("answer_type") or ""),
        stemmed=stemmed,
        target=None if target is None else str(target),
        meta=_meta(record),
    )


def read_aokvqa(record: Record) -> Iterable[Question]:
    """A-OKVQA: choices, and ten direct answers (a list, or the text of one), of which the most
    frequent is learned, or where there are none the right choice.
    """
    direct = _listed(record.get("direct_answers"))
    right = record.get("correct_choice_idx")
    choices = tuple(map(str, record["choices"])) if right is not None else ()
    names = coco_names(record["image_id"]) if record.get("image_id") is not None else ()
    yield Question(
        _key(record, "question_id"),
        _picture(record, *names),
        record["question"],
        (choices[right],) if choices else tuple(map(str, direct)),
        choices=choices,
        target=most_frequent(tuple(map(str, direct))) if direct else None,
        meta=_meta(record),
    )


def read_gqa(record: Record) -> Iterable[Question]:
    """GQA: questions by key, each with the number of its picture and one answer."""
    picture = _picture(record, f"{record['imageId']}.jpg")
    key = _key(record)
    answers = (str(record["answer"]),) if record.get("answer") is not None else ()
    yield Question(key, picture, record["question"], answers, meta={"id": key})


def read_textvqa(record: Record) -> Iterable[Question]:
    """TextVQA: pictures of OpenImages by their id."""
    picture = _picture(record, f"{record['image_id']}.jpg")
    key = _key(record, "question_id")
    yield Question(key, picture, record["question"], _answers(record), meta=_meta(record))


def read_ocrvqa(record: Record) -> Iterable[Question]:
    """OCR-VQA: a book cover with several questions; those of its training part (split 1)."""
    if int(record.get("split", 1)) != 1:
        return []
    pairs = zip(record["questions"], record["answers"], strict=True)
    picture = _picture(record, str(record.get("id")))
    return [
        Question(f"{_key(record)}-{n}", picture, one, (str(answer),), meta={"id": record.get("id")})
        for n, (one, answer) in enumerate(pairs)
    ]


def read_seed_bench(record: Record) -> Iterable[Question]:
    """SEED-Bench: four choices and the letter of the right one; kinds are the names of its nine
    dimensions of pictures.

    Choices are kept as they are, with their capitals and periods. The three video dimensions are
    left out: published figures of SEED-LLaMA are of the nine, and videos would have to be cut.
    """
    if record["data_type"] != "image":
        return
    choices = tuple(str(record[f"choice_{letter}"]) for letter in "abcd")
    number = str(record["question_type_id"])
    yield Question(
        _key(record, "question_id"),
        _picture(record, str(record["data_id"])),
        record["question"],
        (choices[_CHOICE_LETTERS.index(record["answer"])],),
        kind=record.get("question_types", {}).get(number, number),
        choices=choices,
        meta=_meta(record),
    )


def read_question(record: Record) -> Iterable[Question]:
    """Questions of one's own, VizWiz, and tables of the hub: `image` (a picture, or a folder of a
    video's frames) or `images`, `question`, `answer` or `answers`, and if wanted `choices`, `kind`
    and `key`.

    With `choices` the answer is one of them. Several `answers` are those of annotators and score as
    VQA accuracy; one scores by exact match. VizWiz's kinds are its answer types, `unanswerable`
    among them; its keys are the pictures' names, as the evaluation server has them.

    Raises:
        KeyError: A picture is missing.
        ValueError: The answer is not among the choices.
    """
    listed = [record["image"]] if record.get("image") is not None else list(record["images"])
    answers = _answers(record) or (
        (str(record["answer"]),) if record.get("answer") is not None else ()
    )
    choices = tuple(map(str, record.get("choices") or ()))
    if choices and (not answers or answers[0] not in choices):
        raise ValueError(f"the answer {list(answers)} is not among the choices {list(choices)}")
    vizwiz = isinstance(listed[0], str) and listed[0].startswith("VizWiz_")
    yield Question(
        str(record.get("key") or record.get("question_id") or (listed[0] if vizwiz else "")),
        tuple(one if isinstance(one, Cell) else Named((str(one),)) for one in listed),
        record["question"],
        answers,
        kind=str(record.get("kind") or record.get("answer_type") or record.get("category") or ""),
        choices=choices,
        meta=_meta(record),
    )


def read_textcaps(record: Record) -> Iterable[Sample]:
    """TextCaps: a caption, asked for in the published words."""
    names = (
        *([record["image_path"]] if record.get("image_path") else []),
        f"{record['image_id']}.jpg",
    )
    question = read_prompts()["question"]["describe_image"]
    picture = _picture(record, *names)
    yield Sample("", (*picture, question, record["caption_str"].strip()), meta=_meta(record))


def read_vsr(record: Record) -> Iterable[Question]:
    """VSR: a statement about where things are, true (1) or not (0); the wording is ours."""
    question = read_prompts()["question"]["statement"].replace(
        "{statement}", record["caption"].strip()
    )
    answer = "Yes" if int(record["label"]) else "No"
    yield Question(_key(record), _picture(record, str(record["image"])), question, (answer,))


def read_msrvtt_qa(record: Record) -> Iterable[Question]:
    """MSR-VTT-QA, MSVD-QA: a video by number; kinds are first words (what, who, how, when, where:
    Xu et al. 2017).
    """
    number, question = record["video_id"], record["question"]
    video = Frames((str(number), f"video{number}", f"vid{number}"), SHORT_VIDEO_FRAMES)
    kind = question.split()[0].lower()
    answers = (str(record["answer"]),)
    yield Question(_key(record, "id"), (video,), question, answers, kind, meta=_meta(record))


def read_nextqa(record: Record) -> Iterable[Question]:
    """NExT-QA, open-ended, or multiple-choice with the right one of `a0` to `a4` by number.

    A question mark is added where it is missing, as the official preparation does. Published
    figures of open questions are WUPS, a similarity of words in WordNet; here they are scored by
    exact match, and `additional_ref_answer`, a second right answer, is left out.
    """
    choices = tuple(
        str(record[name]) for name in ("a0", "a1", "a2", "a3", "a4") if record.get(name)
    )
    answer = choices[int(record["answer"])] if choices else str(record["answer"])
    question = record["question"].strip()
    yield Question(
        f"{record['video']}_{record['qid']}",
        (Frames((str(record["video"]),), LONG_VIDEO_FRAMES),),
        question if question.endswith("?") else f"{question}?",
        (answer,),
        kind=str(record.get("type") or ""),
        choices=choices,
        meta={"id": record["qid"]},
    )


def read_activitynet_qa(record: Record) -> Iterable[Question]:
    """ActivityNet-QA: a question with the answer of the same `question_id`; eight frames as NExT-QA
    beside it, unpublished.
    """
    name = str(record["video_name"])
    video = Frames((f"v_{name}", name), LONG_VIDEO_FRAMES)
    question = record["question"].strip().rstrip("?") + "?"
    answers = (str(record["answer"]),)
    yield Question(_key(record, "question_id"), (video,), question, answers, meta=_meta(record))


def read_video_chatgpt(record: Record) -> Iterable[Question]:
    """Video-ChatGPT's instructions: question and long answer as they are."""
    video = Frames((str(record["video_id"]),), LONG_VIDEO_FRAMES)
    asked = record["q"].strip()
    yield Question("", (video,), asked, (record["a"],), asked=asked, meta=_meta(record))


def read_msrvtt_captions(record: Record) -> Iterable[Sample]:
    """MSR-VTT's sentences, asked for in the published words."""
    yield _video_caption(str(record["video_id"]), record["caption"], record)


def read_msvd_captions(record: Record) -> Iterable[Sample]:
    """MSVD's list: the clip's name, a blank, a sentence."""
    yield _video_caption(record["name"], record["text"], {"id": record["name"]})


def numbered(questions: Iterable[Question]) -> list[Question]:
    """Questions -> the same, those without a key by number; the second and later ones of a key are
    `KEY#2`, `KEY#3`, ...: whether published keys repeat is not known.
    """
    seen: Counter[str] = Counter()
    found = []
    for number, one in enumerate(questions):
        key = one.key or f"{number:06d}"
        seen[key] += 1
        unique = key if seen[key] == 1 else f"{key}#{seen[key]}"
        found.append(dataclasses.replace(one, key=unique))
    return found


def _video_caption(name: str, caption: str, record: Record) -> Sample:
    question = read_prompts()["question"]["describe_video"]
    return Sample(
        "", (Frames((name,), SHORT_VIDEO_FRAMES), question, caption.strip()), meta=_meta(record)
    )


def _meta(record: Record) -> dict[str, Any]:
    """What a set calls the record, so that it can be found there."""
    for name in ("question_id", "id", "caption_id", "sen_id", "video_id"):
        if record.get(name) is not None:
            return {name: record[name]}
    return {}
