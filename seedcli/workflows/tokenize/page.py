"""`seed tokenize --page FILE`: pictures before and after, with their codes as coloured tiles, in
one HTML file for people.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable
from pathlib import Path

from PIL import Image

from seedcli.console import Reporter
from seedcli.data.images.containers import expand
from seedcli.data.images.images import ImageError, open_image
from seedcli.data.images.inputs import list_inputs
from seedcli.data.images.items import Item
from seedcli.data.images.page import SheetSample, sheet, write_page
from seedcli.data.images.video import read_frames
from seedcli.errors import DataError
from seedcli.models.weights.load import describe, find_decoder
from seedcli.models.weights.locate import locate
from seedcli.workflows.code_tiles import code_colors, tiles_html
from seedcli.workflows.tokenize.parts import load_tokenizer
from seedcli.workflows.tokenize.request import TokenizeRequest

PAGE_PICTURES = 48  # of the page; a page is looked at, and each picture on it is drawn


def check_page(request: TokenizeRequest, page: Path) -> None:
    """Refuses a page that could not be made, before anything is computed.

    Raises:
        DataError: The model has no picture decoder.
    """
    files = locate(request.model)
    describe(files)
    find_decoder(files)


def write_tokenize_page(
    request: TokenizeRequest,
    page: Path,
    *,
    stdin: Iterable[str] = (),
    reporter: Reporter = Reporter(),
) -> int:
    """The first `PAGE_PICTURES` pictures of a request -> a page that shows each before, its codes,
    and what they draw.

    Args:
        request: Its inputs, model and image handling count.
        page: The file.
        stdin: Paths, where the inputs ask for them.
        reporter: Hears of progress.

    Returns:
        How many pictures it shows.

    Raises:
        DataError: None of the first pictures can be read, or the model has no picture decoder.
    """
    tokenizer = load_tokenizer(request, reporter=Reporter())
    number = min(PAGE_PICTURES, request.limit or PAGE_PICTURES)
    items = expand(list_inputs(request.inputs, stdin), request.columns)
    pictures = [
        (item, image) for item in itertools.islice(items, number) for image in _open(item, request)
    ][:number]
    if not pictures:
        raise DataError(f"none of the first {number} pictures can be read, so there is no page")
    codes = tokenizer.encode([image for _, image in pictures], batch_size=request.batch_size)
    rows = codes.tolist()
    reporter.note(f"--page draws {len(rows)} pictures")
    drawn = tokenizer.decode(rows, seed=0)
    colors = code_colors(tokenizer.model.codebook.embedding)
    samples = [
        SheetSample(
            key=item.key,
            pictures={"before": image, f"after {len(row)} codes": after},
            caption=item.text or "",
            html=tiles_html(row, colors, label=f"Codes of {item.key}"),
        )
        for (item, image), row, after in zip(pictures, rows, drawn, strict=True)
    ]
    facts = [
        f"The first {len(samples)} pictures, each beside what its {tokenizer.num_queries} codes "
        "draw.",
        f"{tokenizer.name} ({tokenizer.fingerprint}); near colours are near code vectors.",
    ]
    write_page(page, "Before and after", facts, [sheet(samples)])
    return len(samples)


def _open(item: Item, request: TokenizeRequest) -> list[Image.Image]:
    """The picture, or the frames of the video; none where it cannot be read, which the run itself
    has told.
    """
    if item.problem is not None:
        return []
    try:
        source = item.data if item.data is not None else item.path
        if not item.is_video:
            return [open_image(source, request.image_handling)]
        frames = read_frames(source, request.frames or item.frames, only=item.part)
        return [frame.image for frame in frames]
    except ImageError:
        return []
