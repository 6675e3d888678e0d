"""Puts the trained parts of seed-nano together as the package bundles them: weights in fp16,
decoder, judge, recipes, logs.

`python -m tools.nano.bundle PART runs` reads the run folders of a part below `runs`, and writes it
as soon as it is final: `codes`, the tokenizer (`nano-causal-qformer`, `nano-codebook`); `decoder`
(`nano-autoencoder`, `nano-target`, `nano-unclip`, `nano-unclip-on-codes`);
`judge` (`nano-judge`); `llm` (`nano-pretrain`, `nano-prolong`, `nano-describe`, `nano-instruct`,
`nano-answer`, `nano-everyday`, `nano-styles`), whose codes must be the bundled tokenizer's. Of
decoder and language model the last stage's folder must be there; the logs of earlier stages stay as
they lie in the bundle where their folders are not. Rounding to fp16 moves codes, so the language
model is trained on what `codes` wrote; `--to FOLDER` writes it elsewhere, while a decoder of the
tokenizer before still lies in the package.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import re
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from seedcli.errors import DataError
from seedcli.files import publish_json
from seedcli.models.language.seed_llama import load_causal_model, save_language_model
from seedcli.models.language.text_tokenizer import load_text_tokenizer
from seedcli.models.visual.config import SEED_NANO
from seedcli.models.weights.description import CONFIG_FILE, read_model_facts
from seedcli.models.weights.llm_description import read_llm_facts
from seedcli.models.weights.load import load_seed_model
from seedcli.models.weights.locate import BUNDLED_NANO, locate
from seedcli.models.weights.locate_llm import LLM_FOLDER
from seedcli.models.weights.tensors import save_tokenizer_folder
from seedcli.training.run_folder import read_metrics

CODES_STAGES = ("nano-causal-qformer", "nano-codebook")
DECODER_STAGES = (
    "nano-autoencoder",
    "nano-target",
    "nano-unclip",
    "nano-unclip-on-codes",
)
LLM_STAGES = (
    "nano-pretrain",
    "nano-prolong",
    "nano-describe",
    "nano-instruct",
    "nano-answer",
    "nano-everyday",
    "nano-styles",
)
NANO_SAMPLING = {"temperature": 0.2, "top_p": 0.9}  # our choice: docs/seed-nano.md


def run_codes(runs: Path, folder: Path) -> dict[str, Any]:
    """Run folders of stage I and II -> the tokenizer in `folder`; returns its fingerprint, sizes
    and what each stage cost.

    Sampling defaults are taken from the preset, so that they can be tuned after training.
    """
    trained = runs / "nano-codebook" / "model"
    tokenizer = load_seed_model(locate(str(trained)), text_branch=True)
    tokenizer.config = dataclasses.replace(tokenizer.config, detokenize=SEED_NANO.detokenize)
    stages = {stage: _summary(runs / stage) for stage in CODES_STAGES}
    _, facts = read_model_facts(trained)
    fingerprint = save_tokenizer_folder(
        tokenizer,
        folder,
        name=SEED_NANO.name,
        trained={
            "data": "emoji, train split",
            "trained_with_prefixes": facts["trained"]["trained_with_prefixes"],
            "stages": stages,
        },
        vocab=trained / "vocab.txt",
        dtype=torch.float16,
    )
    for stage in CODES_STAGES:
        _keep_log(runs / stage, folder / "training" / stage)
    return {"fingerprint": fingerprint, "stages": stages, **_sizes(folder)}


def run_decoder(runs: Path, folder: Path) -> dict[str, Any]:
    """Run folders of the picture decoder -> `folder/decoder`; its stages join those of the
    tokenizer in `folder`.
    """
    decoder = folder / "decoder"
    if decoder.exists():
        shutil.rmtree(decoder)
    shutil.copytree(runs / DECODER_STAGES[-1] / "model", decoder)
    stages = {stage: _summary(runs / stage) for stage in _with_logs(runs, DECODER_STAGES)}
    _, facts = read_model_facts(folder)
    facts["trained"]["stages"] |= stages
    publish_json(folder / CONFIG_FILE, facts)
    for stage in stages:
        _keep_log(runs / stage, folder / "training" / stage)
    return {"stages": stages, **_sizes(folder)}


def run_judge(runs: Path, folder: Path) -> dict[str, Any]:
    """Run folder of the judge -> `folder/judge`, as open_clip reads it."""
    shutil.copytree(runs / "nano-judge" / "model", folder / "judge", dirs_exist_ok=True)
    _keep_log(runs / "nano-judge", folder / "training" / "nano-judge")
    return {**_summary(runs / "nano-judge"), **_sizes(folder)}


def run_llm(runs: Path, folder: Path) -> dict[str, Any]:
    """Run folders of the language model -> `folder/llm` in fp16, its codes those of the
    tokenizer in `folder`.

    Raises:
        DataError: The model was trained on codes of another tokenizer.
    """
    trained = runs / LLM_STAGES[-1] / "model"
    facts, (_, tokenizer) = read_llm_facts(trained), read_model_facts(folder)
    if facts.visual_fingerprint != tokenizer["fingerprint"]:
        raise DataError(
            f"{trained} speaks codes of {facts.visual_fingerprint}, {folder} holds the tokenizer "
            f"{tokenizer['fingerprint']}",
            remedy="bundle the tokenizer first, or train the language model on the bundled one",
        )
    target = folder / LLM_FOLDER
    if target.exists():
        shutil.rmtree(target)
    facts = dataclasses.replace(
        facts,
        name=SEED_NANO.name,
        visual_tokenizer=SEED_NANO.name,
        sampling=NANO_SAMPLING,
        words_first=True,  # docs/seed-nano.md
    )
    model = load_causal_model(trained).half()
    save_language_model(model, load_text_tokenizer(trained), target, facts=facts, shard_size="1GB")
    for stage in _with_logs(runs, LLM_STAGES):
        shutil.rmtree(folder / "training" / stage, ignore_errors=True)
        for metrics in sorted((runs / stage).glob("*/metrics.jsonl")):
            _keep_log(runs / stage, folder / "training" / stage, metrics)
    return {"trained": facts.trained, **_sizes(folder)}


def _with_logs(runs: Path, stages: Sequence[str]) -> list[str]:
    return [stage for stage in stages if (runs / stage / "recipe.resolved.toml").is_file()]


def _keep_log(run_folder: Path, target: Path, metrics: Path | None = None) -> None:
    """The resolved recipe and a log of a run, without what is known of the machine in paths."""
    target.mkdir(parents=True, exist_ok=True)
    recipe = (run_folder / "recipe.resolved.toml").read_text(encoding="utf-8")
    recipe = recipe.replace(f"{run_folder.parent}/", "runs/")
    recipe = re.sub(r" # /\S*/(\S+\.toml:\d+)$", r" # \1", recipe, flags=re.MULTILINE)
    (target / "recipe.resolved.toml").write_text(recipe, encoding="utf-8")
    metrics = metrics or run_folder / "metrics.jsonl"
    name = (
        "metrics.jsonl" if metrics.parent == run_folder else f"{metrics.parent.name}.metrics.jsonl"
    )
    shutil.copyfile(metrics, target / name)


def _sizes(folder: Path) -> dict[str, Any]:
    sizes = {
        str(path.relative_to(folder)): path.stat().st_size
        for path in sorted(folder.rglob("*.safetensors"))
    }
    return {"bytes": sum(sizes.values()), "files": sizes}


def _summary(run_folder: Path) -> dict[str, Any]:
    lines = read_metrics(run_folder)
    seconds = sum(
        now["batch_images"] / now["images_per_s"] for now in _with_images(lines, run_folder)
    )
    return {
        "steps": lines[-1]["step"],
        "minutes": round(seconds / 60, 1),
        "loss": lines[-1]["loss"],
    }


def _with_images(lines: list[dict[str, Any]], run_folder: Path) -> list[dict[str, Any]]:
    """Each line with the pictures since the line before it."""
    import tomllib

    batch_size = tomllib.loads((run_folder / "recipe.resolved.toml").read_text(encoding="utf-8"))[
        "optimization"
    ]["batch_size"]
    steps = [0, *(line["step"] for line in lines)]
    return [
        line | {"batch_images": (now - before) * batch_size}
        for line, before, now in zip(lines, steps, steps[1:], strict=False)
    ]


PARTS = {"codes": run_codes, "decoder": run_decoder, "judge": run_judge, "llm": run_llm}

if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        description="Assemble seed-nano from its run folders, part by part."
    )
    parser.add_argument(
        "part", choices=PARTS, help="decoder and llm go into a folder that holds their codes"
    )
    parser.add_argument("runs", type=Path, help="folder that holds the run folders")
    parser.add_argument("--to", type=Path, default=BUNDLED_NANO, help="where the model folder goes")
    arguments = parser.parse_args()
    json.dump(PARTS[arguments.part](arguments.runs, arguments.to), sys.stdout, indent=1)
