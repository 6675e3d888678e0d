"""Tars, parquet files and saved data sets -> the images in them, undecoded, when their turn comes.

Tars are read with the standard library: importing webdataset imports torch, which listing and
decoding must not pay for.
"""

from __future__ import annotations

import json
import tarfile
from collections.abc import Iterable, Iterator

from seedcli.data.images.endings import frames_of
from seedcli.data.images.items import Columns, Container, Item
from seedcli.data.images.tables import count_table, read_table
from seedcli.data.images.tars import DAMAGES, TarPicture, caption_of, open_tar, read_pictures
from seedcli.data.text_files import load_json, printable
from seedcli.errors import DataError

MAX_MEMBER_BYTES = 1 << 28  # of one file inside a tar; it is held in memory


def expand(entries: Iterable[Item | Container], columns: Columns = Columns()) -> Iterator[Item]:
    """What `list_inputs` yields -> the images themselves.

    Raises:
        DataError: As `read_items`; for what was found in a folder only where nothing else is there.
    """
    unreadable: list[tuple[Container, DataError]] = []
    empty = True
    for entry in entries:
        try:
            items = iter((entry,)) if isinstance(entry, Item) else read_items(entry, columns)
            first = next(items, None)
        except DataError as error:
            if not (isinstance(entry, Container) and entry.found):
                raise
            if not empty:
                yield as_failed(entry, error)
            else:
                unreadable.append((entry, error))
            continue
        if first is not None:
            empty = False
            yield from (as_failed(*each) for each in unreadable)
            unreadable = []
            yield first
            yield from items
    if unreadable:
        raise unreadable[0][1]


def as_failed(container: Container, error: DataError) -> Item:
    """A container of a folder that cannot be read -> an item that says why."""
    reason = error.message.removeprefix(f"{container.path}: ")
    return Item(key=container.prefix, source=printable(container.path), problem=reason)


def read_items(container: Container, columns: Columns = Columns(), skip: int = 0) -> Iterator[Item]:
    """The images of a container, undecoded, in its own order; the first `skip` are passed over
    without reading where that is possible.

    Raises:
        DataError: A table has no image column, or not the one that was named.
    """
    if container.kind == "tar":
        items = _read_tar(container, columns.text)
        for _, _ in zip(range(skip), items, strict=False):
            pass
        return items
    return read_table(container, columns, skip)


def count_items(
    container: Container, columns: Columns = Columns(), at_most: int | None = None
) -> int | None:
    """Images in a container, or None where only reading it whole would tell (a tar, a column of
    lists); it is read and counted if `at_most` is given.

    Raises:
        DataError: A table cannot be opened or has no image column.
    """
    if container.kind != "tar":
        count, lists = count_table(container, columns)
        if not lists:
            return count
    if at_most is None:
        return None
    return sum(1 for _ in zip(range(at_most), read_items(container, columns), strict=False))


def _read_tar(container: Container, words: str | None) -> Iterator[Item]:
    """Pictures as `tars.read_pictures` gives them; damage is an item too."""

    def content(info: tarfile.TarInfo) -> bytes | None:
        file = tar.extractfile(info) if info.size <= MAX_MEMBER_BYTES else None
        return file.read() if file else None

    number, key = 0, ""
    try:
        with open_tar(container.path, stream=True) as tar:
            for picture in read_pictures(tar, content, words, videos=True):
                yield _tar_item(container, picture, words)
                number, key = number + 1, picture.key
    except DAMAGES as error:
        problem = f"tar is damaged or cannot be read after {number} samples ({error})"
        yield Item(
            key=f"{container.prefix}/{key}", source=printable(container.path), problem=problem
        )


def _tar_item(container: Container, picture: TarPicture, words: str | None) -> Item:
    image, text, meta = picture.image, None, None
    if picture.words and picture.words.content is not None:
        try:
            said = caption_of(picture.words, picture.words.content, words)
            text = said[0] if isinstance(said, list) else said
        except ValueError:
            text = None  # the JSON goes into `meta` as it is
    if picture.facts and picture.facts.content is not None:
        try:
            values = load_json(picture.facts.content)
        except ValueError:
            values = picture.facts.content.decode("utf-8", "replace")
        meta = json.dumps(
            values if isinstance(values, dict) else {"json": values}, ensure_ascii=False
        )
    problem = None
    if image is None:
        problem = (
            "words whose picture stands elsewhere in the tar, and is read without them; files of "
            "one name must be adjacent: tar --sort=name"
            if picture.apart
            else "sample without an image"
        )
    elif image.content is None:
        problem = f"larger than {MAX_MEMBER_BYTES:,} bytes"
    name = image.name if image else picture.key
    return Item(
        key=f"{container.prefix}/{picture.key}",
        source=f"{printable(container.path)}/{name}",
        data=image.content if image else None,
        text=text,
        meta=meta,
        problem=problem,
        frames=frames_of(name) if image else None,
    )
