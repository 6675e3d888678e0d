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
            this file (`told_best` or `drawn_best`, see `tools.nano.told_best`), and a word that
            stands for many things with the one of `[draw.typical]`; else with any of the nine
            sets' drawings of any of the things.
        bare: Share of answers with a picture that begin with it, as `seed chat --draw` has them.
        named: The other answers with a picture all say a word, and most of them what is drawn.
        styled: Share of requests to draw that name a style.
        restyled: Share of the drawn changes of style that are asked for.
        itself: Share of pictures to be read that stay as they are; the others are views, which
            share few codes with their picture.
        repeats: Rows that a draw of an emoji is worth: the more, the more views are read.
        often: Of these sets drawings are read twice as often.
        openings: What a dialogue begins with; a picture that allows no change is described.
        follow_ups: How many turns follow in it.
    """

    task_weights: Mapping[str, int]
    first_wording: float = 0.0
    one_drawing: str | None = None
    bare: float = 0.0
    named: bool = False
    styled: float = 0.2
    restyled: float = 0.4
    itself: float = 1 / 8
    repeats: int = 2
    often: tuple[str, ...] = ()
    openings: tuple[str, ...] = ("describe", "question", "draw", "draw")
    follow_ups: tuple[int, ...] = (1, 1, 1, 2)


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
    one_drawing="told_best",
    bare=0.5,
    styled=0.35,
    restyled=0.8,
    itself=1 / 2,
    repeats=4,
    often=("google", "twitter", "fluent"),
)
STYLES = Manner(
    {
        "describe": 44,
        "draw": 90,
        "edit": 40,
        "dialogue": 28,
        "question": 8,
        "join": 16,
        "series": 32,
        "difference": 2,
    },
    first_wording=0.3,
    one_drawing="drawn_best",
    bare=0.35,
    named=True,
    styled=0.65,
    restyled=1.0,
    itself=1 / 2,
    repeats=3,
    often=("google", "twitter", "fluent"),
    openings=("describe", "question", "draw", "draw", "edit", "edit"),
    follow_ups=(1, 1, 2, 2, 3),
)
