"""`seed plan tokenize`: hours, bytes and the storage that keeps up, before a picture is read; from
what `seed bench tokenize` measured here, else from stated rates.
"""

from __future__ import annotations

import re
from typing import Any

from seedcli.console import Reporter
from seedcli.errors import UsageError
from seedcli.models.language.cost import Device
from seedcli.models.visual.config import SeedModelConfig
from seedcli.models.weights.load import describe
from seedcli.models.weights.locate import locate
from seedcli.workflows.bench.rates import read_rates

UTILISATION = 0.4  # of the device's peak, assumed where nobody measured
# Pictures a second through EVA-g at 224 px of 267.18 GMAC, of which all but its last block is the
# tokenizer's vision; half precision, batches of 1,024.
# huggingface/pytorch-image-models@5c33776 and @7479d45: results/benchmark-infer-amp-nchw-pt240-
# cu124-rtx4090.csv and -rtx3090.csv, eva_giant_patch14_224
EVA_G_FLOP = 2 * 267.18e9
EVA_G_PER_S = {"rtx4090-24g": 229.92, "rtx3090-24g": 119.09}
# Tars of LAION-400M at 256 px, 270 MB for 10,000 pictures.
# rom1504/laion-prepro: laion400m/README.md
IMAGE_BYTES = 27_000
CODE_BYTES = 2  # a code of 13 bits, before compression
_UNITS = {"": 1, "k": 10**3, "m": 10**6, "g": 10**9, "b": 10**9}


def run(
    images: str,
    *,
    gpus: tuple[str, Device, int],
    model: str = "seed-2",
    dtype: str = "float32",
    utilisation: float | None = None,
    image_bytes: int | None = None,
    reporter: Reporter = Reporter(),
) -> dict[str, Any]:
    """Number of pictures and devices -> what tokenising them takes.

    Args:
        images: A number, also as `500M` or `1.5G`.
        gpus: Kind, facts and number of the devices.
        model: Preset, folder or hub id.
        dtype: Of the arithmetic before the codebook.
        utilisation: Share of the peak that the arithmetic gets, in place of what is measured or
            stated.
        image_bytes: Mean size of a picture's file, in place of what is measured or stated.
        reporter: Hears of downloads.

    Raises:
        UsageError: No number, no such model or dtype.
    """
    number = parse_number(images)
    config = describe(locate(model, reporter=reporter)).config
    kind, device, count = gpus
    flop = flop_per_image(config)
    rates = [
        rate
        for rate in read_rates()
        if (rate["kind"], rate["model"], rate["dtype"]) == (kind, config.name, dtype)
    ]
    per_device, source = _rate(kind, device, dtype, flop, rates, utilisation)
    measured = rates[0] if rates else None
    size, size_source = IMAGE_BYTES, "LAION-400M at 256 px, 270 MB for 10,000 pictures"
    if image_bytes is not None:
        size, size_source = image_bytes, "--image-bytes"
    elif measured is not None:
        size, size_source = measured["image_bytes"], "pictures of seed bench tokenize"
    row = CODE_BYTES * config.qformer.num_queries
    row_bytes, row_source = (
        (measured["row_bytes"], "a shard of seed bench tokenize")
        if measured
        else (row, f"{config.qformer.num_queries} codes of {CODE_BYTES} bytes; keys come on top")
    )
    per_s = per_device * count
    core = measured and measured["decode_images_per_s_per_core"]
    return {
        "command": "tokenize",
        "images": number,
        "model": config.name,
        "dtype": dtype,
        "devices": {"kind": kind, "count": count},
        "gflop_per_image": round(flop / 1e9, 3),
        "images_per_s_per_device": round(per_device, 2),
        "rate_source": source,
        "images_per_s": round(per_s, 2),
        "hours": round(number / per_s / 3600, 3),
        "device_hours": round(number / per_s / 3600 * count, 2),
        "read": {
            "bytes_per_image": size,
            "source": size_source,
            "gb": round(number * size / 1e9, 3),
            "mb_per_s": round(per_s * size / 1e6, 3),
        },
        "write": {
            "bytes_per_image": row_bytes,
            "source": row_source,
            "gb": round(number * row_bytes / 1e9, 3),
            "mb_per_s": round(per_s * row_bytes / 1e6, 4),
        },
        "decode": core
        and {
            "images_per_s_per_core": core,
            "source": _measured(measured),
            "cores_per_device": round(per_device / core, 1),
        },
    }


def parse_number(text: str) -> int:
    """`500M` -> 500,000,000.

    Raises:
        UsageError: It is no number of pictures.
    """
    found = re.fullmatch(r"([0-9][0-9_,]*(?:\.[0-9]+)?)([kmgb]?)", text.strip().lower())
    number = found and float(re.sub("[_,]", "", found[1])) * _UNITS[found[2]]
    if not number or number != int(number):
        raise UsageError(f"--images {text}: expected a number of pictures", remedy="--images 500M")
    return int(number)


def flop_per_image(config: SeedModelConfig) -> float:
    """Shape -> floating point operations from the pixels of one picture to its codes, counted on
    torch's meta device.
    """
    import torch
    from torch.utils.flop_counter import FlopCounterMode

    from seedcli.models.visual.model import SeedModel

    size_px = config.preprocess.codes.image_size_px
    with torch.device("meta"), torch.no_grad(), FlopCounterMode(display=False) as flops:
        model = SeedModel(config).eval()
        model.code_inputs(model.causal_embeddings(torch.zeros(1, 3, size_px, size_px)))
    # distances to all code vectors switch autocast off, which the meta device does not know
    num_distances = config.qformer.num_queries * config.codebook.num_codes
    return flops.get_total_flops() + 2 * num_distances * config.codebook.code_dim


def _rate(
    kind: str,
    device: Device,
    dtype: str,
    flop: float,
    rates: list[dict[str, Any]],
    utilisation: float | None,
) -> tuple[float, str]:
    """Pictures a second of one device, and whose word that is."""
    peak = (device.fp32_tflops if dtype == "float32" else device.half_tflops) * 1e12
    if utilisation is not None:
        return (
            peak * utilisation / flop,
            f"--utilisation {utilisation:g} of {peak / 1e12:g} TFLOP/s",
        )
    if rates:
        per_s = rates[0]["encode_images_per_s"]
        # of a CPU the unit is a core
        return per_s / (rates[0]["cores"] if kind == "cpu" else 1), _measured(rates[0])
    if kind in EVA_G_PER_S and dtype != "float32":
        per_s = EVA_G_PER_S[kind]
        return per_s * EVA_G_FLOP / flop, f"timm's {per_s:g} pictures/s of EVA-g on this device"
    return (
        peak * UTILISATION / flop,
        f"assumed: {UTILISATION:.0%} of {peak / 1e12:g} TFLOP/s; seed bench tokenize measures it",
    )


def _measured(rate: dict[str, Any]) -> str:
    weights = " (random weights)" if rate["weights"] == "random" else ""
    return f"measured here on {rate['device']}{weights}, {rate['measured'][:10]}"
