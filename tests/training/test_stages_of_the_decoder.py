"""Stages target, autoencoder and unclip, tiny, one after the other: what each saves is what the
next one and diffusers load.
"""

from __future__ import annotations

import json

import pytest
import torch
import torch.nn.functional as F

from seedcli.data.emoji import read_emoji
from seedcli.data.images import augmentation
from seedcli.data.images.augmentation import (
    epoch_indices,
    normalize_views,
    random_views,
    read_squares,
)
from seedcli.errors import DataError
from seedcli.models.drawing.target import load_target, target_embedding
from seedcli.models.drawing.unclip import load_decoder
from seedcli.models.drawing.unclip_parts import build_autoencoder, load_autoencoder
from seedcli.models.visual.config import PreprocessConfig
from seedcli.recipe.read import load_recipe
from seedcli.training.run_folder import read_metrics
from seedcli.training.stages import autoencoder as stage_autoencoder
from seedcli.training.stages import target as stage_target
from seedcli.training.stages import unclip as stage_unclip
from seedcli.training.stages.emoji_batches import concept_contrast
from seedcli.workflows.train.tokenizer import run

SHORT = [
    "optimization.steps=3",
    "optimization.batch_size=6",
    "optimization.warmup_steps=1",
    "run.log_every_steps=1",
]
TINY_CLIP = [
    f"model.{key}"
    for key in (
        "vision_width=32",
        "vision_depth=1",
        "text_width=32",
        "text_depth=1",
        "vocab_size=600",
        "embedding_dim=32",
        "painter_width=32",
    )
]


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """Run folders of the three stages, trained for three steps on 24 pictures."""
    root = tmp_path_factory.mktemp("runs")
    pictures = read_emoji("train")[::345]
    with pytest.MonkeyPatch.context() as patch:
        for stage in (stage_target, stage_autoencoder, stage_unclip):
            patch.setattr(stage, "read_emoji", lambda split: pictures)
        run(load_recipe("nano-target", [*SHORT, *TINY_CLIP]), root / "target")
        small = [*SHORT, "model.channels=[8, 8, 16]", "crops.steps=2"]
        run(load_recipe("nano-autoencoder", small), root / "autoencoder")
        parts = [
            f"target={root / 'target' / 'model'}",
            f"autoencoder={root / 'autoencoder' / 'model'}",
        ]
        shape = [
            "model.channels=[16, 32]",
            "model.attention_levels=[false, true]",
            "model.attention_head_dim=16",
            "diffusion.views=1",
        ]
        run(load_recipe("nano-unclip", [*SHORT, *parts, *shape]), root / "unclip")
    return root


@pytest.mark.slow
@pytest.mark.timeout(400)
def test_target_folder_gives_unnormalised_embeddings_of_any_pixels(folders):
    encoder = load_target(folders / "target" / "model")
    embedding = target_embedding(encoder, torch.randn(2, 3, 64, 64))
    assert embedding.shape == (2, 32)
    assert not encoder.training
    assert not any(parameter.requires_grad for parameter in encoder.parameters())


@pytest.mark.slow
@pytest.mark.timeout(400)
def test_latents_of_the_autoencoder_have_deviation_one_after_scaling(folders):
    autoencoder = load_autoencoder(folders / "autoencoder" / "model")
    squares = read_squares([picture.image for picture in read_emoji("train")[::345]], 64)
    with torch.no_grad():
        latents = (
            autoencoder.encode(squares.float() / 127.5 - 1).latent_dist.mean
            * autoencoder.config.scaling_factor
        )
    assert latents.shape[1:] == (4, 16, 16)
    assert latents.std().item() == pytest.approx(1, rel=1e-3)


@pytest.mark.slow
@pytest.mark.timeout(400)
def test_decoder_is_a_stock_pipeline_in_half_precision_that_draws(folders):
    folder = folders / "unclip" / "model"
    assert (
        json.loads((folder / "model_index.json").read_text())["_class_name"]
        == "StableUnCLIPImg2ImgPipeline"
    )
    decoder = load_decoder(folder, generation_dim=32)
    images = decoder.decode_images(torch.randn(2, 32), steps=2, guidance=2.0, seed=0)
    assert [image.size for image in images] == [(64, 64)] * 2
    assert images[0].tobytes() != images[1].tobytes()


