"""What codes tell of names, without a language model: the ceiling for one that reads them.

    python -m tools.nano.names_from_codes [--tokenizer MODEL]

A small reader, the sum of one vector a position and code and two layers on it, learns the names of
all training drawings and of one augmented view of each. Prints, as JSON, how often the likeliest
name is right: of training drawings, and of known emoji in drawings never seen, among all names and
among those of that split.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence

import torch
from PIL import Image
from torch import Tensor, nn
from torch.nn import functional as F
from torchvision.transforms.functional import to_pil_image

from seedcli import SeedTokenizer
from seedcli.data.emoji import read_emoji
from seedcli.data.images.augmentation import random_views, read_squares
from seedcli.data.images.images import open_image
from tools.nano.documents import VIEW

PASSES, BATCH, RATE = 14, 512, 4e-3
NOISE, DROPOUT, SMOOTHING = 0.1, 0.2, 0.05  # codes that are drawn anew; else it learns by heart
WIDTH = 256


class Reader(nn.Module):
    """codes [B,N] -> scores of names [B,C].

    Args:
        num_queries: Codes of a picture N.
        num_codes: Size of the codebook.
        num_names: C.
    """

    def __init__(self, num_queries: int, num_codes: int, num_names: int):
        super().__init__()
        self.register_buffer("first", torch.arange(num_queries) * num_codes)
        self.vectors = nn.EmbeddingBag(num_queries * num_codes, WIDTH, mode="sum")
        self.layers = nn.Sequential(
            nn.LayerNorm(WIDTH),
            nn.Linear(WIDTH, 2 * WIDTH),
            nn.GELU(),
            nn.Dropout(DROPOUT),
            nn.Linear(2 * WIDTH, num_names),
        )

    def forward(self, codes: Tensor) -> Tensor:
        """See the class."""
        return self.layers(self.vectors(codes + self.first))


def learn_names(codes: Tensor, names: Tensor, *, num_codes: int, passes: int = PASSES) -> Reader:
    """codes [M,N] and numbers of names [M] -> a reader that has learned them."""
    reader = Reader(codes.shape[1], num_codes, int(names.max()) + 1)
    batch = min(BATCH, len(codes))
    steps = passes * (len(codes) // batch)
    optimizer = torch.optim.AdamW(reader.parameters(), lr=RATE, weight_decay=0.05)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, RATE, total_steps=steps)
    for step in range(steps):
        if step % (len(codes) // batch) == 0:
            order = torch.randperm(len(codes))
        rows = order[:batch]
        order = order[batch:]
        noised = torch.where(
            torch.rand(codes[rows].shape) < NOISE,
            torch.randint(num_codes, codes[rows].shape),
            codes[rows],
        )
        loss = F.cross_entropy(reader(noised), names[rows], label_smoothing=SMOOTHING)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
    return reader.eval()


@torch.no_grad()
def right(
    reader: Reader, codes: Tensor, names: Tensor, among: Tensor | None = None
) -> dict[str, float]:
    """Percent of pictures whose name is the likeliest, and among the five likeliest; `among`, if
    given, are the names that may be said.
    """
    scores = reader(codes)
    if among is not None:
        allowed = torch.full_like(scores, -torch.inf)
        allowed[:, among] = 0
        scores = scores + allowed
    hits = scores.topk(5).indices == names[:, None]
    return {f"top{n}": 100 * hits[:, :n].any(1).double().mean().item() for n in (1, 5)}


def main() -> None:
    """Prints the figures."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--tokenizer", default="seed-nano")
    tokenizer = SeedTokenizer.from_pretrained(parser.parse_args().tokenizer)
    torch.manual_seed(0)

    def encode(images: Sequence[Image.Image]) -> Tensor:
        return torch.as_tensor(tokenizer.encode(images))

    train, new = read_emoji("train"), read_emoji("vendor")
    numbers = {name: number for number, name in enumerate(sorted({one.name for one in train}))}
    names = torch.tensor([numbers[one.name] for one in train])
    drawings = encode([open_image(one.image) for one in train])
    squares = read_squares([one.image for one in train], VIEW.image_size_px)
    views = [
        to_pil_image(view) for part in squares.split(BATCH) for view in random_views(part, VIEW)
    ]
    num_codes = tokenizer.model.config.codebook.num_codes
    reader = learn_names(
        torch.cat([drawings, encode(views)]), torch.cat([names, names]), num_codes=num_codes
    )
    asked = torch.tensor([numbers[one.name] for one in new])
    codes = encode([open_image(one.image) for one in new])
    found = {
        "names": len(numbers),
        "train": right(reader, drawings, names),
        "vendor": {
            "pictures": len(new),
            "among all names": right(reader, codes, asked),
            "among those of the split": right(reader, codes, asked, asked.unique()),
        },
    }
    sys.stdout.write(json.dumps(found, indent=2) + "\n")


if __name__ == "__main__":
    main()
