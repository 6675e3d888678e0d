"""`seed tokens stats --page FILE`: how a codebook is used, in one HTML file for people: each code's
share, codes that are never used, and pictures in which a code occurs.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from seedcli.console import Reporter
from seedcli.data.images.images import ImageError, open_image
from seedcli.data.images.page import SheetSample, heading, sheet, table, wide_picture, write_page
from seedcli.data.tokens.shards import TokenRow, open_shards

SHOWN_CODES = 24  # of the most frequent codes, and of the rarest; each with pictures
PICTURES_OF_A_CODE = 4
_CELL_PX = 12


def write_codes_page(
    inputs: Sequence[str | Path],
    counts: np.ndarray,
    figures: dict[str, Any],
    page: Path,
    *,
    reporter: Reporter = Reporter(),
) -> None:
    """Token shards, and how often each code stands at each position -> the page.

    A picture is shown where its source is a file that is still there.

    Args:
        inputs: Shards, or folders of them.
        counts: int64 [Q,K].
        figures: What `seed tokens stats` prints.
        page: The file.
        reporter: Hears of progress.

    Raises:
        DataError: As `open_shards`.
    """
    shards = open_shards(inputs)
    total = counts.sum(axis=0)
    order = np.argsort(-total, kind="stable")
    used = order[total[order] > 0]
    dead = np.flatnonzero(total == 0)
    frequent, rare = used[:SHOWN_CODES], used[::-1][:SHOWN_CODES]
    examples = _examples(shards, {int(code) for code in (*frequent, *rare)}, reporter)
    header = shards.header
    facts = [
        f"{figures['images']:,} images of {header.num_queries} codes out of {header.num_codes:,}, "
        f"made by {header.tokenizer} ({header.fingerprint})",
        f"{len(used):,} codes are used ({100 * len(used) / header.num_codes:.1f} %), as unevenly "
        f"as {figures['codebook_perplexity']:,} equally frequent ones",
    ]
    sections = [
        heading(
            "Use of each code",
            "A cell a code, in rows from 0: the darker, the more frequent, by the logarithm of its "
            "count. Red: never used.",
        ),
        wide_picture(_use(total), f"Use of {header.num_codes} codes; {len(dead)} are never used"),
        heading(f"Codes that are never used: {len(dead):,}", _ranges(dead)),
    ]
    for title, codes in (("The most frequent codes", frequent), ("The rarest used codes", rare)):
        samples = [_sample(int(code), counts, examples[int(code)]) for code in codes]
        sections += [heading(title), sheet(samples, width_rem=4.5)]
    entropies = figures["position_entropy_bits"]
    rows = [
        [str(place + 1), f"{bits:.2f}", str(int((row > 0).sum()))]
        for place, (bits, row) in enumerate(zip(entropies, counts, strict=True))
    ]
    sections += [
        heading("Positions", "How much each of the positions says, and how many codes it uses."),
        table(["position", "entropy, bits", "codes used"], rows),
    ]
    write_page(page, "Use of a codebook", facts, sections)


def _examples(shards: Any, codes: set[int], reporter: Reporter) -> dict[int, list[Image.Image]]:
    """The first pictures in which each of some codes occurs."""
    found: dict[int, list[Image.Image]] = defaultdict(list)
    with reporter.progress("look for pictures", len(shards)) as progress:
        for row in shards:
            progress.advance()
            if not isinstance(row, TokenRow):
                continue
            wanted = {
                code
                for code in codes.intersection(map(int, row.codes))
                if len(found[code]) < PICTURES_OF_A_CODE
            }
            if wanted and (image := _open(row.source)) is not None:
                for code in wanted:
                    found[code].append(image)
            elif all(len(found[code]) >= PICTURES_OF_A_CODE for code in codes):
                break
    return found


def _open(source: str) -> Image.Image | None:
    if not Path(source).is_file():
        return None
    try:
        image = open_image(source)
    except ImageError:
        return None
    image.thumbnail((160, 160))  # many are held at once
    return image


def _sample(code: int, counts: np.ndarray, pictures: Sequence[Image.Image]) -> SheetSample:
    places = counts[:, code]
    share = 100 * places.sum() / counts.sum()
    often = int(places.argmax())
    shown = {f"picture {number + 1}": picture for number, picture in enumerate(pictures)}
    return SheetSample(
        key=f"code {code}",
        pictures=shown or {"picture 1": None},
        caption=f"{places.sum():,} times, {share:.2f} % of all codes; most often as the "
        f"{often + 1}. of an image ({places[often]:,})",
    )


def _use(total: np.ndarray) -> Image.Image:
    """Counts [K] -> a picture, a cell a code."""
    columns = min(128, 1 << (len(total) - 1).bit_length() // 2 + 1)
    shades = np.full((-(-len(total) // columns) * columns, 3), 255, np.uint8)
    strength = np.log1p(total) / max(np.log1p(total.max()), 1e-9)
    shades[: len(total)] = (235 - 205 * strength)[:, None].astype(np.uint8)
    shades[: len(total)][total == 0] = (214, 69, 65)
    cells = shades.reshape(-1, columns, 3).repeat(_CELL_PX, 0).repeat(_CELL_PX, 1)
    return Image.fromarray(cells)


def _ranges(codes: np.ndarray) -> str:
    """Sorted codes -> `3, 7-9, 12`."""
    if not len(codes):
        return "None."
    parts = np.split(codes, np.flatnonzero(np.diff(codes) != 1) + 1)
    return ", ".join(str(part[0]) if len(part) == 1 else f"{part[0]}-{part[-1]}" for part in parts)
