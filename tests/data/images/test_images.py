"""What every kind of image file becomes, what is refused and with which words,
and the four geometries.
"""

import contextlib
import io
import struct
import zlib

import numpy as np
import pytest
import torch
from PIL import Image, ImageOps
from torchvision.transforms import (
    CenterCrop,
    Compose,
    InterpolationMode,
    Normalize,
    Resize,
    ToTensor,
)

from seedcli.data.images.images import ImageError, Preprocess, open_image, save_image
from seedcli.errors import DataError
from seedcli.models.visual.config import PreprocessConfig


def encoded(image: Image.Image, image_format: str, **options) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, image_format, **options)
    return buffer.getvalue()


def picture(width: int = 40, height: int = 30) -> Image.Image:
    x, y = np.meshgrid(np.arange(width), np.arange(height))
    return Image.fromarray(
        np.stack([x * 255 // width, y * 255 // height, (x * y) % 256], axis=-1).astype(np.uint8)
    )


def png_header(width: int, height: int) -> bytes:
    def chunk(name: bytes, body: bytes) -> bytes:
        return (
            struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))
        )

    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0))
    return (
        b"\x89PNG\r\n\x1a\n"
        + header
        + chunk(b"IDAT", zlib.compress(b"\0" * 100))
        + chunk(b"IEND", b"")
    )


def test_plain_image_is_unchanged(tmp_path):
    save_image(picture(), tmp_path / "a.png")
    assert open_image(tmp_path / "a.png").tobytes() == picture().tobytes()
    assert open_image((tmp_path / "a.png").read_bytes()).tobytes() == picture().tobytes()


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("image_format", ["JPEG", "PNG", "TIFF", "WEBP"])
def test_exif_orientation_is_honoured(orientation, image_format):
    exif = Image.Exif()
    exif[0x0112] = orientation
    data = encoded(
        picture(), image_format, exif=exif, **({"quality": 95} if image_format == "JPEG" else {})
    )
    expected = ImageOps.exif_transpose(Image.open(io.BytesIO(data))).convert("RGB")
    result = open_image(data)
    assert result.size == ((30, 40) if orientation >= 5 else (40, 30))
    assert result.tobytes() == expected.tobytes()


def test_official_handling_ignores_exif():
    exif = Image.Exif()
    exif[0x0112] = 6
    assert (
        open_image(encoded(picture(), "PNG", exif=exif), "official").tobytes()
        == picture().tobytes()
    )


def test_damaged_exif_counts_as_none():
    data = encoded(picture(), "JPEG", exif=b"Exif\x00\x00MM\x00\x2a\xff\xff\xff\xff garbage")
    assert open_image(data).size == (40, 30)


def test_alpha_is_composited_on_white_and_dropped_by_official():
    rgba = picture().convert("RGBA")
    rgba.putalpha(0)
    data = encoded(rgba, "PNG")
    assert set(open_image(data).tobytes()) == {255}
    assert open_image(data, "official").tobytes() == picture().tobytes()


def test_half_transparent_alpha_is_a_mixture():
    image = open_image(encoded(Image.new("RGBA", (4, 4), (0, 0, 0, 128)), "PNG"))
    assert image.getpixel((0, 0)) == (127, 127, 127)


def test_grey_with_alpha():
    assert open_image(encoded(Image.new("LA", (4, 4), (10, 0)), "PNG")).getpixel((0, 0)) == (
        255,
        255,
        255,
    )


def test_palette_with_transparent_entries():
    image = Image.new("P", (4, 4), 0)
    image.putpalette([255, 0, 0, 0, 255, 0])
    image.putpixel((1, 0), 1)
    result = open_image(encoded(image, "PNG", transparency=bytes([0, 255])))
    assert result.getpixel((0, 0)) == (255, 255, 255)
    assert result.getpixel((1, 0)) == (0, 255, 0)
    assert open_image(encoded(image, "PNG", transparency=0)).getpixel((0, 0)) == (255, 255, 255)


