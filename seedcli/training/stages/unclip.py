"""Stage `unclip`: generation embedding -> picture, as a diffusers stable-unCLIP pipeline; a small
one from scratch, or one of any size trained on.

Autoencoder, target and tokenizer are frozen, so what they make of a fixed number of views of each
picture can be computed once, before training. The UNet sees class labels of zeros in a share of the
samples: the pipeline's guidance subtracts the prediction for zeros. At inference the embedding
comes from codes, is never exact, and nobody says how wrong it is. Two things prepare the UNet for
that: noise whose level it is not told, beside the pipeline's own, and a last part of the training
on embeddings that codes gave (SEED's published decoder never saw any).
"""

from __future__ import annotations

import copy
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from seedcli.console import Reporter
from seedcli.data.documents.left_out import Tally
from seedcli.data.images.augmentation import epoch_indices, normalize_views
from seedcli.data.images.captioned import open_pictures, read_training_pictures
from seedcli.data.mixtures.pairs import Mixture, PicturePairs
from seedcli.models.drawing.target import target_embedding
from seedcli.models.drawing.unclip import as_decoder
from seedcli.models.drawing.unclip_parts import (
    NUM_NOISE_LEVELS,
    build_normalizer,
    build_training_scheduler,
    build_unet,
    decode_latents,
    empty_prompt_states,
    encode_latents,
    latent_shape,
    noise_embeddings,
    save_pipeline,
    start_on_whitened_embeddings,
)
from seedcli.models.visual.config import PreprocessConfig
from seedcli.models.visual.model import SeedModel
from seedcli.recipe.drawing import DiffusionSection, UnetSection
from seedcli.recipe.pictures import FeaturesSection, PictureDataSection, ValidationSection
from seedcli.training.moving_average import MovingAverage
from seedcli.training.ranks import Ranks
from seedcli.training.stage import Stage
from seedcli.training.stages.encoded_views import EncodedViews
from seedcli.training.stages.picture_batches import view_config
from seedcli.training.stages.sheets import spread_rows, stack_images, write_sheet

SHEET_STEPS, SHEET_GUIDANCE = 20, 2.0
NUM_EXAMINED = 256
_PLAIN = {"mean": (0.0, 0.0, 0.0), "std": (1.0, 1.0, 1.0)}


class FrozenNetworks(nn.Module):
    """views [B,3,S,S] in 0..1 -> what the UNet learns from: scaled latents [B,C,s,s], target
    embeddings [B,G], and, with a tokenizer, the generation embeddings of its codes [B,G].

    Target and tokenizer read views of their own side, resized from the autoencoder's.
    """

    def __init__(self, autoencoder: nn.Module, target: nn.Module, tokenizer: SeedModel | None):
        super().__init__()
        self.autoencoder, self.target, self.tokenizer = autoencoder, target, tokenizer
        self.eval().requires_grad_(False)

    @torch.no_grad()
    def forward(self, views: Tensor) -> dict[str, Tensor]:
        views = views.to(next(self.target.parameters()).device)
        latents = encode_latents(self.autoencoder, views * 2 - 1).contiguous()
        side = self.target.config.image_size
        found = {
            "latents": latents * self.autoencoder.config.scaling_factor,
            "embeddings": target_embedding(self.target, _pixels(views, side)),
        }
        if self.tokenizer is not None:
            side = self.tokenizer.config.vision.image_size_px
            codes = self.tokenizer.encode(_pixels(views, side))
            found["code_embeddings"] = self.tokenizer.decode(codes).float()
        return found


def _pixels(views: Tensor, side: int) -> Tensor:
    """Views of any side in 0..1 -> normalised pixels [B,3,side,side]."""
    if views.shape[-1] != side:
        views = F.interpolate(views, side, mode="bicubic", antialias=True).clamp(0, 1)
    config = PreprocessConfig(image_size_px=side, geometry="squash", interpolation="bicubic")
    return normalize_views(views, config)


@dataclass(frozen=True)
class Surroundings:
    """The networks that the UNet learns among, none of which learns.

    Attributes:
        pipeline: A stable-unCLIP pipeline; without `unet` and `image_normalizer` where they are
            made by the stage.
        tokenizer: Whose generation embeddings are drawn; None: the target's alone.
        true_share: Share of samples that read the target's embedding all the same.
        made_by: What tells these networks from others.
    """

    pipeline: Any
    tokenizer: SeedModel | None
    true_share: float
    made_by: str


