"""How answers of seed-nano are counted."""

from __future__ import annotations

from seedcli.models.language.answer import Answer
from tools.nano.asking import count_answers

PICTURE = (5,) * 32


def test_an_answer_that_does_not_end_is_no_broken_picture() -> None:
    answers = [
        (Answer(ids=(), segments=("A cat.",), ended=True, malformed=0), False),
        (Answer(ids=(), segments=(PICTURE, "and on and on"), ended=False, malformed=0), True),
        (Answer(ids=(), segments=("A cat.",), ended=True, malformed=0), True),
        (Answer(ids=(), segments=(PICTURE,), ended=True, malformed=1), False),
    ]
    assert count_answers(answers) == {
        "valid_answers": 50.0,
        "ended_answers": 75.0,
        "num_answers": 4,
    }
