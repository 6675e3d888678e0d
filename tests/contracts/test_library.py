"""The library's face: its names and signatures change on purpose only, importing it is light, and
nothing below a command prints or exits.
"""

from __future__ import annotations

import ast
import inspect
import os
from pathlib import Path

import pytest

import seedcli
from tests.contracts.source_tree import files, tree_of
from tests.contracts.test_light_start import HEAVY, run_python

SNAPSHOT = Path(__file__).parent / "public_names.txt"
WRITERS = {"print", "exit", "quit", "sys.exit", "sys.stdout.write", "sys.stderr.write"}


def described() -> str:
    """Every public name with its signature, and the public members of classes."""
    lines = []
    for name in seedcli.__all__:
        value = getattr(seedcli, name)
        if not callable(value):
            lines.append(name)
            continue
        lines += [f"{name}{_signature(value)}"]
        if inspect.isclass(value):
            for member, inside in sorted(_members(value).items()):
                if member.startswith("_"):
                    continue
                function = getattr(inside, "__func__", inside)
                lines.append(
                    f"    .{member}"
                    + (_signature(function) if inspect.isfunction(function) else "")
                )
    return "\n".join(lines) + "\n"


def _members(value: type) -> dict[str, object]:
    """What a class states, or one of ours that it is made from."""
    ours = [one for one in value.__mro__ if one.__module__.startswith("seedcli.")]
    return {name: inside for one in reversed(ours) for name, inside in vars(one).items()}


def _signature(value: object) -> str:
    try:
        return str(inspect.signature(value))
    except ValueError:  # built in
        return ""


def test_public_names_and_signatures_change_only_on_purpose() -> None:
    text = described()
    if os.environ.get("UPDATE_SNAPSHOT"):
        SNAPSHOT.write_text(text, encoding="utf-8")
    assert text == SNAPSHOT.read_text(encoding="utf-8")


def test_every_public_name_is_told() -> None:
    assert set(seedcli.__all__) <= set(dir(seedcli))
    with pytest.raises(AttributeError, match="no attribute 'SeedTokeniser'"):
        _ = seedcli.SeedTokeniser


def test_importing_the_library_loads_nothing_heavy() -> None:
    loaded = run_python("import json, sys, seedcli\nprint(json.dumps(sorted(sys.modules)))")
    assert [name for name in [*HEAVY, "rich", "typer", "pydantic"] if name in loaded] == []


def test_nothing_below_a_command_prints_or_exits() -> None:
    found = []
    for file in files():
        if file.startswith("cli/") or file in ("console.py", "__main__.py"):
            continue
        for node in ast.walk(tree_of(file)):
            if isinstance(node, (ast.Name, ast.Attribute)) and ast.unparse(node) in WRITERS:
                found.append(f"seedcli/{file}:{node.lineno} {ast.unparse(node)}")
    assert found == []