class UnclipStage(Stage):
    """Latents and embeddings of views -> the denoising UNet.

    Args:
        seed: Of weights, batches, views and noise.
        around: The networks that the UNet learns among.
        features: Whether views are computed before training.
        model: Shape of a UNet from scratch; None: the pipeline's is trained on.
        batch_size: Pictures of a global batch.
        device: Of the frozen networks.
    """

    name = "unclip"

    def __init__(
        self,
        *,
        seed: int,
        around: Surroundings,
        data: PictureDataSection,
        validation: ValidationSection | None,
        features: FeaturesSection,
        model: UnetSection | None,
        diffusion: DiffusionSection,
        batch_size: int,
        ranks: Ranks = Ranks(),
        device: torch.device = torch.device("cpu"),
        reporter: Reporter | None = None,
    ):
        self.pipeline = pipeline = around.pipeline
        self.true_share = around.true_share
        self.diffusion, self.seed, self.batch_size, self.ranks = diffusion, seed, batch_size, ranks
        self.frozen = FrozenNetworks(pipeline.vae, pipeline.image_encoder, around.tokenizer)
        self.frozen.to(device)
        self.prompt = empty_prompt_states(pipeline.tokenizer, pipeline.text_encoder)
        self.scheduler = build_training_scheduler(pipeline.scheduler)
        self._features, self._made_by = features, around.made_by
        self._reporter = reporter or Reporter()
        self.config = view_config(data.augmentation, data.image_size_px)
        self.image_size_px = data.image_size_px
        self.pictures, held_out = read_training_pictures(data, validation, words=False)
        held_out = [held_out[row] for row in spread_rows(len(held_out), NUM_EXAMINED).tolist()]
        self.held_out = (
            open_pictures(held_out, data.image_size_px, reporter)[1] if held_out else None
        )
        self._from_scratch = model is not None
        torch.manual_seed(seed)
        if model is not None:
            channels, side, _ = latent_shape(pipeline.vae, data.image_size_px)
            unet = build_unet(
                latent_size=side,
                latent_channels=channels,
                **model.model_dump(),
                text_width=self.prompt.shape[-1],
                generation_dim=pipeline.image_encoder.config.projection_dim,
            )
            pipeline.register_modules(unet=unet)
        if diffusion.gradient_checkpointing:
            pipeline.unet.enable_gradient_checkpointing()
        # a tenth faster on a CPU
        self.model = nn.ModuleDict({"unet": pipeline.unet.to(memory_format=torch.channels_last)})

    def prepare(self, folder: Path) -> Tally:
        """Encodes the views that are trained on, or reads them from the run folder; what starts
        from scratch starts with their statistics.
        """
        self.views, self.stream = None, None
        if self._features.source == "stream":
            config = PreprocessConfig(**(vars(self.config) | _PLAIN))
            pairs = PicturePairs(self.pictures, by_picture=True)
            self.stream = Mixture([(pairs, 1.0)], seed=self.seed, preprocess=config, words=False)
        else:
            self.views = EncodedViews(
                open_pictures(self.pictures, self.image_size_px, self._reporter)[1],
                self.config,
                self.frozen,
                count=self._features.views,
                seed=self.seed,
                made_by=self._made_by,
                batch_size=self._features.batch_size,
                folder=folder,
                write=self.ranks.rank == 0,
                reporter=self._reporter,
            )
        if self._from_scratch:
            embeddings = self._some_embeddings()
            self.pipeline.register_modules(image_normalizer=build_normalizer(embeddings))
            torch.manual_seed(self.seed)
            start_on_whitened_embeddings(
                self.model["unet"], embeddings, self.diffusion.embedding_noise
            )
        self.model["average"] = MovingAverage(self.model["unet"], self.diffusion.average_decay)
        return {}

    def _some_embeddings(self) -> Tensor:
        """The target's embeddings [N,G] of cached views, or of the first 1,024 streamed ones."""
        if self.views is not None:
            return self.views.encoded["embeddings"].flatten(0, 1).float()
        steps = range(-(-min(1024, len(self.stream)) // 16))
        batches = (self.stream.batch(n, batch_size=16, rows=slice(0, 16)).pixels for n in steps)
        return torch.cat([self.frozen(views)["embeddings"] for views in batches]).cpu()

    def batch(self, step: int) -> dict[str, Any]:
        """What the frozen networks made of this rank's rows, by name; when streaming, the views
        [B,3,S,S] themselves and what was left out.
        """
        rows = self.ranks.rows(self.batch_size)
        if self.stream is not None:
            views, _, left_out = self.stream.batch(step, batch_size=self.batch_size, rows=rows)
            return {"views": views, "left_out": left_out}
        numbers = epoch_indices(
            step, count=len(self.views), batch_size=self.batch_size, seed=self.seed
        )[rows]
        encoded = self.views.encoded.items()
        return {name: part.flatten(0, 1)[numbers].float() for name, part in encoded}

    def losses(self, batch: dict[str, Tensor]) -> dict[str, Tensor]:
        """Mean squared error of the prediction, at uniformly drawn noise levels."""
        if "views" in batch:
            batch = self.frozen.to(batch["views"].device)(batch["views"])
        latents, embeddings = batch["latents"], batch["embeddings"]
        count, device = len(latents), latents.device
        if "code_embeddings" in batch:
            true = torch.rand(count, 1, device=device) < self.true_share
            embeddings = torch.where(true, embeddings, batch["code_embeddings"])
        return {"loss": self._error(latents, self._labels(embeddings))}

    def _labels(self, embeddings: Tensor) -> Tensor:
        """Embeddings [B,G] -> class labels [B,2G], blurred, noised, and some dropped."""
        count, device, diffusion = len(embeddings), embeddings.device, self.diffusion
        normalizer = self.pipeline.image_normalizer.to(device)
        levels = torch.randint(0, diffusion.max_noise_level, (count,), device=device)
        noise = diffusion.embedding_noise * normalizer.std * torch.randn_like(embeddings)
        labels = noise_embeddings(
            embeddings + noise, levels, normalizer, self.pipeline.image_noising_scheduler
        )
        return labels * (torch.rand(count, 1, device=device) >= diffusion.dropped_condition)

    def _error(self, latents: Tensor, labels: Tensor) -> Tensor:
        count, device = len(latents), latents.device
        noise = torch.randn_like(latents)
        times = torch.randint(0, NUM_NOISE_LEVELS, (count,), device=device)
        noisy = self.scheduler.add_noise(latents, noise, times)
        wanted = (
            noise
            if self.scheduler.config.prediction_type == "epsilon"
            else self.scheduler.get_velocity(latents, noise, times)
        )
        predicted = self.model["unet"](
            noisy, times, self.prompt.to(device).expand(count, -1, -1), class_labels=labels
        ).sample
        return F.mse_loss(predicted.float(), wanted)

    def after_step(self, step: int) -> dict[str, float]:
        """Moves the average of the weights."""
        self.model["average"].update(self.model["unet"], step)
        return {}

    @torch.no_grad()
    def examine(self, step: int, sheet: Path) -> dict[str, float]:
        """Error of the averaged UNet on pictures that were not trained on, always with the same
        noise; and a sheet: the pictures, what their latents give, what is drawn from the target's
        embedding and, where there is a tokenizer, from its codes.
        """
        if self.held_out is None:
            return {}
        unet = self.model["unet"]
        trained = copy.deepcopy(unet.state_dict())
        self.model["average"].copy_to(unet)
        self.model.eval()
        device = next(unet.parameters()).device
        found = [self.frozen.to(device)(part / 255) for part in self.held_out.to(device).split(16)]
        encoded = {name: torch.cat([part[name] for part in found]) for name in found[0]}
        figures = {}
        kinds = [name for name in ("embeddings", "code_embeddings") if name in encoded]
        for name in kinds:
            with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
                torch.manual_seed(0)
                errors = [
                    self._error(latents, self._labels(embeddings))
                    for latents, embeddings in zip(
                        encoded["latents"].split(16), encoded[name].split(16), strict=True
                    )
                ]
            figures[f"held_out_{name}"] = torch.stack(errors).mean().item()
        shown = spread_rows(len(self.held_out))
        decoder = as_decoder(self.pipeline, self.prompt)
        rows = [
            self.held_out[shown].float() / 255,
            decode_latents(self.frozen.autoencoder, encoded["latents"][shown]),
        ]
        for name in kinds:
            images = decoder.decode_images(
                encoded[name][shown], steps=SHEET_STEPS, guidance=SHEET_GUIDANCE, seed=0
            )
            rows.append(stack_images(images))
        write_sheet(sheet, rows)
        unet.load_state_dict(trained)
        return figures

    def save(self, folder: Path) -> None:
        """The averaged UNet and all other parts as a diffusers pipeline folder, in fp16."""
        self.model["average"].copy_to(self.model["unet"])
        save_pipeline(self.pipeline, folder)
