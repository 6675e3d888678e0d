"""Published weights seen from outside: what there is, get it, check it, look into it."""

from __future__ import annotations

import dataclasses
import os
import shutil
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from seedcli.console import Reporter
from seedcli.errors import DataError, UsageError
from seedcli.models.visual.config import PRESETS
from seedcli.models.weights.description import DECODER_FOLDER
from seedcli.models.weights.digest import stored_digest
from seedcli.models.weights.layout import LLM_FOLDER, tokenizer_roles
from seedcli.models.weights.load import check_decoder
from seedcli.models.weights.locate import BUNDLED_NANO, locate, with_weights
from seedcli.models.weights.published import (
    PRESET_ROLES,
    PRESET_TITLES,
    ROLES,
    SEED_LLAMA_TEXT_TOKENIZER,
    SEED_LLAMAS,
    UNCLIP,
    Role,
    Source,
    language_model,
)

# Name of a role's file or folder in a folder that `--model` takes; others are the folder itself.
_PLACES = {
    "vit-g": "eva_vit_g",
    "quantizer": "seed_quantizer",
    "bert-vocabulary": "vocab",
    "unclip": DECODER_FOLDER,
    **dict.fromkeys((role.name for role in SEED_LLAMAS), LLM_FOLDER),
    SEED_LLAMA_TEXT_TOKENIZER.name: LLM_FOLDER,
}


def list_models() -> list[dict[str, Any]]:
    """Presets and roles, each with its sources in order and where it lies on this disk;
    torch-free, asks nobody.
    """
    from seedcli.models.weights.download import find_local

    rows: list[dict[str, Any]] = []
    for name, roles in PRESET_ROLES.items():
        if name == "seed-nano":
            here = str(BUNDLED_NANO) if (BUNDLED_NANO / "seed_tokenizer.json").is_file() else None
        else:
            here = "complete" if all(find_local(ROLES[role]) for role in roles) else None
        rows.append(
            {
                "name": name,
                "kind": "preset",
                "about": PRESET_TITLES[name],
                "parts": list(roles),
                "here": here,
                "sources": [],
            }
            | _size_of(roles)
        )
    for role in ROLES.values():
        found = find_local(role)
        sources = [
            {
                "source": source.name,
                "files": [source.folder + name for name in source.files],
                "size_bytes": source.size_bytes,
                "sha256": source.sha256,
                "licence": source.licence,
                "note": source.note,
            }
            for source in role.sources
        ]
        rows.append(
            {
                "name": role.name,
                "kind": role.kind,
                "about": role.title,
                "parts": [],
                "here": found and str(found[1]),
                "sources": sources,
            }
            | _size_of((role.name,))
        )
    return rows


def pull(
    name: str, *, to: Path | None = None, dry_run: bool = False, reporter: Reporter | None = None
) -> Iterator[dict[str, Any]]:
    """Gets a role, all roles of a preset, or a hub repository with a tokenizer or a language model;
    yields one row a role as it arrives.

    Args:
        name: `seed models ls` shows them; or owner/name on the hub.
        to: Lay the files out here, as `--model FOLDER` takes them: hard links where the
            file system allows it.
        dry_run: Only say where each would come from, and how much there is to fetch.
        reporter: Hears which source answered and which failed.

    Raises:
        UsageError: Nobody knows the name.
        DataError: A role could not be had from any source; those before it are kept.
    """
    from seedcli.models.weights.download import commit_of, obtain
    from seedcli.models.weights.survey import survey
    from seedcli.models.weights.transfer import file_sha256

    reporter = reporter or Reporter()
    if name == "seed-nano":
        yield {"role": name, "path": str(locate(name).folder), "source": "bundled"}
        return
    if name not in PRESET_ROLES and name not in ROLES:
        if "/" not in name:
            raise UsageError(
                f"nothing is called {name!r}",
                remedy=f"expected {', '.join([*PRESET_ROLES, *ROLES])}, or a hub id (owner/name)",
            )
        roles = _hub_roles(name)
    else:
        roles = [ROLES[role] for role in PRESET_ROLES.get(name, (name,))]
    for role in roles:
        if dry_run:
            yield survey(role)
            continue
        source, path = obtain(role, reporter=reporter, check=_decoder_check(role))
        row: dict[str, Any] = {
            "role": role.name,
            "path": str(path),
            "source": source.name,
            "commit": commit_of(path),
        }
        if path.is_file():
            row |= {"size_bytes": path.stat().st_size, "sha256": file_sha256(path)}
        if to is not None:
            row["path"] = str(_lay_out(role, path, to))
        yield row
    if to is not None and not dry_run and name in (role.name for role in SEED_LLAMAS):
        from seedcli.models.weights.llm_description import write_llm_facts
        from seedcli.models.weights.locate_llm import locate_llm

        # the folder's name no longer says which model it is
        facts = locate_llm(name, tokenizer=str(to), reporter=reporter).facts
        write_llm_facts(to / LLM_FOLDER, dataclasses.replace(facts, visual_tokenizer=".."))


