"""Paths and addresses alike: what is read and written may lie in a bucket, on the hub, or behind
https. fsspec knows how; nothing of it is loaded for what lies on this machine.

`as_place` makes a path of either kind, with the methods of pathlib. An object appears whole when
its upload ends, so what is published there is written here first. Torch-free, below every room.
"""

from __future__ import annotations

import contextlib
import glob
import io
import os
import re
import shutil
import socket
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, BinaryIO, TypeVar, cast

from seedcli.errors import DataError, UsageError

T = TypeVar("T")

TRIES = 4  # of a read that fails in between; what a client retries by itself comes on top
_OWNER = ".by-"  # before the process that writes a partial file
_PAUSE_S = 0.5  # before the second try, then twice as long each time
_URL = re.compile(r"[a-z][a-z0-9+.-]*://", re.IGNORECASE)
_LOCAL = re.compile("^(file|local)://")
# What clients call it when nobody may look, by the names of their errors and by what they say
_REFUSED = re.compile(
    "Credential|Permission|AccessDenied|Forbidden|Gated|Unauthorized|Authentication"
)
_SAID = re.compile("Forbidden|Invalid Credentials|Anonymous caller")
# What file systems call the mark of an object's content, or the time of its last change.
_CHANGES = (
    "ETag",
    "etag",
    "md5Hash",
    "blob_id",
    "LastModified",
    "last_modified",
    "mtime",
    "created",
)
# Other names of a kind of address
_KINDS = {"s3a": "s3", "gcs": "gs"} | dict.fromkeys(("abfs", "abfss", "adl"), "az")
_PACKAGES = {"s3": "'seedcli[s3]'", "gs": "gcsfs", "az": "adlfs"}
_REMEDIES = {
    "s3": "Say who you are by AWS_PROFILE, or AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY; a "
    "server of your own by AWS_ENDPOINT_URL; a public bucket by "
    "FSSPEC_S3='{\"anon\": true}'.",
    "gs": "gcloud auth application-default login; or GOOGLE_APPLICATION_CREDENTIALS=FILE",
    "az": "Say who you are by AZURE_STORAGE_CONNECTION_STRING, or AZURE_STORAGE_ACCOUNT_NAME and "
    "AZURE_STORAGE_ACCOUNT_KEY; or AZURE_STORAGE_ACCOUNT_NAME and az login.",
    "hf": "hf auth login; and accept the conditions on the data set's page if it has any",
}


def is_url(place: object) -> bool:
    """Whether a path names something that is not on this machine."""
    text = str(place)
    return bool(_URL.match(text)) and not _LOCAL.match(text)


def as_place(place: str | os.PathLike[str]) -> Path:
    """Path or address -> an object with pathlib's methods; one that is such already stays.

    Raises:
        UsageError: A kind of address that nobody here knows, or whose client is not installed.
    """
    if not isinstance(place, str):
        return cast(Path, place)
    if not is_url(place):
        return Path(_LOCAL.sub("", place))
    from upath import UPath

    try:
        # a listing that is kept would not show what other processes have written since
        found = UPath(place, use_listings_cache=False)
        _ = found.fs
    except ImportError as error:
        raise UsageError(
            f"{place}: {error}", remedy=f"pip install {_PACKAGES.get(_kind(place), 'its client')}"
        ) from error
    except ValueError as error:
        if _kind(place) in _REMEDIES:  # adlfs asks who you are when it is made
            raise _refused(place, error) from error
        raise UsageError(
            f"{place}: {error}",
            remedy="Addresses begin with s3://, gs://, az://, hf:// or https://.",
        ) from error
    return cast(Path, found)


@contextlib.contextmanager
def refusals_named(place: object) -> Iterator[None]:
    """An address that cannot be reached, or that asks for credentials, ends as a DataError.

    Raises:
        DataError: In place of the client's own error; a file that is not there stays
            FileNotFoundError.
    """
    try:
        yield
    except (FileNotFoundError, FileExistsError, IsADirectoryError, NotADirectoryError):
        raise
    except Exception as error:
        if not is_url(place) or isinstance(error, (DataError, UsageError)):
            raise
        raise _named(place, error) from error


def _kind(place: object) -> str:
    kind = str(place).partition("://")[0].lower()
    return _KINDS.get(kind, kind)


