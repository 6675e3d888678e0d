from pathlib import Path

import pytest
from PIL import Image


@pytest.fixture
def picture(tmp_path) -> Path:
    """A small picture of one colour."""
    path = tmp_path / "picture.png"
    Image.new("RGB", (40, 30), "orange").save(path)
    return path
