"""Stages target, autoencoder and unclip, tiny, one after the other: what each saves is what the
next one and diffusers load.
"""

from __future__ import annotations

import json
import math

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
import torch.nn.functional as F
from PIL import Image
from transformers import CLIPModel

from seedcli.data.emoji import read_emoji
from seedcli.data.images import augmentation
from seedcli.data.images.augmentation import (
    apply_views,
    draw_views,
    epoch_indices,
    normalize_views,
    random_views,
    read_squares,
)
from seedcli.errors import DataError, RecipeError
from seedcli.models.drawing.target import (
    build_clip,
    fold_standardization,
    load_target,
    target_embedding,
    train_bpe,
)
from seedcli.models.drawing.unclip import load_decoder
from seedcli.models.drawing.unclip_parts import build_autoencoder, encode_latents, load_autoencoder
from seedcli.models.visual.config import PreprocessConfig
from seedcli.recipe.read import load_recipe
from seedcli.training.embedding_health import LinearMap, effective_rank
from seedcli.training.run_folder import read_metrics
from seedcli.training.stages.encoded_views import EncodedViews
from seedcli.training.stages.picture_batches import concept_contrast
from seedcli.workflows.train.tokenizer import run
from tests.decoder_fixture import build_tiny_pipeline

SHORT = [
    "optimization.steps=3",
    "optimization.batch_size=6",
    "optimization.warmup_steps=1",
    "run.log_every_steps=1",
    "parallel.precision=fp32",
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


TINY_UNET = [
    "model.channels=[16, 32]",
    "model.attention_levels=[false, true]",
    "model.attention_head_dim=16",
    "features.views=2",
]


@pytest.fixture(scope="module")
def table(tmp_path_factory):
    """A table of 25 pictures of the bundled set, seven of them held out; columns of its own."""
    pictures = read_emoji("train")[::700]
    path = tmp_path_factory.mktemp("table") / "pictures.parquet"
    columns = {
        "drawing": [picture.image for picture in pictures],
        "says": [picture.label for picture in pictures],
        "part": ["held" if row % 4 == 0 else "train" for row in range(len(pictures))],
    }
    pq.write_table(pa.table(columns), path)
    return [
        f"data.path={path}",
        'data.split=""',
        "data.caption_column=says",
        "data.where={part='train'}",
        'validation.split=""',
        "validation.where={part='held'}",
    ]


@pytest.fixture(scope="module")
def folders(table, tmp_path_factory):
    """Run folders of the three stages, trained for three steps on a small table."""
    root = tmp_path_factory.mktemp("runs")
    small = [*SHORT, *table, "model.channels=[8, 8, 16]", "crops.steps=2"]
    run(load_recipe("nano-autoencoder", small), root / "autoencoder")
    autoencoder = f"autoencoder={root / 'autoencoder' / 'model'}"
    run(load_recipe("nano-target", [*SHORT, *table, *TINY_CLIP, autoencoder]), root / "target")
    parts = [autoencoder, f"target={root / 'target' / 'model'}"]
    run(load_recipe("nano-unclip", [*SHORT, *table, *parts, *TINY_UNET]), root / "unclip")
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
    trained = [picture for row, picture in enumerate(read_emoji("train")[::700]) if row % 4]
    squares = read_squares([picture.image for picture in trained], 64)
    latents = encode_latents(autoencoder, squares.float() / 127.5 - 1)
    latents = latents * autoencoder.config.scaling_factor
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
def test_metrics_name_every_loss_and_what_was_held_out(folders):
    target = read_metrics(folders / "target")
    assert target[-1].keys() >= {
        "loss",
        "contrastive",
        "painting",
        "decorrelation",
        "match",
        "logit_scale",
        "effective_rank",
        "linear_other_views",
        "linear_held_out",
        "painted_held_out",
    }
    assert "effective_rank" not in target[0]
    assert read_metrics(folders / "autoencoder")[-1].keys() >= {"mse", "kl", "held_out_mse"}
    assert read_metrics(folders / "unclip")[-1].keys() >= {"loss", "held_out_embeddings"}
    assert [line["step"] for line in read_metrics(folders / "unclip")] == [1, 2, 3]
    assert (folders / "unclip" / "losses.png").is_file()
    page = (folders / "unclip" / "index.html").read_text()
    assert "Step 3<" in page and page.count("data:image/webp") >= 2


@pytest.mark.slow
@pytest.mark.timeout(400)
@pytest.mark.parametrize(("stage", "rows"), [("autoencoder", 2), ("target", 2), ("unclip", 3)])
def test_a_sheet_shows_what_is_held_out_above_what_was_drawn(folders, stage, rows):
    with Image.open(folders / stage / "sheets" / "step-00000003.png") as sheet:
        # seven pictures of 64 px, 2 px apart
        assert sheet.size == (7 * 66 + 2, rows * 66 + 2)


@pytest.mark.slow
@pytest.mark.timeout(400)
def test_a_resumed_run_reads_its_views_from_its_folder(folders, table, monkeypatch):
    found = (folders / "target" / "views.safetensors").stat().st_mtime_ns
    parts = [f"autoencoder={folders / 'autoencoder' / 'model'}"]
    longer = [*SHORT, *table, *TINY_CLIP, *parts, "optimization.steps=4"]
    run(load_recipe("nano-target", longer), folders / "target", resume=True)
    assert (folders / "target" / "views.safetensors").stat().st_mtime_ns == found
    assert read_metrics(folders / "target")[-1]["step"] == 4


@pytest.mark.slow
@pytest.mark.timeout(400)
@pytest.mark.parametrize("source", ["cache", "stream"])
def test_a_decoder_is_trained_on_by_what_codes_give(folders, table, tmp_path, source):
    """The bundled tokenizer's codes and target, and a pipeline whose classes and schedulers are the
    published ones.
    """
    start = tmp_path / "start"
    build_tiny_pipeline(generation_dim=256).save_pretrained(start)
    on_codes = [
        *SHORT,
        *table,
        f"start={start}",
        "target=seed-nano",
        "codes.tokenizer=seed-nano",
        "codes.true_share=0.25",
        "data.image_size_px=32",
        f"features.source={source}",
        "features.views=1",
        "diffusion.gradient_checkpointing=true",
        "parallel.precision=fp32",
        "run.loader_workers=0",
        "validation.share=0.0",
    ]
    run(load_recipe("seed2-unclip-on-codes", on_codes), tmp_path / "run")
    last = read_metrics(tmp_path / "run")[-1]
    assert math.isfinite(last["loss"])
    assert last["held_out_code_embeddings"] != last["held_out_embeddings"]
    decoder = load_decoder(tmp_path / "run" / "model", generation_dim=256)
    assert type(decoder.pipeline.scheduler).__name__ == "PNDMScheduler"
    told = [path.read_text() for path in (tmp_path / "run" / "model").rglob("*.json")]
    assert not any(str(tmp_path) in text for text in told)  # where it was made is no one's business
    images = decoder.decode_images(torch.randn(1, 256), steps=2, guidance=2.0, seed=0)
    assert images[0].size == (32, 32)


@pytest.mark.slow
@pytest.mark.timeout(400)
def test_parts_of_two_widths_are_refused(folders, table, tmp_path):
    parts = [f"{part}={folders / part / 'model'}" for part in ("target", "autoencoder")]
    start = f"start={folders / 'unclip' / 'model'}"
    codes = ["codes.tokenizer=seed-nano", "data.image_size_px=64", "validation.share=0.0"]
    recipe = load_recipe("seed2-unclip-on-codes", [*SHORT, *table, *parts, start, *codes])
    with pytest.raises(RecipeError, match="width 32, the tokenizer's generation embedding has 256"):
        run(recipe, tmp_path / "run")


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        (["start=seed-nano"], "with a section"),
        (["condition=codes"], r"without a section \[codes\]"),
        (["target=pipeline"], "which is"),
    ],
)
def test_parts_of_an_unclip_recipe_must_fit(changes, said):
    with pytest.raises(RecipeError, match=said):
        load_recipe("nano-unclip", changes)


