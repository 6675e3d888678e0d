"""What the two small CLIPs of `seed-nano`, the target and the judge, train on: batches of emoji
with captions, and the contrast of both.
"""

from __future__ import annotations

import math
import random
from collections import Counter
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor
from transformers import CLIPTokenizer

from seedcli.data.emoji import EmojiPicture
from seedcli.data.images.augmentation import random_views, read_squares
from seedcli.models.visual.config import PreprocessConfig
from seedcli.recipe.tokenizer import AugmentationSection
from seedcli.training.gather import gather_rows
from seedcli.training.ranks import Ranks

MAX_LOGIT_SCALE = math.log(100)  # CLIP's own bound; openai/CLIP paper, section 2.5


class EmojiBatches:
    """Pictures -> batches of augmented views with captions; batch `step` is a pure function of
    (seed, step) and the loop's generators.
    """

    def __init__(
        self,
        pictures: Sequence[EmojiPicture],
        tokenizer: CLIPTokenizer,
        views: PreprocessConfig,
        *,
        seed: int,
        batch_size: int,
        ranks: Ranks,
    ):
        self.pictures, self.tokenizer, self.views = pictures, tokenizer, views
        self.seed, self.batch_size, self.ranks = seed, batch_size, ranks
        self.squares = read_squares([picture.image for picture in pictures], views.image_size_px)
        # Couples have up to 75 pictures, most emoji three; with the root of the count none drowns
        # the others, and skin tones still count.
        bases = Counter(picture.base_hexcode for picture in pictures)
        self.chances = (
            torch.tensor([bases[picture.base_hexcode] for picture in pictures]).double().rsqrt()
        )
        names = {
            hexcode: index
            for index, hexcode in enumerate(sorted({picture.hexcode for picture in pictures}))
        }
        self.concepts = torch.tensor([names[picture.hexcode] for picture in pictures])

    def batch(self, step: int) -> dict[str, Tensor]:
        """Views [B,3,S,S] in 0..1, text ids and mask [B,T], concept numbers [B] (equal where two
        pictures show one emoji).
        """
        generator = torch.Generator().manual_seed(self.seed * 1_000_003 + step)
        rows = torch.multinomial(self.chances, self.batch_size, generator=generator)[
            self.ranks.rows(self.batch_size)
        ]
        rng = random.Random(random.getrandbits(64))
        captions = [self.pictures[row].sample_caption(rng) for row in rows.tolist()]
        text = self.tokenizer(captions, padding="longest", truncation=True, return_tensors="pt")
        views = random_views(self.squares[rows], self.views)
        return {
            "views": views,
            "text_ids": text["input_ids"],
            "text_mask": text["attention_mask"],
            "concepts": self.concepts[rows],
        }


def concept_contrast(
    images: Tensor, texts: Tensor, concepts: Tensor, scale: Tensor
) -> tuple[Tensor, Tensor]:
    """Normalised features [B,F] twice and concepts [B] -> (symmetric cross entropy over all ranks'
    rows, share of right nearest captions).

    Every caption of the same concept is a right answer, in equal parts.
    """
    all_images, all_texts = (
        gather_rows(images, with_gradient=True),
        gather_rows(texts, with_gradient=True),
    )
    same = concepts[:, None] == gather_rows(concepts, with_gradient=False)[None]
    wanted = same.float() / same.sum(1, keepdim=True)
    to_text, to_image = scale * images @ all_texts.T, scale * texts @ all_images.T
    loss = 0.5 * (F.cross_entropy(to_text, wanted) + F.cross_entropy(to_image, wanted))
    match = same.gather(1, to_text.argmax(1, keepdim=True)).float().mean()
    return loss, match.detach()


def view_config(views: AugmentationSection, image_size_px: int) -> PreprocessConfig:
    """The recipe's augmentation as the one description of preprocessing."""
    return PreprocessConfig(
        image_size_px=image_size_px,
        geometry="random-affine",
        interpolation="bilinear",
        rotation_deg=views.rotation_deg,
        shift=views.shift,
        scale=views.scale,
        brightness=views.brightness,
    )
