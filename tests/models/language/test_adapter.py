"""Folders of LoRA adapters as PEFT saves them: read like any other model, refused where they say
more than LoRA does.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import LoraConfig, get_peft_model
from safetensors.torch import load_file, save_file

from seedcli.errors import DataError, UsageError
from seedcli.models.language.load import load_language_model
from seedcli.models.language.seed_llama import load_causal_model
from seedcli.models.weights.adapter import read_adapter, refuse_adapter
from seedcli.models.weights.digest import weights_digest
from seedcli.models.weights.locate_llm import locate_llm

# PEFT's own, of embeddings that it saves, and of an attribute's old name in transformers
pytestmark = pytest.mark.filterwarnings("ignore::UserWarning", "ignore::FutureWarning")
IDS = torch.tensor([[1, 5, 300, 7, 42, 9]])


def logits(model: torch.nn.Module) -> torch.Tensor:
    with torch.no_grad():
        return model.eval()(input_ids=IDS).logits


def write_adapter(folder: Path, base: Path, **settings: Any) -> torch.Tensor:
    """What a user of PEFT has after training; returns the logits that it should give."""
    torch.manual_seed(0)
    chosen = {"r": 4, "lora_alpha": 8, "target_modules": ["q_proj", "down_proj"]} | settings
    config = LoraConfig(task_type="CAUSAL_LM", **chosen)
    model = get_peft_model(load_causal_model(base), config)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.requires_grad:
                parameter.copy_(parameter + 0.1 * torch.randn_like(parameter))
    model.peft_config["default"].base_model_name_or_path = str(base)
    model.save_pretrained(folder)
    return logits(model)


@pytest.fixture
def adapter(tiny_llm_folder: Path, tmp_path: Path) -> Path:
    write_adapter(tmp_path / "tuned", tiny_llm_folder)
    return tmp_path / "tuned"


def change(folder: Path, **entries: Any) -> None:
    path = folder / "adapter_config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | entries))


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"use_rslora": True, "rank_pattern": {"down_proj": 2}, "alpha_pattern": {"q_proj": 1}},
        {"use_dora": True, "layers_to_transform": [1]},
        {"modules_to_save": ["embed_tokens", "lm_head"]},
    ],
)
def test_an_adapter_answers_as_peft_has_it(tiny_llm_folder, tmp_path, settings):
    expected = write_adapter(tmp_path / "tuned", tiny_llm_folder, **settings)
    files = locate_llm(str(tmp_path / "tuned"))
    assert files.folder == tiny_llm_folder and files.facts.name == "tuned"
    assert files.facts.visual_tokenizer == locate_llm(str(tiny_llm_folder)).facts.visual_tokenizer
    found = logits(load_language_model(files, device="cpu").model)
    base = logits(load_causal_model(tiny_llm_folder))
    assert (found - base).abs().max() > 0.1
    # the merge adds in another order: at most 3e-6 of logits up to 5
    torch.testing.assert_close(found, expected, atol=5e-5, rtol=0)
    other = weights_digest(*files.folders)
    assert other != weights_digest(tiny_llm_folder)  # whose results are never taken for its own


def test_words_that_the_adapter_brought_come_with_it(tiny_llm_folder, tmp_path):
    wide = load_causal_model(tiny_llm_folder)
    wide.resize_token_embeddings(wide.config.vocab_size + 3, mean_resizing=False)
    wide.save_pretrained(tmp_path / "wide")
    whole = ["embed_tokens", "lm_head"]
    expected = write_adapter(tmp_path / "tuned", tmp_path / "wide", modules_to_save=whole)
    change(tmp_path / "tuned", base_model_name_or_path=str(tiny_llm_folder))
    found = load_language_model(locate_llm(str(tmp_path / "tuned")), device="cpu").model
    torch.testing.assert_close(logits(found), expected, atol=5e-5, rtol=0)


@pytest.mark.parametrize(
    ("entries", "said"),
    [
        ({"peft_type": "IA3"}, "peft_type is 'IA3'"),
        ({"base_model_name_or_path": None}, "names no base model"),
        ({"target_modules": "(a+)+$"}, "target_modules is"),
        ({"megatron_config": {"a": 1}, "megatron_core": "evil"}, "megatron_config is"),
        ({"init_lora_weights": "pissa"}, "init_lora_weights is 'pissa'"),
        ({"layer_replication": [[0, 2]]}, "layer_replication is"),
        ({"rank_pattern": {"q_proj": [1]}}, "rank_pattern is"),
        ({"r": 0}, "r is 0"),
        ({"r": "4"}, "r is '4'"),
        ({"later_invention": True}, "later_invention is True"),
    ],
)
def test_what_is_not_read_is_refused_before_the_base_is_looked_for(adapter, entries, said):
    change(adapter, **{"base_model_name_or_path": "/nowhere/at/all"} | entries)
    with pytest.raises(DataError, match=said):
        locate_llm(str(adapter))


def test_what_does_not_fit_is_said(adapter, tiny_llm_folder, tmp_path):
    change(adapter, r=10**9)
    with pytest.raises(DataError, match=r"ranks \[4\], adapter_config.json says \[1000000000\]"):
        load_language_model(locate_llm(str(adapter)), device="cpu")
    change(adapter, r=4, target_modules=["v_proj"])
    with pytest.raises(DataError, match="does not fit its base"):
        load_language_model(locate_llm(str(adapter)), device="cpu")
    change(adapter, target_modules=["nothing_proj"])
    with pytest.raises(DataError, match="does not fit its base"):
        load_language_model(locate_llm(str(adapter)), device="cpu")
    change(adapter, target_modules=["q_proj", "down_proj"])
    file = adapter / "adapter_model.safetensors"
    save_file({name: each[:, :-1].contiguous() for name, each in load_file(file).items()}, file)
    with pytest.raises(DataError, match="does not fit its base"):
        load_language_model(locate_llm(str(adapter)), device="cpu")
    file.unlink()
    with pytest.raises(DataError, match=r"has no adapter_model\.safetensors"):
        locate_llm(str(adapter))


def test_an_adapter_of_an_adapter_and_quantised_bases_are_refused(adapter, tmp_path):
    second = Path(shutil.copytree(adapter, tmp_path / "second"))
    change(second, base_model_name_or_path=str(adapter))
    with pytest.raises(DataError, match="tuned holds a LoRA adapter"):
        locate_llm(str(second))
    assert read_adapter(adapter).settings["r"] == 4
    with pytest.raises((DataError, UsageError)):
        load_language_model(locate_llm(str(adapter)), device="cpu", quantize="4bit")
    with pytest.raises(DataError) as caught:
        refuse_adapter(["adapter_config.json"], "here")
    assert "merge_and_unload" in caught.value.remedy
