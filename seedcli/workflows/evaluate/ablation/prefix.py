"""`seed eval ablation --prefix`: how much of a picture its first K codes hold, causal
and, beside it, bilateral.

The picture is tokenized, its codes after the K-th are filled in, and it is drawn: with the
mean code vector of each position, or as the language model continues. A judge says how alike
it is to the original.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch
from PIL import Image

from seedcli.benchmarks.ablation import mean_curve, paired_differences
from seedcli.benchmarks.retrieval_sets import RetrievalSet
from seedcli.console import Reporter
from seedcli.data.documents.documents import Codes
from seedcli.data.images.facts import save_picture
from seedcli.data.images.images import open_image
from seedcli.errors import UsageError
from seedcli.models.weights.locate import DEFAULT_MODEL
from seedcli.workflows.detokenize.fill import (
    complete_codes,
    embed_prefixes,
    mean_code_vectors,
)
from seedcli.workflows.detokenize.request import Fill
from seedcli.workflows.evaluate.ablation.frame import (
    MADE_BY,
    Ablation,
    Judgement,
    open_ablation,
)
from seedcli.workflows.evaluate.ablation.plots import write_curves, write_strip
from seedcli.workflows.evaluate.ablation.request import AblationRequest
from seedcli.workflows.evaluate.ablation.sides import Side, check_twins
from seedcli.workflows.evaluate.pictures import PICTURES, Pair, read_picture
from seedcli.workflows.evaluate.samples import sample_seed

LENGTHS = (1, 2, 4, 8, 16, 24, 32)
STRIP_PICTURES = 6


class _Asked(NamedTuple):
    """One picture to draw from its first codes."""

    seed: int
    picture: str
    pair: Pair
    kept: int
    fill: Fill


def run_prefix(request: AblationRequest, found: RetrievalSet, reporter: Reporter) -> dict[str, Any]:
    """Pictures from the first K codes -> their similarity to the original for each K.

    Returns:
        The envelope of every benchmark. `metrics`: `SIDE_FILL_K`, mean similarity x100;
        `SIDE_all`, of all codes; `difference_FILL_K`, causal minus bilateral; `chance`, of
        pictures that do not belong together. `curves` has the same by side and fill, with
        `lengths`; `plots` and `strip` are files.

    Raises:
        UsageError: K out of range, or a tokenizer with another mask than said.
        DataError: No twins, or data or weights are missing or refused.
        Interrupted: Ctrl-C; what is drawn is kept.
    """
    causal, seeds = request.causal or DEFAULT_MODEL, request.all_seeds
    how: dict[str, Any] = {"speaks": False, "reporter": reporter}
    first = Side("causal", causal, request, **how)
    sides = [first]
    if request.bilateral is not None:
        sides.append(Side("bilateral", request.bilateral, request, like=first, **how))
        check_twins(first, sides[1], reporter)
    elif (mask := first.pictures.config.qformer.mask) != "causal":
        raise UsageError(
            f"--causal {causal}: its tokenizer is {mask}",
            remedy="--causal takes the causal model, --bilateral its twin",
        )
    num_queries = first.pictures.num_queries
    lengths = _check_lengths(
        range(1, num_queries + 1) if request.every else request.lengths, num_queries
    )
    for side in sides:
        if not side.pictures.facts.trained.get("trained_with_prefixes"):
            reporter.warn(
                f"{side.pictures.name} was not trained on prefixes of its codes: they show less "
                "than they could"
            )
    with open_ablation("prefix", sides, request, found, reporter=reporter) as run:
        asked: dict[str, dict[str, _Asked]] = {}
        drawn: dict[str, Path] = {}
        for side in run.sides():
            asked[side.name] = _ask(side, run.pairs, seeds, lengths, num_queries)
            painter = _Painter(side, run.folder, reporter)
            lines = run.answer(asked[side.name], painter, f"{side.name} pictures")
            drawn |= {line["key"]: run.folder / line["picture"] for line in lines}
        truths = {key: each.pair.image for side in asked.values() for key, each in side.items()}
        judgement = run.judge(drawn, truths)
        scores = _scores(asked, judgement.similarity)
        curves = _curves(scores, lengths)
        plots = write_curves(
            run.folder / "prefixes",
            title=f"{run.title}: pictures from the first K codes",
            x="K",
            y="similarity to the original, x100",
            curves={
                f"{side}, {fill}": (lengths, curve)
                for side, fills in curves.items()
                for fill, curve in fills.items()
            },
        )
        strip = _write_strip(run, asked, drawn, lengths, seeds[0])
        return run.finish(
            _named(scores, num_queries),
            counts={"num_pictures": len(drawn)},
            chance=_chance(asked, judgement, seeds[0], num_queries),
            lengths=list(lengths),
            curves=curves,
            plots=[str(path) for path in plots],
            strip=str(strip),
        )


def _check_lengths(lengths: Sequence[int] | None, num_queries: int) -> list[int]:
    wanted = sorted(
        {*(length for length in LENGTHS if length < num_queries), num_queries}
        if lengths is None
        else set(lengths)
    )
    wrong = [length for length in wanted if not 1 <= length <= num_queries]
    if wrong or not wanted:
        raise UsageError(
            f"--lengths {wrong[0] if wrong else 'is empty'}: an image has {num_queries} codes",
            remedy="--lengths 1,8,32",
        )
    return wanted


def _ask(
    side: Side,
    pairs: Mapping[str, Pair],
    seeds: Sequence[int],
    lengths: Sequence[int],
    num_queries: int,
) -> dict[str, _Asked]:
    """What a side draws, by key; all codes are drawn once, since there is nothing to fill."""
    fills: tuple[Fill, ...] = ("mean", "llm") if side.speaks else ("mean",)
    return {
        f"{side.name}-{fill}-{kept:02d}-s{seed}-{picture}": _Asked(seed, picture, pair, kept, fill)
        for kept in lengths
        for fill in (fills if kept < num_queries else fills[:1])
        for seed in seeds
        for picture, pair in pairs.items()
    }


class _Painter:
    """Pictures -> the same from their first codes, as files."""

    def __init__(self, side: Side, folder: Path, reporter: Reporter):
        self.side, self.folder, self._reporter = side, folder, reporter
        self._codes: dict[str, Codes] = {}
        self._mean: torch.Tensor | None = None

    def __call__(self, batch: Mapping[str, _Asked]) -> list[dict[str, Any]]:
        pictures = self.side.pictures
        new = {
            each.picture: each.pair.image
            for each in batch.values()
            if each.picture not in self._codes
        }
        if new:
            self._codes |= dict(zip(new, pictures.read(list(new.values())), strict=True))
        rows = list(batch.values())
        seeds = [sample_seed(each.seed, each.picture) for each in rows]
        codes, embeddings = [], []
        for (kept, fill), group in itertools.groupby(
            zip(rows, seeds, strict=True), key=lambda one: (one[0].kept, one[0].fill)
        ):
            members = list(group)
            completed = [self._codes[each.picture] for each, _ in members]
            if fill == "llm":  # codes after the K-th are the language model's
                own = [seed for _, seed in members]
                completed = complete_codes(self.side.speaker.llm, completed, kept, seeds=own)
            codes += completed
            embeddings.append(self._embed(completed, kept, fill))
        lines = []
        images = pictures.draw(
            torch.cat(embeddings), seeds, steps=pictures.steps, guidance=pictures.guidance
        )
        for key, each, seed, drawn, image in zip(batch, rows, seeds, codes, images, strict=True):
            path = f"{PICTURES}/{key}.png"
            facts = pictures.picture_facts(drawn, seed)
            facts |= {"codes_only": each.kept, "fill": each.fill}
            save_picture(image, self.folder / path, facts, made_by=MADE_BY)
            lines.append({"codes": list(drawn), "picture": path})
        return lines

    def _embed(self, codes: list[Codes], kept: int, fill: Fill) -> torch.Tensor:
        tokenizer = self.side.pictures
        if fill == "llm" or kept >= tokenizer.num_queries:
            return tokenizer.generation_embeddings(codes)
        if self._mean is None:
            self._mean = mean_code_vectors(tokenizer.model, self._reporter)
        rows = torch.tensor(codes, device=tokenizer.device)
        return embed_prefixes(tokenizer.model, rows, kept, self._mean)


Scores = dict[tuple[str, Fill, int], dict[tuple[int, str], float]]


def _scores(asked: Mapping[str, Mapping[str, _Asked]], similarity: Mapping[str, float]) -> Scores:
    """Similarities by (side, fill, K), each by (seed, picture)."""
    scores: Scores = {}
    for side, rows in asked.items():
        for key, each in rows.items():
            scores.setdefault((side, each.fill, each.kept), {})[each.seed, each.picture] = (
                similarity[key]
            )
    return scores


def _named(scores: Scores, num_queries: int) -> dict[str, dict[tuple[int, str], float]]:
    """The same by metric, and the differences of the sides."""
    named = {
        _metric(side, fill, kept, num_queries): each for (side, fill, kept), each in scores.items()
    }
    for (side, fill, kept), each in scores.items():
        other = scores.get(("bilateral", fill, kept))
        if side == "causal" and other is not None:
            values, samples = paired_differences(each, other)
            named[_metric("difference", fill, kept, num_queries)] = dict(
                zip(samples, values, strict=True)
            )
    return named


def _metric(side: str, fill: Fill, kept: int, num_queries: int) -> str:
    return f"{side}_all" if kept == num_queries else f"{side}_{fill}_{kept}"


def _chance(
    asked: Mapping[str, Mapping[str, _Asked]], judgement: Judgement, seed: int, num_queries: int
) -> dict[str, float | None]:
    """The level of each metric for pictures that do not belong together, with one seed."""
    keys: dict[str, list[str]] = {}
    for side, rows in asked.items():
        for key, each in rows.items():
            if each.seed == seed:
                keys.setdefault(_metric(side, each.fill, each.kept, num_queries), []).append(key)
    return {name: judgement.chance(of) for name, of in keys.items()}


def _curves(scores: Scores, lengths: Sequence[int]) -> dict[str, dict[str, Any]]:
    """Side -> fill -> curve over K, of each picture's mean over the seeds; both fills end at
    the picture of all codes.
    """
    found: dict[str, dict[str, Any]] = {}
    for side, fill in dict.fromkeys((side, fill) for side, fill, _ in scores):
        rows: dict[str, list[list[float]]] = {}
        for place, kept in enumerate(lengths):
            for (_, picture), value in (
                scores.get((side, fill, kept)) or scores[side, "mean", kept]
            ).items():
                rows.setdefault(picture, [[] for _ in lengths])[place].append(value)
        found.setdefault(side, {})[fill] = mean_curve(
            [[sum(cell) / len(cell) for cell in row] for row in rows.values()]
        )
    return found


def _write_strip(
    run: Ablation,
    asked: Mapping[str, Mapping[str, _Asked]],
    drawn: Mapping[str, Path],
    lengths: Sequence[int],
    seed: int,
) -> Path:
    """Some pictures, evenly from the set: the original, then what each K shows, one row
    for each side and fill.
    """
    rows: list[tuple[str, list[Image.Image | None]]] = []
    size = 64
    for picture, pair in list(run.pairs.items())[:: -(-len(run.pairs) // STRIP_PICTURES)]:
        original = read_picture(pair.image)
        for side, fill in dict.fromkeys(
            (side, each.fill) for side, every in asked.items() for each in every.values()
        ):
            cells = []
            for kept in lengths:
                filled = fill if kept < run.num_queries else "mean"
                cells.append(drawn.get(f"{side}-{filled}-{kept:02d}-s{seed}-{picture}"))
            images = [None if path is None else open_image(path) for path in cells]
            size = max([size, *(image.width for image in images if image is not None)])
            rows.append((f"{side}, {fill}", [original, *images]))
    path = run.folder / "prefixes-strip.png"
    write_strip(path, rows, ["original", *(str(kept) for kept in lengths)], side_px=min(size, 256))
    return path
