import pytest

from tests.decoder_fixture import tiny_decoder_folder, tiny_model_folder
from tests.judge_fixture import tiny_judge_folder
from tests.llm_fixture import tiny_llm, tiny_llm_folder
from tests.workflows.tiny_runs import finished_runs

__all__ = [
    "finished_runs",
    "tiny_decoder_folder",
    "tiny_judge_folder",
    "tiny_llm",
    "tiny_llm_folder",
    "tiny_model_folder",
]


@pytest.fixture
def encoded_shapes(monkeypatch):
    """Shapes of what has gone through a visual tokenizer, pass by pass."""
    from seedcli.models.visual.model import SeedModel

    shapes = []
    encode = SeedModel.encode_unchecked
    monkeypatch.setattr(
        SeedModel,
        "encode_unchecked",
        lambda self, pixels: shapes.append(tuple(pixels.shape)) or encode(self, pixels),
    )
    return shapes
