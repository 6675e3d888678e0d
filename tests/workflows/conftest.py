import pytest

from tests.workflows.tiny_runs import finished_runs

__all__ = ["finished_runs"]


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
