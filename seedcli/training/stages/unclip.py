"""Stage `unclip`: generation target -> picture, as a small diffusers stable-unCLIP pipeline.

Autoencoder and target are frozen, so a fixed number of views of each picture is encoded once,
before training. The UNet sees class labels of zeros in a share of the samples: the pipeline's
guidance subtracts the prediction for zeros. At inference the embedding comes from codes, is never
exact, and nobody says how wrong it is; so beside the pipeline's own noise, whose level the UNet is
told, there is some of which it is not.
"""

from __future__ import annotations

from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers import CLIPTextModel, CLIPTokenizer

from seedcli.console import Reporter
from seedcli.data.emoji import read_emoji
from seedcli.data.images.augmentation import (
    epoch_indices,
    normalize_views,
    random_views,
    read_squares,
)
from seedcli.models.drawing.target import load_quietly, load_target, target_embedding
from seedcli.models.drawing.unclip_parts import (
    NUM_NOISE_LEVELS,
    build_embedding_noiser,
    build_normalizer,
    build_scheduler,
    build_unet,
    empty_prompt_states,
    encode_latents,
    load_autoencoder,
    noise_embeddings,
    save_pipeline,
    start_on_whitened_embeddings,
)
from seedcli.recipe.tokenizer import DiffusionSection, EmojiDataSection, UnetSection
from seedcli.training.moving_average import MovingAverage
from seedcli.training.ranks import Ranks
from seedcli.training.stages.emoji_batches import view_config

ENCODE_BATCH = 64
PROMPT_TOKENS = 4  # the prompt is always empty; more padding would only cost attention


class UnclipStage:
    """Cached latents and target embeddings of the train split -> the denoising UNet."""

    name = "unclip"

    def __init__(
        self,
        *,
        seed: int,
        target: Path,
        autoencoder: Path,
        data: EmojiDataSection,
        model: UnetSection,
        diffusion: DiffusionSection,
        batch_size: int,
        ranks: Ranks = Ranks(),
        reporter: Reporter | None = None,
    ):
        self.target_folder, self.diffusion, self.seed, self.batch_size, self.ranks = (
            target,
            diffusion,
            seed,
            batch_size,
            ranks,
        )
        self.autoencoder = load_autoencoder(autoencoder)
        self.text_encoder = load_quietly(CLIPTextModel, target).eval()
        self.tokenizer = CLIPTokenizer.from_pretrained(
            target, local_files_only=True, model_max_length=PROMPT_TOKENS
        )
        self.prompt = empty_prompt_states(self.tokenizer, self.text_encoder)
        self.latents, self.embeddings = self._encode_views(data, reporter or Reporter())
        self.normalizer = build_normalizer(self.embeddings)
        self.noiser = build_embedding_noiser()
        self.scheduler = build_scheduler(diffusion.prediction)
        torch.manual_seed(seed)
        unet = build_unet(
            latent_size=self.latents.shape[-1],
            latent_channels=self.latents.shape[1],
            channels=model.channels,
            layers_per_level=model.layers_per_level,
            attention_levels=model.attention_levels,
            attention_head_dim=model.attention_head_dim,
            condition_width=model.condition_width,
            text_width=self.prompt.shape[-1],
            generation_dim=self.embeddings.shape[1],
        )
        start_on_whitened_embeddings(unet, self.embeddings, diffusion.embedding_noise)
        self.model = nn.ModuleDict(
            {"unet": unet, "average": MovingAverage(unet, diffusion.average_decay)}
        )

    @torch.no_grad()
    def _encode_views(self, data: EmojiDataSection, reporter: Reporter) -> tuple[Tensor, Tensor]:
        """Scaled latents [views * N,C,s,s] and target embeddings [views * N,G]; view by
        view over all pictures.
        """
        squares = read_squares(
            [picture.image for picture in read_emoji(data.split)], data.image_size_px
        )
        target, config = (
            load_target(self.target_folder),
            view_config(data.augmentation, data.image_size_px),
        )
        torch.manual_seed(self.seed)
        latents, embeddings = [], []
        with reporter.progress("encode views", self.diffusion.views * len(squares)) as progress:
            for _ in range(self.diffusion.views):
                for chunk in squares.split(ENCODE_BATCH):
                    views = random_views(chunk, config)
                    latents.append(
                        encode_latents(self.autoencoder, views * 2 - 1).contiguous()
                        * self.autoencoder.config.scaling_factor
                    )
                    embeddings.append(target_embedding(target, normalize_views(views, config)))
                    progress.advance(len(chunk))
        return torch.cat(latents), torch.cat(embeddings)

    def batch(self, step: int) -> dict[str, Tensor]:
        """Latents [B,C,s,s] and embeddings [B,G] of this rank's rows."""
        rows = epoch_indices(
            step, count=len(self.latents), batch_size=self.batch_size, seed=self.seed
        )[self.ranks.rows(self.batch_size)]
        return {"latents": self.latents[rows], "embeddings": self.embeddings[rows]}

    def losses(self, batch: dict[str, Tensor]) -> dict[str, Tensor]:
        """Mean squared error of the prediction, at uniformly drawn noise levels."""
        latents = batch["latents"]
        count, device = len(latents), latents.device
        self.normalizer.to(device)
        levels = torch.randint(0, self.diffusion.max_noise_level, (count,), device=device)
        blurred = batch[
            "embeddings"
        ] + self.diffusion.embedding_noise * self.normalizer.std * torch.randn_like(
            batch["embeddings"]
        )
        labels = noise_embeddings(blurred, levels, self.normalizer, self.noiser)
        labels = labels * (torch.rand(count, 1, device=device) >= self.diffusion.dropped_condition)
        noise, times = (
            torch.randn_like(latents),
            torch.randint(0, NUM_NOISE_LEVELS, (count,), device=device),
        )
        noisy = self.scheduler.add_noise(latents, noise, times)
        wanted = (
            noise
            if self.diffusion.prediction == "epsilon"
            else self.scheduler.get_velocity(latents, noise, times)
        )
        predicted = self.model["unet"](
            noisy, times, self.prompt.to(device).expand(count, -1, -1), class_labels=labels
        ).sample
        loss = F.mse_loss(predicted, wanted)
        return {"loss": loss}

    def after_step(self, step: int) -> dict[str, float]:
        """Moves the average of the weights."""
        self.model["average"].update(self.model["unet"], step)
        return {}

    def save(self, folder: Path) -> None:
        """The averaged UNet and all other parts as a diffusers pipeline folder, in fp16."""
        self.model["average"].copy_to(self.model["unet"])
        save_pipeline(
            folder,
            target=self.target_folder,
            text_encoder=self.text_encoder,
            tokenizer=self.tokenizer,
            normalizer=self.normalizer,
            unet=self.model["unet"],
            autoencoder=self.autoencoder,
            prediction=self.diffusion.prediction,
        )
