"""Every block of `docs/python.md` runs, in its order, on the bundled model."""

from __future__ import annotations

import re
import shutil
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "python.md"


@pytest.mark.timeout(300)
def test_every_block_of_the_page_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    blocks = re.findall(r"^```python\n(.*?)^```", PAGE.read_text(), re.MULTILINE | re.DOTALL)
    assert len(blocks) >= 5
    for name in ("cat.png", "dog.png"):
        shutil.copy(ROOT / "examples" / "emoji" / name, tmp_path / name)
    monkeypatch.chdir(tmp_path)
    space: dict[str, Any] = {}
    for number, block in enumerate(blocks):
        exec(compile(block, f"{PAGE.name}, block {number}", "exec"), space)
    assert (tmp_path / "cat-again.png").is_file()
