"""The bundled questions: the file states what the structure says, for pictures of its own split,
and never moves unnoticed.
"""

import hashlib
import json
from collections import Counter

import pytest

from seedcli.data import emoji_questions
from seedcli.data.emoji import read_emoji
from seedcli.data.emoji_questions import (
    QUESTION_SPLITS,
    QUESTIONS_FILE,
    read_questions,
)
from seedcli.errors import DataError, UsageError
from tools.nano.evaluation import MOST_OF_A_KIND, build_questions


def test_the_file_is_what_the_structure_says():
    assert json.loads(QUESTIONS_FILE.read_text(encoding="utf-8")) == build_questions()


def test_the_questions_are_those_that_published_figures_of_nano_are_of():
    """Another digest is another benchmark: figures before and after must not be compared."""
    assert hashlib.sha256(QUESTIONS_FILE.read_bytes()).hexdigest()[:16] == "03958be4d8a836aa"


@pytest.mark.parametrize("split", QUESTION_SPLITS)
def test_questions_of_a_split(split):
    found, keys = read_questions(split), {picture.key for picture in read_emoji(split)}
    assert {question.picture.key for question in found} <= keys
    assert len({(question.kind, question.picture.key) for question in found}) == len(found)
    assert max(Counter(question.kind for question in found).values()) <= MOST_OF_A_KIND
    assert all(question.answer in question.choices for question in found)


def test_a_question_by_hand():
    (question,) = [one for one in read_questions("vendor") if one.kind == "style"][:1]
    assert question.question == "Whose style is it drawn in?"
    assert (
        question.answer
        == {"google": "Noto", "twitter": "Twemoji", "fluent": "Fluent 3D"}[question.picture.vendor]
    )
    assert question.choices == ("Fluent 3D", "Noto", "Twemoji")


def test_nothing_is_asked_of_training_pictures():
    with pytest.raises(UsageError, match="train"):
        read_questions("train")


def test_a_damaged_file(tmp_path, monkeypatch):
    (tmp_path / "questions.json").write_text('{"format_version": 2}')
    monkeypatch.setattr(emoji_questions, "QUESTIONS_FILE", tmp_path / "questions.json")
    read_questions.cache_clear()
    with pytest.raises(DataError, match="format version 2"):
        read_questions("unseen")
    read_questions.cache_clear()
