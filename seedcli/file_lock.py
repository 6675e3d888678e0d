"""A lock on an open file, which ends with the process that holds it, however that ends.

POSIX record locks: a forked child does not inherit them, and they work across machines on NFS
version 4 and on Lustre mounted with `flock`. Where Python has no `fcntl`, filelock's lock on a file
of the same name and `.lock` takes their place.
"""

from __future__ import annotations

import weakref
from typing import IO

from filelock import FileLock, Timeout

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]

_held: weakref.WeakKeyDictionary[IO, FileLock] = weakref.WeakKeyDictionary()


def lock_file(file: IO, *, wait: bool = False) -> bool:
    """Locks a file that is open for writing until it is closed; False while another process holds
    it.

    Args:
        file: Of a path.
        wait: Waits for the other process; then it is True.
    """
    if fcntl is not None:
        try:
            fcntl.lockf(file, fcntl.LOCK_EX if wait else fcntl.LOCK_EX | fcntl.LOCK_NB)
        except (BlockingIOError, PermissionError):
            return False
        return True
    lock = FileLock(f"{file.name}.lock")
    try:
        lock.acquire(timeout=-1 if wait else 0)
    except Timeout:
        return False
    _held[file] = lock  # released when the file object goes
    return True
