"""The real hub client in processes of its own, against a hub on loopback: sources in order, broken
transfers, damage, no network.
"""

from __future__ import annotations

import io
import json
import os
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from huggingface_hub import constants
from huggingface_hub.errors import OfflineModeIsEnabled

from seedcli.errors import DataError
from seedcli.models.language.seed_llama import load_causal_model
from seedcli.models.weights.download import as_data_error, list_source
from seedcli.models.weights.published import ROLES, Source
from seedcli.models.weights.survey import survey
from tests.hub_server import Hub, environment, etag_of, serve
from tests.published_repositories import (
    ADAPTER,
    LLAMA_2_7B,
    SEED_LLAMA_8B_SFT,
    VICUNA_7B,
    pipeline_files,
)

QUANTIZER_SOURCES = ("AILab-CVC/seed-tokenizer-2", "AILab-CVC/SEED")


def seed(hub: Hub, home: Path, *arguments: str, **extra: str) -> tuple[int, list[dict], str]:
    run = subprocess.run(
        [sys.executable, "-m", "seedcli", *arguments, "--json"],
        capture_output=True,
        text=True,
        env=environment(hub, home, **extra),
        timeout=110,
    )
    return run.returncode, [json.loads(line) for line in run.stdout.splitlines()], run.stderr


@pytest.fixture
def hub():
    with serve(Hub()) as running:
        yield running


def test_pull_takes_the_first_source_and_finds_it_again_without_a_network(hub, tmp_path):
    content = os.urandom(200_000)
    hub.repos[QUANTIZER_SOURCES[0]] = {"seed_quantizer.pt": content}
    code, rows, _ = seed(hub, tmp_path, "models", "pull", "quantizer")
    assert code == 0
    assert Path(rows[0]["path"]).read_bytes() == content
    assert rows[0]["sha256"] == etag_of("x.pt", content)
    assert rows[0]["commit"] == ROLES["quantizer"].sources[0].revision
    requests = len(hub.log)
    code, rows, _ = seed(
        hub,
        tmp_path,
        "models",
        "pull",
        "quantizer",
        "--to",
        str(tmp_path / "laid out"),
        HF_HUB_OFFLINE="1",
    )
    assert code == 0
    assert len(hub.log) == requests
    assert (tmp_path / "laid out" / "seed_quantizer.pt").read_bytes() == content


def test_second_source_when_the_first_is_gone_or_damaged(hub, tmp_path):
    content, damaged = os.urandom(50_000), os.urandom(50_000)
    hub.repos = {QUANTIZER_SOURCES[1]: {"seed_tokenizer/seed_quantizer.pt": content}}
    code, rows, said = seed(hub, tmp_path / "gone", "models", "pull", "quantizer")
    assert (code, Path(rows[0]["path"]).read_bytes()) == (0, content)
    assert rows[0]["source"].startswith("AILab-CVC/SEED@")
    assert "AILab-CVC/seed-tokenizer-2" in said
    assert "404" in said
    hub.repos[QUANTIZER_SOURCES[0]] = {"seed_quantizer.pt": damaged}
    hub.stated = {"seed_quantizer.pt": content}
    code, rows, said = seed(hub, tmp_path / "damaged", "models", "pull", "quantizer")
    assert (code, Path(rows[0]["path"]).read_bytes()) == (0, content)
    assert etag_of("x.pt", damaged) in said
    assert not list((tmp_path / "damaged").rglob("*.partial"))


def test_known_sha256_is_demanded_and_plain_https_is_tried_first(hub, tmp_path):
    """The ViT: no way to the bucket, two copies that are not the published
    file, then BLIP-2's own.
    """
    hub.repos = {
        name: {"eva_vit_g.pth": b"something else" * 100}
        for name in ("catid/minigpt4", "lainxx/eva_vit_g")
    }
    hub.repos["Salesforce/blip2-itm-vit-g"] = {
        "model.safetensors": b"blip-2" * 1000,
        "config.json": b"{}",
    }
    code, rows, said = seed(hub, tmp_path, "models", "pull", "vit-g")
    assert code == 0
    assert rows[0]["source"] == "Salesforce/blip2-itm-vit-g@main"
    assert ("CONNECT", "storage.googleapis.com:443", None) in hub.log
    places = [
        said.index(name)
        for name in ("storage.googleapis.com", "catid/minigpt4", "lainxx/eva_vit_g")
    ]
    assert places == sorted(places)
    assert said.count("99d2bb36c6b52c94fe6e2e12373afb27de57ae81378c3d8c53bf0e83b0f4275f") == 2


