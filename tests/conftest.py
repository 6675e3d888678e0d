"""What every test starts from: the console's habits as they are before any option is read; and
model folders that tests of all parts share.

Their tiny weights come from the parity fixture, in our layout and in the released one.
"""

from __future__ import annotations

import json
import os
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from seedcli.console import console
from seedcli.models.visual.config import (
    CodebookConfig,
    GenerationConfig,
    PreprocessConfig,
    PreprocessUses,
    QFormerConfig,
    SeedModelConfig,
    VisionConfig,
    config_to_dict,
)
from seedcli.models.weights.convert import convert_quantizer, convert_vision
from seedcli.models.weights.tensors import build_with, save_tokenizer_folder
from tests.released_weights import random_tensors, released_shapes, write_vocabulary

# No test reaches the hub. Read when huggingface_hub is first imported, which is after this file.
os.environ["HF_HUB_OFFLINE"] = "1"

# Fixtures that more than one part's tests use; tiny models are each built once.
pytest_plugins = [
    "tests.decoder_fixture",
    "tests.gs_server",
    "tests.judge_fixture",
    "tests.llm_fixture",
    "tests.s3_server",
]

TINY_ARRAYS = Path(__file__).parent / "parity" / "data" / "tokenizer_tiny.safetensors"

_SQUASH = PreprocessConfig(image_size_px=56, geometry="squash", interpolation="bilinear")
TINY = SeedModelConfig(
    name="tiny",
    vision=VisionConfig(
        image_size_px=56, patch_size_px=14, width=96, depth=3, num_heads=4, mlp_dim=418
    ),
    qformer=QFormerConfig(
        num_queries=32,
        width=96,
        depth=4,
        num_heads=12,
        mlp_dim=192,
        vocab_size=161,
        max_positions=48,
        projection_dim=32,
        max_text_tokens=35,
    ),
    codebook=CodebookConfig(num_codes=64),
    generation=GenerationConfig(depth=2, num_heads=12, generation_dim=64),
    preprocess=PreprocessUses(
        codes=_SQUASH,
        retrieval=PreprocessConfig(image_size_px=56, geometry="squash", interpolation="bicubic"),
        training=PreprocessConfig(
            image_size_px=56,
            geometry="random-resized-crop",
            interpolation="bicubic",
            horizontal_flip=0.5,
            crop_area=(0.5, 1.0),
        ),
    ),
)


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--no-skips", action="store_true", help="a test that is skipped has failed")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Files with the most slow tests come first, so that no core waits for the last of them."""
    slow = Counter(item.path for item in items if item.get_closest_marker("slow"))
    items.sort(key=lambda item: -slow[item.path])


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Iterator[None]:
    return _no_skip(item.config, (yield))


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report(collector: pytest.Collector) -> Iterator[None]:
    return _no_skip(collector.config, (yield))


def _no_skip(config: pytest.Config, report: Any) -> Any:
    if config.getoption("--no-skips") and report.skipped and not hasattr(report, "wasxfail"):
        report.outcome = "failed"
        report.longrepr = f"skipped, where nothing may be: {report.longrepr[2]}"
    return report


@pytest.fixture(autouse=True)
def fresh_console() -> Iterator[None]:
    """Commands set `--json`, `--quiet` and `--debug` on the one console; no test sees another's."""
    console.configure(json=False, quiet=False, debug=False)
    yield
    console.configure(json=False, quiet=False, debug=False)


@pytest.fixture(scope="session")
def tiny_arrays() -> dict[str, torch.Tensor]:
    """Inputs, weights (official names under `weights.`) and outputs of the
    official code at tiny widths.
    """
    return load_file(TINY_ARRAYS)


@pytest.fixture(scope="session")
def tiny_config() -> SeedModelConfig:
    return TINY


@pytest.fixture(scope="session")
def tiny_released_tensors(tiny_arrays) -> tuple[dict[str, torch.Tensor], dict[str, torch.Tensor]]:
    """The tensors of `eva_vit_g.pth` and `seed_quantizer.pt` at tiny widths, with all that the
    release carries beyond what is used.
    """
    weights = {
        key.removeprefix("weights."): tensor
        for key, tensor in tiny_arrays.items()
        if key.startswith("weights.")
    }
    vision = {
        key.removeprefix("visual_encoder."): weights.pop(key)
        for key in list(weights)
        if key.startswith("visual_encoder.")
    }
    for tensors, shapes, seed in zip((vision, weights), released_shapes(TINY), (1, 2), strict=True):
        tensors |= random_tensors(
            {key: shape for key, shape in shapes.items() if key not in tensors}, seed=seed
        )
    return vision, weights


@pytest.fixture(scope="session")
def tiny_vocab(tmp_path_factory) -> Path:
    """160 WordPieces with BERT's special ids (0, 100..103): letters, so that any lower-case word
    can be spelled, and four words.
    """
    path = tmp_path_factory.mktemp("vocab") / "vocab.txt"
    write_vocabulary(path, TINY.qformer.vocab_size - 1)
    return path


@pytest.fixture(scope="session")
def tiny_tokenizer_folder(tmp_path_factory, tiny_released_tensors, tiny_vocab) -> Path:
    """A model folder in our layout: 56 px, 64 codes, generation width 64, text branch, vocabulary,
    no decoder. Do not write into it.
    """
    vision, quantizer = tiny_released_tensors
    folder = tmp_path_factory.mktemp("models") / "tiny"
    tensors = convert_vision(vision, TINY, file="fixture") | convert_quantizer(
        quantizer, TINY, text_branch=True, file="fixture"
    )
    tokenizer = build_with(TINY, tensors, text_branch=True, file="fixture")
    save_tokenizer_folder(
        tokenizer, folder, name="tiny", trained={"source": "parity fixture"}, vocab=tiny_vocab
    )
    return folder


@pytest.fixture(scope="session")
def released_folder(tmp_path_factory, tiny_released_tensors, tiny_vocab) -> Path:
    """The same weights as the two released files, with the configuration that other sizes than
    seed-2's need. Do not write into it.
    """
    vision, quantizer = tiny_released_tensors
    folder = tmp_path_factory.mktemp("released") / "tiny-released"
    folder.mkdir()
    torch.save(vision, folder / "eva_vit_g.pth")
    torch.save(quantizer, folder / "seed_quantizer.pt")
    (folder / "seed_tokenizer.json").write_text(
        json.dumps({"format_version": 1, "config": config_to_dict(TINY)}), encoding="utf-8"
    )
    (folder / "vocab.txt").write_bytes(tiny_vocab.read_bytes())
    return folder
