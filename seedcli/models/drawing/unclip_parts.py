"""The networks of a small image decoder, built from plain values and joined into a stable-unCLIP
folder that `models/drawing/unclip.py` loads.

Everything is a stock class, so the folder is one that diffusers itself reads;
only the sizes are ours.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import torch
from diffusers import (
    AutoencoderKL,
    DDIMScheduler,
    DDPMScheduler,
    SchedulerMixin,
    UNet2DConditionModel,
)
from diffusers.pipelines.stable_diffusion.pipeline_stable_unclip_img2img import (
    StableUnCLIPImg2ImgPipeline,
)
from diffusers.pipelines.stable_diffusion.stable_unclip_image_normalizer import (
    StableUnCLIPImageNormalizer,
)
from diffusers.utils import logging as diffusers_logging
from torch import Tensor
from transformers import CLIPImageProcessor, CLIPTextModel, CLIPTokenizer

from seedcli.errors import DataError
from seedcli.files import publish_json
from seedcli.models.drawing.target import load_quietly, load_target
from seedcli.models.drawing.unclip import reading_options
from seedcli.models.quiet import quiet
from seedcli.models.weights.tensors import UNREADABLE, reason

PROMPT_TOKENS = 4  # the prompt is always empty; more padding would only cost attention
NUM_NOISE_LEVELS = 1000  # of the embedding and of the picture, as in Stable Diffusion 2.1 unCLIP


def build_autoencoder(
    *, channels: Sequence[int], layers_per_level: int, latent_channels: int, image_size_px: int
) -> AutoencoderKL:
    """Pictures [B,3,S,S] in -1..1 <-> latents [B,C,S/f,S/f], f = 2^(levels - 1); random weights."""
    levels = len(channels)
    autoencoder = AutoencoderKL(
        in_channels=3,
        out_channels=3,
        down_block_types=("DownEncoderBlock2D",) * levels,
        up_block_types=("UpDecoderBlock2D",) * levels,
        block_out_channels=tuple(channels),
        layers_per_block=layers_per_level,
        latent_channels=latent_channels,
        # small groups of few channels wash out flat colour: a group that is constant normalises to
        # nothing
        norm_num_groups=1,
        sample_size=image_size_px,
        mid_block_add_attention=False,
    )
    _start_as_block_average(autoencoder)
    return autoencoder.to(memory_format=torch.channels_last)  # a tenth faster on CPU


# Light, red - green, blue - yellow: nearly uncorrelated in pictures, of about equal spread.
_LIGHT_AND_COLOUR = ((1 / 3, 1 / 3, 1 / 3), (1.0, -1.0, 0.0), (-0.5, -0.5, 1.0))


@torch.no_grad()
def _start_as_block_average(autoencoder: AutoencoderKL) -> None:
    """Sets weights so that latents begin as light and two colours of each block, and decoding as
    their inverse; training adds detail.

    From random weights a small autoencoder learns light first and stays for long where green and
    brown are one (measured: after 1,750 updates the latents told 55 % of the variance of red -
    green and 5 % of green - magenta). Here three channels and their negatives pass every layer:
    residual branches begin at zero, and silu(x) - silu(-x) = x undoes the last activation.
    """
    encoder, decoder = autoencoder.encoder, autoencoder.decoder
    matrix = torch.tensor(_LIGHT_AND_COLOUR)
    both, carried = torch.cat([torch.eye(3), -torch.eye(3)]), torch.eye(6)

    def place(layer: torch.nn.Conv2d, block: Tensor, *, spread: int = 0) -> None:
        """First rows of a convolution := `block` [out,in] of the first inputs, at the kernel's
        centre or averaged over its first corner.
        """
        rows, columns = block.shape
        layer.weight[:rows] = 0
        layer.bias[:rows] = 0
        if spread:
            layer.weight[:rows, :columns, :spread, :spread] = block[:, :, None, None] / spread**2
        else:
            centre = layer.kernel_size[0] // 2
            layer.weight[:rows, :columns, centre, centre] = block

    for name, layer in autoencoder.named_modules():
        if name.endswith("conv2"):
            layer.weight.zero_()
            layer.bias.zero_()
        elif name.endswith("conv_shortcut"):
            place(layer, carried)
        elif name.endswith(("downsamplers.0.conv", "upsamplers.0.conv")):
            place(layer, carried, spread=2 if "downsamplers" in name else 0)
    channels = autoencoder.config.latent_channels
    place(encoder.conv_in, both @ matrix)
    place(encoder.conv_out, both.T)
    encoder.conv_out.weight[channels:] = 0
    encoder.conv_out.bias[channels:] = -4.0  # log variance: little noise at first
    place(autoencoder.quant_conv, torch.eye(2 * channels))
    place(autoencoder.post_quant_conv, torch.eye(channels))
    place(decoder.conv_in, both)
    # the two last norms stretch by 2.85 (measured)
    place(decoder.conv_out, 0.35 * torch.linalg.inv(matrix) @ both.T)


def load_autoencoder(folder: Path) -> AutoencoderKL:
    """Folder of a finished autoencoder -> frozen, in eval mode, fp32.

    Raises:
        DataError: The folder holds none.
    """
    if not (folder / "config.json").is_file():
        raise DataError(
            f"{folder} holds no autoencoder: there is no config.json in it",
            remedy="train one with recipes/nano-autoencoder.toml",
        )
    autoencoder = AutoencoderKL.from_pretrained(
        folder, torch_dtype=torch.float32, local_files_only=True
    )
    return autoencoder.eval().requires_grad_(False).to(memory_format=torch.channels_last)


def latent_shape(autoencoder: AutoencoderKL, image_size_px: int) -> tuple[int, int, int]:
    """Channels and sides of the latents of a square picture: (C,s,s)."""
    config = autoencoder.config
    side = image_size_px >> (len(config.block_out_channels) - 1)
    return config.latent_channels, side, side


@torch.no_grad()
def encode_latents(autoencoder: AutoencoderKL, pictures: Tensor) -> Tensor:
    """Pictures [B,3,S,S] in -1..1 -> the mean of their latents [B,C,s,s], before scaling, fp32.

    Computed in bfloat16: five times as fast on a CPU that has it (with channels last, 693 against
    133 pictures a second and core), at an error of 0.7 % of the latents' deviation, at most 4 %.
    """
    pictures = pictures.contiguous(memory_format=torch.channels_last)
    with torch.autocast(pictures.device.type, dtype=torch.bfloat16):
        return autoencoder.encode(pictures).latent_dist.mean.float()


@torch.no_grad()
def decode_latents(autoencoder: AutoencoderKL, latents: Tensor) -> Tensor:
    """Scaled latents [B,C,s,s], of deviation 1 -> pictures [B,3,S,S] in 0..1."""
    pictures = autoencoder.decode(latents / autoencoder.config.scaling_factor).sample
    return (pictures / 2 + 0.5).clamp(0, 1)


def build_unet(
    *,
    latent_size: int,
    latent_channels: int,
    channels: Sequence[int],
    layers_per_level: int,
    attention_levels: Sequence[bool],
    attention_head_dim: int,
    condition_width: int,
    text_width: int,
    generation_dim: int,
) -> UNet2DConditionModel:
    """(noisy latents [B,C,s,s], timestep [B], text states [B,T,W], class labels [B,2G]) ->
    prediction [B,C,s,s]; random weights.
    """
    return UNet2DConditionModel(
        sample_size=latent_size,
        in_channels=latent_channels,
        out_channels=latent_channels,
        down_block_types=tuple(
            "CrossAttnDownBlock2D" if attends else "DownBlock2D" for attends in attention_levels
        ),
        up_block_types=tuple(
            "CrossAttnUpBlock2D" if attends else "UpBlock2D"
            for attends in reversed(attention_levels)
        ),
        mid_block_type="UNetMidBlock2DCrossAttn",
        block_out_channels=tuple(channels),
        layers_per_block=layers_per_level,
        cross_attention_dim=text_width,
        # diffusers' name for the number of heads
        attention_head_dim=tuple(channel // attention_head_dim for channel in channels),
        time_embedding_dim=condition_width,
        class_embed_type="projection",
        projection_class_embeddings_input_dim=2 * generation_dim,
        norm_num_groups=8,
        use_linear_projection=True,
        # the embedding scales features too; the whole picture hangs on it
        resnet_time_scale_shift="scale_shift",
    )


@torch.no_grad()
def start_on_whitened_embeddings(
    unet: UNet2DConditionModel, embeddings: Tensor, noise: float
) -> None:
    """Sets the class projection's first layer so that it begins with decorrelated embeddings of
    equal spread (embeddings [N,G]).

    A CLIP's embedding has most of its variance in a few directions, and the look of a picture lies
    in the others (nano: 256 wide, effective rank 13). `noise` is the deviation of the noise in
    training, in units of the embeddings'; directions below it stay small.
    """
    width = embeddings.shape[1]
    covariance = torch.cov(embeddings.T)
    values, vectors = torch.linalg.eigh(
        covariance + noise**2 * torch.diag(covariance.diagonal()) + 1e-6 * torch.eye(width)
    )
    whiten = vectors @ torch.diag(values.rsqrt()) @ vectors.T
    layer = unet.class_embedding.linear_1
    mixed = torch.randn(layer.out_features, width) @ whiten
    mixed /= ((embeddings - embeddings.mean(0)) @ mixed.T).std()
    layer.weight[:, :width] = mixed
    layer.bias -= mixed @ embeddings.mean(0)


def build_scheduler(prediction: Literal["v_prediction", "epsilon"]) -> DDIMScheduler:
    """Noise schedule of the latents; the numbers are Stable Diffusion's."""
    return DDIMScheduler(
        num_train_timesteps=NUM_NOISE_LEVELS,
        beta_start=0.00085,
        beta_end=0.012,
        beta_schedule="scaled_linear",
        prediction_type=prediction,
        clip_sample=False,
        set_alpha_to_one=False,
        steps_offset=1,
        timestep_spacing="leading",
    )


