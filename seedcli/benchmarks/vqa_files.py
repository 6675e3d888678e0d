"""Published question files -> rows: VQAv2 and OK-VQA, VizWiz, SEED-Bench, MSVD-QA and MSRVTT-QA,
NExT-QA, and a plain file of our own.

Pure functions of parsed content; where files and pictures lie is `vqa_sets`. The layouts are those
that public loaders of these sets read; the published files themselves were not at hand, so what
could not be checked is said at each reader.
"""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

Scoring = Literal["vqa", "exact", "choice"]
_CHOICES = ("choice_a", "choice_b", "choice_c", "choice_d")
_LETTERS = "ABCD"


@dataclass(frozen=True)
class QuestionRow:
    """One question as a file states it.

    Attributes:
        key: As the file has it; `number_repeated` makes it unique.
        picture: What it is about, as the file names it: a picture's file name, a video's id.
        question: As written.
        answers: Of the annotators, or the one right answer; none where the split's answers are kept
            by an evaluation server.
        kind: What scores are split by.
        choices: Of a multiple-choice question; the right one is `answers[0]`.
        more_pictures: Further pictures, after the first.
    """

    key: str
    picture: str
    question: str
    answers: tuple[str, ...] = ()
    kind: str = ""
    choices: tuple[str, ...] = ()
    more_pictures: tuple[str, ...] = ()

    @property
    def scoring(self) -> Scoring:
        """`choice` with choices, `vqa` with answers of several annotators,
        `exact` with one answer.
        """
        return "choice" if self.choices else "vqa" if len(self.answers) > 1 else "exact"


def number_repeated(rows: Iterable[QuestionRow]) -> list[QuestionRow]:
    """Rows -> the same; the second and later ones of a key are `KEY#2`, `KEY#3`, ...: whether
    published keys repeat is not known.
    """
    seen: Counter[str] = Counter()
    found = []
    for row in rows:
        seen[row.key] += 1
        found.append(
            row
            if seen[row.key] == 1
            else dataclasses.replace(row, key=f"{row.key}#{seen[row.key]}")
        )
    return found


def read_vqa(
    questions: Mapping[str, Any], annotations: Mapping[str, Any] | None, *, picture: str
) -> list[QuestionRow]:
    """VQAv2's and OK-VQA's pair of files -> rows in the order of the questions.

    `{"questions": [{"question_id", "image_id", "question"}]}` and `{"annotations": [{"question_id",
    "answer_type", "answers": [{"answer"}]}]}`. OK-VQA has a stemmed `answer` beside each
    `raw_answer`; its evaluation takes `answer`, as we do (not checked against the published file:
    which of the two is stemmed). Kinds are answer types.

    Args:
        questions, annotations: The files; without annotations (test splits) rows have no answers.
        picture: File name of a picture, `{:012d}` where its number stands.

    Raises:
        KeyError: A key is missing, or a question without annotation.
    """
    known = (
        {}
        if annotations is None
        else {item["question_id"]: item for item in annotations["annotations"]}
    )
    rows = []
    for item in questions["questions"]:
        note = known[item["question_id"]] if annotations is not None else {"answers": ()}
        answers = tuple(str(each["answer"]) for each in note["answers"])
        name = picture.format(int(item["image_id"]))
        rows.append(
            QuestionRow(
                str(item["question_id"]),
                name,
                item["question"],
                answers,
                note.get("answer_type", ""),
            )
        )
    return rows


def read_vizwiz(content: Sequence[Mapping[str, Any]]) -> list[QuestionRow]:
    """VizWiz's list -> rows: `[{"image", "question", "answers": [{"answer"}], "answer_type"}]`;
    `unanswerable` is an answer like others.

    Kinds are the answer types, `unanswerable` among them; keys are the pictures' names, as the
    evaluation server has them.
    """
    return [
        QuestionRow(
            item["image"],
            item["image"],
            item["question"],
            tuple(str(each["answer"]) for each in item.get("answers", ())),
            item.get("answer_type", ""),
        )
        for item in content
    ]


