"""The first arrow of the path, image file -> RGB -> pixels [3,S,S], and the last
one, RGB -> image file.

There is one preprocess, built from `PreprocessConfig`. Its two fixed geometries call Pillow's
resampling directly, as torchvision's PIL path does (a test holds the two equal), because importing
torchvision takes as long as importing torch (1.6 s beside 1.6 s on two cores), and
`seed tokenize one.jpg` would pay for it. The two random geometries are torchvision's, imported when
a training run asks for them.
"""

from __future__ import annotations

import os
import re
import sys
import warnings
from collections.abc import Callable, Mapping
from io import BytesIO
from pathlib import Path
from typing import IO, TYPE_CHECKING, TypeAlias

import numpy as np
from PIL import Image, UnidentifiedImageError
from PIL.PngImagePlugin import PngInfo

from seedcli.data.images.items import ImageHandling
from seedcli.errors import DataError
from seedcli.files import published
from seedcli.models.visual.config import PreprocessConfig
from seedcli.storage import is_url, read_whole

if TYPE_CHECKING:
    import torch

# One picture as a program may have it: a file, its bytes, a Pillow image, or samples.
ImageSource: TypeAlias = "str | Path | bytes | Image.Image | np.ndarray | torch.Tensor"

# Pillow's own mark of a decompression bomb: a quarter GiB of RGB.
# https://pillow.readthedocs.io/en/stable/reference/limits.html
MAX_IMAGE_PIXELS = 89_478_485

# Formats that hold one raster picture (MPO opens as JPEG). Left out on purpose: EPS (Pillow hands
# it to Ghostscript), WMF, and stubs for scientific containers.
FORMATS = (
    "AVIF", "BMP", "CUR", "DDS", "DIB", "GIF", "ICNS", "ICO", "JPEG", "JPEG2000", "PCX", "PNG",
    "PPM", "PSD", "QOI", "SGI", "TGA",
    "TIFF", "WEBP", "XBM", "XPM",
)  # fmt: skip

_UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
_RESAMPLING = {"bilinear": Image.Resampling.BILINEAR, "bicubic": Image.Resampling.BICUBIC}


class ImageError(DataError):
    """One input is no usable image; `reason` says why without naming the input,
    `message` names it too.
    """

    def __init__(self, reason: str, source: str | None = None):
        super().__init__(f"{source}: {reason}" if source else reason)
        self.reason = reason

    @property
    def kind(self) -> str:
        """The reason without what is this image's alone, so that images of a kind are counted."""
        return re.split(r" \(| from -?\d", self.reason)[0]


def open_image(source: str | Path | bytes, handling: ImageHandling = "seed") -> Image.Image:
    """Image file or its bytes -> upright RGB image of 8 bits a channel, fully decoded.

    `seed` honours the EXIF orientation, composites alpha on white, scales 16 bits to 8 (high byte)
    and takes the first frame of an animation. `official` does as the official scripts did, which
    only call `convert("RGB")` (AILab-CVC/SEED@93b3cf4: models/seed_llama_tokenizer.py): no
    orientation, alpha dropped, 16-bit grey saturated at 255. The size is read from the header and
    checked before anything is decoded.

    Raises:
        ImageError: The source does not exist, cannot be read, is empty, is no image, is truncated,
            or has more than `MAX_IMAGE_PIXELS`.
    """
    name = None if isinstance(source, bytes) else str(source)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Pillow warns of odd metadata; the picture counts
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            if isinstance(source, bytes):
                return _decode(BytesIO(source), len(source), handling)
            if is_url(source):
                data = read_whole(str(source))
                return _decode(BytesIO(data), len(data), handling)
            with open(source, "rb") as file:
                return _decode(file, os.fstat(file.fileno()).st_size, handling)
    except ImageError as error:
        raise ImageError(error.reason, name) from None
    except DataError as error:  # an address that cannot be read
        raise ImageError(error.message.removeprefix(f"{name}: "), name) from error
    except OSError as error:
        # the file system's word; a decoder's OSError carries no errno
        if error.errno is not None and name is not None:
            reason = f"cannot be read ({os.strerror(error.errno).lower()})"
            missing = isinstance(error, FileNotFoundError)
            raise ImageError("no such file" if missing else reason, name) from error
        raise ImageError(f"is truncated or damaged ({error})", name) from error
    # decoders raise anything from SyntaxError to struct.error on a damaged file
    except Exception as error:
        raise ImageError(f"is damaged ({type(error).__name__}: {error})", name) from error


