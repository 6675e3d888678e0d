"""verify, audit and pull on folders; downloads have tests of their own."""

from __future__ import annotations

import json
import shutil

import pytest
from safetensors.torch import load_file, save_file
from typer.testing import CliRunner

from seedcli.cli.main import app
from seedcli.errors import DataError, UsageError
from seedcli.models.weights.load import load_seed_model
from seedcli.workflows.models import audit, list_models, pull, verify


def test_verify_computes_the_fingerprint_anew(tiny_tokenizer_folder, released_folder):
    rows = [verify(str(folder))[-1] for folder in (tiny_tokenizer_folder, released_folder)]
    assert {row["fingerprint"] for row in rows} == {
        load_seed_model(str(released_folder)).fingerprint
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
    assert all(row["sources"] for row in rows[2:])


def test_pull_dry_run_and_unknown_names(monkeypatch, tmp_path):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
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
