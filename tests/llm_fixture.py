"""A language model of two layers with random weights that speaks the tiny tokenizer's 64 codes, in
a folder as training writes it.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import torch

if TYPE_CHECKING:
    from seedcli.models.language.generate import SeedLlama

TEXTS = [
    "a small dog runs",
    "the red bus\nwaits near the bridge",
    "12 birds above a green field",
    "USER: draw a cat\nASSISTANT: here is one",
] * 4
MAX_POSITIONS = 256
# Options of `seed chat` for it: answers differ, and end soon.
QUICK_CHAT = [
    "--temperature",
    "1.5",
    "--top-p",
    "1",
    "--max-new-tokens",
    "40",
    "--picture-steps",
    "2",
    "--device",
    "cpu",
]


def write_tiny_llm(
    folder: Path, visual_tokenizer: Path, *, seed: int = 0, template: str = "vicuna"
) -> None:
    """Writes the folder; weights are spread widely, so that logits differ
    between tokens and prompts.
    """
    from seedcli.models.language.seed_llama import build_language_model, save_language_model
    from seedcli.models.language.text_tokenizer import extend_text_tokenizer, train_text_tokenizer
    from seedcli.models.weights.llm_description import LlmFacts
    from seedcli.models.weights.load import describe
    from seedcli.models.weights.locate import locate

    text_tokenizer = extend_text_tokenizer(train_text_tokenizer(TEXTS, 320), 64)
    model = build_language_model(
        text_tokenizer,
        hidden_size=32,
        intermediate_size=48,
        num_layers=2,
        num_heads=2,
        max_positions=MAX_POSITIONS,
        rope_theta=10_000.0,
        seed=seed,
    )
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.ndim == 2:
                parameter.copy_(torch.randn(parameter.shape, generator=generator) * 0.35)
    visual = describe(locate(str(visual_tokenizer)))
    facts = LlmFacts(
        name="tiny-llm",
        visual_tokenizer=str(visual_tokenizer),
        visual_fingerprint=visual.fingerprint,
        num_queries=32,
        num_codes=64,
        template=template,
    )
    save_language_model(model, text_tokenizer, folder, facts=facts, shard_size="1GB")


def spoil_special_ids(folder: Path) -> None:
    """bos, eos and pad as the published 8B states them."""
    for name in ("config.json", "generation_config.json"):
        path = folder / name
        wrong = {"bos_token_id": 0, "eos_token_id": 1, "pad_token_id": -1}
        path.write_text(json.dumps(json.loads(path.read_text()) | wrong), encoding="utf-8")


@pytest.fixture(scope="session")
def tiny_llm_folder(tmp_path_factory, tiny_model_folder) -> Path:
    """Do not write into it. Its visual tokenizer is the tiny one with a decoder."""
    folder = tmp_path_factory.mktemp("llm") / "tiny-llm"
    write_tiny_llm(folder, tiny_model_folder)
    return folder


@pytest.fixture(scope="session")
def tiny_llm(tiny_llm_folder) -> SeedLlama:
    """What is in that folder, loaded."""
    from seedcli.models.language.load import load_language_model
    from seedcli.models.weights.locate_llm import locate_llm

    return load_language_model(locate_llm(str(tiny_llm_folder)), device="cpu")
