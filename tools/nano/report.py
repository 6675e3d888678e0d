"""What seed-nano keeps of a picture: the test pictures through codes and back, scored by nearest
neighbour and laid out as a sheet.

Prints one JSON object and writes the sheet of the README: `python -m tools.nano.report
--sheet docs/images/nano.png`.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional as F

from seedcli.data.emoji import EmojiPicture, read_emoji
from seedcli.data.emoji_questions import QUESTION_SPLITS
from seedcli.data.images.images import Preprocess, open_image
from seedcli.models.drawing.target import load_target, target_embedding
from seedcli.models.drawing.unclip import load_decoder
from seedcli.models.weights.load import find_decoder, load_seed_model
from seedcli.models.weights.locate import locate

SHEET_COLUMNS = 12
_GAP_PX = 6
_BATCH = 32


def run(model: str, split: str, *, seed: int, sheet: Path | None = None) -> dict[str, Any]:
    """Pictures of a split (Noto's, default skin tone) -> codes -> pictures, and what came of them.

    A de-tokenized picture counts as right when, of all originals of the split, its own is the
    nearest by the image embedding of the decoder's own image encoder. The generation embedding was
    trained towards that encoder, so this says whether pictures can be told apart, not how good they
    look; an independent judge is another matter. `true_embedding` decodes the original's own target
    embedding: the ceiling that codes cannot pass.

    Args:
        model: As `--model` takes it.
        split: Of the emoji set.
        seed: Of the start noise.
        sheet: Where to put a sheet of every n-th picture: originals above,
            pictures from codes below.
    """
    files = locate(model)
    tokenizer, folder = load_seed_model(files), find_decoder(files)
    encoder = load_target(folder / "image_encoder")
    decoder = load_decoder(folder, generation_dim=tokenizer.config.generation.generation_dim)
    pictures = [
        picture
        for picture in read_emoji(split)
        if picture.vendor == "google" and not picture.skin_tones
    ]
    preprocess = Preprocess(tokenizer.config.preprocess.codes)
    pixels = torch.stack([preprocess(open_image(picture.image)) for picture in pictures])
    with torch.no_grad():
        originals = target_embedding(encoder, pixels)
    codes = torch.cat([tokenizer.encode(part) for part in pixels.split(64)])
    settings = {
        "steps": tokenizer.config.detokenize.steps,
        "guidance": tokenizer.config.detokenize.guidance,
    }
    scores, drawn = {}, {}
    for name, embeddings in (("codes", tokenizer.decode(codes)), ("true_embedding", originals)):
        parts = enumerate(embeddings.split(_BATCH))
        drawn[name] = [
            image
            for number, part in parts
            for image in decoder.decode_images(part, seed=seed + number * _BATCH, **settings)
        ]
        with torch.no_grad():
            seen = target_embedding(
                encoder, torch.stack([preprocess(image) for image in drawn[name]])
            )
        scores[name] = _nearest(seen, originals)
    if sheet is not None:
        _write_sheet(pictures, drawn["codes"], sheet)
    generation_cosine = F.cosine_similarity(tokenizer.decode(codes), originals).mean()
    used = codes.unique().numel() / tokenizer.config.codebook.num_codes
    return {
        "model": tokenizer.name,
        "fingerprint": tokenizer.fingerprint,
        "split": split,
        "num_images": len(pictures),
        **settings,
        "seed": seed,
        "nearest_is_right": scores,
        "chance_top1": round(100 / len(pictures), 2),
        "generation_cosine": round(float(generation_cosine), 4),
        "codebook_usage": round(100 * used, 1),
    }


def _nearest(seen: Tensor, originals: Tensor) -> dict[str, float]:
    similarity = F.normalize(seen, dim=-1) @ F.normalize(originals, dim=-1).mT
    rank = (similarity > similarity.diagonal()[:, None]).sum(1)
    return {f"top{k}": round(100 * float((rank < k).float().mean()), 1) for k in (1, 5)}


def _write_sheet(
    pictures: Sequence[EmojiPicture], drawn: Sequence[Image.Image], path: Path
) -> None:
    chosen = range(0, len(pictures), max(1, len(pictures) // (2 * SHEET_COLUMNS)))[
        : 2 * SHEET_COLUMNS
    ]
    side = drawn[0].width
    cell = side + _GAP_PX
    sheet = Image.new("RGB", (SHEET_COLUMNS * cell + _GAP_PX, 4 * cell + _GAP_PX), "white")
    for place, index in enumerate(chosen):
        x, y = _GAP_PX + place % SHEET_COLUMNS * cell, _GAP_PX + place // SHEET_COLUMNS * 2 * cell
        sheet.paste(open_image(pictures[index].image).resize((side, side)), (x, y))
        sheet.paste(drawn[index], (x, y + side + 1))
    path.parent.mkdir(parents=True, exist_ok=True)
    sheet.save(path, optimize=True)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        description="Draw a split of the emoji set through codes and back, and score it."
    )
    parser.add_argument("--model", default="seed-nano", help="as `seed tokenize --model` takes it")
    parser.add_argument("--split", default="unseen", choices=("train", *QUESTION_SPLITS))
    parser.add_argument("--seed", type=int, default=0, help="of the start noise")
    parser.add_argument("--sheet", type=Path, help="where to write the sheet of pictures")
    arguments = parser.parse_args()
    json.dump(
        run(arguments.model, arguments.split, seed=arguments.seed, sheet=arguments.sheet),
        sys.stdout,
    )
