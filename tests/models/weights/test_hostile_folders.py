"""Model folders that say what cannot be: refused by their files, before anything is built."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from seedcli.errors import DataError, NumericalError
from seedcli.models.weights.description import read_model_facts
from seedcli.models.weights.load import load_seed_model
from seedcli.models.weights.locate import locate
from seedcli.models.weights.sizes import check_sizes


def changed(folder: Path, path: str, value: Any) -> None:
    """Sets a dotted path of a folder's `seed_tokenizer.json`."""
    file = folder / "seed_tokenizer.json"
    facts = json.loads(file.read_text())
    *parts, last = path.split(".")
    node = facts
    for part in parts:
        node = node[part]
    node[last] = value
    file.write_text(json.dumps(facts))


@pytest.fixture
def folder(tiny_model_folder: Path, tmp_path: Path) -> Path:
    """A copy to damage."""
    return Path(shutil.copytree(tiny_model_folder, tmp_path / "model"))


@pytest.mark.parametrize(
    ("path", "value", "said"),
    [
        ("config.vision.width", "96", "VisionConfig.width is '96', expected int"),
        ("config.vision.width", 0, "VisionConfig.width is 0"),
        ("config.vision.depth", -1, "VisionConfig.depth is -1"),
        ("config.vision.depth", 10**6, "it has 3 layers of vision, the configuration says 1000000"),
        ("config.qformer.depth", 10**6, "layers of qformer"),
        ("config.generation.depth", 10**6, "layers of generation"),
        ("config.vision.width", 10**30, "VisionConfig.width is 1000"),
        ("config.vision.width", 10**6, "misshapen|does not divide"),
        ("config.vision.num_heads", 0, "VisionConfig.num_heads is 0"),
        ("config.vision.num_heads", 5, "vision.width is 96, which 5 does not divide"),
        ("config.vision.patch_size_px", 0, "patch_size_px is 0"),
        ("config.vision.layer_norm_eps", None, "layer_norm_eps is None"),
        ("config.vision", [], "VisionConfig is "),
        ("config.qformer.mask", "sideways", "QFormerConfig.mask is 'sideways'"),
        ("config.codebook.num_codes", True, "CodebookConfig.num_codes is True"),
        ("config.preprocess.codes.image_size_px", 10**6, "preprocess.codes.image_size_px"),
        ("config.preprocess.codes.mean", [0.5, 0.5], "PreprocessConfig.mean"),
        ("config.preprocess.codes.interpolation", "nearest", "PreprocessConfig.interpolation"),
        ("config.detokenize.guidance", float("inf"), "DetokenizeDefaults.guidance is inf"),
        ("config", None, "SeedModelConfig is None"),
    ],
)
def test_a_configuration_that_cannot_be(folder: Path, path: str, value: Any, said: str) -> None:
    changed(folder, path, value)
    with pytest.raises(DataError, match=said):
        load_seed_model(locate(str(folder)))


@pytest.mark.parametrize("text", ["[" * 10**5, "", "null", '{"format_version": 1}', b"\xff\xff"])
def test_a_description_that_is_none(folder: Path, text: str | bytes) -> None:
    data = text if isinstance(text, bytes) else text.encode()
    (folder / "seed_tokenizer.json").write_bytes(data)
    with pytest.raises(DataError, match=r"seed_tokenizer\.json is not readable"):
        read_model_facts(folder)


def test_weights_that_are_no_numbers_make_no_codes(folder: Path) -> None:
    weights = load_file(folder / "model.safetensors")
    weights["qformer.query_tokens"] = torch.full_like(weights["qformer.query_tokens"], torch.nan)
    save_file(weights, folder / "model.safetensors")
    facts = json.loads((folder / "seed_tokenizer.json").read_text())
    del facts["fingerprint"], facts["weights_digest"]
    (folder / "seed_tokenizer.json").write_text(json.dumps(facts))
    model = load_seed_model(locate(str(folder)))
    with pytest.raises(NumericalError, match="code inputs that are NaN"):
        model.encode(torch.zeros(1, 3, 56, 56))


LLAMA = {
    "model_type": "llama",
    "vocab_size": 20,
    "hidden_size": 8,
    "intermediate_size": 12,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "num_key_value_heads": 2,
    "max_position_embeddings": 4096,
    "pad_token_id": None,
    "eos_token_id": 0,
}


def write_llama(folder: Path, **changes: Any) -> Path:
    folder.mkdir()
    shapes = {"embed": (20, 8), "q": (8, 8), "k": (8, 8), "gate": (12, 8), "norm": (8,)}
    save_file(
        {name: torch.zeros(shape) for name, shape in shapes.items()}, folder / "m.safetensors"
    )
    (folder / "config.json").write_text(json.dumps(LLAMA | changes))
    return folder


def test_sizes_that_the_weights_have_are_taken(tmp_path: Path) -> None:
    check_sizes(write_llama(tmp_path / "a"))
    check_sizes(write_llama(tmp_path / "b", text_config={"hidden_size": 8}, head_dim=None))
    check_sizes(tmp_path / "nothing")  # its absence is told where it is read


@pytest.mark.parametrize(
    "changes",
    [
        {"num_hidden_layers": 10**6},
        {"num_hidden_layers": 0},
        {"hidden_size": "8"},
        {"hidden_size": 10**6},
        {"intermediate_size": -12},
        {"vocab_size": 21},
        {"vocab_size": 1.5},
        {"num_attention_heads": True},
        {"max_position_embeddings": 10**12},
        {"text_config": {"hidden_size": 10**6}},
        {"layers": [1, 10**6]},
    ],
)
def test_sizes_that_no_weight_has(tmp_path: Path, changes: dict[str, Any]) -> None:
    name = next(iter(changes))
    with pytest.raises(DataError, match=r"config\.json says sizes") as caught:
        check_sizes(write_llama(tmp_path / "a", **changes))
    assert (name if name != "text_config" else "hidden_size") in caught.value.message


@pytest.mark.parametrize(
    "damage",
    [
        lambda file: file.write_bytes(b""),
        lambda file: file.write_bytes(b"\xff" * 64),
        lambda file: file.write_bytes((100).to_bytes(8, "little") + b"[" * 100),
        lambda file: file.write_bytes((2).to_bytes(8, "little") + b"[]"),
        lambda file: file.write_bytes((15).to_bytes(8, "little") + b'{"a":{"shape":1}}'),
        lambda file: file.write_bytes((17).to_bytes(8, "little") + b'{"a":{"shape":1}}'),
    ],
)
def test_damaged_weights_are_left_to_their_reader(
    tmp_path: Path, damage: Callable[[Path], None]
) -> None:
    folder = write_llama(tmp_path / "a")
    damage(folder / "m.safetensors")
    check_sizes(folder)
