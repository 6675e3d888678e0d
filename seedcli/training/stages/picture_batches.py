"""What the two small CLIPs, the target and the judge, train on: batches of pictures with captions,
and the contrast of both.
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

from seedcli.data.images.captioned import TrainingPicture
from seedcli.models.visual.config import PreprocessConfig
from seedcli.recipe.tokenizer import AugmentationSection
from seedcli.training.gather import gather_rows
from seedcli.training.ranks import Ranks

MAX_LOGIT_SCALE = math.log(100)  # CLIP's own bound; openai/CLIP paper, section 2.5


class CaptionedBatches:
    """Pictures with words -> batches of rows, captions and concepts; batch `step` is a pure
    function of (seed, step) and the loop's generators.

    Attributes:
        pictures: As they were given.
        chances: How often each is drawn, relative [N]. Groups may differ in size (couples among
            emoji have up to 75 pictures, most emoji three); with the root of the size none drowns
            the others, and its pictures still count.
        concepts: Numbers [N], equal for pictures that are described alike.
    """

    def __init__(
        self,
        pictures: Sequence[TrainingPicture],
        tokenizer: CLIPTokenizer,
        *,
        seed: int,
        batch_size: int,
        ranks: Ranks,
    ):
        self.pictures, self.tokenizer = pictures, tokenizer
        self.seed, self.batch_size, self.ranks = seed, batch_size, ranks
        sizes = Counter(picture.group for picture in pictures)
        self.chances = torch.tensor([sizes[picture.group] for picture in pictures]).double().rsqrt()
        concepts = [picture.concept for picture in pictures]
        numbers = {concept: index for index, concept in enumerate(sorted(set(concepts)))}
        self.concepts = torch.tensor([numbers[concept] for concept in concepts])

    def batch(self, step: int) -> dict[str, Tensor]:
        """This rank's rows [B], text ids and mask [B,T], concept numbers [B]."""
        generator = torch.Generator().manual_seed(self.seed * 1_000_003 + step)
        rows = torch.multinomial(
            self.chances,
            self.batch_size,
            replacement=len(self.chances) < self.batch_size,
            generator=generator,
        )[self.ranks.rows(self.batch_size)]
        rng = random.Random(random.getrandbits(64))
        captions = [self.pictures[row].sample_caption(rng) for row in rows.tolist()]
        text = self.tokenizer(captions, padding="longest", truncation=True, return_tensors="pt")
        return {
            "rows": rows,
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
