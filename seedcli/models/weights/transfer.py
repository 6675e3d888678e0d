"""One file over HTTP: continued where it broke off, drawn by our reporter, checked against the hash
that is stated. The hub client's own functions do the talking.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import shutil
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit
from urllib.request import getproxies

from huggingface_hub import constants
from huggingface_hub.file_download import http_get
from huggingface_hub.utils import http_backoff, tqdm
from huggingface_hub.utils import logging as hub_logging

from seedcli.console import Reporter
from seedcli.errors import DataError
from seedcli.models.weights.published import Source


@contextlib.contextmanager
def one_failure() -> Iterator[None]:
    """Keeps the hub's client from telling each of its tries: what failed in the end is told once,
    by whoever asked.
    """
    before = hub_logging.get_verbosity()
    hub_logging.set_verbosity_error()
    try:
        yield
    finally:
        hub_logging.set_verbosity(before)


@functools.cache  # of what is raised nothing is kept
def require_address(url: str) -> None:
    """Asks for the address of a server, before the hub's client tries it six times in half a
    minute.

    Raises:
        ConnectionError: Nobody knows it, as where there is no network.
    """
    host = urlsplit(url).hostname or ""
    if constants.is_offline_mode() or getproxies():  # a proxy asks for itself
        return
    try:
        socket.getaddrinfo(host, None)
    except socket.gaierror as error:
        raise ConnectionError(f"no address of {host} is known: {error.strerror}") from None


def head(source: Source) -> tuple[int | None, str]:
    """Size of a plain file, and a short name of its version, as its server states them."""
    require_address(source.url or "")
    response = http_backoff(
        "HEAD",
        source.url or "",
        max_retries=1,
        follow_redirects=True,
        timeout=constants.HF_HUB_ETAG_TIMEOUT,
    )
    response.raise_for_status()
    length = response.headers.get("Content-Length")
    version = hashlib.sha256(response.headers.get("ETag", "").encode()).hexdigest()[:12]
    return source.size_bytes if length is None else int(length), version


def transfer(
    url: str,
    partial: Path,
    *,
    size: int | None,
    headers: dict[str, str],
    title: str,
    reporter: Reporter,
) -> None:
    """Fetches `url` into `partial`, continuing what is there."""
    partial.parent.mkdir(parents=True, exist_ok=True)
    done = partial.stat().st_size if partial.exists() else 0
    if size is not None and done > size:
        partial.unlink()
        done = 0
    if done == size:
        return
    if size is not None and shutil.disk_usage(partial.parent).free < size - done:
        raise DataError(
            f"{title} needs {(size - done) / 1e9:.2f} GB, {partial.parent} has "
            f"{shutil.disk_usage(partial.parent).free / 1e9:.2f} GB free"
        )
    if done:
        reporter.note(f"{title}: continuing at {done / 1e6:,.0f} MB")
    heard = reporter if size is None or size > 10_000_000 else Reporter()
    with (
        partial.open("ab") as file,
        heard.progress(f"{title} (MB)", None if size is None else size // 1_000_000) as progress,
    ):
        http_get(
            url,
            file,
            resume_size=done,
            headers=headers,
            expected_size=size,
            displayed_filename=title,
            tqdm_class=_bar(progress, done),
        )


class NoBar(tqdm):
    def __init__(self, *args: Any, **kwargs: Any):
        super().__init__(*args, **kwargs | {"disable": True})


def _bar(progress: Any, done: int) -> type[tqdm]:
    """The hub client's progress bar, drawn by our reporter."""

    class Bar(NoBar):
        def __init__(self, *args: Any, **kwargs: Any):
            super().__init__(*args, **kwargs)
            self.bytes, self.shown = done, 0
            self.update(0)

        def update(self, n: float | None = 1) -> None:
            self.bytes += int(n or 0)
            progress.advance(self.bytes // 1_000_000 - self.shown)
            self.shown = self.bytes // 1_000_000

    return Bar


def check_hash(path: Path, sha256: str | None, etag: str | None) -> None:
    """Refuses, and removes, a file of another hash than stated. A hub's ETag is the sha256 of a
    large file, git's own hash of a small one.

    Raises:
        DataError: Another hash.
    """
    etag = etag or ""
    stated = [one for one in (sha256, etag if len(etag) == 64 else None) if one]
    if len(etag) == 40:
        content = path.read_bytes()
        blob = hashlib.sha1(f"blob {len(content)}\0".encode() + content).hexdigest()
        if blob != etag:
            path.unlink()
            raise DataError(f"what arrived is damaged: git hash {blob}, the hub states {etag}")
    if stated:
        found = file_sha256(path)
        for expected in stated:
            if found != expected:
                path.unlink()
                raise DataError(
                    f"what arrived has sha256 {found}, expected {expected}; it was thrown away"
                )


def file_sha256(path: Path) -> str:
    """sha256 of a file, read in blocks."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
