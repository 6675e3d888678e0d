"""How files are written: whole or not at all, and with a full disk told by name; and how JSON is
read. The one place for both, below every room.
"""

from __future__ import annotations

import contextlib
import errno
import json
import os
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from seedcli.errors import DataError, NoSpaceError, NumericalError
from seedcli.storage import is_url, own_partial, uploaded

_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
# What is left of the number where a library passes on words only: safetensors' "os error 28", and
# NumPy's count of what it could not write.
_FULL_WORDS = re.compile(
    rf"os error ({'|'.join(map(str, sorted(_FULL)))})\)|\d+ requested and \d+ written"
)


_NEARLY_NOTHING = 64 << 20  # free bytes of a disk that is full for all but its superuser


@contextlib.contextmanager
def published(path: Path, *, rivals: bool = False) -> Iterator[Path]:
    """Gives the place to write a file or a folder to, `NAME.partial`; on leaving, it is synced and
    appears as `path`, in place of what was there. After any exception, Ctrl-C too, it is removed.

    Only a process that is killed outright leaves its partial, which the next one removes. An
    address is written to when the file is complete.

    Args:
        path: Its folder is made where there is none.
        rivals: Other processes may write the same file meanwhile; the last one wins.

    Raises:
        NoSpaceError: The disk is full.
    """
    if is_url(path):
        with uploaded(path) as partial:
            yield partial
        return
    with space_named(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        partial = own_partial(path) if rivals else path.with_name(f"{path.name}.partial")
        _remove(partial)
        try:
            yield partial
            if partial.is_dir():
                for file in partial.rglob("*"):
                    if file.is_file():
                        _sync(file)
                _remove(path)
                partial.rename(path)
            else:
                _sync(partial)
                os.replace(partial, path)
        except BaseException as error:
            written = size_bytes(partial)
            _remove(partial)
            raise_if_full(error, path, written)
            raise
        if os.name == "posix":  # elsewhere a folder cannot be opened
            _sync(path.parent)


def publish_text(path: Path, text: str) -> None:
    """Text -> a UTF-8 file that appears whole or not at all, see `published`."""
    with published(path) as partial:
        partial.write_text(text, encoding="utf-8", newline="\n")


def publish_json(path: Path, value: Any) -> None:
    """Value -> a JSON file for people to read too, whole or not at all.

    Raises:
        NumericalError: It holds NaN or infinity, which JSON does not know.
    """
    try:
        text = json_text(value, indent=2, allow_nan=False)
    except ValueError as error:
        raise NumericalError(f"{path}: what it should say is no number ({error})") from None
    publish_text(path, text + "\n")


def json_text(value: Any, **options: Any) -> str:
    """Value -> JSON that UTF-8 can hold: letters as themselves, or all escaped where a half of a
    surrogate pair is among them, as in file names that are no UTF-8.
    """
    text = json.dumps(value, ensure_ascii=False, **options)
    try:
        text.encode()
    except UnicodeEncodeError:
        return json.dumps(value, ensure_ascii=True, **options)
    return text


def parse_json(text: str | bytes) -> Any:
    """JSON -> value.

    Raises:
        ValueError: It is none, or it is nested deeper than Python follows.
    """
    try:
        return json.loads(text)
    except RecursionError:
        raise ValueError("nested too deeply") from None


def read_json(path: Path) -> dict[str, Any]:
    """File -> the JSON object in it.

    Raises:
        DataError: It is missing, cannot be read, or holds something else.
    """
    try:
        value = parse_json(path.read_bytes())
    except OSError as error:
        raise DataError(f"{path}: {error.strerror or error}") from None
    except ValueError as error:
        raise DataError(f"{path}: no readable JSON ({error})") from None
    if not isinstance(value, dict):
        raise DataError(f"{path}: expected a JSON object, found {type(value).__name__}")
    return value


@contextlib.contextmanager
def space_named(path: Path) -> Iterator[None]:
    """A full disk, however a library tells of it, ends as NoSpaceError with the folder's name."""
    try:
        yield
    except Exception as error:
        raise_if_full(error, path, 0)
        raise


def raise_if_full(error: BaseException, path: Path, written: int) -> None:
    """Raises NoSpaceError where the disk of `path`, `written` bytes of which were there already, is
    why `error` was raised.
    """
    if isinstance(error, NoSpaceError) or not _tells_of_full_disk(error):
        return
    folder = path.parent
    free = shutil.disk_usage(folder).free if folder.is_dir() else 0
    needs = (
        f"{path.name} needs more than {(free + written) / 1e6:.1f} MB"
        if free < _NEARLY_NOTHING
        else f"{path.name} met a quota or a limit on the size of a file"
    )
    raise NoSpaceError(
        f"no space left in {folder}: {needs}",
        remedy="free some, then type the same again; long commands continue with --resume",
    ) from error


def _tells_of_full_disk(error: BaseException) -> bool:
    """Whether the error, or one that it came out of (torch's hides the system's), is a full disk,
    a full quota, or a file larger than allowed.
    """
    seen: BaseException | None = error
    while seen is not None:
        if isinstance(seen, OSError) and seen.errno in _FULL:
            return True
        if _FULL_WORDS.search(str(seen)):
            return True
        seen = seen.__cause__ or seen.__context__
    return False


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def size_bytes(path: Path) -> int:
    """File, or folder and all below it -> bytes; 0 where there is nothing."""
    files = path.rglob("*") if path.is_dir() else [path]
    return sum(file.stat().st_size for file in files if file.is_file())


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
