"""What the language model of seed-nano has learned, on emoji that its training has not seen:
describing, drawing, changing.

Prints one JSON object and writes the picture grid of the README: `python -m tools.nano.llm_report
--grid docs/images/nano-chat.png`. Pictures are scored by the judge, an open_clip model that nothing
was trained towards: right means that of all candidates the picture of the emoji that was asked for
is the nearest. Questions are `seed eval vqa`'s.
"""

from __future__ import annotations

import argparse
import json
import random
import sys
import time
from collections import defaultdict
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from PIL import Image

from seedcli.benchmarks.nearest import chance_shares, right_ranks, top_shares
from seedcli.data.documents.documents import Message
from seedcli.data.emoji import SPLITS, EmojiPicture
from seedcli.data.images.images import open_image
from seedcli.models.drawing.judge import ClipJudge, load_judge
from seedcli.models.language.generate import SamplingSettings
from seedcli.models.weights.locate import BUNDLED_NANO
from tools.nano.answer_grid import NUM_COLUMNS, Cell, write_grid
from tools.nano.asking import Asker, count_answers, first_image
from tools.nano.conversations import read_structure, words_of
from tools.nano.evaluation import description_request, drawing_requests, edit_pairs

MAX_NEW_TOKENS = 80


def run(
    model: str,
    *,
    tokenizer: str,
    judge: str,
    splits: Sequence[str] = ("vendor", "unseen"),
    limit: int = 150,
    seed: int = 0,
    settings: SamplingSettings | None = None,
    grid: Path | None = None,
    note: Callable[[str], object] = lambda text: None,
) -> dict[str, Any]:
    """Every task on every split -> scores beside chance.

    Args:
        model: Language model, as `seed chat --model` takes it.
        tokenizer: Visual tokenizer and decoder.
        judge: As `load_judge` takes it.
        limit: Requests of each task and split; drawn evenly from all of them by a fixed generator.
        settings: Of sampling; by default what the model's folder states.
        grid: Where to put a grid of the first requests: asked words, and the picture that came.
        note: Hears what is being done.
    """
    settings = settings or SamplingSettings(
        temperature=0, top_p=1.0, num_beams=4, max_new_tokens=MAX_NEW_TOKENS
    )
    speaker, scorer = Asker(model, tokenizer, settings=settings, seed=seed), load_judge(judge)
    began = time.perf_counter()
    tasks = {"describe": _describe, "draw": _draw, "edit": _edit, "draw_then_edit": _draw_then_edit}
    scores: dict[str, dict[str, Any]] = {}
    shown: dict[str, list[Cell]] = {}
    for split in splits:
        scores[split] = {}
        for name, task in tasks.items():
            note(f"{split}: {name}")
            scores[split][name], pictures = task(speaker, scorer, split, limit)
            shown.setdefault(name, []).extend(pictures[:NUM_COLUMNS])
    if grid is not None:
        write_grid(shown, grid)
    return {
        "model": speaker.llm.facts.name,
        "tokenizer": speaker.visual.name,
        "fingerprint": speaker.visual.fingerprint,
        "judge": Path(judge).name if Path(judge).is_dir() else judge,
        "sampling": {
            "temperature": settings.temperature,
            "top_p": settings.top_p,
            "beams": settings.num_beams,
            "seed": seed,
        },
        "scores": scores,
        **count_answers(speaker.answers),
        "elapsed_s": round(time.perf_counter() - began),
    }


def _some(items: Sequence, limit: int) -> list:
    """At most `limit` of the items, drawn by a fixed generator, in their order."""
    chosen = sorted(random.Random(0).sample(range(len(items)), min(limit, len(items))))
    return [items[place] for place in chosen]


def _user(*segments) -> Message:
    return Message("user", segments)


def _words(segments: Sequence) -> str:
    return " ".join(segment for segment in segments if isinstance(segment, str)).strip()


