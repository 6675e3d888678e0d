"""What a pretraining starts from: which models serve, and what is refused."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch
from transformers import AutoModelForCausalLM, GPT2Config, GPT2LMHeadModel

from seedcli.errors import DataError, SeedError
from seedcli.models.language.seed_llama import (
    build_language_model,
    load_causal_model,
    save_language_model,
)
from seedcli.models.language.text_tokenizer import load_text_tokenizer
from seedcli.models.weights.llm_description import read_llm_facts, write_llm_facts
from seedcli.recipe.read import load_recipe
from seedcli.workflows.train import pretrain
from tests.workflows.tiny_runs import (
    CONTEXT,
    change_recipe,
    read_weights,
)


def _from_folder(runs: Path, start: Path, *overrides: str):
    """The tiny recipe, but from a language model on the disk."""
    recipe = change_recipe(runs, *overrides, without=("text",))
    return recipe.model_copy(
        update={
            "language_model": recipe.language_model.model_copy(
                update={"start": str(start), "shape": None}
            )
        }
    )


@pytest.fixture(scope="module")
def words(finished_runs) -> Path:
    """A language model without codes, as the text phase leaves it."""
    return finished_runs / "pretrain" / "text" / "model"


def test_codes_of_another_tokenizer_are_refused(finished_runs, tmp_path, cache):
    path = tmp_path / "other.toml"
    path.write_text(
        (finished_runs / "pretrain.toml")
        .read_text()
        .replace(f"{finished_runs}/pairs.jsonl", f"{tmp_path}/pairs.jsonl")
    )
    rows = [json.loads(line) for line in (finished_runs / "pairs.jsonl").read_text().splitlines()]
    (tmp_path / "pairs.jsonl").write_text(
        "".join(json.dumps({**row, "fingerprint": "0123456789abcdef"}) + "\n" for row in rows)
    )
    with pytest.raises(DataError, match="0123456789ab") as refused:
        pretrain.run(load_recipe(path), tmp_path / "run")
    assert refused.value.exit_code == 3 and "tokenize" in refused.value.remedy


def test_a_start_that_speaks_other_codes_is_refused(finished_runs, model, tmp_path, cache):
    start = tmp_path / "start"
    shutil.copytree(model, start)
    write_llm_facts(
        start,
        read_llm_facts(model).__class__(
            **{**vars(read_llm_facts(model)), "visual_fingerprint": "0123456789abcdef"}
        ),
    )
    with pytest.raises(DataError, match="0123456789abcdef") as refused:
        pretrain.run(_from_folder(finished_runs, start), tmp_path / "run")
    assert refused.value.exit_code == 3 and refused.value.remedy.startswith("tokenizer=")
    assert not (tmp_path / "run").exists()


def test_a_start_of_another_architecture_is_refused(finished_runs, words, tmp_path, cache):
    start = tmp_path / "gpt2"
    GPT2LMHeadModel(GPT2Config(vocab_size=320, n_embd=16, n_layer=1, n_head=2)).save_pretrained(
        start
    )
    load_text_tokenizer(words).save_pretrained(start)
    with pytest.raises(DataError, match=r"gpt2.* expected llama") as refused:
        pretrain.run(_from_folder(finished_runs, start), tmp_path / "run")
    assert refused.value.exit_code == 3 and refused.value.remedy


def test_a_start_without_a_text_tokenizer_is_refused_and_says_what_to_copy(
    finished_runs, words, tmp_path, cache
):
    start = tmp_path / "start"
    shutil.copytree(words, start, ignore=shutil.ignore_patterns("tokenizer*"))
    with pytest.raises(DataError, match="has no text tokenizer") as refused:
        pretrain.run(_from_folder(finished_runs, start), tmp_path / "run")
    assert refused.value.exit_code == 3 and "copy" in refused.value.remedy


def test_a_published_start_takes_its_words_from_the_published_text_tokenizer(
    finished_runs, words, tmp_path, monkeypatch, cache
):
    """The published language models come without tokenizer files (spec: seed-llama-8b-sft); they
    lie in seed-tokenizer-2.
    """
    start = tmp_path / "published"
    shutil.copytree(words, start, ignore=shutil.ignore_patterns("tokenizer*"))
    config = json.loads((start / "config.json").read_text())
    (start / "config.json").write_text(json.dumps({**config, "vocab_size": 40194}))
    asked = []
    monkeypatch.setattr(
        "seedcli.models.weights.download.fetch",
        lambda role, **how: asked.append(role.name) or words,
    )
    from seedcli.workflows.train.start import locate_start

    found = locate_start(str(start), context_length=CONTEXT)
    assert asked == ["seed-llama-text-tokenizer"] and (found.folder, found.text_tokenizer) == (
        start,
        words,
    )


@pytest.mark.parametrize(
    ("start", "says"),
    [
        ("absent", "no language model is called 'absent'"),
        ("not/here/at-all", "no folder at not/here/at-all"),
    ],
)
def test_a_start_that_is_nowhere_is_refused(finished_runs, tmp_path, cache, start, says):
    with pytest.raises(SeedError, match=says) as refused:
        pretrain.run(_from_folder(finished_runs, Path(start)), tmp_path / "run")
    assert refused.value.remedy
    assert not (tmp_path / "run").exists()


def test_a_base_model_with_tied_embeddings_is_untied(finished_runs, words, tmp_path, cache):
    text_tokenizer = load_text_tokenizer(words)
    shape = {
        "hidden_size": 32,
        "intermediate_size": 48,
        "num_layers": 2,
        "num_heads": 2,
        "max_positions": 128,
        "rope_theta": 10000.0,
    }
    tied = build_language_model(text_tokenizer, **shape, seed=3)
    tied.config.tie_word_embeddings = True
    tied.lm_head.weight = tied.get_input_embeddings().weight
    save_language_model(tied, text_tokenizer, tmp_path / "tied", facts=None, shard_size="1GB")
    again = load_causal_model(tmp_path / "tied")
    assert again.lm_head.weight is again.get_input_embeddings().weight
    pretrain.run(
        _from_folder(
            finished_runs,
            tmp_path / "tied",
            "full.optimization.steps=1",
            "lora.optimization.steps=1",
        ),
        tmp_path / "run",
    )
    config = json.loads((tmp_path / "run" / "model" / "config.json").read_text())
    after = read_weights(tmp_path / "run" / "model")
    assert config["tie_word_embeddings"] is False
    assert not torch.equal(after["lm_head.weight"], after["model.embed_tokens.weight"])
    loaded = AutoModelForCausalLM.from_pretrained(tmp_path / "run" / "model")
    assert torch.equal(loaded.lm_head.weight, after["lm_head.weight"])
    merged = read_weights(tmp_path / "run" / "lora" / "model")
    assert torch.equal(merged["model.embed_tokens.weight"], after["model.embed_tokens.weight"])


def test_the_folder_of_the_visual_tokenizer_is_found_from_anywhere(
    finished_runs, tmp_path, tiny_model_folder, monkeypatch, cache
):
    monkeypatch.chdir(tiny_model_folder.parent)
    recipe = change_recipe(
        finished_runs,
        f"tokenizer={tiny_model_folder.name}",
        *(f"{p}.optimization.steps=1" for p in ("text", "full")),
    )
    pretrain.run(recipe.model_copy(update={"lora": None}), tmp_path / "run")
    assert Path(read_llm_facts(tmp_path / "run" / "model").visual_tokenizer) == tiny_model_folder
