"""`seed models`: published weights: what there is, get it, check it, look into it."""

from pathlib import Path
from typing import Annotated, Any

import typer

from seedcli.console import console
from seedcli.options import Argument, DryRunOption, Option

app = typer.Typer(help="List, download, verify and look into published weights.")

ModelArgument = Annotated[
    str,
    Argument("A preset, a folder with weights, or a hub id.", metavar="MODEL", complete="models"),
]


@app.command("ls")
def ls() -> None:
    """List presets and the parts they are made of: sources in order, licence, size, and where
    they lie on this disk.

    \b
    Example:
      seed models ls
    """
    from seedcli.workflows.models import list_models

    for row in list_models():
        console.result(row, human=_show_model)


@app.command("pull")
def pull(
    name: Annotated[
        str,
        Argument(
            "A preset, a part (seed models ls shows them), or a hub id.",
            metavar="NAME",
            complete="models",
        ),
    ] = "seed-2",
    to: Annotated[
        Path | None,
        Option("Lay the files out here, as --model FOLDER takes them.", metavar="FOLDER"),
    ] = None,
    dry_run: DryRunOption = False,
) -> None:
    """Download published weights: the first source that delivers; broken transfers are continued,
    every file is checked.

    \b
    Example:
      seed models pull seed-2
      seed models pull seed-2 --to weights/seed-2
    """
    from seedcli.workflows import models

    for row in models.pull(name, to=to, dry_run=dry_run, reporter=console):
        console.result(row, human=_show_pulled)


@app.command("verify")
def verify(model: ModelArgument = "seed-nano") -> None:
    """Read every weight again: published hashes, fit of every key, and the
    fingerprint computed anew.

    \b
    Example:
      seed models verify seed-nano
      seed models verify weights/seed-2
    """
    from seedcli.workflows import models

    for row in models.verify(model, reporter=console):
        console.result(row)


@app.command("audit")
def audit(model: ModelArgument = "seed-nano") -> None:
    """Sort every key of a model's files into used, accounted for, unknown, missing and misshapen.

    \b
    Example:
      seed models audit weights/seed-2
    """
    from seedcli.workflows import models

    for row in models.audit(model, reporter=console):
        console.result(row, human=_show_audit)


def _show_model(row: dict[str, Any]) -> str:
    lines = [f"{row['name']}  ({row['kind']})  {row['about']}"]
    if row["parts"]:
        lines.append(f"    parts: {', '.join(row['parts'])}")
    if row["disk_gb"]:
        lines.append(
            f"    takes about {_gigabytes(row['disk_gb'] * 1e9)} on the disk"
            + (
                f"; its weights {row['memory_gb_half']} GB of memory in float16, "
                f"{row['memory_gb_float32']} GB in float32"
                if row["memory_gb_half"]
                else ""
            )
        )
    lines.append(f"    on this disk: {row['here'] or 'no'}")
    for number, source in enumerate(row["sources"], 1):
        size = f"{_gigabytes(source['size_bytes'])}, " if source["size_bytes"] else ""
        checked = "sha256 known" if source["sha256"] else "no known sha256"
        lines.append(
            f"    {number}. {source['source']}  {size}{checked}, licence {source['licence']}"
            + (f"; {source['note']}" if source["note"] else "")
        )
    return "\n".join(lines)


def _gigabytes(size: float) -> str:
    return f"{size / 1e9:.2f} GB" if size >= 1e8 else f"{size / 1e6:.1f} MB"


def _show_pulled(row: dict[str, Any]) -> str:
    files = f" in {row['files']} files" if row.get("files", 1) > 1 else ""
    size = f"  {_gigabytes(row['size_bytes'])}{files}" if row.get("size_bytes") else ""
    lines = [
        f"{row['role']}: {row['path'] or 'not on this disk'}{size}",
        f"    from {row['source']}" + (f", sha256 {row['sha256']}" if row.get("sha256") else ""),
    ]
    if row.get("download_bytes"):
        note = f" ({row['note']})" if row.get("note") else ""
        lines.append(f"    to download: {_gigabytes(row['download_bytes'])}{note}")
    lines += [f"    passed over: {reason}" for reason in row.get("failed", ())]
    return "\n".join(lines)


def _show_audit(row: dict[str, Any]) -> str:
    lines = [
        (
            f"{row['file']}: {row['keys']} keys, {row['used']} used, "
            f"{row['accounted_for']} accounted for"
        )
    ]
    for kind, title in (("used", "used"), ("accounted_for", "accounted for")):
        lines += [
            f"    {count:4d}  {title}: {group}" for group, count in row["groups"][kind].items()
        ]
    for kind in ("unknown", "missing", "misshapen"):
        lines += [f"    {kind}: {key}" for key in row[kind]] or [f"       0  {kind}"]
    return "\n".join(lines)
