"""Folders of language models that cannot be loaded, and number formats that need hardware."""

from __future__ import annotations

import json
import shutil

import pytest
import torch

from seedcli.errors import DataError, UsageError
from seedcli.models.language.load import load_language_model, quantization_config
from seedcli.models.weights.locate_llm import locate_llm


def test_folders_that_do_not_fit_are_refused(tiny_llm_folder, tmp_path) -> None:
    folder = tmp_path / "llm"
    shutil.copytree(tiny_llm_folder, folder)
    facts = json.loads((folder / "seed.json").read_text())
    (folder / "seed.json").write_text(json.dumps(facts | {"num_codes": 512}))
    with pytest.raises(
        DataError, match="has 64 code tokens, the visual tokenizer .* has 512 codes"
    ):
        load_language_model(locate_llm(str(folder)), device="cpu")
    (folder / "seed.json").write_text(json.dumps(facts))
    (folder / "model.safetensors").write_bytes(b"no weights")
    with pytest.raises(DataError, match="cannot be loaded"):
        load_language_model(locate_llm(str(folder)), device="cpu")


def test_quantisation_needs_its_hardware(tiny_llm_folder) -> None:
    with pytest.raises(UsageError, match="--quantize 8bit needs an NVIDIA GPU") as caught:
        load_language_model(locate_llm(str(tiny_llm_folder)), device="cpu", quantize="8bit")
    assert caught.value.remedy == "leave out --quantize"
    assert quantization_config("8bit", torch.float16).load_in_8bit
    four = quantization_config("4bit", torch.bfloat16)
    assert (
        four.load_in_4bit
        and four.bnb_4bit_quant_type == "nf4"
        and four.bnb_4bit_compute_dtype is torch.bfloat16
    )