@pytest.mark.slow
@pytest.mark.timeout(400)
def test_metrics_name_every_loss(folders):
    assert read_metrics(folders / "target")[-1].keys() >= {
        "loss",
        "contrastive",
        "painting",
        "match",
        "logit_scale",
    }
    assert read_metrics(folders / "autoencoder")[-1].keys() >= {"loss", "l1", "mse", "edge", "kl"}
    assert [line["step"] for line in read_metrics(folders / "unclip")] == [1, 2, 3]
    assert (folders / "unclip" / "losses.png").is_file()


def test_an_untrained_autoencoder_already_tells_colours_apart():
    torch.manual_seed(0)
    autoencoder = build_autoencoder(
        channels=(16, 32, 64), layers_per_level=1, latent_channels=4, image_size_px=64
    )
    pictures = (
        read_squares([picture.image for picture in read_emoji("train")[::500]], 64).float() / 127.5
        - 1
    )
    with torch.no_grad():
        rebuilt = autoencoder.decode(autoencoder.encode(pictures).latent_dist.mean).sample
    blocks = F.interpolate(F.avg_pool2d(pictures, 4), scale_factor=4.0)
    for one, other in ((0, 1), (2, 1), (0, 2)):  # measured: 0.9 and more
        differences = torch.stack(
            [(image[:, one] - image[:, other]).flatten() for image in (rebuilt, blocks)]
        )
        assert torch.corrcoef(differences)[0, 1] > 0.8


def test_missing_parts_are_named(tmp_path):
    with pytest.raises(DataError, match=r"no config\.json"):
        load_target(tmp_path)
    with pytest.raises(DataError, match=r"no config\.json"):
        load_autoencoder(tmp_path)


def test_every_caption_of_the_same_emoji_is_a_right_answer():
    features = torch.eye(4)
    concepts = torch.tensor([0, 0, 1, 2])
    swapped = features[[1, 0, 2, 3]]
    loss, match = concept_contrast(features, swapped, concepts, torch.tensor(50.0))
    straight, _ = concept_contrast(features, features, concepts, torch.tensor(50.0))
    assert match == 1.0
    assert loss == straight


def test_views_without_change_are_the_picture_and_their_padding_is_white():
    config = PreprocessConfig(image_size_px=32, geometry="random-affine", interpolation="bilinear")
    squares = torch.randint(0, 256, (3, 3, 32, 32), dtype=torch.uint8)
    # grid_sample interpolates; measured 1e-6
    assert torch.allclose(random_views(squares, config), squares / 255, atol=1e-5)
    shifted = random_views(
        torch.zeros(64, 3, 32, 32, dtype=torch.uint8),
        PreprocessConfig(**{**vars(config), "shift": 0.25}),
    )
    assert {round(value, 3) for value in (shifted.min().item(), shifted.max().item())} == {0.0, 1.0}
    shares = (shifted > 0.5).float().mean((1, 2, 3))
    assert shares.max() <= 1 - 0.75**2 + 0.05
    assert torch.allclose(
        normalize_views(squares / 255, config)[0, 0],
        (squares[0, 0] / 255 - config.mean[0]) / config.std[0],
    )


def test_other_geometries_are_refused():
    with pytest.raises(ValueError, match="random-affine"):
        augmentation.random_views(
            torch.zeros(1, 3, 8, 8, dtype=torch.uint8),
            PreprocessConfig(image_size_px=8, geometry="squash", interpolation="bilinear"),
        )


def test_an_epoch_takes_every_row_once():
    rows = torch.cat([epoch_indices(step, count=10, batch_size=4, seed=3) for step in range(5)])
    assert sorted(rows[:10].tolist()) == sorted(rows[10:].tolist()) == list(range(10))
    assert rows[:10].tolist() != rows[10:].tolist()
    assert torch.equal(epoch_indices(1, count=10, batch_size=4, seed=3), rows[4:8])
