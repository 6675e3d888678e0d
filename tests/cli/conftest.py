from pathlib import Path

import pytest
from PIL import Image

from tests.decoder_fixture import tiny_decoder_folder, tiny_model_folder
from tests.judge_fixture import tiny_judge_folder
from tests.llm_fixture import tiny_llm, tiny_llm_folder

__all__ = [
    "tiny_decoder_folder",
    "tiny_judge_folder",
    "tiny_llm",
    "tiny_llm_folder",
    "tiny_model_folder",
]


@pytest.fixture
def picture(tmp_path) -> Path:
    """A small picture of one colour."""
    path = tmp_path / "picture.png"
    Image.new("RGB", (40, 30), "orange").save(path)
    return path
