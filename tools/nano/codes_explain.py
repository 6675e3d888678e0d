"""How much of the looks of pictures their codes keep.

    python -m tools.nano.codes_explain [--tokenizer MODEL] --target FOLDER

From the target's embedding, and from the generation embedding that codes give, a linear map to the
autoencoder's latents is fitted on training pictures. Prints, as JSON, the share of the latents'
variance that either explains on each split, and how much of the embedding's own variance codes
keep.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

import torch
from torch import Tensor

from seedcli.data.emoji import read_emoji
from seedcli.data.images.augmentation import read_squares
from seedcli.models.drawing.target import load_target
from seedcli.models.drawing.unclip_parts import load_autoencoder
from seedcli.models.weights.load import load_seed_model
from seedcli.models.weights.locate import BUNDLED_NANO, locate
from seedcli.training.embedding_health import LinearMap, explained_variance
from seedcli.training.stages.unclip import FrozenNetworks

NUM_FITTED, NUM_SHOWN, BATCH = 4096, 1024, 64


def encode(networks: FrozenNetworks, squares: Tensor) -> dict[str, Tensor]:
    """Squares uint8 [N,3,S,S] -> what `FrozenNetworks` finds, [N,...] by name."""
    found = [networks(part.float() / 255) for part in squares.split(BATCH)]
    return {name: torch.cat([each[name] for each in found]) for name in found[0]}


def compare(fitted: dict[str, Tensor], splits: dict[str, dict[str, Tensor]]) -> dict[str, dict]:
    """Encoded training pictures and encoded splits -> figures by split."""
    maps = {
        name: LinearMap(fitted[name], fitted["latents"])
        for name in ("embeddings", "code_embeddings")
    }
    figures = {}
    for split, found in splits.items():
        by_target, by_codes = (
            each.explained(found[name], found["latents"]) for name, each in maps.items()
        )
        figures[split] = {
            "target": by_target,
            "codes": by_codes,
            "share": by_codes / by_target,
            "embedding_kept": explained_variance(found["code_embeddings"], found["embeddings"]),
        }
    return figures


def main() -> None:
    """Prints the figures."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--tokenizer", default="seed-nano")
    parser.add_argument("--target", type=Path, required=True)
    parser.add_argument("--splits", nargs="+", default=["unseen", "vendor"])
    asked = parser.parse_args()
    networks = FrozenNetworks(
        load_autoencoder(BUNDLED_NANO / "decoder" / "vae"),
        load_target(asked.target),
        load_seed_model(locate(asked.tokenizer)),
    )
    side = networks.autoencoder.config.sample_size

    def squares(split: str, count: int) -> Tensor:
        pictures = read_emoji(split)
        chosen = torch.linspace(0, len(pictures) - 1, min(count, len(pictures))).long().tolist()
        return read_squares([pictures[row].image for row in chosen], side)

    train = encode(networks, squares("train", NUM_FITTED + NUM_SHOWN))
    shown = torch.arange(len(train["latents"])) % 5 == 4
    splits = {"train": {name: value[shown] for name, value in train.items()}}
    splits |= {name: encode(networks, squares(name, NUM_SHOWN)) for name in asked.splits}
    found = compare({name: value[~shown] for name, value in train.items()}, splits)
    sys.stdout.write(json.dumps(found, indent=2) + "\n")


if __name__ == "__main__":
    main()
