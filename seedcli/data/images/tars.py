"""Webdataset tars -> their pictures, each with the words that belong to it: the one reader for
`seed tokenize`, for training and for measuring. Torch-free, by the standard library.

A sample is a run of members whose names agree up to the first dot after the last slash, as
webdataset has it. Where webdataset gives one picture of a sample or refuses, we give them all: each
picture of a sample is one, with the words whose name fits it best.
"""

from __future__ import annotations

import contextlib
import lzma
import tarfile
import zlib
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any, Literal, NamedTuple

from seedcli.data.images.endings import IMAGE_ENDINGS, VIDEO_ENDINGS
from seedcli.data.text_files import decode_text, load_json
from seedcli.errors import DataError
from seedcli.storage import is_url, open_to_read

# Fields of a sample's JSON, and columns of a table, that hold the words; looked for in this order.
# `top_caption` is LAION-COCO's own: its `caption` and .txt are the alternative text of the page.
TEXT_COLUMNS = (
    ("top_caption", "text", "caption", "captions", "txt", "label_text")
    + ("description", "title", "label")
)  # fmt: skip
DAMAGES = (
    tarfile.TarError, OSError, EOFError, zlib.error, lzma.LZMAError, ValueError, OverflowError,
    DataError,  # an address that can be read no further
)  # fmt: skip


class Member(NamedTuple):
    """A file of a sample: its name, what follows the first dot, and what `read` made of it."""

    name: str
    ending: str
    content: Any

    @property
    def kind(self) -> str:
        """Last part of the ending: `jpg`, `txt`, `json`."""
        return self.ending.rpartition(".")[2]


class TarPicture(NamedTuple):
    """A picture of a tar.

    Attributes:
        key: Its sample's name; with what its own name adds, where the sample has several pictures;
            with `#2` where the name stood before.
        sample: The sample's name.
        image: None where a sample has words only.
        words: The member that holds its caption.
        facts: Its JSON.
        apart: Whether words without a picture belong to a picture that came before.
    """

    key: str
    sample: str
    image: Member | None
    words: Member | None
    facts: Member | None
    apart: bool = False


def read_pictures(
    tar: tarfile.TarFile,
    read: Callable[[tarfile.TarInfo], Any],
    words: str | None = None,
    *,
    videos: bool = False,
) -> Iterator[TarPicture]:
    """Open tar -> its pictures in order, and its videos if they are asked for.

    Args:
        tar: Opened by `open_tar`.
        read: Member -> its content, or where it lies; called as the members go by.
        words: What holds the caption: a kind of member (`txt`), or a field of the JSON; by
            default `.txt`, or else one of `TEXT_COLUMNS` in the JSON.
        videos: Whether they count as pictures; else they are passed over.
    """
    pictures = IMAGE_ENDINGS | VIDEO_ENDINGS if videos else IMAGE_ENDINGS
    seen: Counter[str] = Counter()
    pictured: set[str] = set()
    for sample, members in _samples(tar, read, pictures | {"txt", "json", words or "txt"}):
        seen[sample] += 1
        key = sample if seen[sample] == 1 else f"{sample}#{seen[sample]}"
        images = [member for member in members if member.kind in pictures]
        for image in images or [None]:
            part = image.ending.rpartition(".")[0] if image else ""
            own = f"{key}.{part}" if part and len(images) > 1 else key
            facts = _fitting(members, part, "json", alone=len(images) < 2)
            said = (words and _fitting(members, part, words, alone=len(images) < 2)) or (
                facts
                if words not in (None, "txt")
                else _fitting(members, part, "txt", alone=len(images) < 2)
                or (facts if words is None else None)
            )
            yield TarPicture(own, sample, image, said, facts, image is None and sample in pictured)
        if images:
            pictured.add(sample)


def open_tar(path: str, *, stream: bool) -> tarfile.TarFile:
    """Path -> tar: read from front to back, packed or not, or uncompressed with known places.

    Raises:
        One of `DAMAGES`.
    """
    # names in an old encoding stay text that can be written
    mode: Literal["r|*", "r:"] = "r|*" if stream else "r:"
    if is_url(path):
        return tarfile.open(fileobj=open_to_read(path), mode=mode, errors="backslashreplace")
    return tarfile.open(path, mode, errors="backslashreplace")


@contextlib.contextmanager
def indexed_tar(path: str, *, what: str) -> Iterator[tarfile.TarFile]:
    """Opens a tar for those who note where its members lie.

    Args:
        path: File or address.
        what: What messages call it.

    Raises:
        DataError: Also from within: it is damaged, compressed, or no tar.
    """
    try:
        with open_tar(path, stream=False) as tar:
            yield tar
    except DAMAGES as error:
        raise DataError(
            f"{what} {path} cannot be read: {error}",
            remedy="uncompressed webdataset tars are expected",
        ) from error


def place_of(info: tarfile.TarInfo) -> tuple[int, int]:
    """Member of an uncompressed tar -> where it lies: offset and size in bytes.

    Raises:
        tarfile.TarError: It is sparse, so that it does not lie in one piece.
    """
    if info.issparse():
        raise tarfile.TarError(f"{info.name} is sparse")
    return info.offset_data, info.size


def caption_of(member: Member, data: bytes, words: str | None = None) -> str | list[str] | None:
    """Member that holds a caption -> the caption, or several of them.

    Raises:
        ValueError: It is no JSON, where its name says so.
    """
    if member.kind != "json":
        return decode_text(data).strip()
    values = load_json(data)
    names = TEXT_COLUMNS if words in (None, "json") else (words,)
    found = [values.get(name) for name in names] if isinstance(values, dict) else []
    return next((one for one in found if _is_text(one)), None)


def _is_text(value: Any) -> bool:
    return isinstance(value, str) or (
        isinstance(value, list) and bool(value) and all(isinstance(one, str) for one in value)
    )


def _samples(
    tar: tarfile.TarFile, read: Callable[[tarfile.TarInfo], Any], kinds: frozenset[str]
) -> Iterator[tuple[str, list[Member]]]:
    """Runs of members of one name; a name that stands twice begins anew."""
    sample: str | None = None
    members: list[Member] = []
    for info in tar:
        folder, _, name = info.name.rpartition("/")
        stem, _, ending = name.partition(".")
        if not info.isfile() or not stem or not ending:
            continue
        own, member = (
            f"{folder}/{stem}" if folder else stem,
            Member(info.name, ending.lower(), None),
        )
        if own != sample or any(member.ending == other.ending for other in members):
            if sample is not None:
                yield sample, members
            sample, members = own, []
        if member.kind in kinds or member.ending in kinds:
            members.append(member._replace(content=read(info)))
    if sample is not None:
        yield sample, members


def _fitting(members: list[Member], part: str, kind: str, *, alone: bool) -> Member | None:
    """The member of a kind that belongs to a picture: of its own name, of the sample's, or the only
    one where the sample has one picture.
    """
    for ending in dict.fromkeys((f"{part}.{kind}" if part else kind, kind)):
        for member in members:
            if member.ending == ending:
                return member
    return next((member for member in members if alone and member.kind == kind), None)
