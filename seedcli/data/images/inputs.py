"""What the user names as INPUT -> a stream of items, one for each image, in a fixed order
and with a stable key.

Inputs are image and video files, folders, globs, `-` (paths on stdin), webdataset tars, parquet
files and folders that `datasets` saved. Listing reads names only; `containers` reads what they
lead to. What cannot be read becomes an item with a `problem`, so that the others go on.
"""

from __future__ import annotations

import dataclasses
import glob
import mimetypes
import os
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from braceexpand import UnbalancedBracesError, braceexpand  # type: ignore[attr-defined]

from seedcli.data.images.endings import (
    IMAGE_ENDINGS,
    TAR_ENDINGS,
    VIDEO_ENDINGS,
    frames_of,
    is_image,
    is_video,
)
from seedcli.data.images.items import Container, Item, without_ending
from seedcli.data.images.tables import is_index
from seedcli.data.text_files import printable
from seedcli.errors import DataError, UsageError
from seedcli.storage import exists, expand_glob, find_below, is_folder, is_url


@dataclass(frozen=True)
class _PassedOver:
    """A picture of a kind that is not read, in a folder with others."""

    ending: str


def list_inputs(
    inputs: Iterable[str],
    stdin: Iterable[str] = (),
    *,
    on_passed_over: Callable[[str], None] | None = None,
) -> Iterator[Item | Container]:
    """INPUT arguments -> items and containers, in the order given; folders are sorted by name.

    Arguments are checked before anything is yielded: a path that does not exist is an error at
    once, not after an hour. Paths that come on stdin are checked when their turn comes; a
    missing one is a failed item.

    Args:
        inputs: As the user named them.
        stdin: Paths, for `-`.
        on_passed_over: Is told at the end how many pictures of folders are of kinds that are not
            read, such as .svg, where there are any.

    Raises:
        DataError: An argument does not exist, a glob matches nothing, or a folder holds no image.
        UsageError: No input at all, or braces that do not balance.
    """
    inputs = list(inputs)
    if not inputs:
        raise UsageError(
            "no INPUT",
            remedy="Name image files, folders, .tar or .parquet files, or - for paths on stdin.",
        )
    _refuse_addresses_of_pictures(inputs)
    missing: list[str] = []
    matches = [_expand(argument, missing) for argument in inputs]
    if missing:
        shown = ", ".join(missing[:5]) + (
            f" and {len(missing) - 5} more" if len(missing) > 5 else ""
        )
        raise DataError(f"no such file or folder: {shown}", remedy=_look_again(missing[0]))
    folders = [path for found in matches for path in found if path != "-" and is_folder(path)]
    return _list_paths(matches, stdin, _Keys(folders), on_passed_over)


class _Keys:
    """Keys of what is named by itself, on the command line or on stdin: the second of one key is
    `KEY#2`, as when a picture is named twice. All are held in memory.

    Args:
        folders: Those on the command line; the name of one is the first part of its keys, its whole
            path where several are called alike.
    """

    def __init__(self, folders: list[str]):
        names = Counter(map(_last_part, folders))
        self._ambiguous = {name for name, number in names.items() if number > 1}
        self._folders = {self._plain(folder): folder for folder in folders}
        self._seen: Counter[str] = Counter()

    def _plain(self, folder: str) -> str:
        name = _last_part(folder)
        return _posix(folder).rstrip("/") if name in self._ambiguous else name

    def _once(self, key: str) -> str:
        self._seen[key] += 1
        return key if self._seen[key] == 1 else f"{key}#{self._seen[key]}"

    def of_folder(self, path: str) -> str:
        """First part of the keys of what lies in a folder."""
        return self._once(self._plain(path))

    def of_file(self, shown: str) -> str:
        """Key of a file; also another one where a folder that is named has one of its key."""
        key = _posix(shown)
        for prefix, folder in self._folders.items():
            if key.startswith(f"{prefix}/") and key not in self._seen:
                self._seen[key] += exists(f"{folder}/{key.removeprefix(f'{prefix}/')}")
        return self._once(key)


def _last_part(path: str) -> str:
    return os.path.basename(os.path.abspath(path))


