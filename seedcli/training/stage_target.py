"""Stage `target`: a small CLIP trained on pictures and captions, whose image embedding is the generation target of `seed-nano`.

A CLIP trained with the contrastive loss alone keeps what words tell and forgets what a picture looks like; the image decoder has nothing
else to go by. So a small head paints the picture from the un-normalised embedding while the CLIP trains, and is thrown away.
"""

from __future__ import annotations

import math
import random
from collections import Counter
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers import CLIPImageProcessor

from seedcli.data.augmentation import normalize_views, random_views, read_squares
from seedcli.data.emoji import read_emoji, train_texts
from seedcli.models.config import PreprocessConfig
from seedcli.models.target import Painter, build_clip, target_embedding, train_bpe
from seedcli.schema import ClipSection, EmojiDataSection, TargetLossSection
from seedcli.training.ranks import Ranks, gather_rows

PAINTED_PX = 32
MAX_LOGIT_SCALE = math.log(100)  # CLIP's own bound; openai/CLIP paper, section 2.5


class TargetStage:
    """Pictures and captions of the train split -> a CLIP whose embedding knows both what a picture shows and how it looks."""

    name = "target"

    def __init__(
        self, *, seed: int, data: EmojiDataSection, model: ClipSection, losses: TargetLossSection, batch_size: int, ranks: Ranks = Ranks()
    ):
        self.weights, self.seed, self.batch_size, self.ranks = losses, seed, batch_size, ranks
        self.pictures = read_emoji(data.split)
        self.squares = read_squares([picture.image for picture in self.pictures], data.image_size_px)
        # Couples have up to 75 pictures, most emoji three; with the root of the count none drowns the others, and skin tones still count.
        bases = Counter(picture.base_hexcode for picture in self.pictures)
        self.chances = torch.tensor([bases[picture.base_hexcode] for picture in self.pictures]).double().rsqrt()
        names = {hexcode: index for index, hexcode in enumerate(sorted({picture.hexcode for picture in self.pictures}))}
        self.concepts = torch.tensor([names[picture.hexcode] for picture in self.pictures])
        self.views = view_config(data)
        self.tokenizer = train_bpe(train_texts(), vocab_size=model.vocab_size, max_tokens=model.max_text_tokens)
        torch.manual_seed(seed)
        clip = build_clip(
            tokenizer=self.tokenizer,
            embedding_dim=model.embedding_dim,
            image_size_px=data.image_size_px,
            patch_size_px=model.patch_size_px,
            vision_width=model.vision_width,
            vision_depth=model.vision_depth,
            text_width=model.text_width,
            text_depth=model.text_depth,
        )
        painter = Painter(model.embedding_dim, model.painter_width).to(memory_format=torch.channels_last)  # a fifth faster on CPU
        self.model = nn.ModuleDict({"clip": clip, "painter": painter})

    def batch(self, step: int) -> dict[str, Tensor]:
        """Views [B,3,S,S] in 0..1, text ids and mask [B,T], concept numbers [B] (equal where two pictures show one emoji)."""
        generator = torch.Generator().manual_seed(self.seed * 1_000_003 + step)
        rows = torch.multinomial(self.chances, self.batch_size, generator=generator)[self.ranks.rows(self.batch_size)]
        rng = random.Random(random.getrandbits(64))
        captions = [self.pictures[row].sample_caption(rng) for row in rows.tolist()]
        text = self.tokenizer(captions, padding="longest", truncation=True, return_tensors="pt")
        views = random_views(self.squares[rows], self.views)
        return {"views": views, "text_ids": text["input_ids"], "text_mask": text["attention_mask"], "concepts": self.concepts[rows]}

    def losses(self, batch: dict[str, Tensor]) -> dict[str, Tensor]:
        """Weighted sum of contrastive and painting loss; `match` is the share of pictures whose nearest caption in the batch fits."""
        clip = self.model["clip"]
        embedding = target_embedding(clip, normalize_views(batch["views"], self.views))
        text = clip.text_projection(clip.text_model(input_ids=batch["text_ids"], attention_mask=batch["text_mask"]).pooler_output)
        scale = clip.logit_scale.clamp(max=MAX_LOGIT_SCALE).exp()
        contrastive, match = contrastive_loss(F.normalize(embedding, dim=-1), F.normalize(text, dim=-1), batch["concepts"], scale)
        deviation = embedding.detach().std(0, keepdim=True)
        noisy = embedding + self.weights.embedding_noise * deviation * torch.randn_like(embedding)
        painting = F.mse_loss(self.model["painter"](noisy), F.interpolate(batch["views"], PAINTED_PX, mode="area"))
        loss = self.weights.contrastive_weight * contrastive + self.weights.painting_weight * painting
        return {"loss": loss, "contrastive": contrastive.detach(), "painting": painting.detach(), "match": match}

    def after_step(self, step: int) -> dict[str, float]:
        """The learned temperature."""
        return {"logit_scale": self.model["clip"].logit_scale.exp().item()}

    def save(self, folder: Path) -> None:
        """A CLIP as transformers saves it, with tokenizer and image processor; the painter stays behind."""
        self.model["clip"].save_pretrained(folder)
        self.tokenizer.save_pretrained(folder)
        build_processor(self.views).save_pretrained(folder)


def contrastive_loss(images: Tensor, texts: Tensor, concepts: Tensor, scale: Tensor) -> tuple[Tensor, Tensor]:
    """Normalised features [B,F] twice and concepts [B] -> (symmetric cross entropy over all ranks' rows, share of right nearest captions).

    Every caption of the same concept is a right answer, in equal parts.
    """
    all_images, all_texts = gather_rows(images, with_gradient=True), gather_rows(texts, with_gradient=True)
    same = concepts[:, None] == gather_rows(concepts, with_gradient=False)[None]
    wanted = same.float() / same.sum(1, keepdim=True)
    to_text, to_image = scale * images @ all_texts.T, scale * texts @ all_images.T
    loss = 0.5 * (F.cross_entropy(to_text, wanted) + F.cross_entropy(to_image, wanted))
    match = same.gather(1, to_text.argmax(1, keepdim=True)).float().mean()
    return loss, match.detach()


def view_config(data: EmojiDataSection) -> PreprocessConfig:
    """The recipe's data section as the one description of preprocessing."""
    views = data.augmentation
    return PreprocessConfig(
        image_size_px=data.image_size_px,
        geometry="random-affine",
        interpolation="bilinear",
        rotation_deg=views.rotation_deg,
        shift=views.shift,
        scale=views.scale,
        brightness=views.brightness,
    )


def build_processor(config: PreprocessConfig) -> CLIPImageProcessor:
    """transformers' image processor for the same size and normalisation, squashing to the square."""
    side = {"height": config.image_size_px, "width": config.image_size_px}
    return CLIPImageProcessor(
        do_resize=True,
        size=side,
        resample=2,
        do_center_crop=False,
        crop_size=side,
        image_mean=list(config.mean),
        image_std=list(config.std),
    )
