"""The real hub client in processes of its own, against a hub on loopback: sources in order, broken
transfers, damage, no network.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from seedcli.models.weights.published import ROLES
from tests.hub_server import Hub, etag_of, serve

QUANTIZER_SOURCES = ("AILab-CVC/seed-tokenizer-2", "AILab-CVC/SEED")


def environment(hub: Hub, home: Path, **extra: str) -> dict[str, str]:
    """The hub's address, a cache of its own, and the hub as the proxy of everything that is not on
    loopback: it lets nothing out.
    """
    kept = {
        key: value
        for key, value in os.environ.items()
        if not key.startswith("HF_") and "proxy" not in key.lower()
    }
    proxies = dict.fromkeys(("HTTPS_PROXY", "https_proxy"), hub.url) | dict.fromkeys(
        ("NO_PROXY", "no_proxy"), "127.0.0.1,localhost"
    )
    return (
        kept
        | proxies
        | {"HF_ENDPOINT": hub.url, "HF_HOME": str(home), "HF_HUB_DISABLE_TELEMETRY": "1"}
        | extra
    )


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


def test_small_unclip_is_refused_by_its_width_and_the_next_source_taken(hub, tmp_path):
    def pipeline(width: int) -> dict[str, bytes]:
        files = {
            "model_index.json": {"_class_name": "StableUnCLIPImg2ImgPipeline"},
            "image_normalizer/config.json": {"embedding_dim": width},
            "unet/config.json": {"projection_class_embeddings_input_dim": 2 * width},
        }
        weights = {
            "unet/diffusion_pytorch_model.safetensors": os.urandom(1000),
            "unet/diffusion_pytorch_model.fp16.bin": b"not wanted",
        }
        return {name: json.dumps(facts).encode() for name, facts in files.items()} | weights

    hub.repos = {
        "sd2-community/stable-diffusion-2-1-unclip": pipeline(768),
        "radames/stable-diffusion-2-1-unclip-img2img": pipeline(1024),
    }
    code, rows, said = seed(hub, tmp_path, "models", "pull", "unclip")
    assert code == 0
    assert rows[0]["source"].startswith("radames/")
    assert "width 768" in said
    assert not any(path.startswith("/storage/sd2-community") for _, path, _ in hub.log), (
        "refused before its weights are downloaded"
    )
    assert (Path(rows[0]["path"]) / "unet" / "diffusion_pytorch_model.safetensors").is_file()
    assert not (Path(rows[0]["path"]) / "unet" / "diffusion_pytorch_model.fp16.bin").exists()


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
