"""Shapes of the published picture decoder, for what must know its size before it is downloaded, and
networks of any stated shape without weights.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from diffusers import AutoencoderKL, UNet2DConditionModel
from transformers import CLIPVisionConfig, CLIPVisionModelWithProjection

# sd2-community/stable-diffusion-2-1-unclip: unet/config.json, vae/config.json
PUBLISHED_UNET: dict[str, Any] = {
    "sample_size": 96,
    "in_channels": 4,
    "out_channels": 4,
    "down_block_types": ("CrossAttnDownBlock2D",) * 3 + ("DownBlock2D",),
    "up_block_types": ("UpBlock2D",) + ("CrossAttnUpBlock2D",) * 3,
    "block_out_channels": (320, 640, 1280, 1280),
    "layers_per_block": 2,
    "cross_attention_dim": 1024,
    "attention_head_dim": (5, 10, 20, 20),
    "use_linear_projection": True,
    "class_embed_type": "projection",
    "projection_class_embeddings_input_dim": 2048,
}
PUBLISHED_AUTOENCODER: dict[str, Any] = {
    "down_block_types": ("DownEncoderBlock2D",) * 4,
    "up_block_types": ("UpDecoderBlock2D",) * 4,
    "block_out_channels": (128, 256, 512, 512),
    "layers_per_block": 2,
    "latent_channels": 4,
    "sample_size": 768,
}
# laion/CLIP-ViT-H-14-laion2B-s32B-b79K, vision tower
CLIP_H_VISION: dict[str, Any] = {
    "hidden_size": 1280,
    "intermediate_size": 5120,
    "num_hidden_layers": 32,
    "num_attention_heads": 16,
    "image_size": 224,
    "patch_size": 14,
    "projection_dim": 1024,
    "hidden_act": "gelu",
}


def shape_unet(config: Mapping[str, Any]) -> UNet2DConditionModel:
    """A `unet/config.json` -> the network with random weights, on torch's default device."""
    return UNet2DConditionModel.from_config(dict(config))


def shape_autoencoder(config: Mapping[str, Any]) -> AutoencoderKL:
    """A `vae/config.json` -> the network with random weights, on torch's default device."""
    return AutoencoderKL.from_config(dict(config))


def shape_vision_tower(config: Mapping[str, Any]) -> CLIPVisionModelWithProjection:
    """A CLIP's `config.json`, of both towers or of the vision tower alone -> the vision tower with
    random weights, on torch's default device.
    """
    vision = dict(config.get("vision_config", config))
    if "projection_dim" in config:
        vision["projection_dim"] = config["projection_dim"]
    return CLIPVisionModelWithProjection(CLIPVisionConfig(**vision))
