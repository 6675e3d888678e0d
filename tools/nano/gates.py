"""What the second seed-nano had to reach: the gates, one model's results beside another's.

    python -m tools.nano.gates BEFORE AFTER

Both are folders as `make nano-tables` fills (`NANO_RESULTS`), measured under one judge. Prints a
Markdown table with 95 % intervals: those of the results where they have some (bootstrap), else
Wilson's for a share of the requests. The autoencoder's own reconstruction, which no code can pass,
is measured here, by the judge of the package, on the pictures of `seed eval clip-similarity`.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torchvision.transforms.functional import to_pil_image

from seedcli.benchmarks.retrieval_sets import load_retrieval_set
from seedcli.console import Reporter
from seedcli.data.images.augmentation import read_squares
from seedcli.data.images.images import open_image
from seedcli.errors import DataError
from seedcli.models.drawing.judge import load_judge
from seedcli.models.drawing.unclip_parts import decode_latents, encode_latents, load_autoencoder
from seedcli.models.weights.locate import BUNDLED_NANO
from seedcli.workflows.evaluate.paper import read_results
from seedcli.workflows.evaluate.pictures import caption_pairs
from seedcli.workflows.evaluate.scorecard_page import markdown_row
from tools.nano.tables import LANGUAGE_REPORT, MISSING

_BATCH = 64
_Z = 1.959964  # of a normal distribution, 95 % two-sided


@dataclass(frozen=True)
class Figure:
    """A measured share or similarity, and its interval where there is one."""

    value: float
    ends: tuple[float, float] | None = None

    def __str__(self) -> str:
        return f"{self.value:.1f}" + (
            f" ({self.ends[0]:.1f} to {self.ends[1]:.1f})" if self.ends else ""
        )


@dataclass(frozen=True)
class Gate:
    """A figure that had to be reached, and how it is read from results and language report."""

    name: str
    goal: float
    read: Callable[[Sequence[Mapping[str, Any]], Mapping[str, Any]], Figure | None]


def wilson(percent: float, count: int) -> tuple[float, float]:
    """Percent of `count` trials -> its 95 % interval in percent.

    Source: Wilson 1927, without continuity correction.
    """
    share, slack = percent / 100, _Z * _Z / count
    middle = share + slack / 2
    spread = _Z * math.sqrt((share * (1 - share) + slack / 4) / count)
    return 100 * (middle - spread) / (1 + slack), 100 * (middle + spread) / (1 + slack)


def _benchmark(metric: str, **wanted: str) -> Callable[..., Figure | None]:
    def read(results: Sequence[Mapping[str, Any]], report: Mapping[str, Any]) -> Figure | None:
        for result in results:
            facts = {**result.get("settings", {}), **result}
            if all(facts.get(name) == value for name, value in wanted.items()):
                value = result["metrics"].get(metric)
                ends = (result.get("intervals") or {}).get(metric)
                return None if value is None else Figure(value, ends and (ends[0], ends[1]))
        return None

    return read


def _reported(task: str, top: str, kind: str | None = None) -> Callable[..., Figure | None]:
    """A share of the language report, on known emoji in drawings never seen."""

    def read(results: Sequence[Mapping[str, Any]], report: Mapping[str, Any]) -> Figure | None:
        score = report.get("scores", {}).get("vendor", {}).get(task, {})
        score = score.get(kind, {}) if kind else score
        return Figure(score[top], wilson(score[top], score["num"])) if top in score else None

    return read


def _valid(results: Sequence[Mapping[str, Any]], report: Mapping[str, Any]) -> Figure | None:
    return Figure(report["valid_answers"]) if "valid_answers" in report else None


def _drawn(split: str) -> Callable[..., Figure | None]:
    return _benchmark("clip_i", benchmark="clip-similarity", task="image", split=split)


def _r_at_10(split: str) -> Callable[..., Figure | None]:
    return _benchmark("i2t_r10", benchmark="retrieval", feature="codes", split=split)


WAYS = {"unseen": 50.0, "vendor": 60.0}  # percent from the model before to the reconstruction
GATES = (
    Gate("drawn from words, known emoji: nearest is right, top 1", 65, _reported("draw", "top1")),
    Gate("drawn from words, known emoji: nearest is right, top 5", 90, _reported("draw", "top5")),
    Gate(
        "its right name is the likeliest, drawing never seen",
        70,
        _benchmark("name_top1", benchmark="caption", split="vendor"),
    ),
    Gate("description nearest to the right name", 60, _reported("describe", "top1")),
    Gate("skin tone changed as told", 50, _reported("edit", "top1", "skin tone")),
    Gate("gender changed as told", 50, _reported("edit", "top1", "gender")),
    Gate("picture -> caption R@10, codes, unseen", 45, _r_at_10("unseen")),
    Gate("picture -> caption R@10, codes, vendor", 90, _r_at_10("vendor")),
    Gate("answers under the grammar with exactly 32 codes", 100, _valid),
)


@torch.no_grad()
def measure_reconstruction(split: str, *, judge: str, autoencoder: Path) -> float:
    """Pictures of a split -> latents -> pictures: mean similarity to the originals, x100."""
    pairs = caption_pairs(load_retrieval_set("emoji", split=split)).values()
    images = [pair.image.read() for pair in pairs]
    network, measure = load_autoencoder(autoencoder), load_judge(judge)
    squares = read_squares(images, network.config.sample_size)
    drawn = [
        to_pil_image(picture)
        for part in squares.split(_BATCH)
        for picture in decode_latents(
            network,
            encode_latents(network, part.float() / 127.5 - 1) * network.config.scaling_factor,
        )
    ]
    originals = measure.image_features([open_image(one) for one in images])
    return float(100 * (originals * measure.image_features(drawn)).sum(1).mean())


def table_of(
    before: tuple[Sequence[Mapping[str, Any]], Mapping[str, Any]],
    after: tuple[Sequence[Mapping[str, Any]], Mapping[str, Any]],
    reconstruction: Mapping[str, float],
) -> Iterator[str]:
    """Results and language reports of two models, and the autoencoder's similarity by split ->
    lines of the table.
    """
    yield markdown_row(["figure", "before", "after", "goal", "reached"])
    yield markdown_row(["---"] * 5)
    for split, goal in WAYS.items():
        old, new = (_drawn(split)(*each) for each in (before, after))
        way = None
        if old is not None and new is not None:
            room = reconstruction[split] - old.value
            ends = new.ends and tuple(100 * (end - old.value) / room for end in new.ends)
            way = Figure(100 * (new.value - old.value) / room, ends)
        yield _row(
            f"picture from codes, similarity, {split} (reconstruction {reconstruction[split]:.1f})",
            old,
            new,
            None,
        )
        yield _row(f"of the way to the reconstruction, {split}, %", Figure(0.0), way, goal)
    for gate in GATES:
        yield _row(gate.name, gate.read(*before), gate.read(*after), gate.goal)


def _row(name: str, old: Figure | None, new: Figure | None, goal: float | None) -> str:
    reached = "" if goal is None or new is None else "yes" if new.value >= goal else "no"
    cells = [MISSING if each is None else str(each) for each in (old, new)]
    return markdown_row([name, *cells, "" if goal is None else f"{goal:g}", reached])


def read_folder(
    folder: Path, reporter: Reporter
) -> tuple[Sequence[Mapping[str, Any]], Mapping[str, Any]]:
    """Folder of results -> those on emoji, and the language report; empty where it is missing.

    Raises:
        DataError: There is no such folder.
    """
    if not folder.is_dir():
        raise DataError(f"no folder at {folder}", remedy="make nano-tables NANO_RESULTS=FOLDER")
    report = folder / LANGUAGE_REPORT
    found = [one for one in read_results(folder, reporter) if one["dataset"] == "emoji"]
    return found, json.loads(report.read_text(encoding="utf-8")) if report.is_file() else {}


def main() -> int:
    """Command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("before", type=Path, help="results of the model before")
    parser.add_argument("after", type=Path, help="results of the model after")
    given = parser.parse_args()
    try:
        before, after = (read_folder(one, Reporter()) for one in (given.before, given.after))
    except DataError as error:
        sys.stderr.write(f"error: {error}\n  -> {error.remedy}\n")
        return error.exit_code
    judge, autoencoder = str(BUNDLED_NANO / "judge"), BUNDLED_NANO / "decoder" / "vae"
    reconstruction = {
        split: measure_reconstruction(split, judge=judge, autoencoder=autoencoder) for split in WAYS
    }
    sys.stdout.write("\n".join(table_of(before, after, reconstruction)) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
