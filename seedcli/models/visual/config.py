"""Frozen configurations and presets of the visual tokenizer; torch-free, so that light
commands can read them.

Shape legend for local tensors in `models/`: B batch, P visual tokens with the class token, V ViT
width, Q queries, D Q-Former width, E code width, K codebook size, G generation width, T text
tokens, F width of the shared image-text space.
"""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass, field
from typing import Any, Literal, get_args, get_origin, get_type_hints

CLIP_MEAN = (0.48145466, 0.4578275, 0.40821073)
CLIP_STD = (0.26862954, 0.26130258, 0.27577711)

MAX_GUIDANCE = 1000  # of the picture decoder; far beyond it numbers overflow

Numerics = Literal["default", "official-fp16"]


@dataclass(frozen=True, kw_only=True)
class PreprocessConfig:
    """How an RGB image becomes `pixels`; part of the preset and of the fingerprint.

    `squash` resizes to the square and ignores the aspect ratio. `center-crop` resizes the shorter
    side and crops. `random-resized-crop` and `random-affine` are for training. Filters are
    antialiased, as torchvision's PIL path always is. Source: AILab-CVC/SEED@93b3cf4, see the
    presets below for which use takes which.
    """

    image_size_px: int
    geometry: Literal["squash", "center-crop", "random-resized-crop", "random-affine"]
    interpolation: Literal["bilinear", "bicubic"]
    mean: tuple[float, float, float] = CLIP_MEAN
    std: tuple[float, float, float] = CLIP_STD
    horizontal_flip: float = 0.0  # probability; random geometries only
    crop_area: tuple[float, float] = (1.0, 1.0)  # share of the area, random-resized-crop only
    # largest angle to either side, random-affine only; so are the next three
    rotation_deg: float = 0.0
    shift: float = 0.0  # largest shift as a share of the side
    scale: tuple[float, float] = (1.0, 1.0)
    brightness: float = 0.0  # largest relative change of brightness and contrast


@dataclass(frozen=True, kw_only=True)
class PreprocessUses:
    """One preprocessing per use."""

    codes: PreprocessConfig
    retrieval: PreprocessConfig
    training: PreprocessConfig


