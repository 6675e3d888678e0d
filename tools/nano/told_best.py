"""Which drawing of each emoji is told best by its codes: seed-nano's language model draws this one
where no style is named.

    python -m tools.nano.told_best [--tokenizer MODEL]

Writes `told_best.json` beside this file, code points -> set. Of an emoji's training drawings in the
best-known sets (in all sets, where none of these has it) it is the one whose generation embedding,
as its codes give it, is nearest by angle to its target embedding, both taken from the mean.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterable, Sequence
from pathlib import Path

import torch
from torch import Tensor
from torch.nn import functional as F

from seedcli.data.emoji import EmojiPicture, read_emoji
from seedcli.data.images.augmentation import read_squares
from seedcli.files import publish_json
from seedcli.models.drawing.target import load_target
from seedcli.models.drawing.unclip_parts import load_autoencoder
from seedcli.models.weights.load import load_seed_model
from seedcli.models.weights.locate import BUNDLED_NANO, locate
from seedcli.training.stages.unclip import FrozenNetworks
from tools.nano.codes_explain import encode

FILE = Path(__file__).with_suffix(".json")
BEST_KNOWN = ("google", "twitter", "fluent", "fluent-flat", "noto-2019")


def read_told_best() -> dict[str, str]:
    """The file's content: code points -> set."""
    return json.loads(FILE.read_text(encoding="utf-8"))


def candidates(pictures: Iterable[EmojiPicture]) -> list[EmojiPicture]:
    """Pictures -> those of the best-known sets, and all of the emoji that these lack."""
    every = list(pictures)
    known = {one.hexcode for one in every if one.vendor in BEST_KNOWN}
    return [one for one in every if one.vendor in BEST_KNOWN or one.hexcode not in known]


def told_best(pictures: Sequence[EmojiPicture], embeddings: Tensor, told: Tensor) -> dict[str, str]:
    """Pictures, their target embeddings [N,G] and what their codes give [N,G] -> code points ->
    set; of equally near drawings the first.
    """
    mean = embeddings.mean(0)
    nearness = F.cosine_similarity(embeddings - mean, told - mean).tolist()
    best: dict[str, tuple[float, str]] = {}
    for one, near in zip(pictures, nearness, strict=True):
        if one.hexcode not in best or near > best[one.hexcode][0]:
            best[one.hexcode] = (near, one.vendor)
    return {hexcode: vendor for hexcode, (_, vendor) in sorted(best.items())}


def main() -> None:
    """Writes the file."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--tokenizer", default="seed-nano")
    asked = parser.parse_args()
    decoder = BUNDLED_NANO / "decoder"
    networks = FrozenNetworks(
        load_autoencoder(decoder / "vae"),
        load_target(decoder / "image_encoder"),
        load_seed_model(locate(asked.tokenizer)),
    )
    pictures = candidates(read_emoji("train"))
    side = networks.autoencoder.config.sample_size
    with torch.no_grad():
        found = encode(networks, read_squares([one.image for one in pictures], side))
    publish_json(FILE, told_best(pictures, found["embeddings"], found["code_embeddings"]))


if __name__ == "__main__":
    main()
