"""What `--model` may be, what is refused and how, and the registry's own facts."""

from __future__ import annotations

import json
import re
import subprocess
import sys

import pytest
import torch

from seedcli.errors import DataError, UsageError
from seedcli.models.visual.config import PRESETS
from seedcli.models.weights.digest import stored_digest
from seedcli.models.weights.load import (
    check_decoder,
    describe,
    find_decoder,
    find_vocab,
    load_seed_model,
)
from seedcli.models.weights.locate import ModelFiles, locate
from seedcli.models.weights.locate_llm import LLM_PRESETS
from seedcli.models.weights.published import PRESET_ROLES, PRESET_TITLES, ROLES


def test_every_role_has_sources_with_honest_facts():
    for role in ROLES.values():
        assert role.sources
        for source in role.sources:
            assert (source.url is None) != (source.repo is None)
            assert source.licence
            assert source.sha256 is None or re.fullmatch(r"[0-9a-f]{64}", source.sha256)
            assert role.kind != "file" or source.url or len(source.files) == 1
            assert bool(source.files) == (role.kind in ("file", "files")) or source.url
    assert set(PRESET_ROLES) == set(PRESET_TITLES) == {*PRESETS, *LLM_PRESETS}
    assert len(ROLES["vit-g"].sources) > 1, "the bucket must never be the only source"


def test_listing_models_imports_no_torch():
    script = (
        "import sys; from seedcli.workflows.models import list_models; rows = list_models(); "
        "print('torch' in sys.modules, len(rows))"
    )
    run = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert run.stdout.split()[0] == "False"


def test_folder_layouts_are_told_apart(tiny_tokenizer_folder, released_folder):
    assert not locate(str(tiny_tokenizer_folder)).released
    assert locate(str(released_folder)).released
    assert [path.name for path in locate(str(released_folder)).weights] == [
        "eva_vit_g.pth",
        "seed_quantizer.pt",
    ]


@pytest.mark.parametrize(
    ("model", "error", "words"),
    [
        ("seed-nono", UsageError, "did you mean seed-nano"),
        ("./nowhere", DataError, "no folder at"),
        ("/nowhere/at/all", DataError, "no folder at"),
        ("a b c", UsageError, "no model is called"),
    ],
)
def test_unknown_models(model, error, words):
    with pytest.raises(error, match=re.escape(words)):
        locate(model)


def test_half_a_release_and_empty_folders_say_what_is_missing(tmp_path, released_folder):
    with pytest.raises(DataError, match=r"found nothing"):
        locate(str(tmp_path))
    (tmp_path / "seed_quantizer.pt").write_bytes(b"x")
    with pytest.raises(DataError, match=r"no eva_vit_g\.pth"):
        locate(str(tmp_path))
    with pytest.raises(DataError, match="is a file"):
        locate(str(tmp_path / "seed_quantizer.pt"))


def test_sizes_that_nobody_described_are_refused_by_name(tmp_path, released_folder):
    for name in ("eva_vit_g.pth", "seed_quantizer.pt"):
        (tmp_path / name).symlink_to(released_folder / name)
    with pytest.raises(DataError, match=r"blocks\.4\.norm1\.weight") as caught:
        load_seed_model(locate(str(tmp_path)))
    assert "seed_tokenizer.json" in caught.value.remedy


@pytest.mark.parametrize(
    "content",
    ["", "[]", '{"config": 3}', '{"format_version": 99}', '{"config": {"name": "x", "colour": 1}}'],
)
def test_broken_description_is_refused(tmp_path, tiny_tokenizer_folder, content):
    (tmp_path / "model.safetensors").symlink_to(tiny_tokenizer_folder / "model.safetensors")
    (tmp_path / "seed_tokenizer.json").write_text(content)
    with pytest.raises(DataError, match=r"seed_tokenizer\.json"):
        load_seed_model(locate(str(tmp_path)))


def test_digest_of_released_files_is_computed_once_and_anew_when_they_change(
    tmp_path, released_folder
):
    for path in released_folder.iterdir():
        if path.name != "seed_fingerprint.json":
            (tmp_path / path.name).write_bytes(path.read_bytes())
    files = locate(str(tmp_path))
    assert stored_digest(files) is None
    assert describe(locate(str(tmp_path))).fingerprint is None
    first = load_seed_model(locate(str(tmp_path))).fingerprint
    assert stored_digest(files)
    assert describe(locate(str(tmp_path))).fingerprint == first
    tensors = torch.load(tmp_path / "seed_quantizer.pt")
    tensors["query_tokens"] = tensors["query_tokens"] + 1
    torch.save(tensors, tmp_path / "seed_quantizer.pt")
    assert stored_digest(files) is None
    assert load_seed_model(locate(str(tmp_path))).fingerprint != first


