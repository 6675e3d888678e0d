"""A stable-unCLIP pipeline of tiny networks with seeded random weights, saved the
way diffusers saves it.
"""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import torch

if TYPE_CHECKING:
    from diffusers import StableUnCLIPImg2ImgPipeline

IMAGE_SIZE_PX = 32


def build_tiny_pipeline(*, generation_dim: int = 64, seed: int = 0) -> StableUnCLIPImg2ImgPipeline:
    """All nine components of the published decoder at tiny widths; schedulers as published. Draws
    32-px pictures in milliseconds.
    """
    from diffusers import (
        AutoencoderKL,
        DDPMScheduler,
        PNDMScheduler,
        StableUnCLIPImg2ImgPipeline,
        UNet2DConditionModel,
    )
    from diffusers.pipelines.stable_diffusion.stable_unclip_image_normalizer import (
        StableUnCLIPImageNormalizer,
    )
    from transformers import (
        CLIPImageProcessor,
        CLIPTextConfig,
        CLIPTextModel,
        CLIPTokenizer,
        CLIPVisionConfig,
        CLIPVisionModelWithProjection,
    )

    torch.manual_seed(seed)
    words = ["<|startoftext|>", "<|endoftext|>", "a</w>", "b</w>"]
    text_config = CLIPTextConfig(
        vocab_size=len(words),
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=1,
        num_attention_heads=4,
        max_position_embeddings=16,
        projection_dim=32,
        bos_token_id=0,
        eos_token_id=1,
        pad_token_id=1,
    )
    vision_config = CLIPVisionConfig(
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=1,
        num_attention_heads=4,
        image_size=32,
        patch_size=16,
        projection_dim=generation_dim,
    )
    normalizer = StableUnCLIPImageNormalizer(embedding_dim=generation_dim)
    normalizer.mean.data = 0.1 * torch.randn(1, generation_dim)
    normalizer.std.data = 0.5 + torch.rand(1, generation_dim)
    unet = UNet2DConditionModel(
        sample_size=IMAGE_SIZE_PX // 2,
        in_channels=4,
        out_channels=4,
        down_block_types=("CrossAttnDownBlock2D", "DownBlock2D"),
        up_block_types=("UpBlock2D", "CrossAttnUpBlock2D"),
        block_out_channels=(16, 32),
        layers_per_block=1,
        attention_head_dim=(2, 4),
        norm_num_groups=4,
        cross_attention_dim=32,
        class_embed_type="projection",
        projection_class_embeddings_input_dim=2 * generation_dim,
        use_linear_projection=True,
    )
    for weight in unet.class_embedding.parameters():
        # random weights hardly listen to their class label; guidance tests need ones that do
        weight.data.mul_(6.0)
    vae = AutoencoderKL(
        in_channels=3,
        out_channels=3,
        down_block_types=("DownEncoderBlock2D", "DownEncoderBlock2D"),
        up_block_types=("UpDecoderBlock2D", "UpDecoderBlock2D"),
        block_out_channels=(8, 16),
        latent_channels=4,
        norm_num_groups=4,
        sample_size=IMAGE_SIZE_PX,
        scaling_factor=0.5,
    )
    return StableUnCLIPImg2ImgPipeline(
        feature_extractor=CLIPImageProcessor(size={"shortest_edge": 32}, crop_size=32),
        image_encoder=CLIPVisionModelWithProjection(vision_config).eval(),
        image_normalizer=normalizer.eval(),
        image_noising_scheduler=DDPMScheduler(beta_schedule="squaredcos_cap_v2"),
        tokenizer=CLIPTokenizer(
            {word: index for index, word in enumerate(words)}, [], model_max_length=16
        ),
        text_encoder=CLIPTextModel(text_config).eval(),
        unet=unet.eval(),
        scheduler=PNDMScheduler(
            beta_start=0.00085,
            beta_end=0.012,
            beta_schedule="scaled_linear",
            prediction_type="v_prediction",
            skip_prk_steps=True,
            steps_offset=1,
        ),
        vae=vae.eval(),
    )


def save_tiny_decoder(folder: Path, *, generation_dim: int = 64, seed: int = 0) -> Path:
    """Writes the tiny pipeline to `folder` and returns it."""
    pipeline = build_tiny_pipeline(generation_dim=generation_dim, seed=seed)
    pipeline.set_progress_bar_config(disable=True)
    pipeline.save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def tiny_decoder_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of the tiny decoder for generation embeddings of width 64; do not write into it."""
    return save_tiny_decoder(tmp_path_factory.mktemp("decoder") / "decoder")


@pytest.fixture(scope="session")
def tiny_model_folder(
    tiny_tokenizer_folder: Path, tiny_decoder_folder: Path, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """A whole model: the tiny tokenizer (32 of 64 codes, generation width 64) with the tiny decoder
    in it; do not write into it.
    """
    folder = tmp_path_factory.mktemp("whole") / "tiny"
    shutil.copytree(tiny_tokenizer_folder, folder)
    shutil.copytree(tiny_decoder_folder, folder / "decoder")
    return folder