def _named(place: object, error: Exception) -> DataError:
    status = getattr(error, "status_code", getattr(error, "code", None))
    if (
        _REFUSED.search(type(error).__name__)
        or isinstance(error, PermissionError)
        or status in (401, 403)
        or _SAID.match(str(error))
    ):
        return _refused(place, error)
    return DataError(
        f"{place}: cannot be reached ({_words(error)})",
        remedy="Check the address and the network.",
    )


def _refused(place: object, error: Exception) -> DataError:
    return DataError(
        f"{place}: access is refused ({_words(error)})", remedy=_REMEDIES.get(_kind(place))
    )


def _words(error: Exception) -> str:
    return " ".join(str(error).split()) or type(error).__name__


def exists(path: str) -> bool:
    """Whether there is a file, a folder or an object."""
    return os.path.exists(path) if not is_url(path) else _type_of(path) is not None


def is_file(path: str | os.PathLike[str]) -> bool:
    """Whether it is a file or an object."""
    return os.path.isfile(path) if not is_url(path) else _type_of(path) == "file"


def is_folder(path: str) -> bool:
    """Whether it is a folder, or the first part of names of objects."""
    if not is_url(path):
        return os.path.isdir(path)
    if path.lower().startswith(("http://", "https://")):
        return False
    return _type_of(path) == "directory"


def _type_of(path: str | os.PathLike[str]) -> str | None:
    """`file`, `directory`, or None where an address has nothing. Clients answer the simpler
    questions with no, too, where nobody answers them or access is refused.
    """
    with refusals_named(path):
        place = _address(path)
        try:
            return place.fs.info(place.path)["type"]
        except FileNotFoundError:
            return None


def _address(place: str | os.PathLike[str]) -> Any:
    """The same of an address, which knows its file system (`fs`) and its `path` there."""
    return as_place(place)


def expand_glob(pattern: str) -> list[str]:
    """Paths or addresses that a pattern matches, sorted."""
    if not is_url(pattern):
        return sorted(glob.glob(pattern, recursive=True))
    with refusals_named(pattern):
        fs = _address(pattern).fs
        return sorted(fs.unstrip_protocol(found) for found in fs.glob(pattern))


def find_below(folder: str) -> list[str]:
    """Names of all objects below an address, relative to it, in the order in which a walk through
    folders meets them.
    """
    with refusals_named(folder):
        place = _address(folder)
        start = place.fs.unstrip_protocol(place.path).rstrip("/") + "/"
        names = (place.fs.unstrip_protocol(one) for one in place.fs.find(place.path))
        return sorted((one.removeprefix(start) for one in names), key=lambda one: one.split("/"))


def open_to_read(path: str | os.PathLike[str]) -> BinaryIO:
    """Path or address -> its bytes; an object is read piece by piece, as it is needed, and a read
    that fails is tried again.

    Raises:
        FileNotFoundError: It is not there.
        DataError: Access is refused, or nobody answers.
    """
    if not is_url(path):
        return open(path, "rb")
    return io.BufferedReader(_Remote(str(path)), 1 << 20)


def for_arrow(path: str | os.PathLike[str]) -> Any:
    """What pyarrow opens: a path as it is, an address as a file that is read piece by piece.

    Raises:
        FileNotFoundError, DataError: As `open_to_read`.
    """
    return open_to_read(path) if is_url(path) else path


def read_range(path: str | os.PathLike[str], offset: int, size: int) -> bytes:
    """A stretch of a file, or of an object by one request; shorter where it ends before.

    Raises:
        FileNotFoundError, DataError: As `open_to_read`.
    """
    if not is_url(path):
        with open(path, "rb") as file:
            file.seek(offset)
            return file.read(size)
    place = _address(str(path))  # made anew: a client does not outlive a fork
    return _persistently(
        path, lambda: place.fs.cat_file(place.path, start=offset, end=offset + size)
    )


def stamp_of(path: str | os.PathLike[str]) -> str:
    """Place and size of a file or object, and what changes when it does.

    Raises:
        FileNotFoundError, DataError: As `open_to_read`.
    """
    if not is_url(path):
        facts = os.stat(path)
        return f"{path}:{facts.st_size}:{facts.st_mtime_ns}"
    place = _address(str(path))  # made anew: a client does not outlive a fork
    found = _persistently(path, lambda: place.fs.info(place.path))
    changed = next((found[name] for name in _CHANGES if found.get(name)), "")
    return f"{path}:{found.get('size')}:{changed}"


