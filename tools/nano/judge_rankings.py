"""How often the judge of pictures ranks as a person would.

    python -m tools.nano.judge_rankings [--judge MODEL] [--split unseen] [--limit N]

For each picture that has another drawing of the same emoji, the judge's similarity to it should
fall along four others: the same drawing slightly changed, another drawing of the same thing, the
drawing of another thing that is nearest in its colours, and a blurred blob of its own colours.
"""

from __future__ import annotations

import argparse
import json
import sys

import torch
import torch.nn.functional as F
from torch import Tensor
from torchvision.transforms.functional import to_pil_image

from seedcli.data.emoji import EmojiPicture, read_emoji
from seedcli.data.images.augmentation import random_views, read_squares
from seedcli.models.drawing.judge import ClipJudge, load_judge
from seedcli.models.visual.config import PreprocessConfig
from seedcli.models.weights.locate import BUNDLED_NANO
from seedcli.training.stages.judge import blur_view

KINDS = ("changed", "other_drawing", "same_colours", "blob")
BLOB_SIDES_PX = (4, 6)
COLOUR_SIDE_PX = 4  # pictures are compared in colour at this side
SLIGHT = PreprocessConfig(
    image_size_px=64,
    geometry="random-affine",
    interpolation="bilinear",
    rotation_deg=4.0,
    shift=0.03,
    scale=(0.95, 1.05),
    brightness=0.1,
)


def find_others(pictures: list[EmojiPicture], squares: Tensor) -> list[tuple[int, int, int]]:
    """Pictures and their squares [N,3,S,S] -> rows (picture, another drawing of the same emoji, the
    nearest in colours among those of other groups).
    """
    by_hexcode: dict[str, list[int]] = {}
    for row, picture in enumerate(pictures):
        by_hexcode.setdefault(picture.hexcode, []).append(row)
    colours = F.interpolate(squares.float(), COLOUR_SIDE_PX, mode="area").flatten(1)
    distances = torch.cdist(colours, colours)
    found = []
    for row, picture in enumerate(pictures):
        drawings = by_hexcode[picture.hexcode]
        if len(drawings) < 2:
            continue
        other = drawings[(drawings.index(row) + 1) % len(drawings)]
        same_world = torch.tensor([one.subgroup == picture.subgroup for one in pictures])
        far = distances[row].masked_fill(same_world, torch.inf)
        found.append((row, other, int(far.argmin())))
    return found


def rank(similarities: Tensor) -> dict[str, float]:
    """Similarities [N,4] in the order of KINDS -> percent of the pictures for which one kind is
    more similar than a later one, by pair, and for which all four fall.
    """
    shares = {
        f"{KINDS[one]} > {KINDS[other]}": (similarities[:, one] > similarities[:, other])
        for one in range(4)
        for other in range(one + 1, 4)
    }
    shares["all"] = (similarities[:, :-1] > similarities[:, 1:]).all(1)
    return {name: round(100 * right.float().mean().item(), 1) for name, right in shares.items()}


def measure(judge: ClipJudge, pictures: list[EmojiPicture], limit: int | None) -> Tensor:
    """Similarities [N,4] of pictures to the four others."""
    squares = read_squares([picture.image for picture in pictures], 64)
    rows = find_others(pictures, squares)[:limit]
    torch.manual_seed(0)
    chosen = torch.tensor([row for row, _, _ in rows])
    views = squares[chosen].float() / 255
    changed = random_views(squares[chosen], SLIGHT)
    blobs = [
        blur_view(view, BLOB_SIDES_PX[number % len(BLOB_SIDES_PX)])
        for number, view in enumerate(views)
    ]

    everything = judge.image_features([to_pil_image(square) for square in squares])
    kinds = (
        judge.image_features([to_pil_image(view) for view in changed]),
        everything[[other for _, other, _ in rows]],
        everything[[other for _, _, other in rows]],
        judge.image_features([to_pil_image(blob) for blob in blobs]),
    )
    return torch.stack([(everything[chosen] * kind).sum(1) for kind in kinds], 1)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--judge", default=str(BUNDLED_NANO / "judge"), help="folder or name")
    parser.add_argument("--split", default="unseen", help="of the bundled set, with its _more")
    parser.add_argument("--limit", type=int, help="pictures")
    given = parser.parse_args()
    pictures = read_emoji(given.split)
    if given.split in ("unseen", "validation"):
        pictures = [*pictures, *read_emoji(f"{given.split}_more")]
    similarities = measure(load_judge(given.judge), pictures, given.limit)
    means = similarities.mean(0).tolist()
    found = {
        "judge": given.judge,
        "split": given.split,
        "pictures": len(similarities),
        "mean_similarity": {
            kind: round(100 * mean, 1) for kind, mean in zip(KINDS, means, strict=True)
        },
        "percent_right": rank(similarities),
    }
    json.dump(found, sys.stdout, indent=2)
    sys.stdout.write("\n")


if __name__ == "__main__":
    main()