def test_small_files_are_checked_too(hub, tmp_path):
    hub.repos = {"google-bert/bert-base-uncased": {"vocab.txt": b"[PAD]\n"}}
    code, rows, said = seed(hub, tmp_path, "models", "pull", "bert-vocabulary")
    assert (code, rows) == (3, [])
    assert "07eced375cec144d27c900241f3e339478dec958f92fddbc551f295c992038a3" in said
    assert "put vocab.txt" in said


def test_connection_that_breaks_is_continued_by_the_client(hub, tmp_path):
    content = os.urandom(12_000_000)
    hub.repos[QUANTIZER_SOURCES[0]] = {"seed_quantizer.pt": content}
    hub.cut = {"seed_quantizer.pt": [11_000_000]}
    code, rows, _ = seed(hub, tmp_path, "models", "pull", "quantizer")
    assert (code, Path(rows[0]["path"]).read_bytes() == content) == (0, True)
    # the client writes blocks of 10 MiB
    assert hub.ranges("seed_quantizer.pt") == [None, f"bytes={10 << 20}-"]


def test_download_that_was_killed_is_continued_by_the_next_process(hub, tmp_path):
    content = os.urandom(24_000_000)
    hub.repos[QUANTIZER_SOURCES[0]] = {"seed_quantizer.pt": content}
    hub.stall = {"seed_quantizer.pt"}
    process = subprocess.Popen(
        [sys.executable, "-m", "seedcli", "models", "pull", "quantizer"],
        env=environment(hub, tmp_path),
        stderr=subprocess.DEVNULL,
    )
    deadline = time.monotonic() + 90
    while not any(partial.stat().st_size >= 10 << 20 for partial in tmp_path.rglob("*.partial")):
        assert time.monotonic() < deadline
        assert process.poll() is None
        time.sleep(0.05)
    process.kill()
    process.wait()
    hub.stall.clear()
    code, rows, said = seed(hub, tmp_path, "models", "pull", "quantizer")
    assert (code, Path(rows[0]["path"]).read_bytes() == content) == (0, True)
    assert hub.ranges("seed_quantizer.pt") == [None, f"bytes={10 << 20}-"]
    assert "continuing at 10 MB" in said


def test_offline_says_what_was_tried_and_how_to_do_it_by_hand(hub, tmp_path):
    code, rows, said = seed(hub, tmp_path, "models", "pull", "seed-2", HF_HUB_OFFLINE="1")
    assert (code, rows, hub.log) == (3, [], [])
    for words in (
        "HF_HUB_OFFLINE",
        "storage.googleapis.com",
        "catid/minigpt4",
        "Salesforce/blip2-itm-vit-g",
        "put eva_vit_g.pth beside",
    ):
        assert words in said


def test_offline_is_told_with_the_repository_and_the_way_out():
    error = as_data_error(OfflineModeIsEnabled("no"), Source(repo="someone/model"))
    assert "HF_HUB_OFFLINE is set" in error.message and "someone/model" in error.message
    assert error.remedy == "unset HF_HUB_OFFLINE"


def test_without_a_network_a_server_is_not_tried_again_and_again(monkeypatch, caplog):
    def nobody(*asked):
        raise socket.gaierror(-2, "Name or service not known")

    for name in [name for name in os.environ if name.lower().endswith("_proxy")]:
        monkeypatch.delenv(name)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(constants, "ENDPOINT", "https://hub.invalid")
    monkeypatch.setattr(socket, "getaddrinfo", nobody)
    with pytest.raises(DataError, match="no answer .no address of hub.invalid is known"):
        list_source(Source(repo="owner/name"))
    found = survey(ROLES["vit-g"])
    assert (found["note"], len(found["failed"])) == ("no source answers", 4)
    assert caplog.text == ""  # the client's tries are none of the user's affair


def test_small_unclip_is_refused_by_its_width_and_the_next_source_taken(hub, tmp_path):
    hub.repos = {
        "sd2-community/stable-diffusion-2-1-unclip": pipeline_files(width=768),
        "radames/stable-diffusion-2-1-unclip-img2img": pipeline_files(width=1024),
    }
    code, rows, said = seed(hub, tmp_path, "models", "pull", "unclip")
    assert code == 0
    assert rows[0]["source"].startswith("radames/")
    assert "width 768" in said
    assert not any(path.startswith("/storage/sd2-community") for _, path, _ in hub.log), (
        "refused before its weights are downloaded"
    )
    assert (Path(rows[0]["path"]) / "unet" / "diffusion_pytorch_model.safetensors").is_file()
    assert not (Path(rows[0]["path"]) / "image_encoder").exists()


