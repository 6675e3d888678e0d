"""How conversations about emoji are made: which tasks, in whose wording, and what answers a request
to draw. `tools.nano.conversations` speaks so, `tools.nano.documents` writes a table of each.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class Manner:
    """How conversations are made.

    Attributes:
        task_weights: How often each task is drawn, beside the others.
        first_wording: Share of requests in the first wording of their list, the one that people
            type most; the others are drawn from the whole list.
        one_drawing: A request to draw that names no style is answered with one drawing, that of
            `told_best.json`, and a word that stands for many things with the one of
            `[draw.typical]`; else with any of the nine sets' drawings of any of the things.
        bare: Share of answers with a picture that begin with it, as `seed chat --draw` has them.
        styled: Share of requests to draw that name a style.
        restyled: Share of the drawn changes of style that are asked for.
        itself: Share of pictures to be read that stay as they are; the others are views, which
            share few codes with their picture.
        repeats: Rows that a draw of an emoji is worth: the more, the more views are read.
    """

    task_weights: Mapping[str, int]
    first_wording: float = 0.0
    one_drawing: bool = False
    bare: float = 0.0
    styled: float = 0.2
    restyled: float = 0.4
    itself: float = 1 / 8
    repeats: int = 2


VARIED = Manner(
    {
        "describe": 40,
        "draw": 30,
        "edit": 20,
        "dialogue": 12,
        "question": 8,
        "join": 8,  # few pictures allow it
        "series": 4,
        "difference": 2,
    }
)
EVERYDAY = Manner(
    {
        "describe": 44,
        "draw": 40,
        "edit": 36,
        "dialogue": 18,
        "question": 8,
        "join": 16,
        "series": 16,
        "difference": 2,
    },
    first_wording=0.3,
    one_drawing=True,
    bare=0.5,
    styled=0.35,
    restyled=0.8,
    itself=1 / 2,
    repeats=4,
)
