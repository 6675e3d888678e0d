"""What anyone sees first of seed-nano: how often each example is answered rightly.

    python -m tools.nano.examples [--model MODEL] [--temperature T] [--code-guidance G]
        [--json FILE] [--sheet FILE]

Prints a Markdown table. `examples.toml` says what is asked and what is right; each example is a
conversation of its own with each of the seeds 0 to 4 at the model's default settings, and no seed
is chosen. A picture is right where the nearest drawing of all sets, by the judge, shows what was
asked for.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
import tomllib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from PIL import Image, ImageDraw

from seedcli.data.emoji import EmojiPicture, read_emoji
from seedcli.data.images.images import open_image
from seedcli.models.drawing.judge import load_judge
from seedcli.models.weights.locate import BUNDLED_NANO
from seedcli.workflows.chat.seed_chat import SeedChat
from seedcli.workflows.chat.turns import Turn
from seedcli.workflows.evaluate.scorecard_page import markdown_row

EXAMPLES = Path(__file__).with_name("examples.toml")
PICTURES = Path(__file__).parents[2] / "examples" / "emoji"
SEEDS = range(5)
ENOUGH = 4  # of five seeds, for an example that is shown
_CELL_PX, _NAME_PX = 68, 14


@dataclass(frozen=True, kw_only=True)
class Said:
    """A turn of an example, and what a right answer to it holds.

    Attributes:
        say: Words.
        images: Names of pictures of `examples/emoji`.
        draw: The answer must hold a picture.
        words: The answer holds one of them.
        emoji: Its picture shows one of these.
        drawn_by: In the drawing of this set.
    """

    say: str
    images: tuple[str, ...] = ()
    draw: bool = False
    words: tuple[str, ...] = ()
    emoji: tuple[str, ...] = ()
    drawn_by: str | None = None


@dataclass(frozen=True, kw_only=True)
class Example:
    """A conversation. `shown`: README and docs show it, so it must be right."""

    name: str
    turns: tuple[Said, ...]
    shown: bool = False


@dataclass(frozen=True, kw_only=True)
class Answer:
    """What came of an example with one seed."""

    is_right: bool
    said: tuple[str, ...]
    nearest: tuple[str, ...]
    images: tuple[Image.Image, ...]


def read_examples(path: Path = EXAMPLES) -> list[Example]:
    """The file -> examples in its order."""
    found = []
    for one in tomllib.loads(path.read_text(encoding="utf-8"))["examples"]:
        turns = [
            {
                name: tuple(value) if isinstance(value, list) else value
                for name, value in each.items()
            }
            for each in one["turns"]
        ]
        found.append(Example(**one | {"turns": tuple(Said(**each) for each in turns)}))
    return found


class NearestDrawing:
    """Pictures -> the nearest drawing of the bundled sets, by a judge; nothing is loaded before the
    first.
    """

    def __init__(self, judge: str):
        self._name = judge

    @cached_property
    def _drawings(self) -> list[EmojiPicture]:
        return read_emoji()

    @cached_property
    def _judge(self) -> Any:
        return load_judge(self._name)

    @cached_property
    def _features(self) -> torch.Tensor:
        return self._judge.image_features([open_image(one.image) for one in self._drawings])

    def __call__(self, image: Image.Image) -> EmojiPicture:
        similarity = self._judge.image_features([image]) @ self._features.T
        return self._drawings[int(similarity.argmax())]


Nearest = Callable[[Image.Image], EmojiPicture]


def ask(
    chat: SeedChat, example: Example, nearest: Nearest, seeds: Sequence[int] = SEEDS
) -> list[Answer]:
    """An example, asked with each seed; one of a single turn with all of them at once."""
    if len(example.turns) == 1:
        [turn] = example.turns
        prompts = [_parts(turn)] * len(seeds)
        answers = chat.generate(prompts, seeds=seeds, draw=turn.draw)
        return [_judged(example, [answer], nearest) for answer in answers]
    found = []
    for seed in seeds:
        chat.reset()
        chat.reseed(seed)
        said = [
            chat.say(turn.say, images=_pictures(turn), draw=turn.draw) for turn in example.turns
        ]
        found.append(_judged(example, said, nearest))
    return found


def _pictures(turn: Said) -> list[Path]:
    return [PICTURES / f"{name}.png" for name in turn.images]


def _parts(turn: Said) -> list[str | Path]:
    """Words and pictures in their order; pictures without a place stand first."""
    words = turn.say.split("<image>")
    if len(words) == 1:
        return [*_pictures(turn), turn.say]
    between = [part for pair in zip(_pictures(turn), words[1:], strict=True) for part in pair]
    return [part for part in [words[0], *between] if part]


def _judged(example: Example, answers: Sequence[Turn], nearest: Nearest) -> Answer:
    is_right, near = True, []
    for turn, answer in zip(example.turns, answers, strict=True):
        drawing = nearest(answer.images[0]) if turn.emoji and answer.images else None
        is_right &= _is_right(turn, answer, drawing)
        near += [] if drawing is None else [f"{drawing.label} ({drawing.vendor})"]
    return Answer(
        is_right=is_right,
        said=tuple(answer.text for answer in answers),
        nearest=tuple(near),
        images=tuple(image for answer in answers for image in answer.images),
    )


def _is_right(turn: Said, answer: Turn, drawing: EmojiPicture | None) -> bool:
    words = not turn.words or any(
        re.search(rf"\b{re.escape(word)}\b", answer.text, re.IGNORECASE) for word in turn.words
    )
    shows = not turn.emoji or (
        drawing is not None
        and drawing.hexcode in turn.emoji
        and turn.drawn_by in (None, drawing.vendor)
    )
    return words and shows


def table_of(found: Sequence[tuple[Example, list[Answer]]]) -> Iterator[str]:
    """Lines of the table: how many are right, and what came with the first seed."""
    yield markdown_row(["example", "right of 5", "with seed 0"])
    yield markdown_row(["---", "---", "---"])
    for example, answers in found:
        first = answers[0]
        near = f"; nearest: {', '.join(first.nearest)}" if first.nearest else ""
        right = sum(one.is_right for one in answers)
        yield markdown_row([example.name, str(right), " / ".join(first.said) + near])


def write_sheet(found: Sequence[tuple[Example, list[Answer]]], path: Path) -> None:
    """What was drawn of words alone, of the examples that are shown: a column an example, its name
    below, a row a seed.
    """
    drawn = [
        (example.name.removeprefix("draw "), answers)
        for example, answers in found
        if example.shown and len(example.turns) == 1
        if example.turns[0].draw and not example.turns[0].images
    ]
    size = len(drawn) * _CELL_PX, len(SEEDS) * _CELL_PX + _NAME_PX
    sheet = Image.new("RGB", size, "white")
    pen = ImageDraw.Draw(sheet)
    for column, (name, answers) in enumerate(drawn):
        x = column * _CELL_PX
        pen.text((x, len(SEEDS) * _CELL_PX), name, fill="black", font_size=9)
        for line, answer in enumerate(answers):
            if answer.images:
                sheet.paste(answer.images[-1].resize((64, 64)), (x, line * _CELL_PX))
    path.parent.mkdir(parents=True, exist_ok=True)
    sheet.save(path, optimize=True)


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--model", default="seed-nano", help="as `seed chat --model` takes it")
    parser.add_argument("--judge", default=str(BUNDLED_NANO / "judge"), help="folder or name")
    parser.add_argument("--temperature", type=float, help="in place of the model's")
    parser.add_argument("--code-guidance", type=float, help="in place of the model's")
    parser.add_argument("--json", type=Path, help="where to write every answer")
    parser.add_argument("--sheet", type=Path, help="where to write what shown ones drew")
    given = parser.parse_args()
    asked = {"temperature": given.temperature, "code_guidance": given.code_guidance}
    sampling = {name: value for name, value in asked.items() if value is not None}
    chat = SeedChat.from_pretrained(given.model, device="cpu", **sampling)
    nearest = NearestDrawing(given.judge)
    found = [(example, ask(chat, example, nearest)) for example in read_examples()]
    sys.stdout.write("\n".join(table_of(found)) + "\n")
    if given.json:
        rows = [
            {
                "name": example.name,
                "right": [one.is_right for one in answers],
                "said": [one.said for one in answers],
                "nearest": [one.nearest for one in answers],
            }
            for example, answers in found
        ]
        given.json.write_text(json.dumps(rows, indent=1, ensure_ascii=False), encoding="utf-8")
    if given.sheet:
        write_sheet(found, given.sheet)


if __name__ == "__main__":
    main()
