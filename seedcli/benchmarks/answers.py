"""What a model wrote -> what is scored. Pure functions; which one was used is part of a result.

Models that were tuned on sentences end even one word with a period, and some go on with a question
of their own in the next line.
"""

from __future__ import annotations

from typing import Any, Literal

AnswerCut = Literal["phrase", "line", "whole"]
# How answers of the two benchmarks are written where nothing else is said.
CAPTION_DECODING: dict[str, Any] = {"num_beams": 5, "max_new_tokens": 120}
VQA_DECODING: dict[str, Any] = {"num_beams": 1, "max_new_tokens": 16}


def first_line(text: str) -> str:
    """Text -> its first line that is not empty, without outer white space."""
    return next((line.strip() for line in text.splitlines() if line.strip()), "")


def drop_final_period(text: str) -> str:
    """Text -> the same without the period or periods that it ends in."""
    return text.rstrip().rstrip(".").rstrip()


def cut_answer(text: str, cut: AnswerCut) -> str:
    """Answer -> `phrase`: its first line without the final period; `line`: its first line; `whole`:
    all, without outer white space.
    """
    match cut:
        case "phrase":
            return drop_final_period(first_line(text))
        case "line":
            return first_line(text)
        case "whole":
            return text.strip()