def test_transparent_colour_of_a_plain_png():
    assert open_image(
        encoded(Image.new("RGB", (4, 4), (1, 2, 3)), "PNG", transparency=(1, 2, 3))
    ).getpixel((0, 0)) == (255, 255, 255)


@pytest.mark.parametrize("image_format", ["PNG", "TIFF", "PPM"])
def test_sixteen_bit_grey_is_scaled_and_saturated_by_official(image_format):
    samples = np.array([[0, 255, 256, 4096], [30000, 32768, 65280, 65535]], dtype=np.uint16)
    data = encoded(Image.fromarray(samples), image_format)
    assert np.asarray(open_image(data))[..., 0].tolist() == (samples >> 8).tolist()
    assert (
        np.asarray(open_image(data, "official"))[..., 0].tolist()
        == np.minimum(samples, 255).tolist()
    )


def test_cmyk_grey_palette_bilevel_and_float():
    assert (
        open_image(encoded(Image.new("CMYK", (8, 8), (0, 255, 255, 0)), "JPEG")).getpixel((0, 0))[0]
        > 240
    )
    assert open_image(encoded(Image.new("L", (8, 8), 77), "PNG")).getpixel((0, 0)) == (77, 77, 77)
    assert open_image(encoded(picture().quantize(8), "PNG")).mode == "RGB"
    assert open_image(encoded(Image.new("1", (8, 8), 1), "PNG")).getpixel((0, 0)) == (255, 255, 255)
    assert open_image(encoded(Image.new("F", (8, 8), 0.5), "TIFF")).getpixel((0, 0)) == (
        128,
        128,
        128,
    )
    with pytest.raises(ImageError, match="float samples"):
        open_image(encoded(Image.new("F", (8, 8), 7.5), "TIFF"))


@pytest.mark.parametrize("image_format", ["GIF", "WEBP", "PNG"])
def test_animation_gives_its_first_frame(image_format):
    frames = [Image.new("RGB", (8, 8), colour) for colour in ("red", "lime", "blue")]
    data = encoded(
        frames[0],
        image_format,
        save_all=True,
        append_images=frames[1:],
        **({"lossless": True} if image_format == "WEBP" else {}),
    )
    assert Image.open(io.BytesIO(data)).n_frames == 3
    assert open_image(data).getpixel((4, 4)) == (255, 0, 0)


@pytest.mark.parametrize("handling", ["seed", "official"])
@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "is empty"),
        (
            b"this is a text that is named like a picture",
            "is not an image that can be read .* starting with b'this is a text t'",
        ),
        (png_header(30000, 30000), "too large to be safe"),
        (png_header(10000, 10000), "too large to be safe"),
        (png_header(0, 0), "is not an image|has no pixels|is damaged"),
        (encoded(picture(400, 300), "PNG")[:2000], "is truncated or damaged"),
        (encoded(picture(400, 300), "JPEG")[:2000], "is truncated or damaged"),
        (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 10 10\n", "is not an image"),
    ],
    ids=[
        "empty",
        "text",
        "bomb",
        "large",
        "zero-size",
        "truncated png",
        "truncated jpeg",
        "postscript",
    ],
)
def test_bad_input_is_refused_by_name(tmp_path, data, reason, handling):
    path = tmp_path / "picture.jpg"
    path.write_bytes(data)
    with pytest.raises(ImageError, match=reason) as raised:
        open_image(path, handling)
    assert str(path) in raised.value.message
    assert str(path) not in raised.value.reason
    assert raised.value.exit_code == 3
    with pytest.raises(ImageError, match=reason):
        open_image(data, handling)


def test_large_bitmap_header_is_refused_without_its_pixels():
    bmp = bytearray(encoded(Image.new("RGB", (1, 1)), "BMP"))
    struct.pack_into("<ii", bmp, 18, 30000, 30000)
    with pytest.raises(ImageError, match="too large"):
        open_image(bytes(bmp))


def test_missing_folder_and_unreadable(tmp_path, monkeypatch):
    with pytest.raises(ImageError, match="no such file"):
        open_image(tmp_path / "absent.png")
    with pytest.raises(ImageError, match=r"cannot be read .is a directory"):
        open_image(tmp_path)
    with pytest.raises(ImageError, match="cannot be read"):
        open_image("/proc/self/mem")


