"""Stage `judge`: the small open_clip model that scores the pictures of `seed-nano`.

It measures and takes no part in the model: nothing is trained towards it and no command but
`seed eval` reads it. So it learns from all splits; a judge that had never seen the test emoji could
not tell whether a picture shows them.
"""

from __future__ import annotations

from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from seedcli.data.emoji import all_texts, read_emoji
from seedcli.data.images.augmentation import normalize_views
from seedcli.models.drawing.judge import build_judge, judge_config, save_judge
from seedcli.models.drawing.target import train_bpe
from seedcli.recipe.tokenizer import JudgeDataSection, JudgeSection
from seedcli.training.ranks import Ranks
from seedcli.training.stages.emoji_batches import (
    MAX_LOGIT_SCALE,
    EmojiBatches,
    concept_contrast,
    view_config,
)


class JudgeStage:
    """Pictures and captions of all splits -> an open_clip model, trained with CLIP's loss alone."""

    name = "judge"

    def __init__(
        self,
        *,
        seed: int,
        data: JudgeDataSection,
        model: JudgeSection,
        batch_size: int,
        ranks: Ranks = Ranks(),
    ):
        self.tokenizer = train_bpe(
            all_texts(), vocab_size=model.vocab_size, max_tokens=model.max_text_tokens
        )
        self.views = view_config(data.augmentation, data.image_size_px)
        self._batches = EmojiBatches(
            read_emoji(None),
            self.tokenizer,
            self.views,
            seed=seed,
            batch_size=batch_size,
            ranks=ranks,
        )
        self.config = judge_config(
            self.tokenizer,
            embedding_dim=model.embedding_dim,
            image_size_px=data.image_size_px,
            vision_layers=model.vision_layers,
            vision_width=model.vision_width,
            text_width=model.text_width,
            text_depth=model.text_depth,
        )
        torch.manual_seed(seed)
        self.model: nn.Module = build_judge(self.config)

    def batch(self, step: int) -> dict[str, Tensor]:
        """Views [B,3,S,S] in 0..1, text ids [B,T], concept numbers [B] (equal where two
        pictures show one emoji).
        """
        batch = self._batches.batch(step)
        missing = self.tokenizer.model_max_length - batch["text_ids"].shape[1]
        return batch | {
            "text_ids": F.pad(batch["text_ids"], (0, missing), value=self.tokenizer.pad_token_id)
        }

    def losses(self, batch: dict[str, Tensor]) -> dict[str, Tensor]:
        """CLIP's symmetric cross entropy; `match` is the share of pictures whose nearest
        caption in the batch fits.
        """
        images = self.model.encode_image(
            normalize_views(batch["views"], self.views), normalize=True
        )
        texts = self.model.encode_text(batch["text_ids"], normalize=True)
        loss, match = concept_contrast(
            images,
            texts,
            batch["concepts"],
            self.model.logit_scale.clamp(max=MAX_LOGIT_SCALE).exp(),
        )
        return {"loss": loss, "match": match}

    def after_step(self, step: int) -> dict[str, float]:
        """The learned temperature."""
        return {"logit_scale": self.model.logit_scale.exp().item()}

    def save(self, folder: Path) -> None:
        """A folder that open_clip reads as `local-dir:FOLDER`."""
        save_judge(self.model, self.config, self.tokenizer, folder)
