"""`seed plan`: figures that follow from the recipe alone, lengths from disk or
assumed, and what it refuses.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from transformers import LlamaConfig

from seedcli.data.tokens.shards import ShardHeader, TokenRow, write_shard
from seedcli.errors import DataError, UsageError
from seedcli.models.weights.locate import BUNDLED_NANO
from seedcli.recipe.read import load_recipe
from seedcli.workflows.train.plan import run


@pytest.fixture(scope="module")
def vicuna() -> dict:
    return run(load_recipe("vicuna7b"), gpus="a100-40g:64")


def test_the_published_run(vicuna: dict) -> None:
    lora, full = vicuna["phases"]
    assert (lora["trainable"], lora["adapter"]) == (369_512_448, 39_976_960)
    assert full["frozen"] == 40194 * 4096
    assert vicuna["model"]["parameters"] == 6_805_540_864
    assert vicuna["published"]["device_hours"] == 64 * 144
    assert vicuna["device_hours"] == pytest.approx(64 * (lora["hours"] + full["hours"]))
    assert lora["tokens"] == 30_000 * 3_145_728
    assert 26_000 < lora["documents_per_step"] < 27_000  # the script's: 26.6 k


def test_packing_saves_what_padding_wastes(vicuna: dict) -> None:
    lora = vicuna["phases"][0]
    mixture = lora["mixture"]
    assert mixture["padding_packed"] < 0.02 < 0.4 < mixture["padding_unpacked"]
    assert lora["hours_unpacked"] / lora["hours"] == pytest.approx(
        (1 - mixture["padding_packed"]) / (1 - mixture["padding_unpacked"]), rel=1e-6
    )
    assert {one["lengths"] for one in mixture["sources"]} == {"assumed, typical of its form"}
    assert sum(one["share"] for one in mixture["sources"]) == pytest.approx(1)


def test_each_phase_of_a_big_recipe_fits_its_published_machine() -> None:
    for name, gpus in (
        ("vicuna7b", "a100-40g:64"),
        ("vicuna13b", "a100-40g:64"),
        ("llama2-7b", "a100-40g:64"),
        ("llama2-13b-chat", "a100-40g:64"),
        ("vicuna7b-instruct", "a100-80g:32"),
        ("vicuna13b-instruct", "a100-80g:32"),
        ("llama2-7b-instruct", "a100-80g:32"),
        ("llama2-13b-chat-instruct", "a100-80g:32"),
    ):
        plan = run(load_recipe(name), gpus=gpus)
        for phase in plan["phases"]:
            (chosen,) = [one for one in phase["memory_per_device"] if one["chosen"]]
            assert chosen["device_gb"] < 0.95 * plan["devices"]["memory_gb"], (name, phase["phase"])
        rows = load_recipe(name)
        batch = rows.lora.optimization.batch_tokens // rows.context_length
        assert batch % (plan["devices"]["count"] * rows.parallel.micro_batch_rows) == 0, (
            f"{name}: {batch} rows do not split"
        )


def test_shares_of_the_mixtures_are_those_of_samples() -> None:
    """spec 4.1 and 4.3: weight x batch size of the released files, normalised, in percent."""
    pretrain = {
        (5.0, 164): "laion-coco",
        (2.0, 26): "mmc4",
        (1.0, 26): "obelisc",
        (0.5, 116): "webvid",
    }
    _shares_hold("vicuna7b", pretrain, total=2 * 0.5 * 116 + 5.0 * 164 + (2.0 + 1.0 + 1.0) * 26)
    instruct = {
        (0.15, 160): "cgd",
        (0.08, 80): "vist",
        (0.5, 256): "pix2pix",
        (0.15, 60): "llava-conversation",
        (0.2, 32): "svit",
        (0.2, 256): "vqav2",
        (0.1, 256): "vizwiz",
        (0.15, 80): "visdial",
        (0.1, 160): "msrvtt",
        (0.2, 60): "video-chatgpt",
        (0.4, 80): "lrv",
        (0.5, 200): "journeydb",
        (0.05, 256): "vsr",
    }
    _shares_hold("vicuna7b-instruct", instruct, total=658.6)


def _shares_hold(name: str, expected: dict[tuple[float, int], str], *, total: float) -> None:
    sources = load_recipe(name).data.sources
    assert sum(source.weight for source in sources) == pytest.approx(100, abs=0.02)
    for (weight, batch), part in expected.items():
        (found,) = [source.weight for source in sources if part in source.path]
        assert found == pytest.approx(100 * weight * batch / total, abs=0.01), part


def test_lengths_are_read_where_the_source_lies_on_disk(tmp_path: Path) -> None:
    header = ShardHeader(
        tokenizer="seed-2",
        fingerprint="0123456789abcdef",
        num_queries=32,
        num_codes=8192,
        image_handling="seed",
        numerics="default",
        dtype="float32",
        micro_batch=(1, 3, 224, 224),
        made_from={},
        count=20,
    )
    rows = [
        TokenRow(key=str(n), codes=[n] * 32, text="a" * 40, source=f"{n}.jpg", meta=None)
        for n in range(20)
    ]
    path = tmp_path / "coco"
    path.mkdir()
    write_shard(path / "0.parquet", header, rows)
    plan = run(load_recipe("vicuna7b", [f"data.sources.2.path={path}"]), gpus="a100-40g:64")
    (read,) = [one for one in plan["phases"][0]["mixture"]["sources"] if str(path) in one["source"]]
    assert read["lengths"] == "20 rows read, 4 characters a token"
    assert read["mean_tokens"] == 2 + 34 + 10


def test_a_model_of_its_own_needs_its_config(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="its shape is not known") as refused:
        run(
            load_recipe("vicuna7b", ["language_model.start=somebody/some-llama"]), gpus="a100-40g:8"
        )
    assert "config.json" in refused.value.remedy
    LlamaConfig(
        hidden_size=64,
        intermediate_size=128,
        num_hidden_layers=2,
        num_attention_heads=4,
        vocab_size=500,
    ).save_pretrained(tmp_path)
    plan = run(load_recipe("vicuna7b", [f"language_model.start={tmp_path}"]), gpus="a100-40g:8")
    assert plan["model"]["vocab_size"] == 500 + 8192 + 2
    assert "published" not in plan


@pytest.mark.parametrize(
    ("recipe", "options", "message"),
    [
        ("vicuna7b", {"gpus": "a1000:8"}, "'a1000' is not known"),
        ("vicuna7b", {"gpus": "a100-40g:many"}, "found 'many'"),
        ("vicuna7b", {"gpus": "a100-40g:8", "utilisation": 40.0}, "expected a share"),
        ("nano-target", {"gpus": "a100-40g:7"}, "batch size 64 does not split over 7"),
    ],
)
def test_what_cannot_be_planned(recipe: str, options: dict, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        run(load_recipe(recipe), **options)


def test_it_needs_no_torch() -> None:
    code = (
        "import sys; from seedcli.recipe.read import load_recipe; from "
        "seedcli.workflows.train.plan import run"
    )
    code += "; run(load_recipe('vicuna7b'), gpus='a100-40g:64'); print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["False"]


def test_the_command(tmp_path: Path) -> None:
    words = [sys.executable, "-m", "seedcli", "plan", "nano-pretrain", "--gpus", "cpu:2", "--json"]
    done = subprocess.run(words, capture_output=True, text=True, check=True, cwd=tmp_path)
    plan = json.loads(done.stdout)
    assert [phase["phase"] for phase in plan["phases"]] == ["text", "lora", "full"]
    assert all(
        "assumed" in one["lengths"]
        for phase in plan["phases"]
        for one in phase["mixture"]["sources"]
    )
    assert list(tmp_path.iterdir()) == []


def test_people_read_a_table(vicuna: dict) -> None:
    from seedcli.cli.plan import _show

    text = _show(vicuna)
    assert (
        "Published: SEED-LLaMA 8B, pretraining, 64 x A100-40G x 144 h: 9,216 device hours." in text
    )
    assert "369.51 M" in text and "too much" in text and "94.37 G" in text
    tables = text[text.index("share") : text.index("While loading")]
    assert max(map(len, tables.splitlines())) <= 80


def test_a_preset_is_planned_as_it_is_trained() -> None:
    """`seed instruct` takes it; its config.json lies on this disk."""
    recipe = load_recipe("nano-instruct", ["start=seed-nano"])
    plan = run(recipe, gpus="cpu:2")
    config = json.loads((BUNDLED_NANO / "llm" / "config.json").read_text(encoding="utf-8"))
    assert plan["model"]["hidden_size"] == config["hidden_size"]
    assert plan["model"]["vocab_size"] == config["vocab_size"]


@pytest.mark.parametrize(
    ("recipe", "changes"),
    [
        ("nano-target", []),
        ("nano-judge", []),
        ("nano-autoencoder", []),
        ("nano-unclip", ["target=seed-nano"]),
        ("nano-causal-qformer", []),
        ("nano-codebook", ["tokenizer=seed-nano", "target=seed-nano"]),
    ],
)
def test_a_stage_of_the_tokenizer_is_planned(recipe: str, changes: list[str]) -> None:
    found = run(load_recipe(recipe, changes), gpus="cpu:2")
    memory = found["memory_per_device_gb"]
    assert found["trained_parameters"] * 4e-9 == pytest.approx(memory["gradients"])
    assert memory["total"] > memory["weights"] + memory["activations"] > memory["activations"] > 0
    # a forward pass multiplies a weight at least once a picture, learning takes three times that
    flop = found["gflop_per_image"]["learning"]
    assert found["hours"] == pytest.approx(
        flop * 1e9 * found["images"] / (2 * 0.14e12 * 0.4) / 3600
    )


def test_the_published_decoder_is_planned_before_it_is_here() -> None:
    found = run(load_recipe("seed2-unclip-on-codes"), gpus="a100-80g:8")
    # diffusers states 865,910,724 of Stable Diffusion 2.1's UNet; unCLIP's embeds labels besides:
    # 2048 -> 1280 -> 1280
    labels = 2048 * 1280 + 1280 + 1280 * 1280 + 1280
    assert found["trained_parameters"] == 865_910_724 + labels
    assert found["frozen_every_step"] and found["gflop_per_image"]["frozen"] > 1000
    assert found["memory_per_device_gb"]["average"] == found["memory_per_device_gb"]["gradients"]


def test_a_part_that_is_not_trained_yet_has_no_shape(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"no config\.json"):
        run(load_recipe("nano-unclip", [f"target={tmp_path}"]), gpus="cpu:2")