def test_folder_that_cannot_be_written_keeps_its_digest_in_the_cache(
    tmp_path, released_folder, monkeypatch
):
    monkeypatch.setenv("HF_HOME", str(tmp_path / "cache"))
    folder = tmp_path / "weights"
    (folder / "seed_fingerprint.json").mkdir(parents=True)  # stops root too
    for path in released_folder.iterdir():
        if path.name != "seed_fingerprint.json":
            (folder / path.name).write_bytes(path.read_bytes())
    found = load_seed_model(locate(str(folder))).fingerprint
    assert describe(locate(str(folder))).fingerprint == found
    assert len(list((tmp_path / "cache").rglob("*.json"))) == 1


def test_files_outside_a_folder_keep_their_digest_in_the_cache(
    tmp_path, released_folder, monkeypatch
):
    from seedcli.models.weights.digest import store_digest

    monkeypatch.setenv("HF_HOME", str(tmp_path))
    files = ModelFiles(
        "seed-2",
        None,
        (released_folder / "eva_vit_g.pth", released_folder / "seed_quantizer.pt"),
    )
    store_digest(files, "d" * 64, "f" * 16)
    assert stored_digest(files) == "d" * 64
    assert len(list(tmp_path.rglob("*.json"))) == 1


def test_vocabulary_and_decoder_of_a_folder(tmp_path, tiny_tokenizer_folder, tiny_decoder_folder):
    assert find_vocab(locate(str(tiny_tokenizer_folder))).name == "vocab.txt"
    with pytest.raises(DataError, match="no picture decoder"):
        find_decoder(locate(str(tiny_tokenizer_folder)))
    for path in tiny_tokenizer_folder.iterdir():
        (tmp_path / path.name).symlink_to(path)
    (tmp_path / "decoder").symlink_to(tiny_decoder_folder)
    assert find_decoder(locate(str(tmp_path))) == tmp_path / "decoder"


def test_decoder_of_another_width_is_refused(tiny_decoder_folder, tmp_path):
    check_decoder(tiny_decoder_folder, 64)
    with pytest.raises(DataError, match=r"width 64.*makes 1024") as caught:
        check_decoder(tiny_decoder_folder, 1024)
    assert "unclip-small" in caught.value.remedy
    (tmp_path / "model_index.json").write_text(
        json.dumps({"_class_name": "StableDiffusionPipeline"})
    )
    with pytest.raises(DataError):
        check_decoder(tmp_path, 64)


@pytest.mark.parametrize(("option", "value"), [("device", "warp"), ("dtype", "float8")])
def test_unknown_device_and_dtype(tiny_tokenizer_folder, option, value):
    with pytest.raises(UsageError, match=f"--{option} {value}"):
        load_seed_model(locate(str(tiny_tokenizer_folder)), **{option: value})


def test_dtype_is_that_of_the_arithmetic(tiny_tokenizer_folder, tiny_arrays):
    tokenizer = load_seed_model(locate(str(tiny_tokenizer_folder)), dtype="bfloat16")
    assert tokenizer.features(tiny_arrays["in.pixels"]).dtype == torch.bfloat16
    assert tokenizer.vision.class_token.dtype == torch.float32


def test_a_missing_run_folder_is_told_by_the_key_that_names_it_and_how_it_is_made(
    tmp_path, monkeypatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(DataError, match="no folder at runs/nano-causal-qformer/model") as refused:
        locate("runs/nano-causal-qformer/model", option="start")
    assert "seed recipes show nano-causal-qformer" in refused.value.remedy
    with pytest.raises(DataError, match="no folder at runs/mine/model") as refused:
        locate("runs/mine/model", option="start")  # `seed recipes show mine` would find nothing
    assert refused.value.remedy.startswith("start takes a preset")
    (tmp_path / "runs/mine").mkdir(parents=True)
    (tmp_path / "runs/mine/recipe.resolved.toml").touch()
    with pytest.raises(DataError, match="no folder at runs/mine/model") as refused:
        locate("runs/mine/model", option="start")
    assert "--resume" in refused.value.remedy
    with pytest.raises(DataError, match="no folder at") as refused:
        locate("./nowhere", option="start")
    assert refused.value.remedy.startswith("start takes a preset")