def _describe(
    speaker: Asker, scorer: ClipJudge, split: str, limit: int
) -> tuple[dict[str, Any], list]:
    """A picture's words, and the name among those of the split that the judge's text tower
    finds nearest to them.
    """
    pictures = _some(
        [picture for picture in read_structure(split).pictures if not picture.skin_tones], limit
    )
    answers = [
        _words(one)
        for one in speaker.ask(
            [[_user(speaker.codes(one), description_request())] for one in pictures]
        )
    ]
    names = sorted(
        {
            words_of(picture)["thing"]
            for picture in read_structure(split).pictures
            if not picture.skin_tones
        }
    )
    right = torch.tensor(
        [[name == words_of(picture)["thing"] for name in names] for picture in pictures]
    )
    ranks = right_ranks(scorer.text_features(answers) @ scorer.text_features(names).T, right)
    exact = [
        answer.rstrip(".").endswith(words_of(picture)["thing"])
        for answer, picture in zip(answers, pictures, strict=True)
    ]
    score = top_shares(ranks) | {
        "exact": round(100 * sum(exact) / len(exact), 1),
        "num": len(pictures),
        "chance": chance_shares(right),
    }
    return score, []


def _score_drawn(
    speaker: Asker,
    scorer: ClipJudge,
    answers: Sequence[Sequence],
    candidates: Sequence[EmojiPicture],
    right: torch.Tensor,
) -> tuple[dict[str, Any], list[Image.Image | None], torch.Tensor]:
    """Answers with pictures -> shares whose nearest candidate is right; an answer
    without a picture is wrong.
    """
    codes = [first_image(segments) for segments in answers]
    drawn = iter(speaker.paint([one for one in codes if one is not None]))
    pictures = [None if one is None else next(drawn) for one in codes]
    features = scorer.image_features([open_image(candidate.image) for candidate in candidates])
    similarity = torch.full((len(answers), len(candidates)), -1.0)
    present = [place for place, picture in enumerate(pictures) if picture is not None]
    if present:
        similarity[present] = (
            scorer.image_features([pictures[place] for place in present]) @ features.T
        )
    score = top_shares(right_ranks(similarity, right)) | {
        "num": len(answers),
        "with_picture": len(present),
        "chance": chance_shares(right),
    }
    return score, pictures, similarity


def _draw(speaker: Asker, scorer: ClipJudge, split: str, limit: int) -> tuple[dict[str, Any], list]:
    """Words -> picture; candidates are all pictures of the split without skin tones, right is any
    vendor's picture of the asked emoji. `own_codes`: the same of pictures drawn from the codes of
    the right picture itself, a ceiling.
    """
    candidates = [picture for picture in read_structure(split).pictures if not picture.skin_tones]
    asked = _some([one for one in drawing_requests(split) if not one.picture.skin_tones], limit)
    right = torch.tensor(
        [[picture.hexcode == one.picture.hexcode for picture in candidates] for one in asked]
    )
    answers = speaker.ask([[_user(one.request)] for one in asked], image="required")
    score, drawn, _ = _score_drawn(speaker, scorer, answers, candidates, right)
    own = [(speaker.codes(one.picture),) for one in asked]
    _, _, similarity = _score_drawn(speaker, scorer, own, candidates, right)
    score["own_codes"] = top_shares(right_ranks(similarity, right))
    return score, [
        (one.request, None, picture)
        for one, picture in zip(asked, drawn, strict=True)
        if picture is not None
    ]