def read_image(source: ImageSource, handling: ImageHandling = "seed") -> Image.Image:
    """One picture in any form -> upright RGB image, as `open_image` makes it of the same file.

    Args:
        source: A file's path, address or bytes; a Pillow image; an array [H,W], [H,W,1], [H,W,3]
            or [H,W,4], or a tensor [H,W], [1,H,W], [3,H,W] or [4,H,W], of uint8, of uint16
            (0..65535), or of floats 0..1. A fourth channel is alpha.
        handling: See `open_image`.

    Raises:
        ImageError: It is no usable image; the reason says what was expected.
    """
    if isinstance(source, (str, Path)):
        path = source if is_url(source) else Path(source).expanduser()
        return open_image(path, handling)
    if isinstance(source, bytes):
        return open_image(source, handling)
    if isinstance(source, Image.Image):
        try:
            return _upright_rgb(source, handling)
        except ImageError:
            raise
        except Exception as error:  # a file that was opened lazily is decoded only now
            raise ImageError(f"is damaged ({type(error).__name__}: {error})") from error
    if isinstance(source, np.ndarray):
        return _upright_rgb(_from_samples(source), handling)
    torch = sys.modules.get("torch")  # who has a tensor has imported it
    if torch is not None and isinstance(source, torch.Tensor):
        samples = source.detach().cpu()
        if samples.is_floating_point():
            samples = samples.float()
        if samples.ndim == 3:
            samples = samples.movedim(0, -1)
        return _upright_rgb(_from_samples(samples.numpy()), handling)
    raise ImageError(
        f"is a {type(source).__name__}, expected a path, bytes, a Pillow image, an array or a "
        "tensor"
    )


def _from_samples(samples: np.ndarray) -> Image.Image:
    """Samples [H,W] or [H,W,1|3|4] -> image of 8 bits a channel."""
    if samples.ndim == 3 and samples.shape[2] == 1:
        samples = samples[:, :, 0]
    if samples.ndim not in (2, 3) or (samples.ndim == 3 and samples.shape[2] not in (3, 4)):
        raise ImageError(
            f"has samples of shape {samples.shape}, expected an array [H,W], [H,W,3] or [H,W,4], "
            "or a tensor [H,W], [3,H,W] or [4,H,W]"
        )
    if 0 in samples.shape:
        raise ImageError(f"has no pixels ({samples.shape[1]}x{samples.shape[0]})")
    if samples.dtype == np.uint16:
        samples = (samples >> 8).astype(np.uint8)
    elif samples.dtype.kind == "f":
        if not (samples.min() >= 0 and samples.max() <= 1):
            raise ImageError(
                f"has float samples from {samples.min():g} to {samples.max():g}; scale them to "
                "0..1, or use 8 bits"
            )
        samples = (samples * 255).round().astype(np.uint8)
    elif samples.dtype != np.uint8:
        raise ImageError(
            f"has samples of type {samples.dtype}, expected uint8, uint16, or floats 0..1"
        )
    return Image.fromarray(np.ascontiguousarray(samples))


def _decode(file: IO[bytes], size_bytes: int, handling: ImageHandling) -> Image.Image:
    try:
        image = Image.open(file, formats=FORMATS)
    except UnidentifiedImageError:
        file.seek(0)
        start = file.read(16)
        if not start:
            raise ImageError("is empty (0 bytes)") from None
        raise ImageError(
            f"is not an image that can be read ({size_bytes:,} bytes, starting with {start!r})"
        ) from None
    except (Image.DecompressionBombWarning, Image.DecompressionBombError) as error:
        raise ImageError(
            f"is too large to be safe ({error}); at most {MAX_IMAGE_PIXELS:,} pixels are decoded"
        ) from None
    return _upright_rgb(image, handling)


def _upright_rgb(image: Image.Image, handling: ImageHandling) -> Image.Image:
    """An image as Pillow has it, decoded or not -> upright RGB."""
    if 0 in image.size:
        raise ImageError(f"has no pixels ({image.width}x{image.height})")
    if image.width * image.height > MAX_IMAGE_PIXELS:
        raise ImageError(
            f"is too large to be safe ({image.width}x{image.height}); at most {MAX_IMAGE_PIXELS:,} "
            "pixels are decoded"
        )
    if handling == "official":
        return image.convert("RGB")
    image.load()
    upright = _UPRIGHT.get(_orientation(image))
    rgb = _flatten(image)
    rgb = rgb if upright is None else rgb.transpose(upright)
    rgb.info = {}  # else the orientation, which Pillow keeps, would be applied once more
    return rgb


def _orientation(image: Image.Image) -> int:
    """EXIF orientation of a loaded image, 1 where there is none; a damaged
    EXIF block counts as none.
    """
    try:
        return image.getexif().get(0x0112, 1)
    except Exception:  # the parser raises whatever the damaged bytes lead to
        return 1


def _flatten(image: Image.Image) -> Image.Image:
    """Any mode -> RGB, alpha on white."""
    if image.has_transparency_data and not image.mode.startswith("I"):
        image = image.convert("RGBA")
        white = Image.new("RGB", image.size, "white")
        white.paste(image, mask=image.getchannel("A"))
        return white
    if image.mode.startswith("I"):
        samples = np.asarray(image)
        if samples.min() < 0 or samples.max() > 65535:
            raise ImageError(
                f"has 32-bit samples from {samples.min()} to {samples.max()}; save it "
                "with 8 or 16 bits"
            )
        image = _from_samples(samples.astype(np.uint16))
    elif image.mode == "F":
        image = _from_samples(np.asarray(image))
    return image.convert("RGB")


