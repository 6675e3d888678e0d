"""The emoji set's structure -> what evaluation asks of a split: changes, questions and drawings, in
a fixed order and in the first wording of each list, where `tools.nano.conversations` draws one.
"""

from __future__ import annotations

import random
from collections import defaultdict
from dataclasses import dataclass
from typing import Any

from seedcli.data.emoji import EmojiPicture, EmojiSplit
from seedcli.data.emoji_questions import FORMAT_VERSION, QUESTION_SPLITS, Question
from tools.nano.conversations import read_prompts, read_structure, words_of
from tools.nano.structure import FACTS, Change

MOST_OF_A_KIND = 300


@dataclass(frozen=True)
class EditRequest:
    """A change to ask for: `instruction` with the picture `change.source`; the answer is right if
    it shows `change.target`.
    """

    change: Change
    instruction: str


@dataclass(frozen=True)
class DrawingRequest:
    """Words to draw; `name` is the bare name in them."""

    picture: EmojiPicture
    request: str
    name: str


def edit_pairs(split: EmojiSplit) -> list[EditRequest]:
    """Every change between pictures of a split, in a fixed order, asked in the first wording."""
    structure, asks = read_structure(split), read_prompts()["edit"]["ask"]
    changes = (change for picture in structure.pictures for change in structure.changes(picture))
    return [EditRequest(change, asks[change.kind][0].format_map(change.new)) for change in changes]


def questions(split: EmojiSplit) -> list[Question]:
    """Every question of fact about the pictures of a split, in a fixed order,
    asked in the first wording.
    """
    structure, asks = read_structure(split), read_prompts()["question"]["ask"]
    facts = [
        (picture, kind, answer)
        for picture in structure.pictures
        for kind, answer in structure.facts(picture).items()
    ]
    choices = {
        kind: tuple(sorted({answer for _, other, answer in facts if other == kind}))
        for _, kind, _ in facts
    }
    return [
        Question(picture, kind, asks[kind][0], answer, choices[kind])
        for picture, kind, answer in facts
    ]


def drawing_requests(split: EmojiSplit, *, styled: bool = False) -> list[DrawingRequest]:
    """One request for each picture (`styled`: in its vendor's style) or, unstyled, for each emoji
    with its first vendor's picture.
    """
    structure, draw = read_structure(split), read_prompts()["draw"]
    found, seen = [], set()
    for picture in structure.pictures:
        words = words_of(picture)
        if not styled and picture.hexcode in seen:
            continue
        seen.add(picture.hexcode)
        thing = draw["in_style"][0].format_map(words) if styled else words["thing"]
        found.append(DrawingRequest(picture, draw["ask"][0].format(thing=thing), words["name"]))
    return found


def description_request() -> str:
    """What evaluation asks for a description."""
    return read_prompts()["describe"]["ask"][0]


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
