"""Pictures that rows name by path or carry as bytes -> their codes, computed once at the start and
kept in the cache folder.

Codes are found by what a picture is: the digest of its bytes, or its path with size and time of
change. All digests are held in memory, about 200 bytes a picture; sets of many millions are better
tokenised to shards (`seed tokens build`, `seed tokenize`).
"""

from __future__ import annotations

import contextlib
import hashlib
import itertools
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from seedcli.data.documents.documents import Codes, Message, Sample
from seedcli.data.images.endings import VIDEO_FRAMES, is_video
from seedcli.data.images.images import ImageError
from seedcli.data.images.video import VideoFrame
from seedcli.errors import DataError
from seedcli.files import published
from seedcli.progress import Progress
from seedcli.storage import is_url, stamp_of

Picture = Path | bytes | VideoFrame
EncodePictures = Callable[[Sequence[str | bytes | VideoFrame]], Sequence[Codes]]
_PART = 2048  # pictures of one cache file: what a killed start loses at most
_AT_ONCE = 128  # pictures between two words about how far it is: whole passes of the tokenizer
_SHOWN = 5


class PictureStore:
    """Codes of the pictures of one source.

    Args:
        source: Its name; each source has a folder of its own in the cache.
        codes_of: Paths or bytes -> codes, by the visual tokenizer.
        fingerprint: That tokenizer's.
        cache: The cache folder.
    """

    def __init__(self, source: str, *, codes_of: EncodePictures, fingerprint: str, cache: Path):
        name = hashlib.sha256(f"{fingerprint} {source}".encode()).hexdigest()[:24]
        self._folder, self._codes_of = cache / "picture-codes" / name, codes_of
        self._codes: dict[bytes, np.ndarray] = {}
        self._stamps: dict[str, str] = {}  # of addresses: asking takes a request
        for path in sorted(self._folder.glob("*.npz")):
            with np.load(path) as part:
                self._codes.update(
                    zip((bytes(one) for one in part["digests"]), part["codes"], strict=True)
                )

    def count(self, pictures: Iterable[Picture]) -> tuple[int, int]:
        """Different pictures that are known, and that are not; those that cannot be read are
        neither.
        """
        found: set[bytes] = set()
        for picture in pictures:
            with contextlib.suppress(OSError, DataError):
                found.add(self._digest(picture))
        known = len(found & self._codes.keys())
        return known, len(found) - known

    def add(
        self, pictures: Iterable[Picture], *, progress: Progress | None = None
    ) -> dict[Picture, str]:
        """Encodes what is not known yet.

        Args:
            pictures: Read once, in order.
            progress: Hears of each that is encoded.

        Returns:
            Pictures that cannot be used, and why.
        """
        self._progress = progress or Progress("encode pictures", None)
        failed: dict[Picture, str] = {}
        part: dict[bytes, Picture] = {}
        for picture in pictures:
            try:
                digest = self._digest(picture)
            except OSError as error:
                failed[picture] = (error.strerror or "no such file").lower()
                continue
            except DataError as error:  # of an address
                failed[picture] = error.message
                continue
            if digest not in self._codes:
                part[digest] = picture
            if len(part) == _PART:
                failed |= self._encode(part)
                part = {}
        return failed | (self._encode(part) if part else {})

    def _encode(self, part: dict[bytes, Picture]) -> dict[Picture, str]:
        failed: dict[Picture, str] = {}
        encoded: dict[bytes, Codes] = {}
        named = {
            digest: picture if isinstance(picture, bytes | VideoFrame) else str(picture)
            for digest, picture in part.items()
        }
        waiting = iter(named.items())
        while some := dict(itertools.islice(waiting, _AT_ONCE)):
            try:
                encoded |= zip(some, self._codes_of(list(some.values())), strict=True)
            except ImageError:  # one of them: find which
                for digest, picture in some.items():
                    try:
                        encoded[digest] = self._codes_of([picture])[0]
                    except ImageError as error:
                        failed[part[digest]] = error.reason
            self._progress.advance(len(some))
        if encoded:
            self._save(
                {digest: np.asarray(codes, dtype=np.uint16) for digest, codes in encoded.items()}
            )
        return failed

    def _save(self, encoded: dict[bytes, np.ndarray]) -> None:
        digests = np.frombuffer(b"".join(encoded), dtype=np.uint8).reshape(len(encoded), -1)
        path = self._folder / f"{hashlib.sha256(digests.tobytes()).hexdigest()[:24]}.npz"
        with published(path, rivals=True) as partial, open(partial, "wb") as file:
            np.savez(file, digests=digests, codes=np.stack(list(encoded.values())))
        self._codes.update(encoded)

    def codes(self, picture: Picture) -> Codes:
        """Codes of a picture that was added.

        Raises:
            DataError: It was not, or the file has changed since.
        """
        try:
            return tuple(self._codes[self._digest(picture)].tolist())
        except (KeyError, OSError, DataError):
            raise DataError(
                f"picture {_shown(picture)} has changed since training began",
                remedy="leave data alone while it is read",
            ) from None

    def _digest(self, picture: Picture) -> bytes:
        if isinstance(picture, bytes):
            return hashlib.blake2b(picture, digest_size=16).digest()
        path, place = (
            (picture.path, f" {picture.part}/{picture.parts}")
            if isinstance(picture, VideoFrame)
            else (picture, "")
        )
        if is_url(path):
            if str(path) not in self._stamps:
                self._stamps[str(path)] = stamp_of(path)
            stamp = self._stamps[str(path)]
        else:
            path = Path(path)
            facts = path.stat()
            stamp = f"{path.resolve()} {facts.st_size} {facts.st_mtime_ns}"
        return hashlib.blake2b(f"{stamp}{place}".encode(), digest_size=16).digest()

    def resolve(self, sample: Sample) -> Sample:
        """Sample with files for pictures -> sample with codes."""
        messages = tuple(
            Message(message.role, self._resolve(message.segments)) for message in sample.messages
        )
        return Sample(sample.key, self._resolve(sample.segments), messages, sample.meta)

    def _resolve(self, segments: tuple[Any, ...]) -> tuple[Any, ...]:
        found: list[Any] = []
        for one in segments:
            if _is_file(one):
                found += map(self.codes, _pictures(one))
            else:
                found.append(one)
        return tuple(found)


