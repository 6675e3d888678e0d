"""What `seed bench tokenize` measures, and what `seed plan tokenize` makes of it."""

from __future__ import annotations

import json

import pytest
from PIL import Image

from seedcli.errors import DataError, UsageError
from seedcli.models.language.cost import DEVICES
from seedcli.models.visual.config import PRESETS
from seedcli.workflows.bench.plan import EVA_G_FLOP, flop_per_image, parse_number
from seedcli.workflows.bench.plan import run as plan
from seedcli.workflows.bench.rates import keep_rate, kind_of, rates_file, read_rates
from seedcli.workflows.bench.tokenize import BenchRequest, run


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("HF_HOME", str(tmp_path / "home"))


def request(model, **changes) -> BenchRequest:
    settings = {"model": str(model), "device": "cpu", "batch_size": 4, "workers": 0}
    return BenchRequest(**settings | {"seconds": 0.05} | changes)


def gpus(kind: str, number: int):
    return kind, DEVICES[kind], number


def test_a_rate_is_measured_kept_and_planned_with(tiny_tokenizer_folder):
    rate = run(request(tiny_tokenizer_folder, image_size_px=64))
    assert rate["encode_images_per_s"] > 0 and rate["decode_images_per_s_per_core"] > 0
    assert rate["images_per_s"] > 0
    assert sum(rate["shares"].values()) == pytest.approx(1, abs=0.01)
    # 32 codes of 6 bits are 24 bytes, and a name of 13 letters stands twice in a row
    assert 24 < rate["row_bytes"] < 100
    assert 500 < rate["image_bytes"] < 20_000
    assert rate["kept"] == str(rates_file()) and rate["kind"] == "cpu"
    planned = plan("1.5k", gpus=gpus("cpu", 2), model=str(tiny_tokenizer_folder))
    per_core = rate["encode_images_per_s"] / rate["cores"]
    assert planned["images_per_s"] == pytest.approx(2 * per_core, rel=0.01)
    assert planned["hours"] == pytest.approx(1500 / (2 * per_core) / 3600, abs=0.001)
    assert planned["rate_source"].startswith("measured here on cpu")
    assert planned["read"]["bytes_per_image"] == rate["image_bytes"]
    assert planned["write"]["source"] == "a shard of seed bench tokenize"
    assert planned["decode"]["images_per_s_per_core"] == rate["decode_images_per_s_per_core"]


def test_random_weights_of_its_shape_and_pictures_of_ones_own(tiny_tokenizer_folder, tmp_path):
    Image.new("RGB", (80, 60), "red").save(tmp_path / "a.png")
    rate = run(
        request(tiny_tokenizer_folder, random_weights=True, inputs=(str(tmp_path / "a.png"),))
    )
    assert rate["weights"] == "random"
    assert rate["image_bytes"] == (tmp_path / "a.png").stat().st_size
    (tmp_path / "none").mkdir()
    (tmp_path / "none" / "broken.png").write_bytes(b"")
    with pytest.raises(DataError, match="hold no image"):
        run(request(tiny_tokenizer_folder, inputs=(str(tmp_path / "none"),)))


def test_stated_rates_name_their_source():
    planned = plan("500M", gpus=gpus("h100-80g", 64), dtype="bfloat16")
    assert planned["images"] == 500_000_000
    assert planned["rate_source"].startswith("assumed: 40% of 989 TFLOP/s")
    per_device = 989e12 * 0.4 / flop_per_image(PRESETS["seed-2"])
    assert planned["images_per_s_per_device"] == pytest.approx(per_device, rel=1e-4)
    assert planned["read"]["gb"] == pytest.approx(500e6 * 27_000 / 1e9)
    assert planned["read"]["mb_per_s"] == pytest.approx(64 * per_device * 0.027, rel=1e-3)
    assert planned["write"]["bytes_per_image"] == 64 and planned["decode"] is None
    known = plan("1M", gpus=gpus("rtx4090-24g", 1), dtype="bfloat16", image_bytes=100)
    assert known["images_per_s"] == pytest.approx(229.92, rel=0.01)
    assert "timm's 229.92" in known["rate_source"]
    assert known["read"]["source"] == "--image-bytes"
    said = plan("1M", gpus=gpus("rtx4090-24g", 1), utilisation=0.5)
    assert said["rate_source"] == "--utilisation 0.5 of 82.6 TFLOP/s"


def test_the_tokenizer_takes_what_its_vision_takes():
    # EVA-g of timm has 40 blocks; here 39 of them and the Q-Former run
    assert flop_per_image(PRESETS["seed-2"]) == pytest.approx(EVA_G_FLOP, rel=0.01)


@pytest.mark.parametrize(
    ("text", "number"),
    [("500M", 500_000_000), ("1.5k", 1500), ("2b", 2 * 10**9), ("1_000", 1000), ("7", 7)],
)
def test_numbers_of_pictures(text, number):
    assert parse_number(text) == number


@pytest.mark.parametrize("text", ["", "many", "-1", "0", "1.5", "5T"])
def test_what_is_no_number_of_pictures(text):
    with pytest.raises(UsageError, match="--images"):
        parse_number(text)


def test_devices_by_the_names_of_their_drivers():
    assert kind_of("NVIDIA H100 80GB HBM3", 79.6) == "h100-80g"
    assert kind_of("NVIDIA A100-SXM4-40GB", 39.4) == "a100-40g"
    assert kind_of("NVIDIA A100-SXM4-80GB", 79.3) == "a100-80g"
    assert kind_of("NVIDIA GeForce RTX 4090", 23.6) == "rtx4090-24g"
    assert kind_of("NVIDIA Something New", 48.0) is None
    assert kind_of("x86_64", None) == "cpu"


def test_a_rate_replaces_one_of_the_same_settings_and_damage_holds_none():
    rate = {
        "device": "a",
        "model": "m",
        "dtype": "float32",
        "batch_size": 1,
        "image_bytes": 9,
        "kind": "cpu",
    }
    keep_rate(rate | {"measured": "1"})
    keep_rate(rate | {"measured": "2"})
    keep_rate(rate | {"measured": "3", "batch_size": 2})
    assert [one["measured"] for one in read_rates()] == ["3", "2"]
    rates_file().write_text(json.dumps({"rates": [{}]})[:-3])
    assert read_rates() == []
