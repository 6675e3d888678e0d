"""Which drawing of each emoji is told best by its codes: seed-nano's language model draws this one
where no style is named.

    python -m tools.nano.told_best [--tokenizer MODEL]

Writes two files beside this one, code points -> set. Of an emoji's training drawings in the
best-known sets (in all sets, where none of these has it), `told_best.json` names the one whose
generation embedding, as its codes give it, is nearest by angle to its target embedding, taken from
the mean. `drawn_best.json` also asks whether what is drawn of the codes is still that thing to the
tokenizer, which no part of the decoder was trained by, and names another drawing where that is
clearly better; with a skin tone it is of the same set as without. For that 13,510 pictures are
drawn.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import torch
from PIL import Image
from rich.progress import track
from torch import Tensor
from torch.nn import functional as F

from seedcli.data.emoji import EmojiPicture, read_emoji
from seedcli.data.images.augmentation import read_squares
from seedcli.data.images.images import Preprocess, open_image
from seedcli.files import publish_json
from seedcli.models.drawing.target import load_target
from seedcli.models.drawing.unclip import load_decoder
from seedcli.models.drawing.unclip_parts import load_autoencoder
from seedcli.models.visual.model import SeedModel
from seedcli.models.weights.load import load_seed_model
from seedcli.models.weights.locate import BUNDLED_NANO, locate
from seedcli.training.stages.unclip import FrozenNetworks
from tools.nano.codes_explain import encode

BEST_KNOWN = ("google", "twitter", "fluent", "fluent-flat", "noto-2019")
SEEDS = range(2)  # of the start noise
_BATCH = 64
# What the codes tell best gives way to what is better by this, of the two scores' deviations
# together. With 0 nearly four times as many gave way on 93 things, for hardly more gain.
_BETTER_BY = 1.0


def read_best(name: str) -> dict[str, str]:
    """`told_best` or `drawn_best` -> the file's content, code points -> set."""
    return json.loads(Path(__file__).with_name(f"{name}.json").read_text(encoding="utf-8"))


def candidates(pictures: Iterable[EmojiPicture]) -> list[EmojiPicture]:
    """Pictures -> those of the best-known sets, and all of the emoji that these lack."""
    every = list(pictures)
    known = {one.hexcode for one in every if one.vendor in BEST_KNOWN}
    return [one for one in every if one.vendor in BEST_KNOWN or one.hexcode not in known]


def told_scores(embeddings: Tensor, told: Tensor) -> Tensor:
    """Target embeddings [N,G] and what codes make of them [N,G] -> how near they are [N]."""
    mean = embeddings.mean(0)
    return F.cosine_similarity(embeddings - mean, told - mean)


def drawn_scores(
    pictures: Sequence[EmojiPicture], features: Tensor, seen: Mapping[int, Tensor]
) -> Tensor:
    """Pictures, their features [N,F], and by row those of what is drawn of some [F] -> how much
    nearer each of these is to a picture of its thing than to one of another.
    """
    numbers = {name: number for number, name in enumerate({one.base_hexcode for one in pictures})}
    things = torch.tensor([numbers[one.base_hexcode] for one in pictures])
    scores = []
    for row, drawn in seen.items():
        near, same = features @ drawn, things == things[row]
        scores.append(near[same].max() - near[~same].max())
    return torch.stack(scores)


def standard(scores: Tensor) -> Tensor:
    """Scores -> of mean 0 and deviation 1."""
    return (scores - scores.mean()) / scores.std()


def best_of(pictures: Sequence[EmojiPicture], scores: Tensor) -> dict[str, str]:
    """Pictures and their scores [N] -> code points -> set; of equally good drawings the first."""
    best: dict[str, tuple[float, str]] = {}
    for one, score in zip(pictures, scores.tolist(), strict=True):
        if one.hexcode not in best or score > best[one.hexcode][0]:
            best[one.hexcode] = (score, one.vendor)
    return {hexcode: vendor for hexcode, (_, vendor) in sorted(best.items())}


def with_skin_tones(
    pictures: Sequence[EmojiPicture], best: Mapping[str, str], else_best: Mapping[str, str]
) -> dict[str, str]:
    """What is best without skin tones -> and with them: the same set, where it has the drawing."""
    there = {(one.hexcode, one.vendor) for one in pictures}
    bases = {one.hexcode: one.base_hexcode for one in pictures}
    return {
        hexcode: best[base]
        if base in best and (hexcode, best[base]) in there
        else else_best[hexcode]
        for hexcode, base in sorted(bases.items())
    }


class _Eyes:
    """The tokenizer's features of all queries, each taken from its mean, as one vector."""

    def __init__(self, model: SeedModel):
        self._model, self._preprocess = model, Preprocess(model.config.preprocess.codes)
        self._mean: Tensor | None = None

    def __call__(self, images: Sequence[Image.Image]) -> Tensor:
        """Pictures -> features [N,F] of length 1; the first call's mean is that of all."""
        found = []
        for start in range(0, len(images), _BATCH):
            pixels = torch.stack([self._preprocess(one) for one in images[start : start + _BATCH]])
            found.append(self._model.image_features(self._model.causal_embeddings(pixels)))
        features = torch.cat(found)
        if self._mean is None:
            self._mean = features.mean(0)
        return F.normalize(F.normalize(features - self._mean, dim=-1).flatten(1), dim=-1)


@torch.no_grad()
def main() -> None:
    """Writes the files."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--tokenizer", default="seed-nano")
    asked = parser.parse_args()
    folder = BUNDLED_NANO / "decoder"
    model = load_seed_model(locate(asked.tokenizer), text_branch=True)
    networks = FrozenNetworks(
        load_autoencoder(folder / "vae"), load_target(folder / "image_encoder"), model
    )
    decoder = load_decoder(folder, generation_dim=model.config.generation.generation_dim)
    pictures = candidates(read_emoji("train"))
    side = networks.autoencoder.config.sample_size
    encoded = encode(networks, read_squares([one.image for one in pictures], side))
    told = told_scores(encoded["embeddings"], encoded["code_embeddings"])
    told_best = best_of(pictures, told)

    eyes, how = _Eyes(model), model.config.detokenize
    features = eyes([open_image(one.image) for one in pictures])
    plain = [row for row, one in enumerate(pictures) if not one.skin_tones]
    drawn = torch.zeros(len(plain))
    for seed in SEEDS:
        seen: dict[int, Tensor] = {}
        for start in track(range(0, len(plain), _BATCH), f"drawing, seed {seed}"):
            rows = plain[start : start + _BATCH]
            with torch.autocast("cpu", torch.bfloat16):
                images = decoder.decode_images(
                    encoded["code_embeddings"][rows],
                    steps=how.steps,
                    guidance=how.guidance,
                    seed=[seed] * len(rows),
                )
            seen |= zip(rows, eyes(images), strict=True)
        drawn += drawn_scores(pictures, features, seen)
    stays = [told_best[pictures[row].hexcode] == pictures[row].vendor for row in plain]
    scores = standard(told[plain]) + standard(drawn) + torch.tensor(stays) * _BETTER_BY
    drawn_best = with_skin_tones(
        pictures, best_of([pictures[row] for row in plain], scores), told_best
    )
    for name, best in (("told_best", told_best), ("drawn_best", drawn_best)):
        publish_json(Path(__file__).with_name(f"{name}.json"), best)


if __name__ == "__main__":
    main()