def build_embedding_noiser() -> DDPMScheduler:
    """Noise schedule of the generation embedding, as in Stable Diffusion 2.1 unCLIP."""
    return DDPMScheduler(num_train_timesteps=NUM_NOISE_LEVELS, beta_schedule="squaredcos_cap_v2")


def build_normalizer(embeddings: Tensor) -> StableUnCLIPImageNormalizer:
    """Target embeddings [N,G] -> the normalizer with their mean and deviation."""
    normalizer = StableUnCLIPImageNormalizer(embedding_dim=embeddings.shape[1])
    normalizer.mean.data = embeddings.mean(0, keepdim=True)
    normalizer.std.data = embeddings.std(0, keepdim=True)
    return normalizer.requires_grad_(False)


def noise_embeddings(
    embeddings: Tensor,
    levels: Tensor,
    normalizer: StableUnCLIPImageNormalizer,
    noiser: DDPMScheduler,
) -> Tensor:
    """Embeddings [B,G], levels [B] in 0..999 -> class labels [B,2G]: noised embedding and
    sinusoidal level, as the pipeline makes them.

    Source: diffusers `StableUnCLIPImg2ImgPipeline.noise_image_embeddings`, which
    takes one level for all.
    """
    from diffusers.models.embeddings import get_timestep_embedding

    noised = noiser.add_noise(normalizer.scale(embeddings), torch.randn_like(embeddings), levels)
    sinusoids = get_timestep_embedding(
        levels, embeddings.shape[1], flip_sin_to_cos=True, downscale_freq_shift=0
    )
    return torch.cat([normalizer.unscale(noised), sinusoids], dim=1)


