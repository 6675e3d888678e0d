"""Which drawing of each emoji is told best by its codes: seed-nano's language model draws this one
where no style is named.

    python -m tools.nano.told_best [--tokenizer MODEL]

Writes two files beside this one, code points -> set. Of an emoji's training drawings in the
best-known sets (in all sets, where none of these has it), `told_best.json` names the one whose
generation embedding, as its codes give it, is nearest by angle to its target embedding, and
`drawn_best.json` the one that, drawn from its codes, is nearer to itself than to any other thing's
drawing by most, as the target sees them; with a skin tone it is of the same set as without. All
are taken from the mean.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import torch
from rich.progress import track
from torch import Tensor
from torch.nn import functional as F

from seedcli.data.emoji import EmojiPicture, read_emoji
from seedcli.data.images.augmentation import read_squares
from seedcli.data.images.images import Preprocess
from seedcli.files import publish_json
from seedcli.models.drawing.target import load_target, target_embedding
from seedcli.models.drawing.unclip import UnclipDecoder, load_decoder
from seedcli.models.drawing.unclip_parts import load_autoencoder
from seedcli.models.visual.model import SeedModel
from seedcli.models.weights.load import load_seed_model
from seedcli.models.weights.locate import BUNDLED_NANO, locate
from seedcli.training.stages.unclip import FrozenNetworks
from tools.nano.codes_explain import encode

BEST_KNOWN = ("google", "twitter", "fluent", "fluent-flat", "noto-2019")
SEEDS = range(2)  # of the start noise
_BATCH = 64


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
    pictures: Sequence[EmojiPicture], embeddings: Tensor, seen: Mapping[int, Tensor]
) -> Tensor:
    """Pictures, their target embeddings [N,G], and by row that of what is drawn of some [G] -> how
    much nearer each of these is to its picture than to the nearest one of another thing.
    """
    mean = embeddings.mean(0)
    originals = F.normalize(embeddings - mean, dim=-1)
    numbers = {name: number for number, name in enumerate({one.base_hexcode for one in pictures})}
    things = torch.tensor([numbers[one.base_hexcode] for one in pictures])
    scores = []
    for row, drawn in seen.items():
        near = originals @ F.normalize(drawn - mean, dim=-1)
        scores.append(near[row] - near[things != things[row]].max())
    return torch.stack(scores)


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


@torch.no_grad()
def see_drawn(
    model: SeedModel, decoder: UnclipDecoder, target: torch.nn.Module, told: Tensor, seed: int
) -> Tensor:
    """Generation embeddings [N,G] -> target embeddings of what is drawn of them [N,G]."""
    how, preprocess = model.config.detokenize, Preprocess(model.config.preprocess.codes)
    seen = []
    for part in track(told.split(_BATCH), "drawing"):
        drawn = decoder.decode_images(
            part, steps=how.steps, guidance=how.guidance, seed=[seed] * len(part)
        )
        seen.append(target_embedding(target, torch.stack([preprocess(one) for one in drawn])))
    return torch.cat(seen)


def main() -> None:
    """Writes the files."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--tokenizer", default="seed-nano")
    asked = parser.parse_args()
    folder = BUNDLED_NANO / "decoder"
    model, target = load_seed_model(locate(asked.tokenizer)), load_target(folder / "image_encoder")
    networks = FrozenNetworks(load_autoencoder(folder / "vae"), target, model)
    decoder = load_decoder(folder, generation_dim=model.config.generation.generation_dim)
    pictures = candidates(read_emoji("train"))
    side = networks.autoencoder.config.sample_size
    with torch.no_grad():
        encoded = encode(networks, read_squares([one.image for one in pictures], side))
    embeddings, told = encoded["embeddings"], encoded["code_embeddings"]
    told_best = best_of(pictures, told_scores(embeddings, told))
    plain = [row for row, one in enumerate(pictures) if not one.skin_tones]
    drawn = [see_drawn(model, decoder, target, told[plain], seed) for seed in SEEDS]
    drawn_best = with_skin_tones(
        pictures,
        best_of(
            [pictures[row] for row in plain],
            torch.stack(
                [
                    drawn_scores(pictures, embeddings, dict(zip(plain, seen, strict=True)))
                    for seen in drawn
                ]
            ).mean(0),
        ),
        told_best,
    )
    for name, best in (("told_best", told_best), ("drawn_best", drawn_best)):
        publish_json(Path(__file__).with_name(f"{name}.json"), best)


if __name__ == "__main__":
    main()
