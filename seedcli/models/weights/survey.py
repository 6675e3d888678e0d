"""What getting published files would take, for `--dry-run`: nothing is downloaded, and without a
network the registry answers with what is known.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from huggingface_hub import constants

from seedcli.errors import DataError
from seedcli.models.weights.download import (
    as_data_error,
    cached_names,
    find_local,
    list_source,
)
from seedcli.models.weights.layout import choose_files
from seedcli.models.weights.published import Role, Source
from seedcli.models.weights.transfer import head, one_failure


@one_failure()
def survey(role: Role) -> dict[str, Any]:
    """What getting a role would take: where it lies on this disk, or the first source that says it
    has all of it, with the files and bytes to fetch. Nothing is downloaded.
    """
    row: dict[str, Any] = {"role": role.name, "path": None}
    if found := find_local(role):
        source, path = found
        sizes = _sizes_here(role, source, path)
        return row | {
            "path": str(path),
            "source": source.name,
            "files": len(sizes),
            "size_bytes": sum(sizes.values()),
            "download_bytes": 0,
        }
    failed: list[str] = []
    for source in () if constants.is_offline_mode() else role.sources:
        try:
            sizes = _sizes_there(role, source)
        except DataError as error:
            failed.append(f"{source.name}: {error.message}")
            continue
        size = sum(sizes.values())
        row |= {"source": source.name, "files": len(sizes), "size_bytes": size}
        return row | {"download_bytes": size} | ({"failed": failed} if failed else {})
    about = role.sources[0].size_bytes or (role.about_gb and round(role.about_gb * 1e9))
    row |= {"source": role.sources[0].name, "size_bytes": about, "download_bytes": about}
    row |= {"note": "no source answers" if failed else "offline, nobody was asked"}
    return row | ({"failed": failed} if failed else {})


def _sizes_here(role: Role, source: Source, path: Path) -> dict[str, int]:
    if path.is_file():
        return {path.name: path.stat().st_size}
    return _chosen(role, source, cached_names(source))


def _chosen(role: Role, source: Source, sizes: dict[str, int]) -> dict[str, int]:
    return {name: sizes[name] for name in choose_files(role, source, sizes)[1]}


def _sizes_there(role: Role, source: Source) -> dict[str, int]:
    if source.url is None:
        return _chosen(role, source, list_source(source))
    try:
        return {source.name_of_file(): head(source)[0] or 0}
    except Exception as error:
        raise as_data_error(error, source) from error
