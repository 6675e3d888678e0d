"""A page that shows what a benchmark drew: true pictures beside drawn ones, captions and scores.
Static HTML, no script, works offline.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from html import escape
from pathlib import Path
from urllib.parse import quote

from seedcli.files import publish_text

_STYLE = """
:root { color-scheme: light dark; --line: #8884; --soft: #888; }
body { font: 14px/1.4 system-ui, sans-serif; margin: 1.5rem; }
h1 { font-size: 1.3rem; margin: 0 0 .3rem; }
.facts { color: var(--soft); margin: 0 0 1.2rem; max-width: 70rem; }
.sheet { display: grid; grid-template-columns: repeat(auto-fill, minmax(calc(var(--pictures) * 10.5rem + 1.5rem), 1fr)); gap: 1rem; }
.sample { border: 1px solid var(--line); border-radius: .5rem; padding: .6rem; margin: 0; overflow-wrap: anywhere; }
.pictures { display: grid; grid-template-columns: repeat(var(--pictures), 1fr); gap: .4rem; }
.pictures figure { margin: 0; }
.pictures img, .none { width: 100%; aspect-ratio: 1; object-fit: contain; background: #fff; border-radius: .25rem; display: block; }
.none { display: grid; place-items: center; color: #a33; background: #f6eaea; }
.pictures figcaption, .scores { color: var(--soft); font-size: 12px; }
.caption { margin: .4rem 0 .2rem; }
.scores { margin: 0; font-variant-numeric: tabular-nums; }
"""  # noqa: E501


@dataclass(frozen=True, kw_only=True)
class SheetSample:
    """One sample of the page.

    Attributes:
        key: Of the sample.
        pictures: Files by what they show, e.g. `true`, `drawn`; None where there is no picture.
        caption: What was asked for.
        scores: By name.
    """

    key: str
    pictures: Mapping[str, Path | None]
    caption: str
    scores: Mapping[str, float] = field(default_factory=dict)


def write_contact_sheet(
    path: Path, title: str, facts: Sequence[str], samples: Sequence[SheetSample]
) -> None:
    """Samples -> an HTML page that refers to the pictures by their paths relative to it; it
    appears whole or not at all.
    """
    most = max((len(sample.pictures) for sample in samples), default=1)
    page = [
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">',
        '<meta name="viewport" content="width=device-width, initial-scale=1">',
        f"<title>{escape(title)}</title><style>{_STYLE}</style></head>",
        f'<body style="--pictures: {most}"><h1>{escape(title)}</h1>',
        f'<p class="facts">{"<br>".join(map(escape, facts))}</p><div class="sheet">',
        *(_sample(sample, path.parent) for sample in samples),
        "</div></body></html>\n",
    ]
    publish_text(path, "\n".join(page))


def _sample(sample: SheetSample, folder: Path) -> str:
    scores = " · ".join(f"{name} {value:.1f}" for name, value in sample.scores.items())
    return (
        f'<article class="sample" id="{escape(sample.key)}"><div class="pictures">'
        + "".join(
            _picture(name, picture, sample.caption, folder)
            for name, picture in sample.pictures.items()
        )
        + (
            f'</div><p class="caption">{escape(sample.caption)}</p><p '
            f'class="scores">{escape(sample.key)} {escape(scores)}</p></article>'
        )
    )


def _picture(name: str, picture: Path | None, caption: str, folder: Path) -> str:
    if picture is None:
        shown = '<div class="none">no picture</div>'
    else:
        address = quote(picture.relative_to(folder).as_posix())
        shown = (
            f'<a href="{address}"><img loading="lazy" src="{address}" '
            f'alt="{escape(f"{name}: {caption}")}"></a>'
        )
    return f"<figure>{shown}<figcaption>{escape(name)}</figcaption></figure>"