def _is_file(segment: Any) -> bool:
    """Whether a segment is a picture that has no codes yet: a path, an address, or bytes."""
    return isinstance(segment, Path | bytes) or (
        not isinstance(segment, str | tuple) and is_url(segment)
    )


def _pictures(file: Path | bytes) -> list[Picture]:
    """What a row names -> itself, or the frames of the video that it is."""
    if isinstance(file, bytes) or not is_video(file.name):
        return [file]
    return [VideoFrame(str(file), part, VIDEO_FRAMES) for part in range(VIDEO_FRAMES)]


def pictures_of(sample: Sample) -> list[Picture]:
    """Pictures of a sample that are files still."""
    parts = [sample.segments, *(message.segments for message in sample.messages)]
    return [
        picture for part in parts for one in part if _is_file(one) for picture in _pictures(one)
    ]


def refuse_failed(failed: dict[Picture, str], where: str) -> None:
    """Names the pictures that cannot be used.

    Raises:
        DataError: There is one.
    """
    if failed:
        lines = [f"{_shown(picture)}: {reason}" for picture, reason in failed.items()]
        more = f"\n... and {len(lines) - _SHOWN} more" if len(lines) > _SHOWN else ""
        raise DataError(
            f"{where}: {len(lines)} pictures cannot be used\n" + "\n".join(lines[:_SHOWN]) + more,
            remedy="mend or remove their rows, or make shards of what is whole with: "
            "seed tokens build",
        )


def _shown(picture: Picture) -> str:
    if isinstance(picture, VideoFrame):
        return f"{picture.path}, frame {picture.part}"
    return f"{len(picture)} bytes" if isinstance(picture, bytes) else str(picture)
