"""Stage `target`: a small CLIP trained on pictures and captions, whose image embedding is the
generation target of a small tokenizer.

A CLIP trained with the contrastive loss alone keeps what words tell and forgets what a picture
looks like; the image decoder has nothing else to go by. So a small net paints the autoencoder's
latents, which is what that decoder draws, from the noised embedding while the CLIP trains, and is
thrown away. The embedding is standardised without learned scales, and correlations between its
dimensions cost, or few directions would carry all (seed-nano's first target: 13 of 256), and noise
would hide the rest.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers import CLIPImageProcessor

from seedcli.console import Reporter
from seedcli.data.documents.left_out import Tally
from seedcli.data.images.augmentation import apply_views, draw_views, normalize_views
from seedcli.data.images.captioned import caption_texts, open_pictures, read_training_pictures
from seedcli.models.drawing.target import (
    LatentPainter,
    build_clip,
    fold_standardization,
    save_words,
    target_embedding,
    train_bpe,
)
from seedcli.models.drawing.unclip_parts import (
    decode_latents,
    encode_latents,
    latent_shape,
    load_autoencoder,
)
from seedcli.models.visual.config import PreprocessConfig
from seedcli.models.weights.digest import weights_digest
from seedcli.recipe.drawing import ClipSection, TargetLossSection
from seedcli.recipe.pictures import PictureDataSection, ValidationSection
from seedcli.training.embedding_health import LinearMap, effective_rank, explained_variance
from seedcli.training.ranks import Ranks
from seedcli.training.stage import Stage
from seedcli.training.stages.encoded_views import EncodedViews
from seedcli.training.stages.picture_batches import (
    MAX_LOGIT_SCALE,
    CaptionedBatches,
    concept_contrast,
    view_config,
)
from seedcli.training.stages.sheets import spread_rows, write_sheet

ENCODE_BATCH = 64
NUM_FITTED = 4096  # pictures that the linear map is fitted on: 16 for each of 256 dimensions
NUM_EXAMINED = 1024


class TargetStage(Stage):
    """Pictures and captions -> a CLIP whose embedding knows both what a picture shows and how it
    looks.
    """

    name = "target"

    def __init__(
        self,
        *,
        seed: int,
        autoencoder: Path,
        views: int,
        data: PictureDataSection,
        validation: ValidationSection | None,
        model: ClipSection,
        losses: TargetLossSection,
        batch_size: int,
        ranks: Ranks = Ranks(),
        reporter: Reporter | None = None,
    ):
        reporter = reporter or Reporter()
        self.weights = losses
        self.config = view_config(data.augmentation, data.image_size_px)
        pictures, held_out = read_training_pictures(data, validation)
        pictures, self.squares = open_pictures(pictures, data.image_size_px, reporter)
        self.held_out = (
            open_pictures(held_out, data.image_size_px, reporter)[1] if held_out else None
        )
        self.tokenizer = train_bpe(
            caption_texts(pictures), vocab_size=model.vocab_size, max_tokens=model.max_text_tokens
        )
        self._batches = CaptionedBatches(
            pictures, self.tokenizer, seed=seed, batch_size=batch_size, ranks=ranks
        )
        self.autoencoder = load_autoencoder(autoencoder)
        self._views: dict[str, Any] = {
            "count": views,
            "seed": seed,
            "made_by": weights_digest(autoencoder),
            "write": ranks.rank == 0,
            "reporter": reporter,
        }
        torch.manual_seed(seed)
        clip = build_clip(
            tokenizer=self.tokenizer,
            image_size_px=data.image_size_px,
            **model.model_dump(exclude={"vocab_size", "max_text_tokens", "painter_width"}),
        )
        painter = LatentPainter(
            model.embedding_dim,
            model.painter_width,
            latent_shape(self.autoencoder, data.image_size_px),
        )
        self.model = nn.ModuleDict(
            {
                "clip": clip,
                "standardize": nn.BatchNorm1d(model.embedding_dim, affine=False),
                # a fifth faster on CPU
                "painter": painter.to(memory_format=torch.channels_last),
            }
        )

    def prepare(self, folder: Path) -> Tally:
        """Encodes the views that are trained on, or reads them from the run folder."""
        self.views = EncodedViews(
            self.squares,
            self.config,
            lambda views: {"latents": self._latents(views)},
            folder=folder,
            **self._views,
        )
        self.latents = self.views.encoded["latents"]
        return {}

    def _latents(self, pictures: Tensor) -> Tensor:
        """Pictures [B,3,S,S] in 0..1 -> latents [B,C,s,s] of deviation 1."""
        latents = encode_latents(self.autoencoder, pictures * 2 - 1)
        return latents.contiguous() * self.autoencoder.config.scaling_factor

    def batch(self, step: int) -> dict[str, Tensor]:
        """Views [B,3,S,S] in 0..1, their latents [B,C,s,s], text ids and mask [B,T], concept
        numbers [B] (equal where two pictures are described alike).
        """
        batch = self._batches.batch(step)
        rows = batch.pop("rows")
        numbers = torch.randint(len(self.latents), (len(rows),))
        return batch | {
            "views": self.views.pictures(numbers, rows),
            "latents": self.latents[numbers, rows].float(),
        }

    def losses(self, batch: dict[str, Tensor]) -> dict[str, Tensor]:
        """Weighted sum of contrast, painting and decorrelation; `match` is the share of pictures
        whose nearest caption in the batch fits.
        """
        clip, weights = self.model["clip"], self.weights
        embedding = self._embed(batch["views"])
        text = clip.text_projection(
            clip.text_model(
                input_ids=batch["text_ids"], attention_mask=batch["text_mask"]
            ).pooler_output
        )
        scale = clip.logit_scale.clamp(max=MAX_LOGIT_SCALE).exp()
        contrastive, match = concept_contrast(
            F.normalize(embedding, dim=-1), F.normalize(text, dim=-1), batch["concepts"], scale
        )
        noisy = embedding + weights.embedding_noise * torch.randn_like(embedding)
        painting = F.mse_loss(self.model["painter"](noisy), batch["latents"])
        correlations = embedding.T @ embedding / len(embedding)
        decorrelation = (
            correlations.square().sum() - correlations.diagonal().square().sum()
        ) / len(correlations)
        loss = (
            weights.contrastive_weight * contrastive
            + weights.painting_weight * painting
            + weights.decorrelation_weight * decorrelation
        )
        return {
            "loss": loss,
            "contrastive": contrastive.detach(),
            "painting": painting.detach(),
            "decorrelation": decorrelation.detach(),
            "match": match,
        }

    def _embed(self, views: Tensor) -> Tensor:
        """Views [B,3,S,S] in 0..1 -> standardised embeddings [B,G]."""
        pixels = normalize_views(views, self.config)
        return self.model["standardize"](target_embedding(self.model["clip"], pixels))

    def after_step(self, step: int) -> dict[str, float]:
        """The learned temperature."""
        return {"logit_scale": self.model["clip"].logit_scale.exp().item()}

    @torch.no_grad()
    def examine(self, step: int, sheet: Path) -> dict[str, float]:
        """How much the embedding tells: of other views of pictures that were trained on, and of
        pictures that were not; and a sheet of the latter above what is painted of them.
        """
        self.model.eval()
        device = next(self.model.parameters()).device
        chosen = spread_rows(len(self.squares), NUM_FITTED)
        fitted = self._embed_all(self.views.pictures(torch.zeros_like(chosen), chosen))
        linear = LinearMap(fitted, self.latents[0, chosen])
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            others = chosen[:: max(1, len(chosen) // NUM_EXAMINED)]
            other_views = apply_views(self.squares[others], draw_views(len(others), self.config))
        figures = {"effective_rank": effective_rank(fitted)}
        kinds = {"other_views": other_views}
        if self.held_out is not None:
            kinds["held_out"] = self.held_out[:NUM_EXAMINED].float() / 255
        for name, pictures in kinds.items():
            embeddings = self._embed_all(pictures)
            latents = torch.cat([self._latents(part) for part in pictures.split(ENCODE_BATCH)])
            parts = embeddings.to(device).split(ENCODE_BATCH)
            painted = torch.cat([self.model["painter"](part).cpu() for part in parts])
            figures[f"linear_{name}"] = linear.explained(embeddings, latents)
            figures[f"painted_{name}"] = explained_variance(painted.flatten(1), latents.flatten(1))
        # of the kind that came last: what is held out, where something is
        shown = spread_rows(len(pictures))
        write_sheet(sheet, [pictures[shown], decode_latents(self.autoencoder, painted[shown])])
        return figures

    def _embed_all(self, pictures: Tensor) -> Tensor:
        device = next(self.model.parameters()).device
        return torch.cat(
            [self._embed(part.to(device)).cpu() for part in pictures.split(ENCODE_BATCH)]
        )

    @torch.no_grad()
    def save(self, folder: Path) -> None:
        """A CLIP as transformers saves it, with tokenizer and image processor; its embedding is
        the standardised one. The painter stays behind.
        """
        self.model.eval()
        clip = self.model["clip"].cpu()
        chosen = spread_rows(len(self.squares), NUM_FITTED)
        parts = []
        for rows in chosen.split(ENCODE_BATCH):
            views = self.views.pictures(torch.zeros_like(rows), rows)
            pixels = normalize_views(views, self.config)
            parts.append(clip.vision_model(pixel_values=pixels).pooler_output)
        pooled = torch.cat(parts)
        deviation = clip.visual_projection(pooled).std(0)
        fold_standardization(clip, pooled.mean(0), deviation)
        clip.save_pretrained(folder)
        save_words(self.tokenizer, folder)
        build_processor(self.config).save_pretrained(folder)


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
