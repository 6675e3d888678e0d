"""A page of pictures for people: static HTML without a script, which works offline and, where its
pictures are put into it, wherever the one file is taken.
"""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from html import escape
from io import BytesIO
from pathlib import Path
from typing import TypeAlias
from urllib.parse import quote

from PIL import Image

from seedcli.data.images.images import open_image
from seedcli.files import publish_text

# A file, its bytes, or a picture.
PagePicture: TypeAlias = Path | bytes | Image.Image

EMBEDDED_PX = 320  # longest side of a picture that is put into the page
WIDE_PX = 2400  # of a plot, or of a sheet of many pictures
_STYLE = """
:root { color-scheme: light dark; --line: #8884; --soft: light-dark(#555, #bbb); }
body { font: 14px/1.4 system-ui, sans-serif; margin: 1.5rem auto; padding: 0 1rem; max-width: 90rem; }
h1 { font-size: 1.3rem; margin: 0 0 .3rem; }
h2 { font-size: 1.1rem; margin: 1.8rem 0 .3rem; }
.facts { color: var(--soft); margin: 0 0 1.2rem; max-width: 70rem; overflow-wrap: anywhere; }
.sheet { display: grid; grid-template-columns: repeat(auto-fill, minmax(min(100%, calc(var(--pictures) * var(--width) + 1.5rem)), 1fr)); gap: 1rem; }
.sample { border: 1px solid var(--line); border-radius: .5rem; padding: .6rem; margin: 0; overflow-wrap: anywhere; }
.pictures { display: grid; grid-template-columns: repeat(var(--pictures), 1fr); gap: .4rem; }
.pictures figure { margin: 0; }
.pictures img, .none { width: 100%; aspect-ratio: 1; object-fit: contain; background: #fff; border-radius: .25rem; display: block; }
.none { display: grid; place-items: center; color: #a33; background: #f6eaea; }
.pictures figcaption, .scores { color: var(--soft); font-size: 12px; }
.caption { margin: .4rem 0 .2rem; white-space: pre-line; }
.scores { margin: 0; font-variant-numeric: tabular-nums; }
.wide { max-width: 100%; height: auto; background: #fff; border-radius: .25rem; }
.scroll { overflow-x: auto; }
table { border-collapse: collapse; }
td, th { padding: .25rem .8rem .25rem 0; text-align: left; border-bottom: 1px solid var(--line); vertical-align: top; font-variant-numeric: tabular-nums; }
.tiles { display: grid; grid-template-columns: repeat(8, minmax(0, 1fr)); gap: .2rem; margin: .5rem 0 0; padding: 0; list-style: none; }
.tiles li { border-radius: .25rem; padding: .2rem 0; text-align: center; font: 600 11px/1.2 ui-monospace, monospace; }
"""  # noqa: E501


@dataclass(frozen=True, kw_only=True)
class SheetSample:
    """One sample of a page.

    Attributes:
        key: Of the sample.
        pictures: By what they show, e.g. `true`, `drawn`; None where there is no picture.
        caption: What was asked for, or said.
        scores: By name.
        html: What stands beneath, as HTML.
    """

    key: str
    pictures: Mapping[str, PagePicture | None]
    caption: str = ""
    scores: Mapping[str, float] = field(default_factory=dict)
    html: str = ""


def write_page(path: Path, title: str, facts: Sequence[str], sections: Sequence[str]) -> None:
    """Sections of HTML -> a page; it appears whole or not at all. Title and facts are escaped."""
    page = [
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">',
        '<meta name="viewport" content="width=device-width, initial-scale=1">',
        f"<title>{escape(title)}</title><style>{_STYLE}</style></head>",
        f"<body><h1>{escape(title)}</h1>",
        f'<p class="facts">{"<br>".join(map(escape, facts))}</p>',
        *sections,
        "</body></html>\n",
    ]
    path.parent.mkdir(parents=True, exist_ok=True)
    publish_text(path, "\n".join(page))


def heading(title: str, words: str = "") -> str:
    """A heading, and a paragraph of words beneath."""
    said = f'<p class="facts">{escape(words)}</p>' if words else ""
    return f"<h2>{escape(title)}</h2>{said}"


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Cells of text -> a table."""
    lines = "".join(
        f"<tr>{''.join(f'<td>{escape(cell)}</td>' for cell in row)}</tr>" for row in rows
    )
    heads = "".join(f"<th>{escape(cell)}</th>" for cell in head)
    return (
        f'<div class="scroll"><table><thead><tr>{heads}</tr></thead><tbody>{lines}</tbody></table>'
        "</div>"
    )


def wide_picture(picture: PagePicture, words: str) -> str:
    """A plot or a sheet, at most `WIDE_PX` long, put into the page.

    Raises:
        ImageError: It is no picture.
    """
    return f'<p><img class="wide" src="{_embedded(picture, WIDE_PX)}" alt="{escape(words)}"></p>'


def sheet(
    samples: Sequence[SheetSample], *, folder: Path | None = None, width_rem: float = 10.5
) -> str:
    """Samples -> a grid of them, all that they say escaped but their `html`.

    Args:
        samples: In order.
        folder: Of the page, which then refers to the pictures by their paths relative to it;
            None puts them into the page, none of them larger than `EMBEDDED_PX`.
        width_rem: Least width of a picture on the screen.

    Raises:
        ImageError: A picture to be put into the page is none.
    """
    most = max((len(sample.pictures) for sample in samples), default=1)
    return (
        f'<div class="sheet" style="--pictures: {most}; --width: {width_rem}rem">'
        + "\n".join(_sample(sample, folder) for sample in samples)
        + "</div>"
    )


def _sample(sample: SheetSample, folder: Path | None) -> str:
    scores = " · ".join(f"{name} {value:.1f}" for name, value in sample.scores.items())
    return (
        f'<article class="sample" id="{escape(sample.key)}"><div class="pictures">'
        + "".join(
            _picture(name, picture, sample.caption, folder)
            for name, picture in sample.pictures.items()
        )
        + (f'</div><p class="caption">{escape(sample.caption)}</p>')
        + f'<p class="scores">{escape(sample.key)} {escape(scores)}</p>{sample.html}</article>'
    )


def _picture(name: str, picture: PagePicture | None, caption: str, folder: Path | None) -> str:
    if picture is None:
        shown = '<div class="none">no picture</div>'
    else:
        alt = escape(f"{name}: {caption}" if caption else name)
        if folder is None:
            shown = f'<img src="{_embedded(picture)}" alt="{alt}">'
        else:
            assert isinstance(picture, Path)
            address = quote(picture.relative_to(folder).as_posix())
            shown = f'<a href="{address}"><img loading="lazy" src="{address}" alt="{alt}"></a>'
    return f"<figure>{shown}<figcaption>{escape(name)}</figcaption></figure>"


def _embedded(picture: PagePicture, longest_px: int = EMBEDDED_PX) -> str:
    image = picture.copy() if isinstance(picture, Image.Image) else open_image(picture)
    image.thumbnail((longest_px, longest_px))
    file = BytesIO()
    image.convert("RGB").save(file, "WEBP", quality=85)
    return f"data:image/webp;base64,{base64.b64encode(file.getvalue()).decode()}"
