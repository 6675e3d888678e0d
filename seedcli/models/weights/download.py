"""Getting published files: sources in order, broken transfers continued, every file checked against
the hash that hub or registry states.

Hub files land in Hugging Face's own cache, where other programs find them too. The hub's client
continues a transfer only within one process (2.x), so the bytes are fetched here into a `.partial`
file that outlives the process, with the client's own HTTP function, and then handed to its cache.
On the path: before everything else, and only when something is not on the disk yet.
"""

from __future__ import annotations

import fnmatch
import hashlib
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import huggingface_hub
from huggingface_hub import constants
from huggingface_hub.errors import (
    EntryNotFoundError,
    HfHubHTTPError,
    LocalEntryNotFoundError,
    OfflineModeIsEnabled,
)
from huggingface_hub.file_download import http_get, repo_folder_name
from huggingface_hub.utils import build_hf_headers, http_backoff, tqdm

from seedcli.console import Reporter
from seedcli.errors import DataError
from seedcli.models.weights.published import ROLES, Role, Source

_BLOCK = 1 << 24

Check = Callable[[Path], None]


def fetch(role: Role, *, reporter: Reporter, check: Check | None = None) -> Path:
    """A role's file or folder; see `obtain`."""
    return obtain(role, reporter=reporter, check=check)[1]


def obtain(role: Role, *, reporter: Reporter, check: Check | None = None) -> tuple[Source, Path]:
    """A role's file or folder, and where it comes from: what is on the disk already, else the
    first source that delivers.

    Args:
        role: What is wanted.
        reporter: Hears which source answered, and which failed and why.
        check: Refuses a folder with `DataError` by its configuration files, before its weights are
            downloaded; the next source is tried.

    Raises:
        DataError: No source delivered; says what was tried and how to lay the files out by hand.
    """
    tried: list[str] = []
    for offline in (True,) if constants.is_offline_mode() else (True, False):
        for source in role.sources:
            try:
                path = _fetch_from(role, source, offline=offline, reporter=reporter, check=check)
            except DataError as error:
                if offline and not constants.is_offline_mode():
                    continue  # not on the disk: no failure yet
                tried.append(f"  {source.name}: {error.message}")
                if not offline:
                    reporter.warn(f"{role.name}: {source.name} failed: {error.message}")
                continue
            if not offline:
                reporter.note(
                    f"{role.name}: {source.name} -> {path}"
                    + (f" ({source.note})" if source.note else "")
                )
            return source, path
    state = "offline (HF_HUB_OFFLINE is set), and " if constants.is_offline_mode() else ""
    raise DataError(
        f"{state}no source has {role.name} ({role.title}); tried\n" + "\n".join(tried),
        remedy=f"by hand: {role.lay_out}. With a network: seed models pull {role.name}",
    )


def find_local(role: Role) -> tuple[Source, Path] | None:
    """The source and path of a role that is on this disk already; nobody is asked."""
    for source in role.sources:
        try:
            return source, _fetch_from(role, source, offline=True, reporter=Reporter())
        except DataError:
            continue
    return None


def commit_of(path: Path) -> str | None:
    """The hub commit that a cached file or folder belongs to: its folder's
    name under `snapshots/`.
    """
    parts = path.parts
    return parts[parts.index("snapshots") + 1] if "snapshots" in parts[:-1] else None


def recorded_sha256(path: Path) -> str | None:
    """The sha256 that the hub stated for a file in its cache, which names the blob behind it; for a
    file in our cache, the registry's.
    """
    from seedcli.models.weights.cache import cache_folder

    blob = path.resolve()
    if blob.parent.name == "blobs" and len(blob.name) == 64:
        return blob.name
    return published_sha256(path.name) if path.is_relative_to(cache_folder()) else None


def published_sha256(name: str) -> str | None:
    """The hash of the published file of this name, where one is known."""
    known = {
        source.sha256
        for role in ROLES.values()
        for source in role.sources
        if source.sha256 and source.name_of_file() == name
    }
    return known.pop() if len(known) == 1 else None


