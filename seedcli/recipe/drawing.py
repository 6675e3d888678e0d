"""Recipe sections of what draws: the target, the judge, the autoencoder, and the unCLIP decoder.
Torch-free.
"""

from __future__ import annotations

from typing import Literal

from pydantic import model_validator

from seedcli.recipe.pictures import FeaturesSection, PictureDataSection, TokenizerRecipe
from seedcli.recipe.sections import Strict, comfort, setting


class ClipSection(Strict):
    """Shape of the small CLIP."""

    embedding_dim: int = setting("width of the shared space and of the generation target", ge=8)
    patch_size_px: int = setting("side of a patch, pixels", ge=1)
    vision_width: int = setting(
        "width of the vision tower, a multiple of 32", ge=32, multiple_of=32
    )
    vision_depth: int = setting("layers of the vision tower", ge=1)
    text_width: int = setting("width of the text tower, a multiple of 32", ge=32, multiple_of=32)
    text_depth: int = setting("layers of the text tower", ge=1)
    vocab_size: int = setting(
        "pieces of the text vocabulary, learned from the train split's words", ge=514
    )
    max_text_tokens: int = setting("longest caption, tokens", ge=4)
    painter_width: int = setting(
        "channels of the head that paints latents from the embedding; a multiple of 32",
        ge=32,
        multiple_of=32,
    )


class TargetLossSection(Strict):
    """Weights of the target's losses."""

    contrastive_weight: float = setting(
        "CLIP's symmetric cross entropy; pictures of one caption count as each other's match", ge=0
    )
    painting_weight: float = setting(
        "squared error of the autoencoder's latents, of deviation 1, painted from the embedding",
        ge=0,
    )
    embedding_noise: float = setting(
        "deviation of the noise on the embedding before painting, in units of its own deviation",
        ge=0,
    )
    decorrelation_weight: float = setting(
        "mean over dimensions of the squared correlations with all others", ge=0
    )


class TargetRecipe(TokenizerRecipe):
    """A small CLIP, whose image embedding is what generation embeddings are trained towards."""

    stage: Literal["target"] = setting("what is trained")
    autoencoder: str = setting(
        "whose latents the embedding must tell: folder of the finished stage `autoencoder`, or "
        "`seed-nano` (bundled)"
    )
    views: int = setting("augmented views of each picture, encoded once before training", ge=1)
    data: PictureDataSection
    model: ClipSection
    losses: TargetLossSection


class JudgeSection(Strict):
    """Shape of the judge: open_clip's ResNet with attention pooling, and a text transformer."""

    embedding_dim: int = setting("width of the shared space", ge=8)
    vision_layers: tuple[int, int, int, int] = setting("residual blocks of the four levels")
    vision_width: int = setting("channels of the first level, a multiple of 2", ge=8, multiple_of=2)
    text_width: int = setting("width of the text tower, a multiple of 32", ge=32, multiple_of=32)
    text_depth: int = setting("layers of the text tower", ge=1)
    vocab_size: int = setting("pieces of the text vocabulary", ge=514)
    max_text_tokens: int = setting("longest caption, tokens", ge=4)


class BlurSection(Strict):
    """Pictures blurred beyond recognition, whose caption says so; else a judge finds a blob of the
    right colours similar to everything that has them.
    """

    share: float = setting("share of the pictures of a batch", ge=0, lt=1)
    sides_px: tuple[int, int] = setting("smallest and largest side that they are reduced to")


class JudgeLossSection(Strict):
    """Weights of the judge's losses; CLIP's counts 1."""

    drawing_weight: float = setting(
        "cross entropy of finding the other drawings of a thing among the pictures of a batch", ge=0
    )


class JudgeRecipe(TokenizerRecipe):
    """The small open_clip model that scores nano's pictures."""

    stage: Literal["judge"] = setting("what is trained")
    data: PictureDataSection
    blur: BlurSection
    model: JudgeSection
    losses: JudgeLossSection


class AutoencoderSection(Strict):
    """Shape of diffusers' AutoencoderKL."""

    channels: tuple[int, ...] = setting(
        "channels per level, multiples of 8; each level but the first halves the side", min_length=1
    )
    layers_per_level: int = setting("residual blocks per level", ge=1)
    latent_channels: int = setting("channels of the latents", ge=1)


class CropSection(Strict):
    """Updates on random crops, which cost less than whole pictures; the updates after
    them see whole pictures.
    """

    size_px: int = setting("side of a crop, pixels, a multiple of 4", ge=16, multiple_of=4)
    steps: int = setting("updates on crops, from the first", ge=0)


