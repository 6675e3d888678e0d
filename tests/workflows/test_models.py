"""verify, audit and pull on folders; downloads have tests of their own."""

from __future__ import annotations

import json
import shutil

import pytest
from safetensors.torch import load_file, save_file
from typer.testing import CliRunner

from seedcli.cli.main import app
from seedcli.errors import DataError, UsageError
from seedcli.models.weights.llm_description import LlmFacts, write_llm_facts
from seedcli.models.weights.load import load_seed_model
from seedcli.models.weights.locate import locate
from seedcli.models.weights.locate_llm import locate_llm
from seedcli.models.weights.published import PRESET_ROLES
from seedcli.workflows.models import audit, list_models, pull, verify


def test_verify_computes_the_fingerprint_anew(tiny_tokenizer_folder, released_folder):
    rows = [verify(str(folder))[-1] for folder in (tiny_tokenizer_folder, released_folder)]
    assert {row["fingerprint"] for row in rows} == {
        load_seed_model(locate(str(released_folder))).fingerprint
    }
    assert rows[0]["text_branch"]


def test_verify_finds_a_changed_weight(tmp_path, tiny_tokenizer_folder):
    shutil.copytree(tiny_tokenizer_folder, tmp_path / "m")
    tensors = load_file(tmp_path / "m" / "model.safetensors")
    tensors["vision_norm.bias"] = tensors["vision_norm.bias"] + 1
    save_file(tensors, tmp_path / "m" / "model.safetensors")
    with pytest.raises(DataError, match="digest of the weights"):
        verify(str(tmp_path / "m"))


def test_audit_of_both_layouts(tiny_tokenizer_folder, released_folder):
    (ours,) = audit(str(tiny_tokenizer_folder))
    assert (ours["used"], ours["unknown"], ours["missing"], ours["misshapen"]) == (
        ours["keys"],
        [],
        [],
        [],
    )
    vision, quantizer = audit(str(released_folder))
    assert (vision["used"], vision["accounted_for"]) == (4 + 3 * 13, 13 + 4)
    assert quantizer["groups"]["accounted_for"]["image-text heads"] == 7
    assert quantizer["used"] + quantizer["accounted_for"] == quantizer["keys"]


def test_listing_shows_presets_first_and_every_source():
    rows = list_models()
    assert [row["name"] for row in rows[:2]] == ["seed-nano", "seed-2"]
    assert [row["name"] for row in rows if row["kind"] == "preset"] == list(PRESET_ROLES)
    assert all(row["sources"] for row in rows if row["kind"] != "preset")
    sizes = {row["name"]: row["disk_gb"] for row in rows if row["kind"] == "preset"}
    assert sizes["seed-nano"] == 0
    # ViT 2.03, quantizer 1.23, unCLIP in fp16 2.6; and 27.2 in fp32
    assert sizes["seed-2"] == pytest.approx(5.86)
    assert sizes["seed-llama-8b-sft"] == pytest.approx(33.06)


def test_pull_dry_run_and_unknown_names():
    rows = list(pull("vit-g", dry_run=True))
    assert rows[0]["size_bytes"] == 2_025_249_237
    with pytest.raises(UsageError, match="nothing is called"):
        list(pull("vit"))


def test_commands_print_json_lines(tiny_tokenizer_folder):
    for command in ("audit", "verify"):
        run = CliRunner().invoke(app, ["models", command, str(tiny_tokenizer_folder), "--json"])
        assert run.exit_code == 0
        assert all(json.loads(line) for line in run.stdout.splitlines())
    assert CliRunner().invoke(app, ["models", "verify", "/nowhere/at/all"]).exit_code == 3


def test_language_model_laid_out_by_hand_is_found_with_its_tokenizer(tmp_path, released_folder):
    """As `pull seed-llama-8b-pretrain --to` does: its folder's name says no more what it is."""
    (tmp_path / "llm").mkdir()
    for path in released_folder.iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    config = {"model_type": "llama", "hidden_size": 4096, "vocab_size": 40194}
    (tmp_path / "llm" / "config.json").write_text(json.dumps(config))
    (tmp_path / "llm" / "tokenizer.json").write_text("{}")
    facts = LlmFacts(
        name="seed-llama-8b-pretrain",
        visual_tokenizer="..",
        visual_fingerprint=None,
        num_queries=32,
        num_codes=8192,
    )
    write_llm_facts(tmp_path / "llm", facts)
    found = locate_llm(str(tmp_path))
    assert (found.facts.name, found.facts.template) == ("seed-llama-8b-pretrain", None)
    assert found.facts.visual_tokenizer == str(tmp_path)
