"""Puts the trained parts of seed-nano together as the package bundles them: weights in fp16, decoder, recipes, logs.

`python -m seedcli.workflows.bundle_nano runs` reads the run folders `nano-target`, `nano-autoencoder`, `nano-unclip`, `nano-causal-qformer`
and `nano-codebook` below it.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import shutil
import sys
from pathlib import Path
from typing import Any

import torch

from seedcli.models.config import SEED_NANO
from seedcli.models.description import read_model_facts
from seedcli.models.registry import BUNDLED_NANO, load_seed_tokenizer
from seedcli.models.weights import save_tokenizer_folder
from seedcli.training.run_folder import read_metrics

STAGES = ("nano-target", "nano-autoencoder", "nano-unclip", "nano-causal-qformer", "nano-codebook")


def run(runs: Path, folder: Path) -> dict[str, Any]:
    """Run folders -> the bundled model folder; returns its fingerprint, sizes and what each stage cost.

    Sampling defaults are taken from the preset, so that they can be tuned after training.
    """
    tokenizer = load_seed_tokenizer(str(runs / "nano-codebook" / "model"), text_branch=True)
    tokenizer.config = dataclasses.replace(tokenizer.config, detokenize=SEED_NANO.detokenize)
    stages = {stage: _summary(runs / stage) for stage in STAGES}
    decoder = folder / "decoder"
    if decoder.exists():
        shutil.rmtree(decoder)
    trained = runs / "nano-codebook" / "model"
    _, facts = read_model_facts(trained)
    fingerprint = save_tokenizer_folder(
        tokenizer,
        folder,
        name=SEED_NANO.name,
        trained={"data": "emoji, train split", "trained_with_prefixes": facts["trained"]["trained_with_prefixes"], "stages": stages},
        vocab=trained / "vocab.txt",
        decoder=runs / "nano-unclip" / "model",
        dtype=torch.float16,
    )
    for stage in STAGES:
        target = folder / "training" / stage
        target.mkdir(parents=True, exist_ok=True)
        for name in ("recipe.resolved.toml", "metrics.jsonl"):
            shutil.copyfile(runs / stage / name, target / name)
    sizes = {str(path.relative_to(folder)): path.stat().st_size for path in sorted(folder.rglob("*.safetensors"))}
    return {"fingerprint": fingerprint, "bytes": sum(sizes.values()), "files": sizes, "stages": stages}


def _summary(run_folder: Path) -> dict[str, Any]:
    lines = read_metrics(run_folder)
    seconds = sum(now["batch_images"] / now["images_per_s"] for now in _with_images(lines, run_folder))
    return {"steps": lines[-1]["step"], "minutes": round(seconds / 60, 1), "loss": lines[-1]["loss"]}


def _with_images(lines: list[dict[str, Any]], run_folder: Path) -> list[dict[str, Any]]:
    """Each line with the pictures since the line before it."""
    import tomllib

    batch_size = tomllib.loads((run_folder / "recipe.resolved.toml").read_text(encoding="utf-8"))["optimization"]["batch_size"]
    steps = [0, *(line["step"] for line in lines)]
    return [line | {"batch_images": (now - before) * batch_size} for line, before, now in zip(lines, steps, steps[1:], strict=False)]


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Assemble seed-nano from its run folders.")
    parser.add_argument("runs", type=Path, help="folder that holds the run folders")
    parser.add_argument("--to", type=Path, default=BUNDLED_NANO, help="where the model folder goes")
    arguments = parser.parse_args()
    json.dump(run(arguments.runs, arguments.to), sys.stdout, indent=1)
