"""Stage `target`: a small CLIP trained on pictures and captions, whose image embedding is the
generation target of `seed-nano`.

A CLIP trained with the contrastive loss alone keeps what words tell and forgets what a picture
looks like; the image decoder has nothing else to go by. So a small head paints the picture from the
un-normalised embedding while the CLIP trains, and is thrown away.
"""

from __future__ import annotations

from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers import CLIPImageProcessor

from seedcli.data.emoji import read_emoji, train_texts
from seedcli.data.images.augmentation import normalize_views
from seedcli.models.drawing.target import Painter, build_clip, target_embedding, train_bpe
from seedcli.models.visual.config import PreprocessConfig
from seedcli.recipe.tokenizer import ClipSection, EmojiDataSection, TargetLossSection
from seedcli.training.ranks import Ranks
from seedcli.training.stages.emoji_batches import (
    MAX_LOGIT_SCALE,
    EmojiBatches,
    concept_contrast,
    view_config,
)

PAINTED_PX = 32


class TargetStage:
    """Pictures and captions of the train split -> a CLIP whose embedding knows both what a picture
    shows and how it looks.
    """

    name = "target"

    def __init__(
        self,
        *,
        seed: int,
        data: EmojiDataSection,
        model: ClipSection,
        losses: TargetLossSection,
        batch_size: int,
        ranks: Ranks = Ranks(),
    ):
        self.weights = losses
        self.tokenizer = train_bpe(
            train_texts(), vocab_size=model.vocab_size, max_tokens=model.max_text_tokens
        )
        self.views = view_config(data.augmentation, data.image_size_px)
        self._batches = EmojiBatches(
            read_emoji(data.split),
            self.tokenizer,
            self.views,
            seed=seed,
            batch_size=batch_size,
            ranks=ranks,
        )
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
        # a fifth faster on CPU
        painter = Painter(model.embedding_dim, model.painter_width).to(
            memory_format=torch.channels_last
        )
        self.model = nn.ModuleDict({"clip": clip, "painter": painter})

    def batch(self, step: int) -> dict[str, Tensor]:
        """Views [B,3,S,S] in 0..1, text ids and mask [B,T], concept numbers [B] (equal where two
        pictures show one emoji).
        """
        return self._batches.batch(step)

    def losses(self, batch: dict[str, Tensor]) -> dict[str, Tensor]:
        """Weighted sum of contrastive and painting loss; `match` is the share of pictures whose
        nearest caption in the batch fits.
        """
        clip = self.model["clip"]
        embedding = target_embedding(clip, normalize_views(batch["views"], self.views))
        text = clip.text_projection(
            clip.text_model(
                input_ids=batch["text_ids"], attention_mask=batch["text_mask"]
            ).pooler_output
        )
        scale = clip.logit_scale.clamp(max=MAX_LOGIT_SCALE).exp()
        contrastive, match = concept_contrast(
            F.normalize(embedding, dim=-1), F.normalize(text, dim=-1), batch["concepts"], scale
        )
        deviation = embedding.detach().std(0, keepdim=True)
        noisy = embedding + self.weights.embedding_noise * deviation * torch.randn_like(embedding)
        painting = F.mse_loss(
            self.model["painter"](noisy), F.interpolate(batch["views"], PAINTED_PX, mode="area")
        )
        loss = (
            self.weights.contrastive_weight * contrastive + self.weights.painting_weight * painting
        )
        return {
            "loss": loss,
            "contrastive": contrastive.detach(),
            "painting": painting.detach(),
            "match": match,
        }

    def after_step(self, step: int) -> dict[str, float]:
        """The learned temperature."""
        return {"logit_scale": self.model["clip"].logit_scale.exp().item()}

    def save(self, folder: Path) -> None:
        """A CLIP as transformers saves it, with tokenizer and image processor;
        the painter stays behind.
        """
        self.model["clip"].save_pretrained(folder)
        self.tokenizer.save_pretrained(folder)
        build_processor(self.views).save_pretrained(folder)


def build_processor(config: PreprocessConfig) -> CLIPImageProcessor:
    """transformers' image processor for the same size and normalisation,
    squashing to the square.
    """
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
