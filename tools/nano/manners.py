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
    """

    task_weights: Mapping[str, int]
    first_wording: float = 0.0
    one_drawing: bool = False
    bare: float = 0.0


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
        "describe": 40,
        "draw": 40,
        "edit": 26,
        "dialogue": 16,
        "question": 8,
        "join": 8,
        "series": 10,
        "difference": 2,
    },
    first_wording=0.3,
    one_drawing=True,
    bare=0.5,
)
