"""One driver at a time: a folder is held by the process that fills it."""

from __future__ import annotations

import contextlib
import json
import os
import socket
from collections.abc import Iterator
from pathlib import Path

from seedcli.engine.engines import Slice
from seedcli.errors import DataError
from seedcli.storage import remove_left_partials


@contextlib.contextmanager
def hold(folder: Path, *, name: str = "run", what: str | None = None) -> Iterator[None]:
    """Holds a folder until the context ends, or the process, however it ends; removes the partial
    files that a killed one left in it.

    Args:
        folder: Must exist.
        name: Of the lock; other names exclude each other through `refuse_held` only.
        what: What is held, for people; by default the folder.

    Raises:
        DataError: Another process holds it; the message names it and its machine.
    """
    from filelock import FileLock, Timeout

    holder = folder / f".{name}.holder"
    lock = FileLock(folder / f".{name}.lock", thread_local=False)
    try:
        lock.acquire(blocking=False)
    except Timeout:
        raise DataError(
            f"{what or folder} is held by {_named(holder)}",
            remedy="Wait for it, or name another place with -o. Tasks share a folder with "
            "--part I/N.",
        ) from None
    try:
        remove_left_partials(folder)
        holder.write_text(json.dumps({"host": socket.gethostname(), "pid": os.getpid()}))
        yield
    finally:
        holder.unlink(missing_ok=True)
        lock.release()


@contextlib.contextmanager
def in_turn(folder: Path, name: str) -> Iterator[None]:
    """What one process at a time does and others wait for, such as a listing that tasks of an array
    job share.
    """
    from filelock import FileLock

    folder.mkdir(parents=True, exist_ok=True)
    with FileLock(folder / f".{name}.lock", thread_local=False):
        yield


@contextlib.contextmanager
def hold_part(folder: Path, part: Slice, *, what: str | None = None) -> Iterator[None]:
    """Holds a folder for its part of the work: tasks with parts of their own beside each other,
    everything else alone.

    Args:
        folder: Must exist.
        part: Which part.
        what: As for `hold`.

    Raises:
        DataError: Another process holds it.
    """
    name = "whole" if part.is_whole else f"part-{part.index}-of-{part.count}"
    with hold(folder, name=name, what=what):
        refuse_held(folder, "part-*" if part.is_whole else "whole", what=what)
        yield


def refuse_held(folder: Path, pattern: str, *, what: str | None = None) -> None:
    """Refuses to go on while another process holds the folder under a name of this pattern.

    Raises:
        DataError: One does.
    """
    for holder in sorted(folder.glob(f".{pattern}.holder")):
        with hold(
            folder, name=holder.stem.removeprefix("."), what=what
        ):  # left by a process that was killed
            pass


def _named(holder: Path) -> str:
    try:
        found = json.loads(holder.read_text())
        return f"process {found['pid']} on {found['host']}"
    except (OSError, ValueError, KeyError, TypeError):
        return "another process"