def _look_again(missing: str) -> str:
    """What to do about a name that is nothing."""
    if missing.startswith("pipe:"):
        return "Commands are not run; name the tar itself, or its address (s3://, hf://, https://)."
    if is_url(missing):  # of a server that does not answer, too, only this is known
        return f"Check the address, and that its server answers: curl -I {missing}"
    return "Check the path; quote globs and {000..127} ranges."


def _list_paths(
    matches: list[list[str]],
    stdin: Iterable[str],
    keys: _Keys,
    on_passed_over: Callable[[str], None] | None,
) -> Iterator[Item | Container]:
    """What the paths hold; containers of one name are told apart by where they lie. What is passed
    over is counted, and told at the end.
    """
    seen: Counter[str] = Counter()
    passed_over: Counter[str] = Counter()
    for entry in _entries(matches, stdin, keys):
        if isinstance(entry, _PassedOver):
            passed_over[entry.ending] += 1
            continue
        if isinstance(entry, Container):
            place = entry.key or printable(_posix(without_ending(entry.path)))
            seen[entry.stem] += 1
            if seen[entry.stem] > 1:
                seen[place] += 1
            entry = dataclasses.replace(
                entry,
                key=None
                if seen[entry.stem] == 1
                else place
                if seen[place] == 1
                else f"{place}#{seen[place]}",
            )
        yield entry
    if passed_over and on_passed_over is not None:
        kinds = ", ".join(f"{number:,} .{ending}" for ending, number in passed_over.most_common())
        on_passed_over(f"passed over, since such pictures are not read: {kinds}")


def _entries(
    matches: list[list[str]], stdin: Iterable[str], keys: _Keys
) -> Iterator[Item | Container | _PassedOver]:
    for found in matches:
        for path in found:
            if path == "-":
                for number, line in enumerate(stdin):
                    name = line.rstrip("\r\n")
                    name = name.removeprefix("\ufeff") if number == 0 else name
                    _refuse_addresses_of_pictures([name, name])
                    if name and not exists(name):
                        shown = printable(name)
                        yield Item(key=keys.of_file(shown), source=shown, problem="no such file")
                    elif name:
                        yield from _list_path(name, keys)
            else:
                yield from _list_path(path, keys)


def _expand(argument: str, missing: list[str]) -> list[str]:
    """One argument -> existing paths; what does not exist is added to `missing`. A name that
    exists is taken literally.
    """
    if argument == "-" or (not is_url(argument) and os.path.exists(argument)):
        return [argument]
    try:
        names = list(braceexpand(argument)) if "{" in argument else [argument]
    except UnbalancedBracesError:
        raise UsageError(
            f"braces do not balance in {argument}", remedy="Ranges look like data/{000..127}.tar"
        ) from None
    found = []
    for name in names:
        paths = (
            [name]
            if not (is_url(name) and glob.has_magic(name)) and exists(name)
            else expand_glob(name)
            if glob.has_magic(name)
            else []
        )
        found += paths
        if not paths:
            missing.append(name)
    return found


def _list_path(path: str, keys: _Keys) -> Iterator[Item | Container | _PassedOver]:
    if is_folder(path):
        if any(
            exists(f"{path.rstrip('/')}/{name}") for name in ("state.json", "dataset_dict.json")
        ):
            yield Container("dataset", path)
            return
        prefix = keys.of_folder(path)
        empty = True
        for found in (
            _list_objects(path, prefix) if is_url(path) else _walk(path, "", prefix, set())
        ):
            empty = empty and isinstance(found, _PassedOver)
            yield found
        if empty:
            endings = " ".join(sorted(IMAGE_ENDINGS | VIDEO_ENDINGS))
            raise DataError(
                f"{path}: no image, video, .tar or .parquet file in this folder",
                remedy=f"Endings that are looked for: {endings}.",
            )
    else:
        shown = printable(path)
        yield _as_container(path) or Item(
            key=keys.of_file(shown), source=shown, path=path, frames=frames_of(path)
        )


def _as_container(path: str) -> Container | None:
    lower = path.lower()
    return (
        Container("tar", path)
        if lower.endswith(TAR_ENDINGS)
        else Container("parquet", path)
        if lower.endswith(".parquet")
        else None
    )