def read_whole(path: str) -> bytes:
    """Address -> all its bytes.

    Raises:
        FileNotFoundError, DataError: As `open_to_read`.
    """
    return _persistently(path, as_place(path).read_bytes)


def publish_first(path: Path, data: bytes) -> bool:
    """Writes a file whole where there is none; False where there is one, which stays: of several
    that write it at one time, one does.
    """
    if is_url(path):
        with refusals_named(path):
            try:
                _address(path).fs.pipe_file(_address(path).path, data, mode="create")
            except FileExistsError:
                return False
            return True
    own = own_partial(path)
    try:
        with open(own, "wb") as file:
            file.write(data)
            os.fsync(file.fileno())
        try:
            os.link(own, path)  # unlike a rename, it does not replace
        except FileExistsError:
            return False
        except OSError:  # a file system without links
            os.replace(own, path)
    finally:
        own.unlink(missing_ok=True)
    return True


@contextlib.contextmanager
def uploaded(path: Path) -> Iterator[Path]:
    """Gives a place on this machine to write a file to; on leaving, it appears at the address."""
    with tempfile.TemporaryDirectory(prefix="seed-") as folder:
        partial = Path(folder) / path.name
        yield partial
        with refusals_named(path):
            place = _address(path)
            _persistently(path, lambda: place.fs.put_file(str(partial), place.path))


def remove_folder(folder: Path) -> None:
    """Removes a folder, or all objects of an address, if there are any."""
    if not is_url(folder):
        shutil.rmtree(folder, ignore_errors=True)
        return
    place = _address(folder)
    with refusals_named(folder), contextlib.suppress(FileNotFoundError):
        place.fs.rm(place.path, recursive=True)


def own_partial(path: Path) -> Path:
    """Where this process, one of several on any machine, writes what becomes `path`."""
    remove_left_partials(path.parent)
    return path.with_name(f"{path.name}{_OWNER}{socket.gethostname()}-{os.getpid()}.partial")


def remove_left_partials(folder: Path) -> None:
    """Removes what processes of this machine that were killed left in a folder (`own_partial`)."""
    for left in folder.glob(f"*{_OWNER}{glob.escape(socket.gethostname())}-*.partial"):
        pid = left.name.removesuffix(".partial").rpartition("-")[2]
        if pid.isdecimal() and not _runs(int(pid)):
            left.unlink(missing_ok=True)


def _runs(pid: int) -> bool:
    """Whether a process of this machine is there; where nobody can ask, it is."""
    try:
        if os.name == "posix":  # elsewhere the question would end it
            os.kill(pid, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except PermissionError:
        pass
    return True


class _Remote(io.RawIOBase):
    """An object as a file that is read; after a failure it is opened again where it stood."""

    def __init__(self, path: str):
        self._path, self._place = path, 0
        self._file: Any = None
        _persistently(path, self._opened)

    def _opened(self) -> Any:
        if self._file is None:
            self._file = as_place(self._path).open("rb")
            if self._place:
                self._file.seek(self._place)
        return self._file

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        self._place = self._opened().seek(offset, whence)
        return self._place

    def tell(self) -> int:
        return self._place

    def readinto(self, buffer: Any) -> int:
        def read() -> bytes:
            try:
                return self._opened().read(len(buffer))
            except Exception:
                self._file = None
                raise

        data = _persistently(self._path, read)
        buffer[: len(data)] = data
        self._place += len(data)
        return len(data)

    def close(self) -> None:
        if self._file is not None:
            with contextlib.suppress(Exception):
                self._file.close()
        super().close()


def _persistently(path: object, act: Callable[[], T]) -> T:
    for number in range(1, TRIES + 1):
        try:
            return act()
        except (FileNotFoundError, IsADirectoryError):
            raise
        except Exception as error:
            named = _named(path, error)
            if number == TRIES or "access is refused" in named.message:
                raise named from error
            time.sleep(_PAUSE_S * 2 ** (number - 1))
    raise AssertionError
