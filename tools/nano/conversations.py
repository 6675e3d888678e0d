"""Emoji pictures -> what a small language model reads: captions, sentences, and conversations about
pictures, with wording as data.

A conversation's user turns hold pictures as they are (or an augmented view), the assistant's
answers hold the picture itself. `tools.nano.evaluation` asks the same tasks of another split.
"""

from __future__ import annotations

import random
import tomllib
from collections import defaultdict
from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path
from typing import Any

from seedcli.data.documents.documents import Role
from seedcli.data.emoji import (
    NUM_CAPTION_TAGS,
    EmojiPicture,
    EmojiSplit,
    read_emoji,
    with_article,
)
from seedcli.data.images.captioned import TrainingPicture
from tools.nano.manners import VARIED, Manner
from tools.nano.structure import Change, EmojiStructure, short_names
from tools.nano.told_best import read_best

PictureSegment = str | EmojiPicture
PictureTurn = tuple[Role, tuple[PictureSegment, ...]]
_STYLED = 0.2  # share of captions that name the vendor's style
_SHORT = 0.4  # share of the other drawing requests that say "apple" for a red apple
_GENDER_SIGNS = {"2640", "2642"}


@cache
def read_prompts() -> dict[str, Any]:
    """The wording, `prompts.toml`."""
    return tomllib.loads(Path(__file__).with_name("prompts.toml").read_text(encoding="utf-8"))


@cache
def read_structure(split: EmojiSplit) -> EmojiStructure:
    """A split's pictures and how they belong together; `train` is without the
    held-out vendor pictures.
    """
    return EmojiStructure(read_emoji(split), read_prompts()["styles"])


def words_of(picture: EmojiPicture) -> dict[str, str]:
    """What wording may say of a picture: its name with and without article,
    style, group and first tags.
    """
    name = picture.name
    thing = with_article(name)
    return {
        "name": name,
        "thing": thing,
        "Thing": thing[0].upper() + thing[1:],
        "style": read_prompts()["styles"][picture.vendor],
        "group": picture.group,
        "subgroup": picture.subgroup,
        "tags": ", ".join(picture.tags[:NUM_CAPTION_TAGS]) or name,
    }


def draw_caption(picture: EmojiPicture, rng: random.Random) -> str:
    """A caption for pretraining: the set's own (label and tags), its running words, and in a fifth
    of the cases the style.
    """
    caption = _sample_caption(picture, rng) if rng.random() < 0.7 else words_of(picture)["thing"]
    return f"{caption}, {words_of(picture)['style']} style" if rng.random() < _STYLED else caption


def _sample_caption(picture: EmojiPicture, rng: random.Random) -> str:
    """A caption as the tokenizer's training draws it: the label, and in most cases tags."""
    captions, group = (picture.label,), picture.base_hexcode
    words = TrainingPicture(picture.key, picture.image, captions, picture.tags, group)
    return words.sample_caption(rng)


