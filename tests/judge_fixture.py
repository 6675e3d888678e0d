"""An open_clip model with random weights in a folder, as stage `judge` writes it."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from tests.emoji_texts import all_texts


@pytest.fixture(scope="session")
def tiny_judge_folder(tmp_path_factory) -> Path:
    """Reads pictures of 32 px; do not write into it."""
    from seedcli.models.drawing.judge import build_judge, judge_config, save_judge
    from seedcli.models.drawing.target import train_bpe

    tokenizer = train_bpe(all_texts(), vocab_size=600, max_tokens=32)
    config = judge_config(
        tokenizer,
        embedding_dim=16,
        image_size_px=32,
        vision_layers=(1, 1, 1, 1),
        vision_width=8,
        text_width=32,
        text_depth=1,
    )
    torch.manual_seed(3)
    folder = tmp_path_factory.mktemp("judge") / "tiny-judge"
    save_judge(build_judge(config), config, tokenizer, folder)
    return folder