def test_mirror_without_weights_is_passed_over(hub, tmp_path):
    hub.repos = {
        "radames/stable-diffusion-2-1-unclip-img2img": pipeline_files(width=1024, suffixes=()),
        "diffusers/stable-diffusion-2-1-unclip-i2i-h": pipeline_files(width=1024, suffixes=()),
        "stabilityai/stable-diffusion-2-1-unclip": pipeline_files(
            width=1024, suffixes=(".fp16.bin", ".bin")
        ),
    }
    code, rows, _ = seed(hub, tmp_path, "models", "pull", "unclip", "--dry-run")
    assert code == 0
    assert rows[0]["source"] == "stabilityai/stable-diffusion-2-1-unclip@main"
    assert [reason.split(":")[0].split("/")[0] for reason in rows[0]["failed"]] == [
        "sd2-community",
        "radames",
        "diffusers",
    ]
    assert rows[0]["download_bytes"] == rows[0]["size_bytes"] > 4 * 100
    assert not any(method == "GET" and "/storage/" in path for method, path, _ in hub.log)
    code, rows, said = seed(hub, tmp_path, "models", "pull", "unclip")
    assert (code, said.count("no weights of unet")) == (0, 2)
    folder = Path(rows[0]["path"])
    assert (folder / "text_encoder" / "pytorch_model.fp16.bin").is_file()
    code, rows, _ = seed(hub, tmp_path, "models", "pull", "unclip", "--dry-run")
    assert (rows[0]["path"], rows[0]["download_bytes"]) == (str(folder), 0)


LOOKS = """
import json, sys
from seedcli.errors import SeedError
from seedcli.models.language.seed_llama import load_causal_model
from seedcli.models.weights.locate_llm import locate_llm
from seedcli.workflows.train.start import locate_start
rows = []
for model in sys.argv[1:]:
    try:
        files = locate_llm(model)
        facts = files.facts
        rows.append([facts.name, facts.template, facts.visual_tokenizer])
        official = {"top_k": 50, "max_new_tokens": 512}
        assert (facts.sampling, facts.dtype) == (official, "float16")
    except SeedError as error:
        rows.append([type(error).__name__, error.message, error.remedy])
start = locate_start("lmsys/vicuna-7b-v1.1", context_length=64)
model = load_causal_model(start.folder)
rows.append([start.text_tokenizer == start.folder, sum(p.sum().item() for p in model.parameters())])
print(json.dumps(rows))
"""


def test_published_language_models_by_hub_id(hub, tmp_path, tiny_llm_folder):
    """PyTorch files only, several shards, a gated repository, an adapter; a hub id keeps its name,
    and the pretrained model is taught no conversation.
    """
    words = {name: b"{}" for name in VICUNA_7B if name.endswith("_config.json")}
    wide = {"model_type": "llama", "hidden_size": 4096, "vocab_size": 40194}
    published = words | {
        name: json.dumps(wide).encode() if name == "config.json" else os.urandom(50)
        for name in SEED_LLAMA_8B_SFT
    }
    text_tokenizer = dict.fromkeys(ROLES["seed-llama-text-tokenizer"].sources[0].files, b"{}")
    expected, shards = start_of_two_shards(tiny_llm_folder)
    hub.repos = {
        "AILab-CVC/seed-llama-8b-sft": published,
        "AILab-CVC/seed-llama-8b-pretrain": published,
        "AILab-CVC/seed-tokenizer-2": text_tokenizer,
        "meta-llama/Llama-2-7b-hf": {name: os.urandom(9) for name in LLAMA_2_7B},
        "someone/lora": dict.fromkeys(ADAPTER, b"{}"),
        "lmsys/vicuna-7b-v1.1": shards,
    }
    hub.gated = {"meta-llama/Llama-2-7b-hf"}
    names = [
        "AILab-CVC/seed-llama-8b-sft",
        "AILab-CVC/seed-llama-8b-pretrain",
        "meta-llama/Llama-2-7b-hf",
        "someone/lora",
        "someone/nowhere",
    ]
    run = subprocess.run(
        [sys.executable, "-c", LOOKS, *names],
        capture_output=True,
        text=True,
        env=environment(hub, tmp_path),
        timeout=110,
    )
    assert run.returncode == 0, run.stderr
    tuned, pretrained, gated, adapter, nowhere, start = json.loads(run.stdout)
    assert tuned == ["seed-llama-8b-sft", "vicuna", "seed-2"]
    assert pretrained == ["seed-llama-8b-pretrain", None, "seed-2"]
    assert "licence" in gated[1]
    assert "https://huggingface.co/meta-llama/Llama-2-7b-hf" in gated[2]
    assert "hf auth login" in gated[2]
    assert "hf download" in adapter[2]
    assert "hf auth login" in nowhere[2]
    assert start[0] is True
    assert start[1] == pytest.approx(expected, rel=1e-6)  # the same sum in the same order: 0 off


