"""Getting published files: sources in order, broken transfers continued, every file checked against
the hash that hub or registry states.

Hub files land in Hugging Face's own cache, where other programs find them too. The hub's client
continues a transfer only within one process (2.x), so the bytes are fetched here into a `.partial`
file that outlives the process, with the client's own HTTP function, and then handed to its cache.
On the path: before everything else, and only when something is not on the disk yet.
"""

from __future__ import annotations

import errno
from collections.abc import Callable
from pathlib import Path
from urllib.parse import urlsplit

import huggingface_hub
from huggingface_hub import constants, errors
from huggingface_hub.errors import (
    EntryNotFoundError,
    GatedRepoError,
    HfHubHTTPError,
    LocalEntryNotFoundError,
    OfflineModeIsEnabled,
    RepositoryNotFoundError,
)
from huggingface_hub.file_download import repo_folder_name
from huggingface_hub.utils import build_hf_headers

from seedcli.console import Reporter
from seedcli.errors import DataError
from seedcli.models.weights.layout import choose_files
from seedcli.models.weights.published import ROLES, Role, Source
from seedcli.models.weights.transfer import (
    NoBar,
    check_hash,
    head,
    one_failure,
    require_address,
    transfer,
)

Check = Callable[[Path], None]
_UNWRITABLE = {errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOENT}


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
    remedies: list[str] = []
    for offline in (True,) if constants.is_offline_mode() else (True, False):
        if not offline and "/" in role.name:  # what was named may be a folder, mistyped
            reporter.note(f"there is no folder {role.name}; asking the hub for it")
        for source in role.sources:
            try:
                with one_failure():
                    path = _fetch_from(
                        role, source, offline=offline, reporter=reporter, check=check
                    )
            except DataError as error:
                if offline and not constants.is_offline_mode():
                    continue  # not on the disk: no failure yet
                tried.append(f"  {source.name}: {error.message}")
                if error.remedy and error.remedy not in remedies:
                    remedies.append(error.remedy)
                if not offline and source is not role.sources[-1]:  # the error says the last
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
        remedy="; or ".join(
            [
                *remedies,
                f"by hand: {role.lay_out}. With a network: seed models pull {role.name}",
            ]
        ),
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
        name = source.folder + source.files[0]
        return fetch_source(source, name, offline=offline, reporter=reporter)
    if offline:
        return _find_folder(role, source, check)
    folder, names = choose_files(role, source, list_source(source))
    light = [name for name in names if name.endswith((".json", ".txt"))]
    for name in light:
        path = fetch_source(source, name, reporter=reporter)
    if check is not None and light:
        check(path.parents[name.count("/")] / folder)
    for name in names:
        if name not in light:
            fetch_source(source, name, reporter=reporter)
    # stores the repository's list of files, by which a later look at the disk tells a whole folder
    # from a broken-off one
    try:
        whole = huggingface_hub.snapshot_download(
            source.repo or "",
            revision=source.revision,
            allow_patterns=names,
            max_workers=1,
            tqdm_class=NoBar,
        )
    except Exception as error:
        raise as_data_error(error, source) from error
    if check is not None:
        check(Path(whole) / folder)
    return Path(whole) / folder


def _find_folder(role: Role, source: Source, check: Check | None) -> Path:
    """A role's folder in the hub's cache.

    Raises:
        DataError: Files of it are not there; or the hub could be asked, and what is there may be a
            part only, of another program's download.
    """
    snapshot = snapshot_of(source)
    if snapshot is None:
        raise DataError("not on this disk")
    listed = _listed_before(source, snapshot.name)
    if listed is None and role.kind == "language-model" and not constants.is_offline_mode():
        raise DataError("not known to be whole")
    folder, names = choose_files(role, source, listed or cached_names(source))
    if absent := [name for name in names if not (snapshot / name).is_file()]:
        raise DataError(f"incomplete on this disk: no {', '.join(absent[:3])}")
    if check is not None:
        check(snapshot / folder)
    return snapshot / folder


def _repo_folder(source: Source) -> Path:
    return Path(constants.HF_HUB_CACHE) / repo_folder_name(
        repo_id=source.repo or "", repo_type="model"
    )


def snapshot_of(source: Source) -> Path | None:
    """The cached snapshot of a source's revision."""
    root = _repo_folder(source)
    reference = root / "refs" / source.revision
    commit = (
        reference.read_text(encoding="utf-8").strip() if reference.is_file() else source.revision
    )
    snapshot = root / "snapshots" / commit
    return snapshot if snapshot.is_dir() else None