class AutoencoderLossSection(Strict):
    """Weights of the autoencoder's losses; pictures are in -1..1."""

    l1_weight: float = setting("mean absolute error", ge=0)
    mse_weight: float = setting("mean squared error", ge=0)
    edge_weight: float = setting(
        "mean absolute error of the differences between neighbouring pixels", ge=0
    )
    chroma_weight: float = setting(
        "mean absolute error of red - green and of blue - yellow, which RGB errors hardly see", ge=0
    )
    kl_weight: float = setting(
        "divergence of the latents from a standard normal, mean per latent value", ge=0
    )


class AutoencoderRecipe(TokenizerRecipe):
    """The autoencoder whose latents the unCLIP decoder denoises."""

    stage: Literal["autoencoder"] = setting("what is trained")
    data: PictureDataSection
    crops: CropSection
    model: AutoencoderSection
    losses: AutoencoderLossSection


class UnetSection(Strict):
    """Shape of the denoising UNet, and the text states it attends to
    (those of the empty prompt).
    """

    channels: tuple[int, ...] = setting(
        "channels per level, multiples of 16 and of the head width where it attends", min_length=1
    )
    layers_per_level: int = setting("residual blocks per level", ge=1)
    attention_levels: tuple[bool, ...] = setting("per level, whether it attends", min_length=1)
    attention_head_dim: int = setting("width of an attention head", ge=8)
    condition_width: int = setting(
        "width in which the embedding and the time reach every block", ge=16
    )


class DiffusionSection(Strict):
    """Noise, prediction and guidance."""

    prediction: Literal["v_prediction", "epsilon"] = setting(
        "what the UNet predicts; a pipeline that is trained on goes on with its own"
    )
    dropped_condition: float = setting(
        "share of samples with zeroed class labels; without it guidance means nothing", ge=0, lt=1
    )
    embedding_noise: float = setting(
        "deviation of unlabelled noise on the embeddings, in units of their own deviation", ge=0
    )
    max_noise_level: int = setting(
        "embeddings are noised to a random labelled level below this, of 1000", ge=1, le=1000
    )
    average_decay: float = setting(
        "decay of the moving average of the weights, which is what is saved", ge=0, lt=1
    )
    gradient_checkpointing: bool = comfort(
        False, "compute activations twice, so that a large UNet fits the device"
    )


class CodesSection(Strict):
    """Generation embeddings that a tokenizer makes of its own codes."""

    tokenizer: str = setting("whose codes: a preset or the folder of the finished stage `codebook`")
    true_share: float = setting(
        "share of samples that read the target's embedding all the same", ge=0, lt=1
    )


class UnclipRecipe(TokenizerRecipe):
    """The image decoder: a diffusers stable-unCLIP pipeline, from scratch or trained on."""

    stage: Literal["unclip"] = setting("what is trained")
    start: str = setting(
        "`scratch`; or what is trained on: a pipeline's folder (of a finished stage `unclip`), or "
        "the decoder of a preset (`seed-2`: the published one; `seed-nano`)"
    )
    target: str = setting(
        "folder of the finished stage `target`; `pipeline`: the image encoder of `start`"
    )
    autoencoder: str = setting(
        "folder of the finished stage `autoencoder`, or `seed-nano`; `pipeline`: that of `start`"
    )
    condition: Literal["target", "codes"] = setting(
        "which embeddings it learns to draw: those of the target, or those that codes give"
    )
    codes: CodesSection | None = comfort(None, 'with condition = "codes": which codes')
    data: PictureDataSection
    features: FeaturesSection
    model: UnetSection | None = comfort(None, 'with start = "scratch": shape of the UNet')
    diffusion: DiffusionSection

    @model_validator(mode="after")
    def _parts_fit(self) -> UnclipRecipe:
        if (self.start == "scratch") != (self.model is not None):
            raise ValueError(
                f"start = {self.start!r} with{'' if self.model else 'out'} a section [model]: a "
                'UNet has a shape of its own with start = "scratch", and only then'
            )
        if (self.condition == "codes") != (self.codes is not None):
            raise ValueError(
                f"condition = {self.condition!r} with{'' if self.codes else 'out'} a section "
                '[codes]: expected with condition = "codes", and only then'
            )
        if self.start == "scratch" and "pipeline" in (self.target, self.autoencoder):
            raise ValueError('"pipeline" names parts of `start`, which is "scratch"')
        return self