def test_folding_keeps_a_clip_whose_embedding_is_standardised():
    torch.manual_seed(0)
    clip = build_clip(
        tokenizer=train_bpe(["a dog"], vocab_size=514, max_tokens=8),
        embedding_dim=24,
        image_size_px=16,
        patch_size_px=8,
        vision_width=32,
        vision_depth=1,
        text_width=32,
        text_depth=1,
    ).eval()
    pixels = torch.randn(64, 3, 16, 16)
    with torch.no_grad():
        pooled = clip.vision_model(pixel_values=pixels).pooler_output
        before = target_embedding(clip, pixels)
        fold_standardization(clip, pooled.mean(0), before.std(0))
        after = target_embedding(clip, pixels)
    # measured 1e-6
    assert torch.allclose(after, (before - before.mean(0)) / before.std(0), atol=1e-4)
    assert type(clip) is CLIPModel


def test_a_linear_map_tells_what_is_linear_and_nothing_else():
    torch.manual_seed(0)
    embeddings, other = torch.randn(400, 8), torch.randn(100, 8)
    weights = torch.randn(8, 3)
    linear = LinearMap(embeddings, embeddings @ weights + 5)
    # the ridge costs a thousandth; measured 0.999998
    assert linear.explained(other, other @ weights + 5) > 0.999
    assert linear.explained(other, torch.randn(100, 3)) < 0
    assert effective_rank(embeddings) > 7
    assert effective_rank(embeddings[:, :1] * torch.ones(8)) == pytest.approx(1)


def test_views_that_are_kept_are_read_only_by_who_made_them(tmp_path):
    config = PreprocessConfig(
        image_size_px=8, geometry="random-affine", interpolation="bilinear", shift=0.1
    )
    squares = torch.randint(0, 256, (5, 3, 8, 8), dtype=torch.uint8)
    calls = []

    def encode(views):
        calls.append(len(views))
        return {"mean": views.mean((1, 2, 3))}

    def build(made_by):
        return EncodedViews(
            squares, config, encode, count=2, seed=3, made_by=made_by, folder=tmp_path
        )

    first, again = build("one"), build("one")
    assert calls == [5, 5] and torch.equal(first.encoded["mean"], again.encoded["mean"])
    build("other")
    assert len(calls) == 4
    numbers, rows = torch.tensor([1, 0]), torch.tensor([4, 2])
    # half precision: measured 2e-4
    assert torch.allclose(
        first.pictures(numbers, rows).mean((1, 2, 3)),
        first.encoded["mean"][numbers, rows].float(),
        atol=1e-3,
    )


def test_drawn_and_applied_views_are_random_views():
    config = PreprocessConfig(
        image_size_px=16,
        geometry="random-affine",
        interpolation="bilinear",
        rotation_deg=20.0,
        shift=0.1,
        scale=(0.8, 1.2),
        brightness=0.3,
    )
    squares = torch.randint(0, 256, (4, 3, 16, 16), dtype=torch.uint8)
    torch.manual_seed(1)
    once = random_views(squares, config)
    torch.manual_seed(1)
    assert torch.equal(once, apply_views(squares, draw_views(4, config)))


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