def _listed_before(source: Source, commit: str) -> list[str] | None:
    """Names of all files of a snapshot, as the hub's client stored them (2.x; earlier ones store
    none).
    """
    listing = getattr(huggingface_hub, "get_cached_repo_tree", None)
    unknown = getattr(errors, "CachedRepoTreeNotFoundError", EntryNotFoundError)
    try:
        return listing and [file.path for file in listing(source.repo or "", revision=commit)]
    except unknown:
        return None


@one_failure()
def list_source(source: Source) -> dict[str, int]:
    """Names and sizes of all files of a hub repository; of those on the disk when the hub cannot
    be reached.

    Raises:
        DataError: The hub does not answer, or has no such repository or revision.
    """
    try:
        require_address(constants.ENDPOINT)
        return {
            entry.path: entry.size
            for entry in huggingface_hub.HfApi().list_repo_tree(
                source.repo or "", revision=source.revision, recursive=True
            )
            if isinstance(entry, huggingface_hub.RepoFile)
        }
    except Exception as error:
        cached = cached_names(source)
        if not cached:
            raise as_data_error(error, source) from error
        return cached


def cached_names(source: Source) -> dict[str, int]:
    snapshot = snapshot_of(source)
    return {
        path.relative_to(snapshot).as_posix(): path.stat().st_size
        for path in (snapshot.rglob("*") if snapshot else ())
        if path.is_file()
    }


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
        raise as_data_error(failure or error, source) from error


def _prefetch(source: Source, name: str, reporter: Reporter) -> None:
    """Puts the file's bytes where the hub's client looks for them, unless they are there."""
    require_address(constants.ENDPOINT)
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
    transfer(
        facts.location,
        partial,
        size=facts.size,
        headers=headers,
        title=f"{source.repo}/{name}",
        reporter=reporter,
    )
    check_hash(partial, source.sha256 if len(source.files) == 1 else None, facts.etag)
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
        size, etag = head(source)
        # another version on the server starts anew
        partial = path.with_name(f"{path.name}.{etag}.partial")
        transfer(
            source.url or "", partial, size=size, headers={}, title=path.name, reporter=reporter
        )
        check_hash(partial, source.sha256, None)
    except Exception as error:
        raise as_data_error(error, source) from error
    partial.replace(path)
    return path


def as_data_error(error: Exception, source: Source) -> DataError:
    if isinstance(error, DataError):
        return error
    if isinstance(error, LocalEntryNotFoundError):
        return DataError(
            "not on this disk"
            if constants.is_offline_mode() or error.__cause__ is None
            else f"no answer ({_first_line(error.__cause__)})"
        )
    if isinstance(error, OfflineModeIsEnabled):
        return DataError(
            f"offline (HF_HUB_OFFLINE is set), so nobody can say what {source.name} holds",
            remedy="unset HF_HUB_OFFLINE",
        )
    if isinstance(error, EntryNotFoundError):
        return DataError("the repository has no such file")
    if isinstance(error, GatedRepoError):
        return DataError(
            f"{source.repo} is gated: its licence has to be accepted by somebody who is logged in",
            remedy=f"accept it at https://huggingface.co/{source.repo}, then hf auth login (or set "
            "HF_TOKEN)",
        )
    if isinstance(error, RepositoryNotFoundError):
        # the hub answers alike for what does not exist and for what one may not see
        status = f" (HTTP {error.response.status_code})" if error.response is not None else ""
        return DataError(
            f"the hub has no repository {source.repo}, or a private one{status}",
            remedy="look at its spelling; hf auth login opens private ones",
        )
    if isinstance(error, OSError) and error.errno in _UNWRITABLE:
        return DataError(
            f"{error.filename or constants.HF_HUB_CACHE} cannot be written: "
            f"{(error.strerror or str(error)).lower()}",
            remedy="HF_HOME=FOLDER moves the cache of downloaded weights",
        )
    if isinstance(error, ConnectionError):
        return DataError(f"no answer ({_first_line(error)})")
    if isinstance(error, HfHubHTTPError) and error.response is not None:
        return DataError(f"HTTP {error.response.status_code}")
    return DataError(f"{type(error).__name__}: {_first_line(error)}")


def _first_line(error: BaseException) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0][:200]