def _hub_roles(repo: str) -> list[Role]:
    """What a hub repository holds for us: a visual tokenizer, a language model, or both."""
    from seedcli.models.weights.download import list_source

    try:
        names = list_source(Source(repo=repo))
    except DataError as error:
        remedy = error.remedy or "with a network: the same command again"
        raise DataError(f"{repo}: {error.message}", remedy=remedy) from None
    roles = tokenizer_roles(repo, names)
    if not roles or f"{LLM_FOLDER}/config.json" in names:
        roles.append(language_model(repo))
    return roles


def _size_of(roles: Iterable[str]) -> dict[str, float]:
    """Gigabytes on the disk, and of memory for the weights, in half and in full precision."""
    parts = [ROLES[role] for role in roles]
    billions = sum(part.billion_parameters for part in parts)
    return {
        "disk_gb": round(sum(part.about_gb or 0 for part in parts), 2),
        "memory_gb_half": round(2 * billions, 1),
        "memory_gb_float32": round(4 * billions, 1),
    }


def _decoder_check(role: Role) -> Any:
    return (
        (lambda folder: check_decoder(folder, PRESETS["seed-2"].generation.generation_dim))
        if role is UNCLIP
        else None
    )


def _lay_out(role: Role, path: Path, folder: Path) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    place = folder / _PLACES.get(role.name, path.stem if path.is_file() else "")
    if path.is_file():
        place = place.with_name(place.name + path.suffix)
        _link(path, place)
        return place
    for file in sorted(path.rglob("*")):
        if file.is_file():
            target = place / file.relative_to(path)
            target.parent.mkdir(parents=True, exist_ok=True)
            _link(file, target)
    return place


def _link(source: Path, target: Path) -> None:
    target.unlink(missing_ok=True)
    try:
        os.link(source.resolve(), target)
    except OSError:
        shutil.copyfile(source, target)


