"""What a kind of file is to these tests."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hypothesis import strategies as st

import seedcli

NANO = Path(seedcli.__file__).parent / "bundled" / "nano"
Commands = list[list[str]]


@dataclass(frozen=True)
class Subject:
    """One kind.

    Attributes:
        name: For the table.
        damages: Strategy of what happens to the whole file, hashable by nobody: it is drawn once.
        write: Puts the damaged file into an empty folder, in a process of its own.
        commands: What reads it.
        must_fail: Commands that may not succeed on certain damages.
    """

    name: str
    damages: st.SearchStrategy[Any]
    write: Callable[[Any, Path], None]
    commands: Callable[[Any], Commands]
    must_fail: Callable[[Any, list[str]], bool] = lambda damage, command: False


def whole(folder: Path, name: str) -> bytes:
    """A whole file, as seen from the folder of a damaged one."""
    return (folder.parent / "whole" / name).read_bytes()