def _edit(speaker: Asker, scorer: ClipJudge, split: str, limit: int) -> tuple[dict[str, Any], list]:
    """A picture and a change -> picture; candidates are all pictures of the split by the target's
    vendor, right is the target alone. `own_codes`: as in `_draw`.
    """
    by_kind = defaultdict(list)
    for pair in edit_pairs(split):
        by_kind[pair.change.kind].append(pair)
    score: dict[str, Any] = {}
    shown = []
    for kind, every in sorted(by_kind.items()):
        pairs = _some(every, limit // 3)
        candidates = list(read_structure(split).pictures)
        right = torch.tensor(
            [[picture.key == pair.change.target.key for picture in candidates] for pair in pairs]
        )
        other_vendor = torch.tensor(
            [
                [picture.vendor != pair.change.target.vendor for picture in candidates]
                for pair in pairs
            ]
        )
        answers = speaker.ask(
            [[_user(speaker.codes(pair.change.source), pair.instruction)] for pair in pairs],
            image="required",
        )
        _, drawn, similarity = _score_drawn(speaker, scorer, answers, candidates, right)
        places = {picture.key: place for place, picture in enumerate(candidates)}
        nearer = [
            bool(row[places[pair.change.target.key]] > row[places[pair.change.source.key]])
            for row, pair in zip(similarity, pairs, strict=True)
        ]
        ranks = right_ranks(similarity.masked_fill(other_vendor, -2.0), right)
        own = [(speaker.codes(pair.change.target),) for pair in pairs]
        _, _, of_own = _score_drawn(speaker, scorer, own, candidates, right)
        same_vendor = (~other_vendor).sum(1).double()
        score[kind] = top_shares(ranks) | {
            "nearer_to_target_than_to_source": round(100 * sum(nearer) / len(nearer), 1),
            "own_codes": top_shares(right_ranks(of_own.masked_fill(other_vendor, -2.0), right)),
            "num": len(pairs),
            "chance": {
                f"top{top}": round(100 * float((top / same_vendor).clamp(max=1).mean()), 2)
                for top in (1, 5)
            }
            | {"nearer_to_target_than_to_source": 50.0},
        }
        shown += [
            (pair.instruction, open_image(pair.change.source.image), picture)
            for pair, picture in list(zip(pairs, drawn, strict=True))[:3]
            if picture is not None
        ]
    return score, shown


def _draw_then_edit(
    speaker: Asker, scorer: ClipJudge, split: str, limit: int
) -> tuple[dict[str, Any], list]:
    """Two turns: an emoji is asked for by words, then a change of what was drawn; right is any
    vendor's picture of the changed emoji.
    """
    styles_apart = [
        pair
        for pair in edit_pairs(split)
        if pair.change.kind != "style" and not pair.change.source.skin_tones
    ]
    seen: set[tuple[str, str]] = set()
    unique = []
    for pair in styles_apart:
        key = (pair.change.source.hexcode, pair.change.target.hexcode)
        if key not in seen:
            seen.add(key)
            unique.append(pair)
    pairs = _some(unique, limit)
    if not pairs:
        return {"num": 0}, []
    request = {one.picture.hexcode: one.request for one in drawing_requests(split)}
    first = [[_user(request[pair.change.source.hexcode])] for pair in pairs]
    answers = speaker.ask(first, image="required")
    second = [
        [*messages, Message("assistant", tuple(answer)), _user(pair.instruction)]
        for messages, answer, pair in zip(first, answers, pairs, strict=True)
    ]
    changed = speaker.ask(second, image="required")
    candidates = list(read_structure(split).pictures)
    right = torch.tensor(
        [
            [picture.hexcode == pair.change.target.hexcode for picture in candidates]
            for pair in pairs
        ]
    )
    score, drawn, _ = _score_drawn(speaker, scorer, changed, candidates, right)
    before = speaker.paint(
        [codes for codes in (first_image(answer) for answer in answers) if codes is not None]
    )
    shown = [
        (f"{request[pair.change.source.hexcode]} {pair.instruction}", earlier, picture)
        for pair, earlier, picture in zip(pairs, before, drawn, strict=True)
        if picture is not None
    ]
    return score, shown


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        description="Ask seed-nano to describe, draw and change held-out emoji, and score it."
    )
    parser.add_argument(
        "--model", default="seed-nano", help="language model, as `seed chat --model` takes it"
    )
    parser.add_argument(
        "--tokenizer",
        default="seed-nano",
        help="visual tokenizer, as `seed tokenize --model` takes it",
    )
    parser.add_argument(
        "--judge", default=str(BUNDLED_NANO / "judge"), help="open_clip model that scores pictures"
    )
    parser.add_argument("--splits", nargs="+", default=["vendor", "unseen"], choices=SPLITS)
    parser.add_argument("--limit", type=int, default=150, help="requests of each task and split")
    parser.add_argument("--seed", type=int, default=0, help="of sampling and of the start noise")
    parser.add_argument("--temperature", type=float, default=0.0, help="0: the likeliest token")
    parser.add_argument("--top-p", type=float, default=1.0)
    parser.add_argument(
        "--beams", type=int, default=4, help="of beam search, as the official evaluation draws"
    )
    parser.add_argument("--grid", type=Path, help="where to write the grid of pictures")
    arguments = parser.parse_args()
    found = run(
        arguments.model,
        tokenizer=arguments.tokenizer,
        judge=arguments.judge,
        splits=arguments.splits,
        limit=arguments.limit,
        seed=arguments.seed,
        settings=SamplingSettings(
            temperature=arguments.temperature,
            top_p=arguments.top_p,
            num_beams=arguments.beams,
            max_new_tokens=MAX_NEW_TOKENS,
        ),
        grid=arguments.grid,
        note=lambda text: sys.stderr.write(text + "\n"),
    )
    json.dump(found, sys.stdout)
