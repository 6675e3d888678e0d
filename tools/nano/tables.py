"""What the README says of seed-nano, as one Markdown table of what was measured:
`python -m tools.nano.tables runs/eval/nano`.

Reads results of `seed eval` (those that `seed eval paper --model seed-nano --run` makes) and, where
they are there, `nano-report.json` and `nano-llm-report.json`, what the two reports print. A figure
that is not there is left out, and the command that measures it is named on stderr. Numbers in
brackets are 95 % bootstrap intervals.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from seedcli.benchmarks.paper_numbers import Measurement, read_paper_numbers
from seedcli.benchmarks.scorecard import NANO, belongs, models_of
from seedcli.console import Reporter
from seedcli.errors import DataError
from seedcli.workflows.evaluate.paper import read_results
from seedcli.workflows.evaluate.scorecard_page import markdown_row

SPLITS = ("unseen", "vendor")
PICTURE_REPORT, LANGUAGE_REPORT = "nano-report.json", "nano-llm-report.json"
MISSING = "-"

# Benchmark, what tells its measurements apart, figure -> what the table calls it; in
# the order of the table.
FIGURES = {
    ("retrieval", "causal", "i2t_r10"): "picture -> caption, R@10, causal embeddings",
    ("retrieval", "causal", "t2i_r10"): "caption -> picture, R@10, causal embeddings",
    ("retrieval", "codes", "i2t_r10"): "picture -> caption, R@10, codes",
    ("retrieval", "codes", "t2i_r10"): "caption -> picture, R@10, codes",
    ("clip-similarity", "image", "clip_i"): "picture from codes, similarity to the original (x100)",
    (
        "clip-similarity",
        "image",
        "ceiling_clip_i",
    ): "the same from the true target embedding, a ceiling for codes",
    ("ablation", "prefix", "causal_mean_8"): "the same from the first 8 codes",
    ("ablation", "prefix", "causal_mean_16"): "the same from the first 16 codes",
    (
        "clip-similarity",
        "text",
        "clip_i",
    ): "picture from a caption, similarity to the true one (x100)",
    (
        "clip-similarity",
        "text",
        "clip_t",
    ): "picture from a caption, similarity to the caption (x100)",
    ("caption", "", "cider"): "description of a picture, CIDEr",
    ("caption", "", "name_top1"): "its right name is the likeliest of the split, %",
    ("caption", "", "name_top5"): "its right name is among the 5 likeliest, %",
    ("vqa", "", "accuracy"): "questions about a picture, right answers, %",
}

_EDIT_FIGURES = {
    "top1": "nearest to the right one",
    "top5": "the right one is among the 5 nearest",
    "nearer_to_target_than_to_source": "nearer to the right one than to the old one",
}
_CEILING = "the same ({}) of pictures from the right one's own codes, a ceiling, %"
_FEWEST = 20  # requests of a kind that say anything


@dataclass(frozen=True)
class _Cell:
    """A figure: its text, and what chance reaches."""

    text: str
    chance: float | None = None


def run(results: Path, *, reporter: Reporter | None = None) -> str:
    """Folder of results -> the table, as Markdown.

    Raises:
        DataError: There is no such folder, a report is damaged, or nothing of
            seed-nano was measured.
    """
    reporter = reporter or Reporter()
    if not results.is_dir():
        raise DataError(
            f"no folder at {results}", remedy="make nano-tables measures into runs/eval/nano"
        )
    own = read_paper_numbers().own
    found = [
        result
        for result in read_results(results, reporter)
        if NANO in models_of(result) and result["dataset"] == "emoji"
    ]
    rows: list[tuple[str, Mapping[str, _Cell]]] = []
    commands: dict[str, None] = {}
    for (benchmark, kind, metric), label in FIGURES.items():
        cells = {}
        for measurement in (
            each
            for each in own
            if each.protocol.benchmark == benchmark and kind in ("", *each.match.values())
        ):
            result = _result_of(measurement, found)
            if result is None:
                commands[measurement.command(NANO)] = None
            elif result["metrics"].get(metric) is not None:
                cells[measurement.split] = _cell(result, metric)
        rows.append((label, cells))
    for command in commands:
        reporter.note(f"not measured: {command}")
    rows += _read_report(results / PICTURE_REPORT, _picture_rows, reporter)
    rows += _read_report(results / LANGUAGE_REPORT, _language_rows, reporter)
    rows = [(label, cells) for label, cells in rows if cells]
    if not rows:
        raise DataError(
            f"{results} holds no result of {NANO} on emoji",
            remedy=f"seed eval paper --model {NANO} --results {results} --run",
        )
    return "\n".join(_table(rows, found))


def _result_of(
    measurement: Measurement, found: Sequence[Mapping[str, Any]]
) -> Mapping[str, Any] | None:
    return next(
        (
            result
            for result in found
            if belongs(measurement, result) and result["split"] == measurement.split
        ),
        None,
    )


def _cell(result: Mapping[str, Any], metric: str) -> _Cell:
    value, ends = result["metrics"][metric], (result.get("intervals") or {}).get(metric)
    blind = (result.get("chance") or {}).get(metric, (result.get("majority") or {}).get(metric))
    return _Cell(f"{value:.1f}" + (f" ({ends[0]:.1f} to {ends[1]:.1f})" if ends else ""), blind)


Rows = Iterator[tuple[str, Mapping[str, _Cell]]]


def _read_report(
    path: Path, read: Callable[[Mapping[str, Any]], Rows], reporter: Reporter
) -> list[tuple[str, Mapping[str, _Cell]]]:
    if not path.is_file():
        reporter.note(f"not measured: there is no {path}; make nano-tables writes it")
        return []
    try:
        return list(read(json.loads(path.read_text(encoding="utf-8"))))
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise DataError(
            f"{path} is no such report ({type(error).__name__}: {error})",
            remedy="remove it, and make nano-tables",
        ) from None


def _picture_rows(report: Mapping[str, Any]) -> Rows:
    """What `nano_report` printed."""
    names = {
        "codes": "picture from codes: its nearest original is its own, top 1, %",
        "true_embedding": "the same from the true embedding",
    }
    for name, label in names.items():
        yield (
            label,
            {
                report["split"]: _Cell(
                    f"{report['nearest_is_right'][name]['top1']:.1f}", report["chance_top1"]
                )
            },
        )
    yield (
        "codes of the codebook in use, %",
        {report["split"]: _Cell(f"{report['codebook_usage']:.1f}")},
    )


def _language_rows(report: Mapping[str, Any]) -> Rows:
    """What `nano_llm_report` printed: every task of every split, kinds of a task
    on lines of their own.
    """
    tasks: dict[str, dict[str, _Cell]] = {}
    labels = {
        "describe": "description is nearest to the right name",
        "draw": "drawn picture is nearest to what was asked for",
    }
    labels |= {"draw_then_edit": "drawn, then changed: nearest to what was asked for"}
    for split, scores in report["scores"].items():
        for task, label in labels.items():
            score = scores.get(task, {})
            for top in (top for top in ("top1", "top5") if top in score):
                tasks.setdefault(f"{label}, {top.replace('top', 'top ')}, %", {})[split] = _Cell(
                    f"{score[top]:.1f}", score["chance"][top]
                )
                if top == "top1" and "own_codes" in score:
                    tasks.setdefault(_CEILING.format(task), {})[split] = _own_codes(score)
        for kind, score in (
            (kind, score)
            for kind, score in scores.get("edit", {}).items()
            if score["num"] >= _FEWEST
        ):
            for figure, place in _EDIT_FIGURES.items():
                cell = _Cell(f"{score[figure]:.1f}", score["chance"][figure])
                tasks.setdefault(f"picture changed as told ({kind}): {place}, %", {})[split] = cell
                if figure == "top1" and "own_codes" in score:
                    tasks.setdefault(_CEILING.format(kind), {})[split] = _own_codes(score)
    yield from tasks.items()
    for figure, name in (
        ("valid_answers", "answers whose pictures all hold exactly 32 codes"),
        ("ended_answers", "answers that end within 80 tokens"),
    ):
        yield f"{name}, %", {split: _Cell(f"{report[figure]:.1f}") for split in report["scores"]}


def _own_codes(score: Mapping[str, Any]) -> _Cell:
    return _Cell(f"{score['own_codes']['top1']:.1f}")


def _table(
    rows: Sequence[tuple[str, Mapping[str, _Cell]]], found: Sequence[Mapping[str, Any]]
) -> Iterator[str]:
    sizes = {
        result["split"]: result["num_images"]
        for result in found
        if result["benchmark"] == "retrieval"
    }
    heads = {
        "unseen": "emoji never seen (`unseen`{})",
        "vendor": "known emoji in a drawing never seen (`vendor`{})",
    }
    titles = [
        heads[split].format(f", {sizes[split]}" if split in sizes else "") for split in SPLITS
    ]
    yield markdown_row(["", *titles, "chance, or without a look"])
    yield markdown_row(["---"] * (len(SPLITS) + 2))
    for label, cells in rows:
        chances = [
            f"{cells[split].chance:.1f}"
            for split in SPLITS
            if split in cells and cells[split].chance is not None
        ]
        yield markdown_row(
            [
                label,
                *(cells[split].text if split in cells else MISSING for split in SPLITS),
                " / ".join(chances),
            ]
        )


class _Stderr(Reporter):
    def note(self, text: str) -> None:
        sys.stderr.write(text + "\n")

    warn = note


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        description="One Markdown table of what was measured of seed-nano."
    )
    parser.add_argument(
        "results", type=Path, nargs="?", default=Path("runs/eval/nano"), help="folder of results"
    )
    try:
        sys.stdout.write(run(parser.parse_args().results, reporter=_Stderr()) + "\n")
    except DataError as error:
        sys.stderr.write(f"error: {error}\n  -> {error.remedy}\n")
        sys.exit(error.exit_code)