class Preprocess:
    """The one way from an RGB image to `pixels`, float32 [3,S,S], normalised; called with a PIL
    image.

    The call is `normalize(to_square(image))`. Loaders that move many images between processes send
    the uint8 squares, a quarter of the bytes, and normalise the batch; the result is the same bit
    for bit. The random geometries draw from torch's global generator.

    Differs from source: none for `squash` (bilinear: models/transforms.py, bicubic:
    seed_llama_tokenizer.py of AILab-CVC/SEED@93b3cf4) and `random-resized-crop`
    (SEED_Tokenizer/lavis/processors/blip_processors.py); `random-affine` is ours, for sets
    that must not be mirrored.
    """

    def __init__(self, config: PreprocessConfig):
        self.config = config
        size_px = config.image_size_px
        resampling = _RESAMPLING[config.interpolation]
        match config.geometry:
            case "squash":
                self._geometry = lambda image: image.resize((size_px, size_px), resampling)
            case "center-crop":
                self._geometry = lambda image: _center_crop(image, size_px, resampling)
            case "random-resized-crop" | "random-affine":
                self._geometry = _build_random_geometry(config)
            case _:
                raise ValueError(f"no geometry is called {config.geometry!r}")

    def to_array(self, image: Image.Image) -> np.ndarray:
        """RGB image -> uint8 [3,S,S], 0..255: the geometry alone, without torch."""
        return np.array(np.asarray(self._geometry(image)).transpose(2, 0, 1), order="C")

    def to_square(self, image: Image.Image) -> torch.Tensor:
        """RGB image -> uint8 [3,S,S], 0..255, as a tensor."""
        import torch

        return torch.from_numpy(self.to_array(image))

    def normalize(self, squares: torch.Tensor) -> torch.Tensor:
        """uint8 [...,3,S,S] -> pixels float32 [...,3,S,S]: scaled to 0..1, then (x -
        mean) / std per channel.
        """
        import torch

        mean = torch.tensor(self.config.mean, device=squares.device).view(3, 1, 1)
        std = torch.tensor(self.config.std, device=squares.device).view(3, 1, 1)
        return squares.to(torch.float32).div_(255).sub_(mean).div_(std)

    def __call__(self, image: Image.Image) -> torch.Tensor:
        return self.normalize(self.to_square(image))


def _center_crop(image: Image.Image, size_px: int, resampling: Image.Resampling) -> Image.Image:
    """Shorter side to `size_px`, then the middle square; rounding as torchvision's
    `Resize` and `CenterCrop`.
    """
    short = min(image.size)
    width, height = (int(size_px * side / short) for side in image.size)
    left, top = round((width - size_px) / 2.0), round((height - size_px) / 2.0)
    return image.resize((width, height), resampling).crop(
        (left, top, left + size_px, top + size_px)
    )


def _build_random_geometry(config: PreprocessConfig) -> Callable[[Image.Image], Image.Image]:
    from torchvision.transforms import InterpolationMode, v2

    size_px, interpolation = config.image_size_px, InterpolationMode(config.interpolation)
    if config.geometry == "random-resized-crop":
        steps = [
            v2.RandomResizedCrop(
                size_px, scale=config.crop_area, interpolation=interpolation, antialias=True
            )
        ]
    else:
        steps = [
            v2.Resize((size_px, size_px), interpolation=interpolation, antialias=True),
            v2.RandomAffine(
                config.rotation_deg,
                (config.shift, config.shift),
                config.scale,
                interpolation=interpolation,
                fill=255,
            ),
        ]
        if config.brightness > 0:
            steps.append(v2.ColorJitter(brightness=config.brightness, contrast=config.brightness))
    if config.horizontal_flip > 0:
        steps.append(v2.RandomHorizontalFlip(config.horizontal_flip))
    return v2.Compose(steps)


def save_image(
    image: Image.Image, path: str | Path, *, text: Mapping[str, str] | None = None
) -> None:
    """RGB image -> file of the type that the name's ending says; the file
    appears whole or not at all.

    Args:
        image: What is written.
        path: Its folder is created if need be.
        text: Kept in the text chunks of a PNG, so that a picture can be traced to what made it;
            other types cannot hold it.

    Raises:
        DataError: The ending is no image type that can be written, or the
            folder cannot be written to.
    """
    path = Path(path)
    image_format = Image.registered_extensions().get(path.suffix.lower())
    if image_format is None or image_format not in Image.SAVE:
        raise DataError(
            f"{path}: '{path.suffix}' is no image type that can be written",
            remedy=f"Name it {path.with_suffix('.png')}, for instance.",
        )
    options = {}
    if text:
        options["pnginfo"] = PngInfo()
        for key, value in text.items():
            options["pnginfo"].add_text(key, value)
    try:
        with published(path) as partial, open(partial, "wb") as file:
            image.save(file, format=image_format, **options)
    except OSError as error:
        raise DataError(
            f"{path}: cannot be written ({error})", remedy="Choose another file with -o."
        ) from error