def test_dry_run_of_a_recipe_says_what_it_would_download(hub, tmp_path):
    hub.repos = {
        "lmsys/vicuna-7b-v1.1": dict.fromkeys(VICUNA_7B, b"x" * 10),
        QUANTIZER_SOURCES[0]: {"seed_quantizer.pt": b"x" * 77},
    }
    code, (plan,), _ = seed(hub, tmp_path, "pretrain", "vicuna7b", "--dry-run")
    assert code == 0
    assert [(part["role"], part["download_bytes"]) for part in plan["downloads"]] == [
        ("lmsys/vicuna-7b-v1.1", 80),
        ("vit-g", 2_025_249_237),
        ("quantizer", 77),
    ]
    assert plan["downloads"][0]["files"] == 8
    code, (plan,), _ = seed(
        hub, tmp_path, "train-tokenizer", "seed2-codebook", "tokenizer=seed-2", "--dry-run"
    )
    assert code == 0
    roles = [part["role"] for part in plan["downloads"]]
    assert roles == ["vit-g", "quantizer", "bert-vocabulary", "clip-h"]
    assert not any(method == "GET" and "/storage/" in path for method, path, _ in hub.log)


def start_of_two_shards(folder: Path) -> tuple[float, dict[str, bytes]]:
    """A tiny model's files as vicuna's are published, and the sum of its weights."""
    model = load_causal_model(folder)
    parts: list[dict] = [{}, {}]
    for number, (name, tensor) in enumerate(model.state_dict().items()):
        parts[number % 2][name] = tensor
    files = {
        path.name: path.read_bytes()
        for path in folder.iterdir()
        if path.suffix == ".json" and path.name != "seed.json"
    }
    where = {}
    for number, tensors in enumerate(parts, 1):
        name, content = f"pytorch_model-{number:05d}-of-00002.bin", io.BytesIO()
        torch.save(tensors, content)
        files[name] = content.getvalue()
        where |= dict.fromkeys(tensors, name)
    files["pytorch_model.bin.index.json"] = json.dumps(
        {"metadata": {}, "weight_map": where}
    ).encode()
    return sum(parameter.sum().item() for parameter in model.parameters()), files


def test_authors_bundle_as_visual_tokenizer(hub, tmp_path, released_folder):
    """Its quantizer lies in a folder, its ViT is another source's."""
    bundle = {"seed_tokenizer/seed_quantizer.pt", "seed_llama_8b_pretrain/config.json"}
    hub.repos = {"AILab-CVC/SEED": dict.fromkeys(bundle, b"{}")}
    hub.repos["AILab-CVC/SEED"]["seed_tokenizer/seed_quantizer.pt"] = b"weights" * 1000
    code, rows, _ = seed(hub, tmp_path, "models", "pull", "AILab-CVC/SEED", "--dry-run")
    assert code == 0
    assert [(row["role"], row["download_bytes"]) for row in rows] == [
        ("vit-g", 2_025_249_237),
        ("AILab-CVC/SEED", 7000),
    ]
    code, rows, said = seed(hub, tmp_path, "models", "audit", "AILab-CVC/SEED")
    assert code == 3
    assert "no source has vit-g" in said


def test_model_by_hub_id_in_both_layouts(hub, tmp_path, tiny_tokenizer_folder, released_folder):
    hub.repos = {
        "someone/ours": {path.name: path.read_bytes() for path in tiny_tokenizer_folder.iterdir()},
        "someone/nothing": {"README.md": b"hello"},
    }
    code, rows, _ = seed(hub, tmp_path, "models", "verify", "someone/ours")
    stated = json.loads((tiny_tokenizer_folder / "seed_tokenizer.json").read_text())["fingerprint"]
    assert (code, rows[-1]["fingerprint"]) == (0, stated)
    assert rows[0]["note"] == "as published"
    code, rows, _ = seed(hub, tmp_path, "models", "verify", "someone/ours", HF_HUB_OFFLINE="1")
    assert (code, rows[-1]["fingerprint"]) == (0, stated)
    code, _, said = seed(hub, tmp_path, "models", "audit", "someone/nothing")
    assert code == 3
    assert "README.md" in said
