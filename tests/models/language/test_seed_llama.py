"""Building, extending and saving a language model; what is saved needs
nothing of ours to be read.
"""

from __future__ import annotations

import json
import subprocess
import sys

import pytest
import torch
from transformers import AutoModelForCausalLM

from seedcli.errors import DataError
from seedcli.models.language.code_vocabulary import CodeVocabulary
from seedcli.models.language.seed_llama import (
    NEW_ROWS_DEVIATION,
    build_language_model,
    extend_language_model,
    load_causal_model,
    save_language_model,
)
from seedcli.models.language.text_tokenizer import extend_text_tokenizer, train_text_tokenizer
from seedcli.models.language.vocab import parse_spans
from seedcli.models.weights.llm_description import LlmFacts, read_llm_facts

SHAPE = {
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_layers": 2,
    "num_heads": 4,
    "max_positions": 128,
    "rope_theta": 10000.0,
}
FACTS = LlmFacts(
    name="tiny",
    visual_tokenizer="seed-nano",
    visual_fingerprint="0123456789abcdef",
    num_queries=32,
    num_codes=64,
)


@pytest.fixture(scope="module")
def words():
    """A text tokenizer of about 300 pieces."""
    return train_text_tokenizer(
        ["a dog runs over the green hill", "USER: draw a cat\nASSISTANT: here it is"] * 20, 300
    )


@pytest.fixture(scope="module")
def saved(words, tmp_path_factory):
    """A model with codes, in several files."""
    folder = tmp_path_factory.mktemp("llm") / "model"
    model = build_language_model(words, **SHAPE, seed=1)
    text_tokenizer = extend_text_tokenizer(words, 64)
    extend_language_model(model, text_tokenizer, seed=2)
    save_language_model(model, text_tokenizer, folder, facts=FACTS, shard_size="40kB")
    return folder, model, text_tokenizer


def test_new_rows_are_drawn_from_the_seed_and_old_ones_are_kept(words):
    extended = extend_text_tokenizer(words, 64)

    def build(seed):
        model = build_language_model(words, **SHAPE, seed=1)
        before = model.lm_head.weight.detach().clone()
        extend_language_model(model, extended, seed=seed)
        return before, model

    before, model = build(2)
    assert model.config.vocab_size == len(extended) == len(words) + 66
    assert torch.equal(model.lm_head.weight[: len(words)], before)
    for matrix in (model.lm_head.weight, model.get_input_embeddings().weight):
        new = matrix[len(words) :]
        assert new.std().item() == pytest.approx(NEW_ROWS_DEVIATION, rel=0.1)
        assert torch.equal(
            torch.cat([new]),
            (
                build(2)[1].lm_head
                if matrix is model.lm_head.weight
                else build(2)[1].get_input_embeddings()
            ).weight[len(words) :],
        )
    assert not torch.equal(model.lm_head.weight, build(3)[1].lm_head.weight)


def test_tied_matrices_are_untied_when_the_vocabulary_grows(words):
    model = build_language_model(words, **SHAPE, seed=1)
    model.config.tie_word_embeddings = True
    model.lm_head.weight = model.get_input_embeddings().weight
    extend_language_model(model, extend_text_tokenizer(words, 64), seed=2)
    assert model.lm_head.weight is not model.get_input_embeddings().weight
    assert not model.config.tie_word_embeddings


def test_saved_folder_is_sharded_whole_and_says_its_facts(saved):
    folder, model, text_tokenizer = saved
    names = {path.name for path in folder.iterdir()}
    assert {
        "config.json",
        "generation_config.json",
        "tokenizer.json",
        "model.safetensors.index.json",
        "seed.json",
    } <= names
    assert len([name for name in names if name.startswith("model-")]) > 3
    assert not folder.with_name("model.partial").exists()
    index = json.loads((folder / "model.safetensors.index.json").read_text())
    assert set(index["weight_map"]) == set(model.state_dict())
    assert read_llm_facts(folder) == FACTS
    settings = json.loads((folder / "generation_config.json").read_text())
    assert [settings[f"{name}_token_id"] for name in ("bos", "eos", "pad")] == [1, 2, 0]
    loaded = load_causal_model(folder)
    assert all(
        torch.equal(tensor, loaded.state_dict()[name])
        for name, tensor in model.state_dict().items()
    )
    again = folder.with_name("one-file")
    save_language_model(loaded, text_tokenizer, again, facts=None, shard_size="5GB")
    assert torch.equal(
        AutoModelForCausalLM.from_pretrained(again).lm_head.weight, model.lm_head.weight
    )


def test_a_folder_without_a_model_is_refused(tmp_path):
    with pytest.raises(DataError, match="no readable causal language model"):
        load_causal_model(tmp_path)


def test_saved_model_writes_codes_without_our_code(saved):
    folder, _, text_tokenizer = saved
    codes = CodeVocabulary.of(text_tokenizer)
    script = f"""
import sys, torch
from transformers import AutoModelForCausalLM, AutoTokenizer
tokenizer, model = AutoTokenizer.from_pretrained({str(folder)!r}), AutoModelForCausalLM.from_pretrained({str(folder)!r})
first, boi, eoi = tokenizer.convert_tokens_to_ids(["<img_00000>", "<img>", "</img>"])
start = tokenizer("USER: draw a dog\\nASSISTANT:", return_tensors="pt").input_ids
codes = list(range(first, first + 64))
allowed = lambda batch, ids: dict([(0, [boi]), (33, [eoi])]).get(len(ids) - start.shape[1], codes)
ids = model.generate(start, max_new_tokens=34, do_sample=True, prefix_allowed_tokens_fn=allowed)
assert "seedcli" not in sys.modules
print(ids[0, start.shape[1]:].tolist())
print(tokenizer.decode(ids[0, start.shape[1]:]))
"""  # noqa: E501
    done = subprocess.run(
        [sys.executable, "-c", script],
        capture_output=True,
        text=True,
        timeout=200,
        check=True,
        cwd=folder,
    )
    ids, text = done.stdout.strip().split("\n", 1)
    (span,) = parse_spans(text)
    assert json.loads(ids)[1:-1] == codes.codes_to_ids(span)[1:-1]