def _walk(
    root: str, relative: str, prefix: str, seen: set[tuple[int, int]]
) -> Iterator[Item | Container | _PassedOver]:
    """Images and containers below a folder, sorted; hidden names are skipped, each real folder is
    entered once (links may form loops).
    """
    # not by recursion: folders may lie deeper than Python follows
    open_folders = [_folder_entries(root, relative, prefix, seen)]
    while open_folders:
        entry = next(open_folders[-1], None)
        if entry is None:
            open_folders.pop()
        elif isinstance(entry, str):
            open_folders.append(_folder_entries(root, entry, prefix, seen))
        else:
            yield entry


def _folder_entries(
    root: str, relative: str, prefix: str, seen: set[tuple[int, int]]
) -> Iterator[Item | Container | _PassedOver | str]:
    """What one folder holds, sorted: images, containers, and folders as their relative paths."""
    folder = os.path.join(root, relative) if relative else root
    key = f"{prefix}/{relative}" if relative else prefix
    try:
        status = os.stat(folder)
        if (status.st_dev, status.st_ino) in seen:
            return
        seen.add((status.st_dev, status.st_ino))
        with os.scandir(folder) as entries:
            names = {
                entry.name: _kind_of(entry) for entry in entries if not entry.name.startswith(".")
            }
    except OSError as error:
        problem = f"folder cannot be read ({error.strerror})"
        yield Item(key=printable(key), source=printable(folder), problem=problem)
        return
    for name in sorted(names):
        below = f"{relative}/{name}" if relative else name
        if names[name] == "folder":
            yield below
            continue
        # a pipe would be waited for, for ever
        problem = None if names[name] == "file" else "is no regular file"
        yield from _list_file(os.path.join(folder, name), f"{key}/{name}", names, problem)


def _list_file(
    path: str, key: str, beside: Mapping[str, str], problem: str | None = None
) -> Iterator[Item | Container | _PassedOver]:
    """A file of a folder -> what it is, if anything; `beside` are the names in its folder."""
    name = key.rpartition("/")[2]
    stem = name.rpartition(".")[0]
    if container := _as_container(path):
        packed = (stem, *(f"{stem}{one}" for one in TAR_ENDINGS))
        if container.kind == "parquet" and any(map(beside.get, packed)) and is_index(path):
            return
        yield dataclasses.replace(container, key=printable(without_ending(key)), found=True)
    elif is_image(name) or is_video(name):
        caption = f"{stem}.txt"
        yield Item(
            key=printable(key),
            source=printable(path),
            path=path,
            text_path=path.removesuffix(name) + caption if beside.get(caption) == "file" else None,
            problem=problem,
            frames=frames_of(name),
        )
    elif (mimetypes.guess_type(name)[0] or "").startswith("image/"):
        yield _PassedOver(name.rpartition(".")[2].lower())


def _list_objects(url: str, prefix: str) -> Iterator[Item | Container | _PassedOver]:
    """Images and containers below an address, in the order of `_walk`."""
    names = find_below(url)
    in_folder: dict[str, dict[str, str]] = {}
    for name in names:
        in_folder.setdefault(name.rpartition("/")[0], {})[name.rpartition("/")[2]] = "file"
    for name in names:
        if not any(part.startswith(".") for part in name.split("/")):
            yield from _list_file(
                f"{url.rstrip('/')}/{name}", f"{prefix}/{name}", in_folder[name.rpartition("/")[0]]
            )


def _refuse_addresses_of_pictures(paths: list[str]) -> None:
    """One picture behind https is read; to fetch many, with retries, robots.txt and all, is
    img2dataset's work.
    """
    pictures = [
        path
        for path in paths
        if path.lower().startswith(("http://", "https://")) and not _as_container(path)
    ]
    if len(pictures) > 1:
        raise UsageError(
            f"{pictures[0]}: a list of addresses of pictures",
            remedy="img2dataset --url_list FILE --output_format webdataset fetches them; "
            "its tars are an input.",
        )


def _kind_of(entry: os.DirEntry[str]) -> Literal["folder", "file", "other"]:
    try:
        return "folder" if entry.is_dir() else "file" if entry.is_file() else "other"
    except OSError:  # a link that leads to itself
        return "other"


def _posix(path: str) -> str:
    return path if is_url(path) else Path(path).as_posix()
