"""The questions about emoji that evaluation asks: stated once, picture by picture, in the
bundled `questions.json`.

The file fixes which pictures are asked what, in which words, and what the right answer is, so that
figures of different versions are of the same questions. `tools.nano.build_emoji` makes it
from the set's structure.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import Literal

from seedcli.data.emoji import EMOJI_FOLDER, EmojiPicture, read_emoji
from seedcli.errors import DataError, UsageError
from seedcli.files import parse_json

QUESTIONS_FILE = EMOJI_FOLDER / "questions.json"
FORMAT_VERSION = 1
QuestionSplit = Literal["validation", "unseen", "vendor"]
QUESTION_SPLITS: tuple[QuestionSplit, ...] = ("validation", "unseen", "vendor")


@dataclass(frozen=True)
class Question:
    """A question about a picture; `choices` are the answers that occur for its kind in the
    split, for the chance level.
    """

    picture: EmojiPicture
    kind: str
    question: str
    answer: str
    choices: tuple[str, ...]


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
