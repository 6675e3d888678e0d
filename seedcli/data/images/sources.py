"""Pictures as a program hands them over, one or many in any form -> images: before the first arrow
of the path.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from PIL import Image

from seedcli.data.images.images import ImageError, ImageHandling, ImageSource
from seedcli.data.images.video import read_pictures


def read_sources(
    images: ImageSource | Iterable[ImageSource], frames: int, handling: ImageHandling = "seed"
) -> tuple[Iterator[Image.Image], int | None]:
    """One source or many -> upright RGB images, each read when it is asked for, and the number of
    sources, where that is known before they are read.

    Args:
        images: Paths, bytes of files, Pillow images, arrays, tensors; see `read_image`. An array
            [B,H,W,C] or a tensor [B,C,H,W] is many.
        frames: Of each path that ends as a video's does, at least 1.
        handling: See `open_image`.

    Raises:
        ImageError: When it is its turn: one is no usable image. A path is named, any other source
            among several told by its number.
    """
    sources, several = _as_many(images)
    read = (
        picture
        for number, image in enumerate(sources)
        for picture in _read(image, f"image {number}" if several else None, frames, handling)
    )
    return read, len(sources) if isinstance(sources, Sequence) else None


def _as_many(
    images: ImageSource | Iterable[ImageSource],
) -> tuple[Iterable[ImageSource], bool]:
    """One picture or many -> many, and whether they were many."""
    if isinstance(images, (str, Path, bytes, Image.Image)):
        return [images], False
    ndim = getattr(images, "ndim", None)
    if ndim is None:
        return images, True
    return (images, True) if ndim == 4 else ([images], False)


def _read(
    image: ImageSource, name: str | None, frames: int, handling: ImageHandling
) -> Iterator[Image.Image]:
    try:
        yield from read_pictures(image, frames, handling)
    except ImageError as error:
        # a path names itself
        source = str(image) if isinstance(image, (str, Path)) else name
        raise ImageError(error.reason, source) from error
