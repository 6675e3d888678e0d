"""Every block of `docs/python.md` and every cell of the notebook runs, in its order, on the bundled
model.
"""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "python.md"
NOTEBOOK = ROOT / "examples" / "codes.ipynb"


def run(blocks: Sequence[str], name: str) -> dict[str, Any]:
    assert len(blocks) >= 5
    space: dict[str, Any] = {}
    for number, block in enumerate(blocks):
        exec(compile(block, f"{name}, block {number}", "exec"), space)
    return space


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_every_block_of_the_page_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("cat.png", "dog.png"):
        shutil.copy(ROOT / "examples" / "emoji" / name, tmp_path / name)
    monkeypatch.chdir(tmp_path)
    run(re.findall(r"^```python\n(.*?)^```", PAGE.read_text(), re.MULTILINE | re.DOTALL), PAGE.name)
    assert (tmp_path / "cat-again.png").is_file()


@pytest.mark.slow
def test_every_cell_of_the_notebook_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    """Saved without outputs, which would go stale."""
    cells = [
        cell for cell in json.loads(NOTEBOOK.read_text())["cells"] if cell["cell_type"] == "code"
    ]
    assert [cell["outputs"] for cell in cells] == [[]] * len(cells)
    monkeypatch.chdir(NOTEBOOK.parent)
    space = run(["".join(cell["source"]) for cell in cells], NOTEBOOK.name)
    assert space["mixed"][0].tolist() == space["codes"][1].tolist()
    assert space["mixed"][-1].tolist() == space["codes"][0].tolist()