class EmojiSpeaker:
    """Draws conversations and texts about the pictures of one split; everything random comes from
    the caller's generator.
    """

    def __init__(self, structure: EmojiStructure, manner: Manner = VARIED):
        self._structure, self._manner = structure, manner
        self._prompts = read_prompts()
        self._short = short_names(structure)
        self._tasks: dict[
            str, Callable[[EmojiPicture, random.Random], list[PictureTurn] | None]
        ] = {
            "draw": self._draw,
            "edit": self._edit,
            "describe": self._describe,
            "question": self._question,
            "dialogue": self._dialogue,
            "difference": self._difference,
            "series": self._series,
            "join": self._join,
        }
        self._pictures = {(one.hexcode, one.vendor): one for one in structure.pictures}
        self._best = read_best(manner.one_drawing) if manner.one_drawing else {}
        self._of_name: dict[str, list[EmojiPicture]] = defaultdict(list)
        for one in structure.pictures:
            self._of_name[one.name].append(one)

    def converse(self, picture: EmojiPicture, rng: random.Random) -> tuple[str, list[PictureTurn]]:
        """Picture -> task and turns, user and assistant alternating; a task that the picture does
        not allow gives way to another.
        """
        while True:
            weights = self._manner.task_weights
            task = rng.choices(list(weights), list(weights.values()))[0]
            turns = self._tasks[task](picture, rng)
            if turns is not None:
                return task, turns

    def write_text(self, picture: EmojiPicture, rng: random.Random) -> str:
        """A caption, its tags, or a sentence with what the set knows; words only."""
        draw = rng.random()
        if draw < 0.35:
            return draw_caption(picture, rng)
        if draw < 0.45 and picture.tags:
            return ", ".join(rng.sample(picture.tags, len(picture.tags)))
        return rng.choice(self._prompts["text"]["facts"]).format_map(
            self._drawn_words(picture, rng)
        )

    def converse_in_text(self, picture: EmojiPicture, rng: random.Random) -> list[PictureTurn]:
        """A short conversation whose every question can be answered from words alone."""
        text, words = self._prompts["text"], self._drawn_words(picture, rng)
        options = [("ask_group", "{group}"), ("ask_flag", "yes" if picture.is_flag else "no")]
        if picture.tags:
            options += [("ask_tags", "{tags}"), ("ask_name", "{name}")]
        turns: list[PictureTurn] = []
        for ask, answer in rng.sample(options, rng.choice((1, 1, 2))):
            turns += [
                ("user", (rng.choice(text[ask]).format_map(words),)),
                ("assistant", (answer.format_map(words),)),
            ]
        return turns

    def _drawn_words(self, picture: EmojiPicture, rng: random.Random) -> dict[str, str]:
        words = words_of(picture)
        if picture.tags:
            words["tags"] = ", ".join(
                rng.sample(picture.tags, rng.randint(1, min(NUM_CAPTION_TAGS, len(picture.tags))))
            )
        return words

    def _any_picture(self, rng: random.Random) -> EmojiPicture:
        return rng.choice(rng.choice(self._structure.by_emoji))

    def _worded(self, asks: Sequence[str], rng: random.Random) -> str:
        share = self._manner.first_wording
        return asks[0] if share and rng.random() < share else rng.choice(asks)

    def _one_drawing(self, picture: EmojiPicture, word: str | None) -> EmojiPicture:
        """A picture that was asked for, by a word for many things perhaps -> the one that is drawn
        where no style was named.
        """
        name = self._prompts["draw"]["typical"].get(word, picture.name)
        drawings = self._of_name.get(name) or self._of_name[picture.name]
        best = (one for one in drawings if one.vendor == self._best.get(one.hexcode))
        return next(best, drawings[0])

    def _reply(
        self, replies: Sequence[str], picture: EmojiPicture, rng: random.Random
    ) -> PictureTurn:
        """The assistant's turn that ends in a picture. Most replies say first what is drawn, which
        ties the codes to near words.
        """
        if self._manner.bare and rng.random() < self._manner.bare:
            return ("assistant", (picture,))
        if self._manner.named:  # those that name the thing first
            replies = sorted(filter(None, replies), key=lambda one: "{" not in one)
        reply = replies[0] if rng.random() < 0.6 else rng.choice(replies)
        text = reply.format_map(words_of(picture))
        return ("assistant", (text, picture) if text else (picture,))

    def _asked(
        self, text: str, pictures: Sequence[EmojiPicture], rng: random.Random
    ) -> PictureTurn:
        """The user's turn: pictures before the words, or in a quarter of the cases after them."""
        if not text:
            return ("user", tuple(pictures))
        return ("user", (*pictures, text) if rng.random() < 0.75 else (text, *pictures))

    def _draw(self, picture: EmojiPicture, rng: random.Random) -> list[PictureTurn]:
        draw, words = self._prompts["draw"], words_of(picture)
        said, word = dict(words), None
        styled = rng.random() < self._manner.styled
        if styled:
            style = rng.choice(draw["in_style"])
            said |= {
                name: style.format(thing=words[name], style=words["style"])
                for name in ("name", "thing")
            }
        elif rng.random() < 0.25:
            said |= dict.fromkeys(("name", "thing"), _sample_caption(picture, rng))
        elif picture.hexcode in self._short and rng.random() < _SHORT:
            word = self._short[picture.hexcode]
            said |= {"name": word, "thing": with_article(word)}
        if self._manner.one_drawing and not styled:
            picture = self._one_drawing(picture, word)
        return [
            ("user", (self._worded(draw["ask"], rng).format_map(said),)),
            self._reply(draw["reply"], picture, rng),
        ]

    def _describe(self, picture: EmojiPicture, rng: random.Random) -> list[PictureTurn]:
        describe = self._prompts["describe"]
        if picture.tags and rng.random() < 0.2:
            ask, reply = rng.choice(describe["ask_detail"]), rng.choice(describe["reply_detail"])
        else:
            ask, reply = (
                self._worded(describe["ask"], rng),
                describe["reply"][0] if rng.random() < 0.6 else rng.choice(describe["reply"]),
            )
        return [
            self._asked(ask, [picture], rng),
            ("assistant", (reply.format_map(words_of(picture)),)),
        ]

    def _draw_change(self, picture: EmojiPicture, rng: random.Random) -> Change | None:
        """A change of the picture; each kind that it allows is as likely as the
        others, style half as much.
        """
        changes = self._structure.changes(picture)
        kinds = sorted({change.kind for change in changes})
        if not kinds:
            return None
        kind = rng.choices(kinds, [1 if one == "style" else 2 for one in kinds])[0]
        return rng.choice([change for change in changes if change.kind == kind])

    def _edit(self, picture: EmojiPicture, rng: random.Random) -> list[PictureTurn] | None:
        change = self._draw_change(picture, rng)
        if change is None or (change.kind == "style" and rng.random() >= self._manner.restyled):
            return None
        edit = self._prompts["edit"]
        ask = self._worded(edit["ask"][change.kind], rng).format_map(change.new)
        return [self._asked(ask, [picture], rng), self._reply(edit["reply"], change.target, rng)]

    def _ask(self, picture: EmojiPicture, rng: random.Random) -> tuple[str, str]:
        """A question about the picture and its answer."""
        facts, asks = self._structure.facts(picture), self._prompts["question"]["ask"]
        kinds = [
            *(kind for kind in facts if kind != "flag" or picture.is_flag or rng.random() < 0.3),
            "identity",
            "choice",
        ]
        kind = rng.choice(kinds)
        ask = rng.choice(asks[kind])
        if kind == "identity":
            other = picture if rng.random() < 0.5 else self._any_picture(rng)
            answer = "yes" if other.name == picture.name else "no"
            return ask.format(thing=words_of(other)["thing"]), answer
        if kind == "choice":
            things = [
                words_of(one)["thing"]
                for one in (picture, self._any_picture(rng), self._any_picture(rng))
            ]
            first, second, third = rng.sample(things, 3)
            return ask.format(first=first, second=second, third=third), things[0]
        return ask + rng.choice(self._prompts["question"]["brief"]), facts[kind]

    def _question(self, picture: EmojiPicture, rng: random.Random) -> list[PictureTurn]:
        ask, answer = self._ask(picture, rng)
        return [self._asked(ask, [picture], rng), ("assistant", (answer,))]

    def _dialogue(self, picture: EmojiPicture, rng: random.Random) -> list[PictureTurn]:
        """Two or three turns: describe, ask or draw first; then ask, or
        change what was seen last.
        """
        opening = self._tasks[rng.choice(self._manner.openings)]
        turns = opening(picture, rng) or self._describe(picture, rng)
        # what was drawn may be another set's drawing
        picture = next((one for one in turns[-1][1] if isinstance(one, EmojiPicture)), picture)
        for _ in range(rng.choice(self._manner.follow_ups)):
            change = self._draw_change(picture, rng)
            if change is not None and rng.random() < 0.75:
                edit, picture = self._prompts["edit"], change.target
                turns += [
                    ("user", (self._worded(edit["ask"][change.kind], rng).format_map(change.new),)),
                    self._reply(edit["reply"], picture, rng),
                ]
            else:
                ask, answer = self._ask(picture, rng)
                turns += [("user", (ask,)), ("assistant", (answer,))]
        return turns

    def _difference(self, picture: EmojiPicture, rng: random.Random) -> list[PictureTurn]:
        difference = self._prompts["difference"]
        change = self._draw_change(picture, rng) if rng.random() < 0.7 else None
        other = change.target if change else self._any_picture(rng)
        if change is None:
            answer = rng.choice(difference["other"]).format(
                first=words_of(picture)["thing"], second=words_of(other)["thing"]
            )
        elif change.kind == "style":
            answer = rng.choice(difference["style"]).format(
                old=change.old["style"], new=change.new["style"]
            )
        else:
            aspects = {"tone": "skin tone"}
            parts = [
                difference["change"][0].format(
                    aspect=aspects.get(name, name), old=change.old[name], new=change.new[name]
                )
                for name in sorted(change.new)
            ]
            answer = " ".join(parts)
        ask, (first, second) = rng.choice(difference["ask"]), difference["labels"]
        match rng.randrange(3):
            case 0:
                asked: tuple[PictureSegment, ...] = (picture, other, ask)
            case 1:
                asked = (picture, first, other, second, ask)
            case _:
                asked = (first, picture, second, other, ask)
        return [("user", asked), ("assistant", (answer,))]

    def _series(self, picture: EmojiPicture, rng: random.Random) -> list[PictureTurn] | None:
        """In-context examples: a list of pictures with their names or groups, or a change
        shown once and asked again.
        """
        series = self._prompts["series"]
        change = self._draw_change(picture, rng)
        if change is not None and rng.random() < 0.6:
            example = self._example_of(change, rng)
            if example is not None:
                text = rng.choice(series["analogy"])
                shown = (example.source, example.target, picture)
                return [
                    ("user", (*shown, text) if rng.random() < 0.5 else (text, *shown)),
                    self._reply(series["reply"], change.target, rng),
                ]
        kind = rng.choice(
            ("names", "groups", "count")
            if "people" in self._structure.facts(picture)
            else ("names", "groups")
        )
        answer_of = {
            "names": lambda one: words_of(one)["name"],
            "groups": lambda one: one.group,
            "count": lambda one: self._structure.facts(one).get("people"),
        }[kind]
        examples = [
            one for one in (self._any_picture(rng) for _ in range(30)) if answer_of(one) is not None
        ][: rng.choice((2, 2, 3))]
        intro = rng.choice(series[kind])
        asked: list[PictureSegment] = [intro] if intro else []
        for one in examples:
            asked += [one, answer_of(one)]
        return [("user", (*asked, picture)), ("assistant", (answer_of(picture),))]

    def _join(self, picture: EmojiPicture, rng: random.Random) -> list[PictureTurn] | None:
        """Two pictures as one: an emoji that Unicode joins of two others, such as a woman and a
        rocket, beside those two in the same set's drawing.
        """
        parts = [
            self._pictures.get((part.removesuffix("-fe0f"), picture.vendor))
            for part in picture.hexcode.split("-200d-")
            if part.removesuffix("-fe0f") not in _GENDER_SIGNS
        ]
        shown = [one for one in parts if one is not None]
        if len(parts) != 2 or len(shown) != 2:
            return None
        join = self._prompts["join"]
        return [
            self._asked(rng.choice(join["ask"]), shown, rng),
            self._reply(join["reply"], picture, rng),
        ]

    def _example_of(self, change: Change, rng: random.Random) -> Change | None:
        """The same change of another emoji."""
        for _ in range(30):
            other = self._any_picture(rng)
            if other.base_hexcode == change.source.base_hexcode:
                continue
            same = [
                one
                for one in self._structure.changes(other)
                if one.kind == change.kind and one.new == change.new
            ]
            if same:
                return rng.choice(same)
        return None