def _fetch_from(
    role: Role, source: Source, *, offline: bool, reporter: Reporter, check: Check | None = None
) -> Path:
    if source.url is not None:
        return _fetch_url(source, offline=offline, reporter=reporter)
    if role.kind == "file":
        return fetch_source(source, source.files[0], offline=offline, reporter=reporter)
    return _fetch_folder(source, offline=offline, reporter=reporter, check=check)


def _fetch_folder(
    source: Source, *, offline: bool, reporter: Reporter, check: Check | None
) -> Path:
    tops = {pattern.split("/")[0] for pattern in source.files}
    inner = tops.pop() if len(tops) == 1 else "*"
    inner = "" if "*" in inner else inner
    if not offline:
        names = [
            name
            for name in list_source(source)
            if any(fnmatch.fnmatchcase(name, pattern) for pattern in source.files)
        ]
        if not names:
            raise DataError(f"holds no file like {', '.join(source.files)}")
        light = [name for name in names if name.endswith((".json", ".txt"))]
        for name in light:
            path = fetch_source(source, name, reporter=reporter)
        if check is not None and light:
            check(path.parents[name.count("/")] / inner)
        for name in names:
            if name not in light:
                fetch_source(source, name, reporter=reporter)
    # the client knows the repository's tree, so that an incomplete folder is not taken for a whole
    # one
    try:
        folder = Path(
            huggingface_hub.snapshot_download(
                source.repo or "",
                revision=source.revision,
                allow_patterns=list(source.files),
                local_files_only=offline,
                max_workers=1,
                tqdm_class=_NoBar,
            )
        )
    except Exception as error:
        raise _as_data_error(error, source) from error
    if check is not None:
        check(folder / inner)
    return folder / inner


def _repo_folder(source: Source) -> Path:
    return Path(constants.HF_HUB_CACHE) / repo_folder_name(
        repo_id=source.repo or "", repo_type="model"
    )


def list_source(source: Source) -> list[str]:
    """Names of all files of a hub repository; of those on the disk when the hub cannot be reached.

    Raises:
        DataError: The hub does not answer, or has no such repository or revision.
    """
    try:
        return huggingface_hub.HfApi().list_repo_files(source.repo or "", revision=source.revision)
    except Exception as error:
        cached = _cached_names(source)
        if not cached:
            raise _as_data_error(error, source) from error
        return cached


def _cached_names(source: Source) -> list[str]:
    root = _repo_folder(source)
    reference = root / "refs" / source.revision
    snapshot = (
        root
        / "snapshots"
        / (
            reference.read_text(encoding="utf-8").strip()
            if reference.is_file()
            else source.revision
        )
    )
    return [path.relative_to(snapshot).as_posix() for path in snapshot.rglob("*") if path.is_file()]


def fetch_source(source: Source, name: str, *, offline: bool = False, reporter: Reporter) -> Path:
    """One file of a hub repository -> its path in the hub's cache.

    Raises:
        DataError: Not there, broken off for good, or of another hash than stated.
    """
    failure: Exception | None = None
    if not offline:
        try:
            _prefetch(source, name, reporter)
        except DataError:
            raise
        except Exception as error:
            failure = error  # the file may be here all the same
    try:
        cached_only = offline or failure is not None
        return Path(
            huggingface_hub.hf_hub_download(
                source.repo or "", name, revision=source.revision, local_files_only=cached_only
            )
        )
    except Exception as error:
        raise _as_data_error(failure or error, source) from error


