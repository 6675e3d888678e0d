"""What the contract tests read: the package's files and what each of them imports."""

from __future__ import annotations

import ast
import functools
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import seedcli

PACKAGE = Path(seedcli.__file__).resolve().parent
ROOT = PACKAGE.parent


@dataclass(frozen=True)
class Import:
    """`from target import names` or `import target`, in `file` (relative to the package)."""

    file: str
    line: int
    target: str
    names: tuple[str, ...]
    types_only: bool = False

    @property
    def top(self) -> str:
        """First part of the imported name."""
        return self.target.partition(".")[0]

    def __str__(self) -> str:
        return f"seedcli/{self.file}:{self.line} imports {self.target}"


@functools.cache
def files() -> list[str]:
    """Every Python file of the package, as a path relative to it."""
    return sorted(path.relative_to(PACKAGE).as_posix() for path in PACKAGE.rglob("*.py"))


@functools.cache
def tree_of(file: str) -> ast.Module:
    """The parsed file."""
    return ast.parse((PACKAGE / file).read_text(encoding="utf-8"))


@functools.cache
def imports() -> tuple[Import, ...]:
    """Every import statement of the package, those inside functions and under TYPE_CHECKING too."""
    return tuple(_imports())


def _imports() -> Iterator[Import]:
    for file in files():
        types_only = {
            id(node)
            for block in ast.walk(tree_of(file))
            if _guards_types(block)
            for node in ast.walk(block)
        }
        for node in ast.walk(tree_of(file)):
            if isinstance(node, ast.Import):
                for alias in node.names:
                    yield Import(file, node.lineno, alias.name, (), id(node) in types_only)
            elif isinstance(node, ast.ImportFrom):
                names = tuple(alias.name for alias in node.names)
                target = node.module or ""
                if node.level:
                    parts = ["seedcli", *Path(file).parent.parts][
                        : len(Path(file).parent.parts) + 2 - node.level
                    ]
                    target = ".".join([*parts, target]).rstrip(".")
                yield Import(file, node.lineno, target, names, id(node) in types_only)


def _guards_types(node: ast.AST) -> bool:
    return (
        isinstance(node, ast.If)
        and isinstance(node.test, ast.Name)
        and node.test.id == "TYPE_CHECKING"
    )
