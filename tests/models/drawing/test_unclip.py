"""The image decoder against the stock diffusers pipeline and against
guidance written out by hand.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file

from seedcli.errors import DataError, NumericalError
from seedcli.models.drawing.unclip import UnclipDecoder, load_decoder
from seedcli.models.drawing.unclip_parts import load_pipeline
from seedcli.models.weights.layout import choose_files
from seedcli.models.weights.load import check_decoder
from seedcli.models.weights.published import UNCLIP
from tests.decoder_fixture import IMAGE_SIZE_PX

G = 64


def _embeddings(count: int, seed: int = 3) -> torch.Tensor:
    return torch.randn(count, G, generator=torch.Generator().manual_seed(seed))


def _bytes(images: list[Image.Image]) -> list[bytes]:
    return [image.tobytes() for image in images]


@pytest.fixture(scope="module")
def decoder(tiny_decoder_folder: Path) -> UnclipDecoder:
    return load_decoder(tiny_decoder_folder, generation_dim=G)


@pytest.mark.parametrize("guidance", [1.0, 10.0])
def test_without_negatives_it_draws_as_the_stock_pipeline(
    decoder: UnclipDecoder, tiny_decoder_folder: Path, guidance: float
) -> None:
    from diffusers import StableUnCLIPImg2ImgPipeline

    stock = StableUnCLIPImg2ImgPipeline.from_pretrained(str(tiny_decoder_folder))
    stock.set_progress_bar_config(disable=True)
    stock.unet.to(memory_format=torch.channels_last)  # another order of summation, as in ours
    stock.vae.to(memory_format=torch.channels_last)
    expected = stock(
        prompt=["", "", ""],
        image_embeds=_embeddings(3),
        num_inference_steps=4,
        guidance_scale=guidance,
        generator=[torch.Generator().manual_seed(7 + index) for index in range(3)],
    ).images
    assert _bytes(
        decoder.decode_images(_embeddings(3), steps=4, guidance=guidance, seed=7)
    ) == _bytes(expected)
    assert expected[0].size == (IMAGE_SIZE_PX, IMAGE_SIZE_PX)


@pytest.mark.parametrize("layout", ["safetensors", "fp16.safetensors", "bin", "fp16.bin"])
def test_files_as_they_are_fetched_draw_the_same(
    decoder: UnclipDecoder, tiny_decoder_folder: Path, tmp_path: Path, layout: str
) -> None:
    """Without the image encoder, in each format and precision that hub copies have."""
    folder = tmp_path / "fetched"
    names = {
        path.relative_to(tiny_decoder_folder).as_posix(): path
        for path in tiny_decoder_folder.rglob("*")
        if path.is_file()
    }
    listing: dict[str, Path] = {}
    for name, path in names.items():
        stem, dot, suffix = name.rpartition(".")
        if suffix == "safetensors":
            pickled = layout.endswith("bin") and stem.endswith("/model")
            name = (stem.replace("/model", "/pytorch_model") if pickled else stem) + dot + layout
        listing[name] = path
    _, chosen = choose_files(UNCLIP, UNCLIP.sources[0], listing)
    assert not any(name.startswith("image_encoder") for name in chosen)
    for name in chosen:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        if listing[name].suffix != ".safetensors":
            shutil.copy(listing[name], folder / name)
            continue
        tensors = load_file(listing[name])
        if "fp16" in layout:
            tensors = {key: tensor.half() for key, tensor in tensors.items()}
        if layout.endswith("bin"):
            torch.save(tensors, folder / name)
        else:
            save_file(tensors, folder / name, metadata={"format": "pt"})
    whole = load_pipeline(folder)  # for training on it
    assert whole.image_encoder is None
    assert whole.feature_extractor is not None
    drawn = load_decoder(folder, generation_dim=G).decode_images(
        _embeddings(1), steps=2, guidance=1.0, seed=7
    )
    expected = decoder.decode_images(_embeddings(1), steps=2, guidance=1.0, seed=7)
    difference = np.abs(np.asarray(drawn[0], int) - np.asarray(expected[0], int)).max()
    # weights rounded to fp16: 1 of 255 at worst here; else the same arithmetic
    assert difference <= (2 if "fp16" in layout else 0)


def test_negatives_are_guidance_as_written_by_hand(decoder: UnclipDecoder) -> None:
    pipeline, steps, guidance = decoder.pipeline, 3, 5.0
    embeddings, negative = _embeddings(2), _embeddings(1, seed=9)
    latents, labels, negative_labels = [], [], []
    for index in range(2):
        generator = torch.Generator().manual_seed(11 + index)
        noise = torch.randn(1, G, generator=generator)
        labels.append(
            pipeline.noise_image_embeddings(
                embeddings[index : index + 1], noise_level=0, noise=noise
            )
        )
        negative_labels.append(
            pipeline.noise_image_embeddings(negative, noise_level=0, noise=noise)
        )
        latents.append(
            torch.randn(1, 4, IMAGE_SIZE_PX // 2, IMAGE_SIZE_PX // 2, generator=generator)
        )
    x = torch.cat(latents) * pipeline.scheduler.init_noise_sigma
    prompt = decoder.prompt_embedding.expand(2, -1, -1)
    pipeline.scheduler.set_timesteps(steps)
    with torch.no_grad():
        for t in pipeline.scheduler.timesteps:
            towards = pipeline.unet(
                x, t, encoder_hidden_states=prompt, class_labels=torch.cat(labels)
            ).sample
            away = pipeline.unet(
                x, t, encoder_hidden_states=prompt, class_labels=torch.cat(negative_labels)
            ).sample
            x = pipeline.scheduler.step(away + guidance * (towards - away), t, x).prev_sample
        pixels = pipeline.vae.decode(x / pipeline.vae.config.scaling_factor).sample
    expected = (pixels / 2 + 0.5).clamp(0, 1).permute(0, 2, 3, 1).numpy() * 255

    images = decoder.decode_images(
        embeddings, steps=steps, guidance=guidance, seed=11, negative=negative
    )
    drawn = np.stack([np.asarray(image) for image in images])
    assert np.abs(drawn - expected).max() <= 0.51  # rounding to 8 bit
    plain = decoder.decode_images(embeddings, steps=steps, guidance=guidance, seed=11)
    assert np.abs(drawn - np.stack([np.asarray(image) for image in plain]).astype(float)).max() > 10


def test_one_negative_serves_all_and_each_may_have_its_own(decoder: UnclipDecoder) -> None:
    negative = _embeddings(1, seed=9)
    settings = {"steps": 2, "guidance": 4.0, "seed": 0}
    shared = decoder.decode_images(_embeddings(2), negative=negative, **settings)
    repeated = decoder.decode_images(_embeddings(2), negative=negative.repeat(2, 1), **settings)
    own = decoder.decode_images(
        _embeddings(2), negative=torch.cat([negative, _embeddings(1, seed=10)]), **settings
    )
    assert _bytes(shared) == _bytes(repeated)
    assert _bytes(own)[0] == _bytes(shared)[0]
    assert _bytes(own)[1] != _bytes(shared)[1]


def test_moving_away_from_itself_is_no_guidance(decoder: UnclipDecoder) -> None:
    away = decoder.decode_images(
        _embeddings(1), steps=2, guidance=8.0, seed=5, negative=_embeddings(1)
    )[0]
    plain = decoder.decode_images(_embeddings(1), steps=2, guidance=1.0, seed=5)[0]
    difference = np.abs(np.asarray(away).astype(int) - np.asarray(plain).astype(int)).max()
    assert difference <= 1  # batch 2 against batch 1: rounding


def test_same_seed_same_bytes_and_an_image_does_not_see_the_others(decoder: UnclipDecoder) -> None:
    settings = {"steps": 2, "guidance": 3.0}
    first = _bytes(decoder.decode_images(_embeddings(3), seed=0, **settings))
    assert _bytes(decoder.decode_images(_embeddings(3), seed=0, **settings)) == first
    assert _bytes(decoder.decode_images(_embeddings(3), seed=1, **settings)) != first

    others = _embeddings(3)
    others[0], others[2] = _embeddings(2, seed=8)
    assert _bytes(decoder.decode_images(others, seed=0, **settings))[1] == first[1]

    assert _bytes(decoder.decode_images(_embeddings(3), seed=[5, 1, 9], **settings))[1] == first[1]
    with pytest.raises(ValueError, match="2 seeds for 3 images"):
        decoder.decode_images(_embeddings(3), seed=[0, 1], **settings)

    torch.rand(5)  # the global generator is not used
    alone = decoder.decode_images(_embeddings(3)[1:2], seed=1, **settings)[0]
    together = np.frombuffer(first[1], dtype=np.uint8).reshape(IMAGE_SIZE_PX, IMAGE_SIZE_PX, 3)
    assert np.abs(np.asarray(alone).astype(int) - together).max() <= 1


def test_every_step_is_announced_and_nothing_is_printed(
    tiny_decoder_folder: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    counts: list[int] = []
    load_decoder(tiny_decoder_folder, generation_dim=G).decode_images(
        _embeddings(1), steps=20, guidance=2.0, seed=0, on_step=counts.append
    )
    assert counts == list(range(1, 22))  # PNDM: one call more than steps
    assert capfd.readouterr() == ("", "")


def test_neither_encoder_is_kept(decoder: UnclipDecoder) -> None:
    assert decoder.pipeline.image_encoder is None
    assert decoder.pipeline.text_encoder is None
    assert decoder.generation_dim == G
    assert decoder.image_size_px == IMAGE_SIZE_PX


def test_image_encoder_weights_are_not_read(
    tiny_decoder_folder: Path, decoder: UnclipDecoder, tmp_path: Path
) -> None:
    folder = tmp_path / "without"
    shutil.copytree(tiny_decoder_folder, folder)
    shutil.rmtree(folder / "image_encoder")
    shutil.rmtree(folder / "feature_extractor")
    drawn = load_decoder(folder, generation_dim=G).decode_images(
        _embeddings(1), steps=2, guidance=2.0, seed=0
    )
    assert _bytes(drawn) == _bytes(
        decoder.decode_images(_embeddings(1), steps=2, guidance=2.0, seed=0)
    )


def test_half_precision_files_are_read(tiny_decoder_folder: Path, tmp_path: Path) -> None:
    folder = tmp_path / "half"
    shutil.copytree(tiny_decoder_folder, folder)
    for path in [*folder.glob("*/*.safetensors")]:
        path.rename(path.with_name(path.name.replace(".safetensors", ".fp16.safetensors")))
    assert load_decoder(folder, generation_dim=G).decode_images(
        _embeddings(1), steps=1, guidance=1.0, seed=0
    )


def test_bfloat16_draws(tiny_decoder_folder: Path) -> None:
    decoder = load_decoder(tiny_decoder_folder, generation_dim=G, dtype=torch.bfloat16)
    assert decoder.pipeline.unet.dtype == torch.bfloat16
    assert (
        len(
            decoder.decode_images(
                _embeddings(2), steps=2, guidance=2.0, seed=0, negative=_embeddings(1)
            )
        )
        == 2
    )


def test_a_decoder_of_another_width_is_refused(tiny_decoder_folder: Path) -> None:
    with pytest.raises(DataError, match=r"width 64 .* makes 1024") as caught:
        check_decoder(tiny_decoder_folder, 1024)
    assert "-small" in caught.value.remedy
    with pytest.raises(DataError):
        load_decoder(tiny_decoder_folder, generation_dim=1024)


def test_another_pipeline_or_no_pipeline_is_refused(
    tiny_decoder_folder: Path, tmp_path: Path
) -> None:
    with pytest.raises(DataError, match=r"model_index\.json"):
        load_decoder(tmp_path, generation_dim=G)
    folder = tmp_path / "other"
    shutil.copytree(tiny_decoder_folder, folder)
    (folder / "model_index.json").write_text(json.dumps({"_class_name": "StableDiffusionPipeline"}))
    with pytest.raises(DataError, match="StableDiffusionPipeline"):
        load_decoder(folder, generation_dim=G)


@pytest.mark.parametrize(
    "name",
    [
        "unet/diffusion_pytorch_model.safetensors",
        "vae/config.json",
        "text_encoder/model.safetensors",
    ],
)
def test_a_missing_or_broken_file_is_a_data_error(
    tiny_decoder_folder: Path, tmp_path: Path, name: str
) -> None:
    folder = tmp_path / "broken"
    shutil.copytree(tiny_decoder_folder, folder)
    (folder / name).unlink()
    with pytest.raises(DataError, match="cannot be loaded"):
        load_decoder(folder, generation_dim=G)
    (folder / name).write_bytes(b"not what it should be")
    with pytest.raises(DataError, match="cannot be loaded|no readable JSON"):
        load_decoder(folder, generation_dim=G)


def test_a_pickle_is_never_read(tiny_decoder_folder: Path, tmp_path: Path) -> None:
    folder = tmp_path / "pickle"
    shutil.copytree(tiny_decoder_folder, folder)
    weights = folder / "unet" / "diffusion_pytorch_model.safetensors"
    weights.unlink()
    torch.save({}, weights.with_suffix(".bin"))
    with pytest.raises(DataError, match="cannot be loaded"):
        load_decoder(folder, generation_dim=G)


def test_wrong_shapes_are_refused(decoder: UnclipDecoder) -> None:
    with pytest.raises(ValueError, match=r"expected \[B, 64\]"):
        decoder.decode_images(torch.zeros(1, 32), steps=1, guidance=2.0, seed=0)
    with pytest.raises(ValueError, match="negative is"):
        decoder.decode_images(
            _embeddings(3), steps=1, guidance=2.0, seed=0, negative=_embeddings(2)
        )
    with pytest.raises(ValueError, match="no effect"):
        decoder.decode_images(
            _embeddings(1), steps=1, guidance=1.0, seed=0, negative=_embeddings(1)
        )


def test_nan_is_a_numerical_error(decoder: UnclipDecoder) -> None:
    with pytest.raises(NumericalError, match="NaN"):
        decoder.decode_images(torch.full((1, G), torch.nan), steps=1, guidance=1.0, seed=0)
