"""What a model wrote -> what is scored. Pure functions; which one was used is part of a result.

Models that were tuned on sentences end even one word with a period, and some go on with a question
of their own in the next line.
"""

from __future__ import annotations

from typing import Literal

AnswerCut = Literal["phrase", "line", "whole"]


def cut_answer(text: str, cut: AnswerCut) -> str:
    """Answer -> `phrase`: its first line that is not empty, without the final period or periods;
    `line`: that line; `whole`: all. None has outer white space.
    """
    if cut == "whole":
        return text.strip()
    line = next((line.strip() for line in text.splitlines() if line.strip()), "")
    return line.rstrip(".").rstrip() if cut == "phrase" else line