@pytest.mark.parametrize("cut", range(8, 400, 23))
def test_any_cut_of_any_format_ends_in_an_image_error(cut):
    for image_format in ("GIF", "WEBP", "TIFF", "BMP", "JPEG2000", "AVIF", "ICO", "TGA"):
        data = encoded(picture(), image_format)
        with contextlib.suppress(ImageError):
            assert open_image(data[:cut]).mode == "RGB"


def squash(size_px: int, interpolation: str, geometry: str = "squash", **more) -> PreprocessConfig:
    return PreprocessConfig(
        image_size_px=size_px, geometry=geometry, interpolation=interpolation, **more
    )


@pytest.mark.parametrize("interpolation", ["bilinear", "bicubic"])
@pytest.mark.parametrize("geometry", ["squash", "center-crop"])
@pytest.mark.parametrize("size", [(640, 427), (427, 640), (50, 31), (224, 224), (225, 1000)])
def test_fixed_geometries_equal_torchvision(interpolation, geometry, size):
    mode = InterpolationMode(interpolation)
    resize = (
        [Resize((224, 224), mode)] if geometry == "squash" else [Resize(224, mode), CenterCrop(224)]
    )
    config = squash(224, interpolation, geometry)
    # the classes that the official scripts use
    reference = Compose([*resize, ToTensor(), Normalize(config.mean, config.std)])
    image = picture(*size)
    pixels = Preprocess(config)(image)
    assert pixels.shape == (3, 224, 224)
    assert pixels.dtype == torch.float32
    assert torch.equal(pixels, reference(image))


def test_batch_normalisation_is_bit_identical():
    preprocess = Preprocess(squash(64, "bilinear"))
    images = [picture(90, 70), picture(64, 64)]
    assert torch.equal(
        preprocess.normalize(torch.stack([preprocess.to_square(i) for i in images])),
        torch.stack([preprocess(i) for i in images]),
    )


def test_random_resized_crop_draws_from_the_global_generator():
    config = squash(64, "bicubic", "random-resized-crop", horizontal_flip=0.5, crop_area=(0.5, 1.0))
    preprocess = Preprocess(config)
    torch.manual_seed(3)
    first, second = preprocess(picture(200, 100)), preprocess(picture(200, 100))
    torch.manual_seed(3)
    assert torch.equal(first, preprocess(picture(200, 100)))
    assert not torch.equal(first, second)


def test_random_affine_fills_white_and_never_mirrors():
    config = squash(64, "bilinear", "random-affine", rotation_deg=45.0, shift=0.2, scale=(0.5, 0.5))
    preprocess = Preprocess(config)
    left_dark = Image.new("RGB", (64, 64), "red")
    left_dark.paste((0, 0, 0), (0, 0, 32, 64))
    torch.manual_seed(0)
    for _ in range(20):
        square = preprocess.to_square(left_dark)
        assert square[:, 0, 0].tolist() == [255, 255, 255]
        dark, red = (square.sum(0) < 30).nonzero(), ((square[0] > 200) & (square[1] < 30)).nonzero()
        assert dark[:, 1].float().mean() < red[:, 1].float().mean()


def test_brightness_changes_colours():
    preprocess = Preprocess(squash(16, "bilinear", "random-affine", brightness=0.5))
    torch.manual_seed(0)
    grey = Image.new("RGB", (16, 16), (100, 100, 100))
    assert len({int(preprocess.to_square(grey)[0, 8, 8]) for _ in range(10)}) > 5


def test_save_image_refuses_unknown_endings_and_leaves_nothing_half_written(tmp_path):
    with pytest.raises(DataError, match="no image type"):
        save_image(picture(), tmp_path / "a.xyz")
    with pytest.raises(DataError, match="cannot be written"):
        save_image(picture(), "/proc/nowhere/a.png")
    save_image(picture(), tmp_path / "deep" / "a.jpg")
    assert [p.name for p in (tmp_path / "deep").iterdir()] == ["a.jpg"]
