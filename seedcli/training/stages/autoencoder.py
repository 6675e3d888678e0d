"""Stage `autoencoder`: pictures <-> latents, the small world in which the image decoder denoises.

A network of convolutions learns as much from a quarter of a picture as from the whole, at a quarter
of the cost; so most updates see random crops. The last ones see whole pictures, because group norms
take their statistics from all that they see.
"""

from __future__ import annotations

from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from seedcli.console import Reporter
from seedcli.data.images.augmentation import epoch_indices, random_views
from seedcli.data.images.captioned import open_pictures, read_training_pictures
from seedcli.models.drawing.unclip_parts import build_autoencoder, encode_latents
from seedcli.recipe.drawing import AutoencoderLossSection, AutoencoderSection, CropSection
from seedcli.recipe.pictures import PictureDataSection, ValidationSection
from seedcli.training.ranks import Ranks
from seedcli.training.stage import Stage
from seedcli.training.stages.picture_batches import view_config
from seedcli.training.stages.sheets import spread_rows, write_sheet

NUM_EXAMINED = 256
NUM_SCALING_PICTURES = 1024  # enough for two digits of the latents' deviation


class AutoencoderStage(Stage):
    """Pictures -> diffusers' AutoencoderKL."""

    name = "autoencoder"

    def __init__(
        self,
        *,
        seed: int,
        data: PictureDataSection,
        validation: ValidationSection | None,
        crops: CropSection,
        model: AutoencoderSection,
        losses: AutoencoderLossSection,
        batch_size: int,
        ranks: Ranks = Ranks(),
        reporter: Reporter | None = None,
    ):
        self.weights, self.crops = losses, crops
        self.seed, self.batch_size, self.ranks = seed, batch_size, ranks
        pictures, held_out = read_training_pictures(data, validation, words=False)
        self.squares = open_pictures(pictures, data.image_size_px, reporter)[1]
        self.held_out = (
            open_pictures(held_out, data.image_size_px, reporter)[1] if held_out else None
        )
        self.views = view_config(data.augmentation, data.image_size_px)
        torch.manual_seed(seed)
        self.model: nn.Module = build_autoencoder(
            **model.model_dump(), image_size_px=data.image_size_px
        )

    def batch(self, step: int) -> dict[str, Tensor]:
        """Pictures [B,3,S,S] in -1..1: whole, or one random crop of each."""
        rows = epoch_indices(
            step, count=len(self.squares), batch_size=self.batch_size, seed=self.seed
        )[self.ranks.rows(self.batch_size)]
        pictures = random_views(self.squares[rows], self.views) * 2 - 1
        if step < self.crops.steps:
            pictures = _crop_each(pictures, self.crops.size_px)
        return {"pictures": pictures.contiguous(memory_format=torch.channels_last)}

    def losses(self, batch: dict[str, Tensor]) -> dict[str, Tensor]:
        """Weighted sum of L1, MSE, edges, chroma and KL; `mse` is of pictures in -1..1."""
        pictures = batch["pictures"]
        posterior = self.model.encode(pictures).latent_dist
        rebuilt = self.model.decode(posterior.sample()).sample
        # posterior.kl() sums over a picture; per latent value the weight depends on no crop
        parts = {
            "l1": F.l1_loss(rebuilt, pictures),
            "mse": F.mse_loss(rebuilt, pictures),
            "edge": _edge_loss(rebuilt, pictures),
            "chroma": F.l1_loss(_chroma(rebuilt), _chroma(pictures)),
            "kl": posterior.kl().mean() / posterior.mean[0].numel(),
        }
        weights = self.weights.model_dump()
        loss = sum(weights[f"{name}_weight"] * part for name, part in parts.items())
        return {"loss": loss} | {name: part.detach() for name, part in parts.items()}

    @torch.no_grad()
    def examine(self, step: int, sheet: Path) -> dict[str, float]:
        """Squared error on pictures that were not trained on, in -1..1; and a sheet of them above
        what is rebuilt of them.
        """
        if self.held_out is None:
            return {}
        self.model.eval()
        device = next(self.model.parameters()).device
        pictures = self.held_out[spread_rows(len(self.held_out), NUM_EXAMINED)] / 127.5 - 1
        rebuilt = torch.cat(
            [
                self.model.decode(self.model.encode(part.to(device)).latent_dist.mean).sample.cpu()
                for part in pictures.split(64)
            ]
        )
        shown = spread_rows(len(pictures))
        write_sheet(sheet, [(row[shown] / 2 + 0.5).clamp(0, 1) for row in (pictures, rebuilt)])
        return {"held_out_mse": F.mse_loss(rebuilt, pictures).item()}

    def save(self, folder: Path) -> None:
        """An AutoencoderKL as diffusers saves it; its scaling factor makes
        the latents' deviation 1.
        """
        self.model.eval().cpu()
        chosen = self.squares[:: max(1, len(self.squares) // NUM_SCALING_PICTURES)]
        latents = [
            encode_latents(self.model, chunk.float() / 127.5 - 1) for chunk in chosen.split(64)
        ]
        self.model.register_to_config(scaling_factor=1 / torch.cat(latents).std().item())
        self.model.save_pretrained(folder)


def _crop_each(pictures: Tensor, size_px: int) -> Tensor:
    """[B,3,S,S] -> [B,3,size,size]; offsets from the global generator, multiples of 4 so that
    latents keep their grid.
    """
    places = (pictures.shape[-1] - size_px) // 4 + 1
    offsets = torch.randint(0, places, (len(pictures), 2)) * 4
    return torch.stack(
        [
            picture[:, y : y + size_px, x : x + size_px]
            for picture, (y, x) in zip(pictures, offsets.tolist(), strict=True)
        ]
    )


def _chroma(pictures: Tensor) -> Tensor:
    """[B,3,S,S] -> red - green and blue - yellow [B,2,S,S]."""
    red, green, blue = pictures.unbind(1)
    return torch.stack([red - green, blue - (red + green) / 2], 1)


def _edge_loss(rebuilt: Tensor, pictures: Tensor) -> Tensor:
    down = F.l1_loss(
        rebuilt[:, :, 1:] - rebuilt[:, :, :-1], pictures[:, :, 1:] - pictures[:, :, :-1]
    )
    right = F.l1_loss(rebuilt[..., 1:] - rebuilt[..., :-1], pictures[..., 1:] - pictures[..., :-1])
    return down + right
