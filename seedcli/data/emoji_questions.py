"""The questions about emoji that evaluation asks: stated once, picture by picture, in the
bundled `questions.json`.

The file fixes which pictures are asked what, in which words, and what the right answer is, so that
figures of different versions are of the same questions. `tools.nano.build_emoji` makes it
from the set's structure.
"""

from __future__ import annotations

import random
from collections import defaultdict
from functools import cache
from typing import Any, Literal

from seedcli.data.emoji import EMOJI_FOLDER, read_emoji
from seedcli.data.emoji_documents import Question, questions, read_prompts
from seedcli.data.emoji_structure import FACTS
from seedcli.errors import DataError, UsageError
from seedcli.files import parse_json

QUESTIONS_FILE = EMOJI_FOLDER / "questions.json"
FORMAT_VERSION = 1
MOST_OF_A_KIND = 300
QuestionSplit = Literal["validation", "unseen", "vendor"]
QUESTION_SPLITS: tuple[QuestionSplit, ...] = ("validation", "unseen", "vendor")


def build_questions() -> dict[str, Any]:
    """The set's structure -> content of the file: wording by kind; by split, kind and answer
    the keys of the pictures.

    Of each kind and split at most 300 questions, drawn by a fixed generator from all
    that the structure allows.
    """
    splits: dict[str, dict[str, dict[str, list[str]]]] = {}
    for split in QUESTION_SPLITS:
        every: dict[str, list[Question]] = defaultdict(list)
        for question in questions(split):
            every[question.kind].append(question)
        splits[split] = {}
        for kind in (kind for kind in FACTS if kind in every):
            answers: dict[str, list[str]] = defaultdict(list)
            for place in sorted(
                random.Random(0).sample(
                    range(len(every[kind])), min(MOST_OF_A_KIND, len(every[kind]))
                )
            ):
                answers[every[kind][place].answer].append(every[kind][place].picture.key)
            splits[split][kind] = {answer: answers[answer] for answer in sorted(answers)}
    wording = read_prompts()["question"]["ask"]
    return {
        "format_version": FORMAT_VERSION,
        "wording": {kind: wording[kind][0] for kind in FACTS},
        "splits": splits,
    }


@cache
def read_questions(split: str) -> tuple[Question, ...]:
    """Split of the bundled file -> its questions, kind by kind, in the order of the pictures;
    choices are all answers of the kind.

    Raises:
        UsageError: No such split; nothing is asked of training pictures.
        DataError: The file is missing or damaged.
    """
    if split not in QUESTION_SPLITS:
        raise UsageError(
            f"there are no questions about split {split!r} of the emoji set; there are about "
            f"{', '.join(QUESTION_SPLITS)}",
            remedy=f"--split {QUESTION_SPLITS[1]}",
        )
    pictures = {picture.key: picture for picture in read_emoji(split)}
    order = {key: place for place, key in enumerate(pictures)}
    found = []
    try:
        content = parse_json(QUESTIONS_FILE.read_bytes())
        if content["format_version"] != FORMAT_VERSION:
            raise ValueError(
                f"format version {content['format_version']}, expected {FORMAT_VERSION}"
            )
        for kind, answers in content["splits"][split].items():
            asked = sorted(
                ((key, answer) for answer, keys in answers.items() for key in keys),
                key=lambda pair: order[pair[0]],
            )
            found += [
                Question(pictures[key], kind, content["wording"][kind], answer, tuple(answers))
                for key, answer in asked
            ]
    except (OSError, ValueError, KeyError, AttributeError, TypeError) as error:
        raise DataError(
            f"{QUESTIONS_FILE} cannot be read: {type(error).__name__}: {error}",
            remedy="reinstall seedcli; the file is part of the package",
        ) from None
    return tuple(found)
