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
from seedcli.recipe.pictures import AugmentationSection
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
        in_pairs: Whether each picture of the first half of a batch has another one of its concept
            in the second half; one that is the only one of its concept is drawn twice.
    """

    def __init__(
        self,
        pictures: Sequence[TrainingPicture],
        tokenizer: CLIPTokenizer,
        *,
        seed: int,
        batch_size: int,
        ranks: Ranks,
        in_pairs: bool = False,
    ):
        self.pictures, self.tokenizer, self.in_pairs = pictures, tokenizer, in_pairs
        self.seed, self.batch_size, self.ranks = seed, batch_size, ranks
        sizes = Counter(picture.group for picture in pictures)
        self.chances = torch.tensor([sizes[picture.group] for picture in pictures]).double().rsqrt()
        concepts = [picture.concept for picture in pictures]
        numbers = {concept: index for index, concept in enumerate(sorted(set(concepts)))}
        self.concepts = torch.tensor([numbers[concept] for concept in concepts])

    def batch(self, step: int) -> dict[str, Tensor]:
        """This rank's rows [B], text ids and mask [B,T], concept numbers [B]."""
        generator = torch.Generator().manual_seed(self.seed * 1_000_003 + step)
        count = (self.batch_size + 1) // 2 if self.in_pairs else self.batch_size
        rows = torch.multinomial(
            self.chances, count, replacement=len(self.chances) < count, generator=generator
        )
        if self.in_pairs:
            rows = torch.cat([rows, self._partners(rows, generator)])[: self.batch_size]
        rows = rows[self.ranks.rows(self.batch_size)]
        rng = random.Random(random.getrandbits(64))
        captions = [self.pictures[row].sample_caption(rng) for row in rows.tolist()]
        text = self.tokenizer(captions, padding="longest", truncation=True, return_tensors="pt")
        return {
            "rows": rows,
            "text_ids": text["input_ids"],
            "text_mask": text["attention_mask"],
            "concepts": self.concepts[rows],
        }

    def _partners(self, rows: Tensor, generator: torch.Generator) -> Tensor:
        """Rows [B] -> for each another row of its concept, or itself where there is none."""
        same = self.concepts[rows][:, None] == self.concepts[None]
        same[torch.arange(len(rows)), rows] = False
        alone = ~same.any(1)
        same[alone, rows[alone]] = True
        return torch.multinomial(same.double(), 1, generator=generator)[:, 0]


def concept_contrast(
    images: Tensor, texts: Tensor, concepts: Tensor, scale: Tensor
) -> tuple[Tensor, Tensor]:
    """Normalised features [B,F] twice and concepts [B] -> (symmetric cross entropy over all ranks'
    rows, share of right nearest captions).

    Every caption of the same concept is a right answer, in equal parts.
    """
    all_images, all_texts = (gather_rows(one, with_gradient=True) for one in (images, texts))
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
        **views.model_dump(),
    )


def drawing_contrast(images: Tensor, concepts: Tensor, scale: Tensor, ranks: Ranks) -> Tensor:
    """Normalised features of pictures [B,F] and their concepts [B] -> cross entropy of picking, of
    all other pictures of all ranks, those of the same concept; rows that have none do not count.

    Source: the supervised contrastive loss, arXiv 2004.11362, equation 2.
    """
    everyone = gather_rows(images, with_gradient=True)
    same = concepts[:, None] == gather_rows(concepts, with_gradient=False)[None]
    itself = torch.arange(len(images), device=images.device)[:, None] + ranks.rank * len(images)
    same = same.scatter(1, itself, False)
    logits = (scale * images @ everyone.T).scatter(1, itself, -torch.inf)
    wanted = same.float() / same.sum(1, keepdim=True).clamp(min=1)
    each = -(wanted * logits.log_softmax(1).masked_fill(~same, 0.0)).sum(1)
    return each.sum() / same.any(1).sum().clamp(min=1)
