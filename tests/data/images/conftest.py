"""Folders that tests of this part share."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.data.images.small_files import png


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Pictures on two floors, a caption, a hidden file, a text."""
    root = tmp_path / "photos"
    for name in (
        "b.png",
        "a.JPG",
        "deep/c.webp",
        "deep/d.png",
        ".hidden.png",
        ".git/e.png",
        "__MACOSX_no.txt",
        "Z/z.png",
    ):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(png())
    (root / "b.txt").write_text("a red square\n")
    monkeypatch.chdir(tmp_path)
    return root