@torch.no_grad()
def empty_prompt_states(tokenizer: CLIPTokenizer, text_encoder: CLIPTextModel) -> Tensor:
    """Text states [1,T,W] of the empty prompt, padded as the pipeline pads it."""
    text = tokenizer(
        "",
        padding="max_length",
        max_length=tokenizer.model_max_length,
        truncation=True,
        return_tensors="pt",
    )
    return text_encoder(text["input_ids"])[0]


def build_pipeline(
    *, target: Path, autoencoder: Path, prediction: Literal["v_prediction", "epsilon"]
) -> StableUnCLIPImg2ImgPipeline:
    """Folders of a trained target and autoencoder -> a pipeline that lacks its UNet and its
    normalizer; fp32, everything frozen.

    Raises:
        DataError: A folder holds no such thing.
    """
    vae, image_encoder = load_autoencoder(autoencoder), load_target(target)
    if not (target / "tokenizer.json").is_file():
        raise DataError(
            f"{target} holds an image encoder alone, expected text tower and tokenizer beside it",
            remedy="a pipeline from scratch needs the folder of a finished stage `target`",
        )
    return StableUnCLIPImg2ImgPipeline(
        image_encoder=image_encoder,
        feature_extractor=CLIPImageProcessor.from_pretrained(target, local_files_only=True),
        image_normalizer=None,
        image_noising_scheduler=build_embedding_noiser(),
        tokenizer=CLIPTokenizer.from_pretrained(
            target, local_files_only=True, model_max_length=PROMPT_TOKENS
        ),
        text_encoder=load_quietly(CLIPTextModel, target).eval(),
        unet=None,
        scheduler=build_scheduler(prediction),
        vae=vae,
    )


def load_pipeline(folder: Path) -> StableUnCLIPImg2ImgPipeline:
    """Folder of a stable-unCLIP pipeline -> its parts in fp32; its image encoder is None where the
    folder has none, as the published one has here.

    Raises:
        DataError: It is incomplete, or another kind of pipeline.
    """
    absent = {} if (folder / "image_encoder").is_dir() else {"image_encoder": None}
    options = reading_options(folder)
    try:
        with quiet(diffusers_logging):
            return StableUnCLIPImg2ImgPipeline.from_pretrained(
                str(folder), dtype=torch.float32, **options, **absent
            )
    except UNREADABLE as error:
        raise DataError(
            f"the pipeline in {folder} cannot be trained on: {reason(error)}",
            remedy="it must be whole, as diffusers saves it",
        ) from error


def build_training_scheduler(scheduler: SchedulerMixin) -> DDPMScheduler:
    """The noise schedule of any scheduler, with what training asks of it."""
    return DDPMScheduler.from_config(scheduler.config)


def save_pipeline(pipeline: StableUnCLIPImg2ImgPipeline, folder: Path) -> None:
    """Writes the whole decoder in fp16, as `StableUnCLIPImg2ImgPipeline.from_pretrained` reads
    it; the pipeline itself is then in fp16.
    """
    with quiet(diffusers_logging):
        pipeline.to(torch.float16)
        pipeline.save_pretrained(folder)
    forget_origin(folder)


def forget_origin(folder: Path) -> None:
    """Takes out of a saved pipeline where its parts were read from, which diffusers writes into
    their descriptions: it tells of one machine.
    """
    for path in (folder / "model_index.json", *folder.glob("*/config.json")):
        facts = json.loads(path.read_text(encoding="utf-8"))
        if facts.pop("_name_or_path", None) is not None:
            publish_json(path, facts)