def verify(model: str, *, reporter: Reporter | None = None) -> list[dict[str, Any]]:
    """Reads every weight of a model again: published hashes of its files, fit of its keys, and its
    fingerprint computed anew.

    Raises:
        DataError: A file is damaged or does not fit, or the fingerprint is not the stated one.
    """
    from seedcli.models.weights.description import fingerprint
    from seedcli.models.weights.digest import store_digest
    from seedcli.models.weights.download import published_sha256, recorded_sha256
    from seedcli.models.weights.load import read_model
    from seedcli.models.weights.tensors import build_with, weights_digest
    from seedcli.models.weights.transfer import file_sha256

    files = with_weights(locate(model, reporter=reporter), reporter=reporter)
    rows = []
    for path in files.weights:
        found, recorded, published = (
            file_sha256(path),
            recorded_sha256(path),
            published_sha256(path.name),
        )
        if recorded and found != recorded:
            raise DataError(
                f"{path} has sha256 {found}, its source stated {recorded}: damaged",
                remedy=f"delete {path.resolve()} and pull it again",
            )
        note = (
            "as published"
            if found in (recorded, published)
            else "not the published file"
            if published
            else "no published hash is known"
        )
        rows.append(
            {"file": str(path), "size_bytes": path.stat().st_size, "sha256": found, "note": note}
        )
    config, tensors = read_model(files, text_branch=True)
    with_text = any(key.startswith("text_branch.") for key in tensors)
    build_with(config, tensors, text_branch=with_text, file=files.folder or files.weights[-1])
    stored, digest = stored_digest(files), weights_digest(tensors)
    stated = files.stated.get("fingerprint")
    for before, now, title in (
        (stored, digest, "digest of the weights"),
        (stated, fingerprint(config, digest), "fingerprint"),
    ):
        if before and before != now:
            raise DataError(
                f"{model}: stored is the {title} {before}, what is on the disk makes {now}",
                remedy="weights or configuration were changed or damaged after they were saved; "
                "take them from their source again",
            )
    if files.released:
        store_digest(files, digest, fingerprint(config, digest))
    rows.append(
        {
            "model": model,
            "fingerprint": fingerprint(config, digest),
            "tensors": len(tensors),
            "text_branch": with_text,
            "note": "fits",
        }
    )
    return rows


def audit(model: str, *, reporter: Reporter | None = None) -> list[dict[str, Any]]:
    """Sorts every key of a model's files: used, accounted for, unknown, missing, misshapen; one row
    a file, nothing is refused.

    Raises:
        DataError: A file is unreadable.
    """
    from seedcli.models.weights.convert import FileRole, census, expected_shapes, fit_vocabulary
    from seedcli.models.weights.tensors import read_tensors

    files = with_weights(locate(model, reporter=reporter), reporter=reporter)
    config = files.config
    rows = []
    if not files.released:
        tensors, expected = read_tensors(files.weights[0]), expected_shapes(config)
        if not any(key.startswith("text_branch.") for key in tensors):
            expected = {
                key: shape for key, shape in expected.items() if not key.startswith("text_branch.")
            }
        shapes = [
            f"{key}: {list(t.shape)}, expected {list(expected[key])}"
            for key, t in tensors.items()
            if t.shape != expected.get(key, t.shape)
        ]
        used: dict[str, int] = {}
        for key in tensors:
            if key in expected:
                used[key.split(".")[0]] = used.get(key.split(".")[0], 0) + 1
        unknown, missing = (
            sorted(set(tensors) - set(expected)),
            sorted(set(expected) - set(tensors)),
        )
        return [_audit_row(files.weights[0], len(tensors), used, {}, unknown, missing, shapes)]
    roles: tuple[FileRole, ...] = ("vision", "quantizer")
    for path, role in zip(files.weights, roles, strict=True):
        tensors = read_tensors(path)
        found = census(
            tensors, fit_vocabulary(config, tensors) if role == "quantizer" else config, role=role
        )
        counts = [
            {group: len(keys) for group, keys in groups.items()}
            for groups in (found.used, found.accounted_for)
        ]
        rows.append(
            _audit_row(
                path,
                len(tensors),
                counts[0],
                counts[1],
                found.unknown,
                found.missing,
                found.misshapen,
            )
        )
    return rows


def _audit_row(
    path: Path,
    keys: int,
    used: dict[str, int],
    accounted_for: dict[str, int],
    unknown: list[str],
    missing: list[str],
    misshapen: list[str],
) -> dict[str, Any]:
    return {
        "file": str(path),
        "keys": keys,
        "used": sum(used.values()),
        "accounted_for": sum(accounted_for.values()),
        "groups": {"used": used, "accounted_for": accounted_for},
        "unknown": unknown,
        "missing": missing,
        "misshapen": misshapen,
    }
