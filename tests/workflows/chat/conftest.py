"""Conversations with the tiny language model."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from PIL import Image

from seedcli.workflows.chat.model import ChatModel
from seedcli.workflows.chat.seed_chat import SeedChat
from seedcli.workflows.chat.settings import ChatSettings, PictureSettings
from seedcli.workflows.sampling import SamplingOptions

SAMPLING = {"temperature": 1.5, "top_p": 1.0, "max_new_tokens": 45}


@pytest.fixture
def talk(tiny_llm, tmp_path):
    """Begins a conversation; takes a reporter and changes of its settings."""

    def start(reporter=None, **changes) -> SeedChat:
        sampling = SAMPLING | changes.pop("sampling", {})
        settings = ChatSettings(
            sampling=SamplingOptions(**sampling),
            pictures=PictureSettings(output=tmp_path / "out", steps=2, device="cpu"),
            **changes,
        )
        model = ChatModel(settings, llm=tiny_llm, reporter=reporter)
        return SeedChat(model.load(), reporter=reporter)

    return start


@pytest.fixture
def picture(tmp_path) -> Path:
    """Noise, so that its codes are of many kinds."""
    path = tmp_path / "picture.png"
    generator = torch.Generator().manual_seed(5)
    Image.fromarray(
        torch.randint(0, 256, (40, 30, 3), generator=generator, dtype=torch.uint8).numpy()
    ).save(path)
    return path
