"""Stage I: the causal Q-Former learns to match pictures and captions; its last query is the
one that is contrasted.

From BLIP-2's weights that is all, as published. From scratch the queries would collapse into one,
so a recipe can give every query work: a random earlier query is contrasted too (which makes
prefixes of the code meaningful), and query k paints tile k of the picture.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from seedcli.benchmarks.query_variance import between_query_variance_centered
from seedcli.data.mixtures.pairs import Mixture
from seedcli.models.visual.captions import CaptionTokenizer
from seedcli.models.visual.layers import Linear
from seedcli.models.visual.model import SeedModel
from seedcli.recipe.tokenizer import CausalQFormerLossSection
from seedcli.training.losses import contrastive_loss, tile_targets
from seedcli.training.ranks import Ranks
from seedcli.training.stage import Stage


class _StageModel(nn.Module):
    """The tokenizer and the head that is thrown away after training."""

    def __init__(self, tokenizer: SeedModel, tile_dim: int):
        super().__init__()
        self.tokenizer = tokenizer
        self.tile_head = Linear(tokenizer.config.qformer.width, tile_dim) if tile_dim else None


class CausalQFormerStage(Stage):
    """Trains Q-Former, `vision_norm`, text branch and, where a recipe says so, the ViT.

    Args:
        tokenizer: With its text branch.
        train_vision: Train the ViT too; the published recipe keeps BLIP-2's.
        batch_size: Pairs of a global batch.
        save: Writes the finished tokenizer to a folder.
    """

    name = "causal-qformer"

    def __init__(
        self,
        tokenizer: SeedModel,
        *,
        pairs: Mixture,
        captions: CaptionTokenizer,
        loss: CausalQFormerLossSection,
        train_vision: bool,
        batch_size: int,
        save: Callable[[SeedModel, Path], None],
        ranks: Ranks = Ranks(),
    ):
        tile_dim = 0
        if loss.tile_weight:
            side, num_tiles = (
                tokenizer.config.vision.image_size_px,
                tokenizer.config.qformer.num_queries,
            )
            tile_dim = tile_targets(torch.zeros(1, 3, side, side), num_tiles).shape[-1]
        self.model = _StageModel(tokenizer, tile_dim)
        self._pairs, self._captions, self._loss = pairs, captions, loss
        self._batch_size, self._save = batch_size, save
        tokenizer.codebook.requires_grad_(False)
        tokenizer.decoder.requires_grad_(False)
        tokenizer.vision.requires_grad_(train_vision)
        self._train_vision, self._ranks = train_vision, ranks
        self._spread: dict[str, float] = {}

    def batch(self, step: int) -> dict[str, Any]:
        pixels, captions, left_out = self._pairs.batch(
            step, batch_size=self._batch_size, rows=self._ranks.rows(self._batch_size)
        )
        ids, mask = self._captions.encode(
            captions, self.model.tokenizer.config.qformer.max_text_tokens
        )
        return {"pixels": pixels, "text_ids": ids, "text_mask": mask, "left_out": left_out}

    def losses(self, batch: dict[str, Tensor]) -> dict[str, Tensor]:
        tokenizer, weights = self.model.tokenizer, self._loss
        with torch.set_grad_enabled(self._train_vision and torch.is_grad_enabled()):
            features = tokenizer.vision(batch["pixels"])
        causal_embeddings = tokenizer.qformer(tokenizer.vision_norm(features))
        image_features = tokenizer.image_features(causal_embeddings)
        text_features = tokenizer.text_features(batch["text_ids"], batch["text_mask"])
        settings: dict[str, Any] = {
            "ranks": self._ranks,
            "label_smoothing": weights.label_smoothing,
            "gather_gradient": weights.gather_gradient,
        }
        temperature = tokenizer.text_branch.temperature
        parts = {
            "contrastive": contrastive_loss(
                image_features[:, -1], text_features, temperature, **settings
            )
        }
        loss = parts["contrastive"]
        if weights.prefix_weight:
            chosen = torch.randint(
                image_features.shape[1] - 1,
                (len(image_features), 1, 1),
                device=image_features.device,
            )
            prefix_features = image_features.gather(
                1, chosen.expand(-1, 1, image_features.shape[2])
            ).squeeze(1)
            parts["prefix"] = contrastive_loss(
                prefix_features, text_features, temperature, **settings
            )
            loss = loss + weights.prefix_weight * parts["prefix"]
        if weights.tile_weight:
            tiles = tile_targets(batch["pixels"], image_features.shape[1])
            parts["tile"] = F.mse_loss(self.model.tile_head(causal_embeddings), tiles)
            loss = loss + weights.tile_weight * parts["tile"]
        self._spread = {
            "between_query_variance": between_query_variance_centered(causal_embeddings.detach()),
            "temperature": float(temperature.detach()),
        }
        return {"loss": loss} | {name: value.detach() for name, value in parts.items()}

    def after_step(self, step: int) -> dict[str, float]:
        return self._spread

    def save(self, folder: Path) -> None:
        self._save(self.model.tokenizer, folder)
