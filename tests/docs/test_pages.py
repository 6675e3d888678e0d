"""README and docs/: every command line parses, every Python block is Python, and what is marked
`<!-- run -->` runs, in the order of its page; `<!-- run: says "..." -->` also prints that.
"""

from __future__ import annotations

import ast
import io
import os
import re
import shlex
import shutil
from contextlib import redirect_stdout
from pathlib import Path
from typing import NamedTuple

import pytest
from typer.testing import CliRunner

from seedcli.cli.main import app
from tests.contracts.command_line import parse, seed_calls
from tests.contracts.source_tree import ROOT

PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
SHELL = ("sh", "bash", "console")
_BLOCK = re.compile(
    r"^(?P<run><!-- run(: says \"(?P<says>[^\"]+)\")? -->\n)?"
    r"```(?P<kind>[a-z]+)\n(?P<text>.*?)^```",
    flags=re.MULTILINE | re.DOTALL,
)


class Block(NamedTuple):
    """A code block of a page."""

    kind: str
    text: str
    is_run: bool
    says: str


def blocks(page: Path) -> list[Block]:
    found = _BLOCK.finditer(page.read_text(encoding="utf-8"))
    return [
        Block(each["kind"], each["text"], each["run"] is not None, each["says"] or "")
        for each in found
    ]


def lines(block: Block) -> list[str]:
    return [line for line in block.text.replace("\\\n", " ").splitlines() if line.strip()]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_blocks_of_a_page_parse(page: Path) -> None:
    for block in blocks(page):
        if block.kind in SHELL:
            for line in lines(block):
                for call in seed_calls(line.removeprefix("$ ")):
                    parse(call)
        if block.kind == "python":
            ast.parse(block.text)


@pytest.mark.parametrize(
    "page",
    [page for page in PAGES if any(each.is_run for each in blocks(page))],
    ids=lambda p: p.stem,
)
def test_blocks_that_are_marked_run(page, tmp_path, monkeypatch) -> None:
    shutil.copytree(ROOT / "examples", tmp_path / "examples")
    monkeypatch.chdir(tmp_path)
    names: dict[str, object] = {}
    for block in blocks(page):
        if block.is_run and block.kind == "python":
            with redirect_stdout(io.StringIO()):
                exec(compile(block.text, str(page), "exec"), names)
        elif block.is_run:
            assert block.says in "".join(run(line) for line in lines(block))


def run(line: str) -> str:
    """Runs a line of `seed` commands in this process, each with the stdout of the one before it ->
    stdout of the last.
    """
    piped = None
    for call in seed_calls(line):
        result = CliRunner().invoke(app, shlex.split(call)[1:], input=piped)
        assert result.exit_code == 0, f"{call}\n{result.output}\n{result.exception!r}"
        piped = result.stdout
    return piped or ""


def test_readme_is_one_screen_long() -> None:
    assert len((ROOT / "README.md").read_text(encoding="utf-8").splitlines()) <= 150


def test_every_page_of_the_docs_is_linked_from_the_readme_or_the_index() -> None:
    linked = "".join(
        (ROOT / name).read_text(encoding="utf-8") for name in ("README.md", "docs/index.md")
    )
    names = [page.name for page in PAGES if page.parent.name == "docs" and page.name != "index.md"]
    assert [name for name in names if name not in linked] == []


def test_relative_links_reach_a_file() -> None:
    broken = []
    for page in PAGES:
        for target in re.findall(r"\]\(([^)#]+)[^)]*\)", page.read_text(encoding="utf-8")):
            if "://" not in target and not os.path.exists(page.parent / target):
                broken.append(f"{page.name}: {target}")
    assert broken == []