def read_seed_bench(content: Mapping[str, Any]) -> list[QuestionRow]:
    """`SEED-Bench.json` -> the rows of its nine picture dimensions; kinds are
    the dimensions' names.

    `{"questions": [{"question_id", "data_id", "data_type", "question", "choice_a".. "choice_d",
    "answer": "A".."D", "question_type_id"}], "question_type": {name: number}}`. Choices are kept as
    they are, with their capitals and periods. The three video dimensions are left out: published
    figures of SEED-LLaMA are of the nine, and videos would have to be cut into segments.

    Raises:
        KeyError: A key is missing.
        ValueError: An answer is no letter from A to D.
    """
    names = {number: name for name, number in content.get("question_type", {}).items()}
    rows = []
    for item in content["questions"]:
        if item["data_type"] != "image":
            continue
        choices = tuple(str(item[name]) for name in _CHOICES)
        right = choices[_LETTERS.index(item["answer"])]
        kind = names.get(item["question_type_id"], str(item["question_type_id"]))
        rows.append(
            QuestionRow(
                str(item["question_id"]), item["data_id"], item["question"], (right,), kind, choices
            )
        )
    return rows


def read_video_qa(content: Iterable[Mapping[str, Any]]) -> list[QuestionRow]:
    """MSVD-QA's and MSRVTT-QA's list -> rows: `[{"id", "video_id", "question", "answer"}]`;
    kinds are first words.

    Source of the kinds (what, who, how, when, where): Xu et al. 2017. Not checked against the
    published files: how frames are called; `vqa_sets` tries several names.
    """
    return [
        QuestionRow(
            str(item["id"]),
            str(item["video_id"]),
            item["question"],
            (str(item["answer"]),),
            item["question"].split()[0].lower(),
        )
        for item in content
    ]


def read_nextqa(rows: Iterable[Mapping[str, str]]) -> list[QuestionRow]:
    """NExT-QA's table -> rows: with columns `a0` to `a4` multiple choice (`answer` is the number of
    the right one), else open questions.

    Columns `video`, `question`, `answer`, `qid`, `type`, in open questions also
    `additional_ref_answer`, a second right answer, which is left out: open questions are scored
    here by exact match. Published figures of open questions are WUPS, a similarity of words in
    WordNet, so they are not comparable; which of the two published SEED-LLaMA figures are of is not
    known. A question mark is added where it is missing, as the official preparation does. Not
    checked against the published files.
    """
    found = []
    for row in rows:
        question = row["question"].strip()
        question = question if question.endswith("?") else f"{question}?"
        choices = tuple(row[name] for name in ("a0", "a1", "a2", "a3", "a4") if name in row)
        answer = choices[int(row["answer"])] if choices else row["answer"]
        found.append(
            QuestionRow(
                f"{row['video']}_{row['qid']}",
                row["video"],
                question,
                (answer,),
                row["type"],
                choices,
            )
        )
    return found


def read_question_list(content: Iterable[Mapping[str, Any]]) -> list[QuestionRow]:
    """Our own plain layout -> rows: `[{"image" or "images", "question", "answer" or "answers",
    "choices"?, "kind"?, "key"?}]`.

    `image` is a picture, or a folder of a video's frames; `images` a list of pictures that are
    shown one after the other. With `choices` the answer is one of them. Several `answers` are those
    of annotators and score as VQA accuracy; one scores by exact match.

    Raises:
        KeyError: A key is missing.
        ValueError: Two rows have one key, or the answer is not among the choices.
    """
    found: dict[str, QuestionRow] = {}
    for number, item in enumerate(content):
        pictures = [item["image"]] if "image" in item else list(item["images"])
        answers = (
            item["answers"] if "answers" in item else [item["answer"]] if "answer" in item else []
        )
        choices = tuple(map(str, item.get("choices", ())))
        key = str(item.get("key", f"{number:06d}"))
        if key in found:
            raise ValueError(f"two questions have the key {key!r}")
        if choices and (not answers or str(answers[0]) not in choices):
            raise ValueError(
                f"question {key!r}: the answer {answers} is not among the choices {list(choices)}"
            )
        found[key] = QuestionRow(
            key,
            pictures[0],
            item["question"],
            tuple(map(str, answers)),
            str(item.get("kind", "")),
            choices,
            tuple(pictures[1:]),
        )
    return list(found.values())