@dataclass(frozen=True, kw_only=True)
class VisionConfig:
    """ViT: pixels [B,3,S,S] -> features [B,P,V], P = (S / patch)^2 + 1; no final norm, no head."""

    image_size_px: int
    patch_size_px: int
    width: int
    depth: int
    num_heads: int
    mlp_dim: int
    layer_norm_eps: float = 1e-6

    @property
    def num_tokens(self) -> int:
        """Visual tokens P, the class token included."""
        return (self.image_size_px // self.patch_size_px) ** 2 + 1


@dataclass(frozen=True, kw_only=True)
class QFormerConfig:
    """Q-Former: features [B,P,V] -> causal embeddings [B,Q,D]; its text branch: ids
    [B,T] -> features [B,F].
    """

    num_queries: int
    width: int
    depth: int
    num_heads: int
    mlp_dim: int
    vocab_size: int
    max_positions: int
    projection_dim: int
    mask: Literal["causal", "bilateral"] = "causal"
    cross_attention_every: int = 2
    dropout: float = 0.1
    layer_norm_eps: float = 1e-12
    max_text_tokens: int = 32


@dataclass(frozen=True, kw_only=True)
class CodebookConfig:
    """Vector quantiser: causal embeddings [B,Q,D] -> codes [B,Q] in 0..num_codes-1."""

    num_codes: int
    code_dim: int = 32


@dataclass(frozen=True, kw_only=True)
class GenerationConfig:
    """Decoder blocks over the code vectors and the MLP head: [B,Q,E] ->
    generation embedding [B,G].
    """

    depth: int
    num_heads: int
    generation_dim: int
    head_dims: tuple[int, int, int] = (256, 128, 32)
    layer_norm_eps: float = 1e-6


@dataclass(frozen=True, kw_only=True)
class DetokenizeDefaults:
    """Sampling defaults of the image decoder; they belong to the preset."""

    steps: int
    guidance: float


@dataclass(frozen=True, kw_only=True)
class SeedModelConfig:
    """The whole visual tokenizer."""

    name: str
    vision: VisionConfig
    qformer: QFormerConfig
    codebook: CodebookConfig
    generation: GenerationConfig
    preprocess: PreprocessUses
    detokenize: DetokenizeDefaults = field(
        default_factory=lambda: DetokenizeDefaults(steps=20, guidance=10.0)
    )


def config_to_dict(config: Any) -> dict[str, Any]:
    """Plain nested dict of a configuration, ready for JSON; inverse of `config_from_dict`."""
    return dataclasses.asdict(config)


def config_from_dict(cls: type, values: dict[str, Any]) -> Any:
    """Builds a configuration strictly.

    Raises:
        ValueError: A key is unknown or missing, or a value is none of its kind; the message names
            it and the class.
    """
    if not isinstance(values, dict):
        raise ValueError(f"{cls.__name__} is {values!r:.40}, expected an object")
    hints = get_type_hints(cls)
    unknown = sorted(set(values) - set(hints))
    if unknown:
        raise ValueError(
            f"{cls.__name__} has no field {', '.join(unknown)}; it has {', '.join(hints)}"
        )
    built = {}
    for name, value in values.items():
        if dataclasses.is_dataclass(hints[name]):
            built[name] = config_from_dict(hints[name], value)
        else:
            built[name] = tuple(value) if isinstance(value, list) else value
            if not _is(hints[name], built[name]):
                raise ValueError(
                    f"{cls.__name__}.{name} is {value!r:.40}, expected {_named(hints[name])}"
                )
    try:
        config = cls(**built)
    except TypeError as error:
        raise ValueError(f"{cls.__name__}: {error}") from None
    if cls is SeedModelConfig:
        _check_fit(config)
    return config


def _is(kind: Any, value: Any) -> bool:
    """Whether a value is what a field's annotation says; every integer of a model is a size or a
    number of things, so 1 or more, and every real number is finite.
    """
    match get_origin(kind) or kind:
        case origin if origin is Literal:
            return value in get_args(kind)
        case origin if origin is tuple:
            parts = get_args(kind)
            return (
                isinstance(value, tuple)
                and len(value) == len(parts)
                and all(map(_is, parts, value))
            )
        case origin if origin is int:
            return type(value) is int and 1 <= value < 1 << 31
        case origin if origin is float:
            return type(value) in (int, float) and math.isfinite(value)
    return isinstance(value, kind)


def _named(kind: Any) -> str:
    return kind.__name__ if isinstance(kind, type) else str(kind).replace("typing.", "")


def _check_fit(config: SeedModelConfig) -> None:
    """What single fields cannot say.

    Raises:
        ValueError: Heads that do not divide a width, patches that do not divide a picture, or
            pictures of another size than the model takes.
    """
    for part, whole, by in (
        ("vision.width", config.vision.width, config.vision.num_heads),
        ("vision.image_size_px", config.vision.image_size_px, config.vision.patch_size_px),
        ("qformer.width", config.qformer.width, config.qformer.num_heads),
        ("qformer.width", config.qformer.width, config.generation.num_heads),
    ):
        if whole % by:
            raise ValueError(f"{part} is {whole}, which {by} does not divide")
    for use in ("codes", "retrieval", "training"):
        size = getattr(config.preprocess, use).image_size_px
        if size != config.vision.image_size_px:
            raise ValueError(
                f"preprocess.{use}.image_size_px is {size}, the model takes "
                f"{config.vision.image_size_px}"
            )


def _uses(image_size_px: int, training: PreprocessConfig) -> PreprocessUses:
    # Codes of the released LLM data were made with torchvision's default filter (bilinear), the
    # paper's retrieval with bicubic.
    return PreprocessUses(
        codes=PreprocessConfig(
            image_size_px=image_size_px, geometry="squash", interpolation="bilinear"
        ),
        retrieval=PreprocessConfig(
            image_size_px=image_size_px, geometry="squash", interpolation="bicubic"
        ),
        training=training,
    )


SEED_2 = SeedModelConfig(
    name="seed-2",
    vision=VisionConfig(
        image_size_px=224, patch_size_px=14, width=1408, depth=39, num_heads=16, mlp_dim=6144
    ),
    qformer=QFormerConfig(
        num_queries=32,
        width=768,
        depth=12,
        num_heads=12,
        mlp_dim=3072,
        vocab_size=30523,
        max_positions=512,
        projection_dim=256,
    ),
    codebook=CodebookConfig(num_codes=8192),
    generation=GenerationConfig(depth=4, num_heads=12, generation_dim=1024),
    preprocess=_uses(
        224,
        PreprocessConfig(
            image_size_px=224,
            geometry="random-resized-crop",
            interpolation="bicubic",
            horizontal_flip=0.5,
            crop_area=(0.5, 1.0),
        ),
    ),
    detokenize=DetokenizeDefaults(steps=20, guidance=10.0),
)

# Emoji are never flipped: arrows, hands and flags would change their meaning.
SEED_NANO = SeedModelConfig(
    name="seed-nano",
    vision=VisionConfig(
        image_size_px=64, patch_size_px=16, width=256, depth=4, num_heads=4, mlp_dim=1024
    ),
    qformer=QFormerConfig(
        num_queries=32,
        width=192,
        depth=4,
        num_heads=4,
        mlp_dim=768,
        vocab_size=2048,
        max_positions=64,
        projection_dim=128,
        dropout=0.0,
    ),
    codebook=CodebookConfig(num_codes=512),
    generation=GenerationConfig(depth=2, num_heads=4, generation_dim=256),
    preprocess=_uses(
        64,
        PreprocessConfig(
            image_size_px=64,
            geometry="random-affine",
            interpolation="bilinear",
            rotation_deg=8.0,
            shift=0.06,
            scale=(0.88, 1.08),
            brightness=0.15,
        ),
    ),
    detokenize=DetokenizeDefaults(steps=20, guidance=2.0),
)

PRESETS: dict[str, SeedModelConfig] = {"seed-2": SEED_2, "seed-nano": SEED_NANO}
