"""`--page FILE` of the benchmarks: what was measured, and the first samples with their pictures, in
one HTML file for people.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from html import escape
from itertools import islice
from pathlib import Path
from typing import Any

from seedcli.benchmarks.image_refs import ImageRef
from seedcli.benchmarks.metric_words import metric_words
from seedcli.data.images.images import ImageError, open_image
from seedcli.data.images.page import (
    SheetSample,
    heading,
    sheet,
    table,
    wide_picture,
    write_page,
)

PAGE_SAMPLES = 60  # of the page; the run's folder holds all of them
MOST_FRAMES = 4  # of a video


def write_result_page(
    page: Path | None, result: Mapping[str, Any], samples: Iterable[SheetSample], *, number: int
) -> None:
    """An envelope and its samples -> the page.

    Args:
        page: The file; None: there is to be none.
        result: What the benchmark gives; of `plots` and `strip`, PNG files are shown.
        samples: In their order; only the first `PAGE_SAMPLES` are taken.
        number: How many there are.
    """
    if page is None:
        return
    shown = list(islice(samples, PAGE_SAMPLES))
    counts = ", ".join(
        f"{value:,} {name.removeprefix('num_').replace('_', ' ')}"
        for name, value in result.items()
        if name.startswith("num_")
    )
    facts = [
        f"{result['dataset']} {result['split']}: {counts}",
        f"{result['model']} ({result['fingerprint'] or 'without fingerprint'})",
    ]
    if result.get("published_split") is False:
        facts.append("not the published split: do not compare with published numbers")
    chance = result.get("chance", {})
    rows = [
        [
            metric_words(name),
            _figure(value),
            " to ".join(map(_figure, result["intervals"].get(name) or ())),
            _figure(chance[name]) if name in chance else "",
        ]
        for name, value in result["metrics"].items()
    ]
    parts = [
        (f"{part}: {metric_words(name)}", _figure(value))
        for kind in ("subsets", "kinds")
        for part, found in result.get(kind, {}).items()
        for name, value in found["metrics"].items()
    ]
    drawn = [Path(file) for file in (*result.get("plots", ()), result.get("strip", ""))]
    plots = [wide_picture(file, file.stem) for file in drawn if file.suffix == ".png"]
    settings = [[name, _short(value)] for name, value in result["settings"].items()]
    write_page(
        page,
        f"Benchmark {result['benchmark']}",
        facts,
        [
            table(["metric", "value", "95 % interval", "chance"], rows),
            *([heading("Parts"), table(["part", "value"], parts)] if parts else []),
            *plots,
            *(
                [
                    heading("Samples", f"The first {len(shown)} of {number:,}."),
                    sheet(shown, width_rem=9),
                ]
                if shown
                else []
            ),
            heading("Settings"),
            table(["setting", "value"], settings),
        ],
    )


def sample_pictures(pictures: Sequence[ImageRef]) -> dict[str, Any]:
    """Pictures of a sample -> as a page takes them, by their names; None for one that cannot be
    read, and of many only some, spread over all.
    """
    step = -(-len(pictures) // MOST_FRAMES)
    return {Path(each.name).name: _read(each) for each in pictures[:: max(step, 1)]}


def answer_html(right: bool | None, said: Sequence[tuple[str, str]]) -> str:
    """Who said what, a line each, and whether it was right, as HTML."""
    lines = "".join(
        f"<p class='caption'><strong>{escape(who)}</strong> {escape(words)}</p>"
        for who, words in said
    )
    mark = "" if right is None else f"<p class='scores'>{'right' if right else 'wrong'}</p>"
    return lines + mark


def _read(picture: ImageRef) -> Any:
    try:
        source = picture.read()
        return open_image(Path(source) if isinstance(source, str) else source)
    except ImageError:
        return None


def _figure(value: float | None) -> str:
    return "none" if value is None else f"{value:.2f}"


def _short(value: Any) -> str:
    text = str(value)
    return text if len(text) <= 300 else text[:300] + " ..."