def _prefetch(source: Source, name: str, reporter: Reporter) -> None:
    """Puts the file's bytes where the hub's client looks for them, unless they are there."""
    url = huggingface_hub.hf_hub_url(source.repo or "", name, revision=source.revision)
    facts = huggingface_hub.get_hf_file_metadata(url)
    if not facts.etag:
        return
    blob = _repo_folder(source) / "blobs" / facts.etag
    if blob.exists():
        return
    headers = build_hf_headers()
    if urlsplit(facts.location).netloc != urlsplit(url).netloc:
        # the token is for the hub, not for the storage it redirects to
        headers.pop("authorization", None)
    partial = blob.with_name(blob.name + ".partial")
    _download(
        facts.location,
        partial,
        size=facts.size,
        headers=headers,
        title=f"{source.repo}/{name}",
        reporter=reporter,
    )
    _check_hash(partial, source.sha256 if len(source.files) == 1 else None, facts.etag)
    partial.replace(blob)


def _fetch_url(source: Source, *, offline: bool, reporter: Reporter) -> Path:
    from seedcli.models.weights.cache import cache_folder

    parts = urlsplit(source.url or "")
    path = cache_folder() / "files" / (parts.hostname or "") / parts.path.lstrip("/")
    if path.is_file():
        return path
    if offline:
        raise DataError("not on this disk")
    try:
        response = http_backoff(
            "HEAD",
            source.url or "",
            max_retries=1,
            follow_redirects=True,
            timeout=constants.HF_HUB_ETAG_TIMEOUT,
        )
        response.raise_for_status()
        etag = hashlib.sha256(response.headers.get("ETag", "").encode()).hexdigest()[:12]
        size = (
            int(response.headers["Content-Length"])
            if "Content-Length" in response.headers
            else source.size_bytes
        )
        # another version on the server starts anew
        partial = path.with_name(f"{path.name}.{etag}.partial")
        _download(
            source.url or "", partial, size=size, headers={}, title=path.name, reporter=reporter
        )
        _check_hash(partial, source.sha256, None)
    except Exception as error:
        raise _as_data_error(error, source) from error
    partial.replace(path)
    return path


def _download(
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


class _NoBar(tqdm):
    def __init__(self, *args: Any, **kwargs: Any):
        super().__init__(*args, **kwargs | {"disable": True})


def _bar(progress: Any, done: int) -> type[tqdm]:
    """The hub client's progress bar, drawn by our reporter."""

    class Bar(_NoBar):
        def __init__(self, *args: Any, **kwargs: Any):
            super().__init__(*args, **kwargs)
            self.bytes, self.shown = done, 0
            self.update(0)

        def update(self, n: float | None = 1) -> None:
            self.bytes += int(n or 0)
            progress.advance(self.bytes // 1_000_000 - self.shown)
            self.shown = self.bytes // 1_000_000

    return Bar


def _check_hash(path: Path, sha256: str | None, etag: str | None) -> None:
    """Refuses, and removes, a file of another hash than stated. A hub's ETag is the sha256 of a
    large file, git's own hash of a small one.

    Raises:
        DataError: Another hash.
    """
    stated = [sha256] if sha256 else []
    if etag is not None and len(etag) == 64:
        stated.append(etag)
    if etag is not None and len(etag) == 40:
        blob = hashlib.sha1(
            f"blob {path.stat().st_size}\0".encode() + path.read_bytes()
        ).hexdigest()
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
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(_BLOCK):
            digest.update(block)
    return digest.hexdigest()


def _as_data_error(error: Exception, source: Source) -> DataError:
    if isinstance(error, DataError):
        return error
    if isinstance(error, LocalEntryNotFoundError):
        return DataError(
            "not on this disk"
            if constants.is_offline_mode() or error.__cause__ is None
            else f"no answer ({_first_line(error.__cause__)})"
        )
    if isinstance(error, OfflineModeIsEnabled):
        return DataError("offline")
    if isinstance(error, EntryNotFoundError):
        return DataError("the repository has no such file")
    if isinstance(error, HfHubHTTPError) and error.response is not None:
        return DataError(f"HTTP {error.response.status_code}")
    return DataError(f"{type(error).__name__}: {_first_line(error)}")


def _first_line(error: BaseException) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0][:200]
