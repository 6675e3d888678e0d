"""Every recipe section as a strict model. Torch-free.

How to add a stage:

1. A section is a class derived from `Strict`. A field that changes results has no default:
   `learning_rate: float = setting("...", gt=0)`. A comfort field (how often to log, how many
   workers) says so: `log_every_steps: int = comfort(10, "...", ge=1)`. Every field has a
   description, with its unit. A choice is a `Literal`.
2. A stage is a class derived from `Recipe`, with `stage: Literal["its-name"] = setting("...")`, the
   command that runs it as a class variable (`command: ClassVar[str] = "train-tokenizer"`), and its
   sections as fields. Shared sections are shared classes.
3. Name it in `STAGES` of `recipe/stages.py`. Rules that span fields are pydantic
   `model_validator(mode="after")` methods that raise ValueError with what was found
   and what was expected.
"""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, PrivateAttr, model_validator


class Strict(BaseModel):
    """A recipe section: unknown keys and wrong types are errors, nothing is coerced,
    nothing changes afterwards.
    """

    model_config = ConfigDict(
        strict=True, extra="forbid", frozen=True, allow_inf_nan=False, protected_namespaces=()
    )

    @model_validator(mode="after")
    def _fits_a_machine(self) -> Self:
        """Integers that no generator and no array takes."""
        for name, value in self:
            if type(value) is int and not -(1 << 63) <= value < 1 << 63:
                raise ValueError(f"{name} is an integer of {len(str(value))} digits, expected 18")
        return self


class Recipe(Strict):
    """A whole recipe: one stage of one command. `origins` says for every leaf
    where its value came from.
    """

    command: ClassVar[str]

    stage: str

    _origins: dict[str, str] = PrivateAttr(default_factory=dict)
    _name: str = PrivateAttr(default="")

    @property
    def origins(self) -> dict[str, str]:
        """Dotted path of every leaf -> "default", "FILE:LINE" or "command line"."""
        return self._origins

    @property
    def name(self) -> str:
        """The recipe's file name without suffix; empty for a recipe that was made in Python."""
        return self._name


# AdamW's moment decay rate; from 1 on its moments never settle.
DecayRate = Annotated[float, Field(ge=0, lt=1)]
MAX_LEARNING_RATE = 100.0  # 1e38 overflows with the first update, and the message would be NaN's


def setting(description: str, **constraints: Any) -> Any:
    """A required field: it changes results, so each recipe states it. `constraints` are pydantic's
    (gt, ge, lt, le, min_length, ...).
    """
    return Field(description=description, **constraints)


def comfort(default: Any, description: str, **constraints: Any) -> Any:
    """A field that changes no result and therefore may have a default."""
    return Field(
        default=default, description=description, json_schema_extra={"comfort": True}, **constraints
    )


class OptimizationSection(Strict):
    """AdamW, its schedule and its length."""

    steps: int = setting("number of optimizer updates", ge=1)
    batch_size: int = setting("images per update, all processes together", ge=1)
    learning_rate: float = setting("peak learning rate", gt=0, le=MAX_LEARNING_RATE)
    min_learning_rate: float = setting("where the cosine ends", ge=0, le=MAX_LEARNING_RATE)
    warmup_steps: int = setting("updates of linear warm-up", ge=0)
    schedule: Literal["cosine", "constant"] = setting(
        "course of the learning rate after the warm-up"
    )
    weight_decay: float = setting(
        "AdamW's weight decay; biases, norms and vectors are exempt", ge=0
    )
    betas: tuple[DecayRate, DecayRate] = setting("AdamW's moment decay rates")
    adam_epsilon: float = setting("AdamW's epsilon", gt=0)
    gradient_clip: float = setting("largest gradient norm; 0 turns clipping off", ge=0)


class ParallelSection(Strict):
    """How one update is spread over processes."""

    engine: Literal["ddp", "deepspeed"] = comfort(
        "ddp", "what averages gradients; one process needs neither"
    )
    zero_stage: Literal[0, 1, 2] = comfort(
        0,
        "DeepSpeed ZeRO: 1 shards optimizer moments, 2 gradients too; 3 is not offered, for no "
        "part here is too large for one device",
    )
    offload_optimizer: bool = comfort(
        False, "DeepSpeed keeps optimizer moments in the host's memory"
    )
    precision: Literal["fp32", "bf16", "fp16"] = comfort(
        "fp32", "autocast type of the forward pass; master weights stay fp32"
    )
    device: Literal["auto", "cpu"] = comfort("auto", "auto takes a GPU where there is one")
    find_unused_parameters: bool = comfort(
        False, "ddp only: allow parameters that a step's loss does not reach"
    )


class RunSection(Strict):
    """What a run writes, and when; nothing here changes results."""

    log_every_steps: int = comfort(20, "updates between lines of metrics.jsonl", ge=1)
    checkpoint_every_steps: int = comfort(500, "updates between checkpoints", ge=1)
    keep_checkpoints: int = comfort(2, "newest checkpoints to keep", ge=1)
    examine_every_steps: int = comfort(
        0,
        "updates between examinations of what is held out, a multiple of log_every_steps: figures, "
        "and a sheet of pictures in sheets/; 0: after the last update alone",
        ge=0,
    )
    loader_workers: int = comfort(
        0, "processes a rank that read and augment ahead; 0: in the training process", ge=0
    )

    @model_validator(mode="after")
    def _is_logged(self) -> RunSection:
        if self.examine_every_steps % self.log_every_steps:
            raise ValueError(
                f"examine_every_steps = {self.examine_every_steps}, expected a multiple of "
                f"log_every_steps = {self.log_every_steps}"
            )
        return self


class AugmentationSection(Strict):
    """Random views of a small picture: never mirrored."""

    rotation_deg: float = setting("largest angle to either side, degrees", ge=0, le=180)
    shift: float = setting("largest shift, share of the side", ge=0, le=0.5)
    scale: tuple[float, float] = setting("smallest and largest magnification")
    brightness: float = setting("largest relative change of brightness and of contrast", ge=0, lt=1)


Cell = str | int | float | bool


class PicturesSection(Strict):
    """Pictures with their words: where they are, and which columns hold what."""

    path: str = setting(
        "`emoji` (comes with the package), or yours: folder, glob, .tar, .parquet, a set that "
        "`datasets` saved, or a hub id OWNER/NAME"
    )
    split: str = comfort("", "split of `emoji` or of a hub set")
    where: dict[str, Cell] = comfort({}, "rows whose columns have these values; empty: all rows")
    image_column: str = comfort("", "column that holds the picture; empty: found by type and name")
    caption_column: str = comfort(
        "",
        "column that holds the caption or a list of them; empty: found by name. In a folder "
        "NAME.txt holds it, else the words of file and folder names",
    )
    tags_column: str = comfort("", "column of further words: a list, or parted by commas")
    group_column: str = comfort(
        "",
        "pictures with one value here show one thing; empty: those that are described alike do",
    )


class PictureDataSection(PicturesSection):
    """Pictures to train on, held in memory at one size, and their random views."""

    image_size_px: int = setting("side of the square, pixels", ge=16)
    augmentation: AugmentationSection


class ValidationSection(Strict):
    """Pictures that no update sees; figures and a sheet of 24 of them go to the run folder. Either
    a share of the training data, or pictures of their own: columns are those of the data.
    """

    share: float = comfort(
        0.0, "of the groups, chosen by their names alone: all stages hold out the same", ge=0, lt=1
    )
    path: str = comfort("", "where they are; empty: where the training data are")
    split: str = comfort("", "split of `emoji` or of a hub set")
    where: dict[str, Cell] = comfort({}, "rows whose columns have these values")

    @model_validator(mode="after")
    def _says_one_thing(self) -> ValidationSection:
        if bool(self.share) == bool(self.path or self.split or self.where):
            raise ValueError(
                "expected either a share, e.g. 0.05, or pictures of their own: path, split, where"
            )
        return self


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


class TargetRecipe(Recipe):
    """A small CLIP, whose image embedding is what generation embeddings are trained towards."""

    command: ClassVar[str] = "train-tokenizer"

    stage: Literal["target"] = setting("what is trained")
    seed: int = setting("of weights, batches and views", ge=0)
    autoencoder: str = setting(
        "whose latents the embedding must tell: folder of the finished stage `autoencoder`, or "
        "`seed-nano` (bundled)"
    )
    views: int = setting("augmented views of each picture, encoded once before training", ge=1)
    data: PictureDataSection
    validation: ValidationSection | None = comfort(None, "what is held out; none: nothing")
    model: ClipSection
    losses: TargetLossSection
    optimization: OptimizationSection
    parallel: ParallelSection = comfort(ParallelSection(), "how an update is spread over processes")
    run: RunSection = comfort(RunSection(), "what is written, and when")


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


class JudgeRecipe(Recipe):
    """The small open_clip model that scores nano's pictures."""

    command: ClassVar[str] = "train-tokenizer"

    stage: Literal["judge"] = setting("what is trained")
    seed: int = setting("of weights, batches and views", ge=0)
    data: PictureDataSection
    validation: ValidationSection | None = comfort(None, "what is held out; none: nothing")
    blur: BlurSection
    model: JudgeSection
    losses: JudgeLossSection
    optimization: OptimizationSection
    parallel: ParallelSection = comfort(ParallelSection(), "how an update is spread over processes")
    run: RunSection = comfort(RunSection(), "what is written, and when")


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


class AutoencoderRecipe(Recipe):
    """The autoencoder whose latents the unCLIP decoder denoises."""

    command: ClassVar[str] = "train-tokenizer"

    stage: Literal["autoencoder"] = setting("what is trained")
    seed: int = setting("of weights, batches and views", ge=0)
    data: PictureDataSection
    validation: ValidationSection | None = comfort(None, "what is held out; none: nothing")
    crops: CropSection
    model: AutoencoderSection
    losses: AutoencoderLossSection
    optimization: OptimizationSection
    parallel: ParallelSection = comfort(ParallelSection(), "how an update is spread over processes")
    run: RunSection = comfort(RunSection(), "what is written, and when")


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


class FeaturesSection(Strict):
    """What the frozen networks make of pictures is computed once, or streamed."""

    source: Literal["cache", "stream"] = setting(
        "cache: a fixed number of augmented views is computed before training; stream: every step "
        "computes its own"
    )
    views: int = setting(
        "augmented views of each picture in the cache; unused when streaming", ge=1
    )
    batch_size: int = comfort(
        64, "pictures a forward pass of the frozen networks while the cache is written", ge=1
    )


class CodesSection(Strict):
    """Generation embeddings that a tokenizer makes of its own codes."""

    tokenizer: str = setting("whose codes: a preset or the folder of the finished stage `codebook`")
    true_share: float = setting(
        "share of samples that read the target's embedding all the same", ge=0, lt=1
    )


class UnclipRecipe(Recipe):
    """The image decoder: a diffusers stable-unCLIP pipeline, from scratch or trained on."""

    command: ClassVar[str] = "train-tokenizer"

    stage: Literal["unclip"] = setting("what is trained")
    seed: int = setting("of weights, batches, views and noise", ge=0)
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
    validation: ValidationSection | None = comfort(None, "what is held out; none: nothing")
    features: FeaturesSection
    model: UnetSection | None = comfort(None, 'with start = "scratch": shape of the UNet')
    diffusion: DiffusionSection
    optimization: OptimizationSection
    parallel: ParallelSection = comfort(ParallelSection(), "how an update is spread over processes")
    run: RunSection = comfort(RunSection(), "what is written, and when")

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


class PairSourceSection(PicturesSection):
    """One source of image-text pairs."""

    kind: Literal["pictures", "table", "tar"] = setting(
        "pictures: whatever `[data]` of the other stages takes, listed in memory; for millions of "
        "rows, table: whatever `datasets` reads (parquet, JSON lines, image folder, hub id), and "
        "tar: webdataset shards like cc3m/{00000..00331}.tar"
    )
    weight: float = setting("share of samples, relative to the other sources", gt=0)
    caption_key: str = comfort(
        "txt", "what holds a tar's caption: txt, json (a usual field of it), or a field by name"
    )
    by_picture: bool = comfort(
        False, "pictures only: a row is a picture, not a group with all its pictures"
    )


class PairDataSection(Strict):
    """Weighted sources; sample n is a pure function of (seed, n)."""

    sources: list[PairSourceSection] = setting("at least one source", min_length=1)


class TokenizerModelSection(Strict):
    """Which tokenizer is trained, and from what it starts."""

    preset: Literal["seed-2", "seed-nano"] = setting("shape and preprocessing")
    mask: Literal["causal", "bilateral"] = setting(
        "mask over the queries; bilateral is the ablation's twin"
    )
    start: str = setting(
        "`scratch`; `blip2`: the published BLIP-2 stage 1 weights; or a folder that "
        "holds a tokenizer"
    )
    vocab: str = setting(
        "`train`: learn a WordPiece vocabulary from the training captions; `bert`: "
        "bert-base-uncased's; or a file"
    )
    train_vision: bool = setting("train the ViT too; published: no")
    shape: dict[str, dict[str, int | float | str]] = comfort(
        {}, "overrides of the preset, e.g. {vision = {depth = 2}}"
    )


class CausalQFormerLossSection(Strict):
    """Stage I. Published: contrastive only, on the last query."""

    label_smoothing: float = setting("of both cross entropies; published 0.1", ge=0, lt=1)
    gather_gradient: bool = setting(
        "whether features gathered from all ranks carry gradient; published: no"
    )
    temperature: float = setting(
        "similarities are divided by it; learned from here on. 0 keeps the start weights' own", ge=0
    )
    prefix_weight: float = setting(
        "contrast of one random earlier query a picture; published 0", ge=0
    )
    tile_weight: float = setting(
        "squared error of query k painting tile k of the picture; published 0", ge=0
    )


class CausalQFormerRecipe(Recipe):
    """Stage I: the causal Q-Former is contrasted with captions."""

    command: ClassVar[str] = "train-tokenizer"

    stage: Literal["causal-qformer"] = setting("what is trained")
    seed: int = setting("of weights, batches and views", ge=0)
    data: PairDataSection
    validation: ValidationSection | None = comfort(
        None, "what is held out of sources of kind `pictures`; none: nothing"
    )
    model: TokenizerModelSection
    losses: CausalQFormerLossSection
    optimization: OptimizationSection
    parallel: ParallelSection = comfort(ParallelSection(), "how an update is spread over processes")
    run: RunSection = comfort(RunSection(), "what is written, and when")


class CodebookLearningSection(Strict):
    """How code vectors start and move."""

    start: Literal["uniform", "k-means"] = setting(
        "uniform: +-1/K as published; k-means: centres of the first code inputs"
    )
    start_vectors: int = setting("code inputs that k-means sees", ge=1)
    rule: Literal["gradient", "ema"] = setting(
        "gradient: the codebook loss, as published; ema: moving averages of assigned code inputs"
    )
    ema_decay: float = setting("of the moving averages; unused with gradient", ge=0, lt=1)
    revival_usage: float = setting(
        "a code used less than this share of an even use is moved to a random code input; 0 "
        "never. ema only",
        ge=0,
        lt=1,
    )
    collapse_perplexity: float = setting(
        "error below this perplexity, as a share of the codebook's size", ge=0, lt=1
    )
    collapse_after_steps: int = setting("updates before the collapse check begins", ge=0)


class CodebookLossSection(Strict):
    """Stage II. Published: 5 and 1.25 for the codebook, cosine x 2, 0.5 for
    the generation embedding.
    """

    commitment_weight: float = setting(
        "code inputs towards their code vectors; published 5 x 1", ge=0
    )
    codebook_weight: float = setting(
        "code vectors towards code inputs; published 5 x 0.25; unused with ema", ge=0
    )
    reconstruction: Literal["cosine", "mse"] = setting(
        "error of the reconstructed causal embeddings; published cosine"
    )
    reconstruction_weight: float = setting("of that error; published 2", ge=0)
    generation_weight: float = setting(
        "squared error of the generation embedding; published 0.5", ge=0
    )
    prefix_share: float = setting(
        "share of pictures whose last codes are replaced by their position's mean; published 0",
        ge=0,
        lt=1,
    )


class CodebookRecipe(Recipe):
    """Stage II: codebook, reconstruction and generation embedding over the
    frozen causal Q-Former.
    """

    command: ClassVar[str] = "train-tokenizer"

    stage: Literal["codebook"] = setting("what is trained")
    seed: int = setting("of weights, batches and views", ge=0)
    tokenizer: str = setting("folder of the finished stage `causal-qformer`")
    target: str = setting(
        "the CLIP whose image embedding is the generation target: a folder, `clip-h` (published) "
        "or `seed-nano` (bundled)"
    )
    data: PairDataSection
    validation: ValidationSection | None = comfort(
        None, "what is held out of sources of kind `pictures`; none: nothing"
    )
    features: FeaturesSection
    codebook: CodebookLearningSection
    losses: CodebookLossSection
    optimization: OptimizationSection
    parallel: ParallelSection = comfort(ParallelSection(), "how an update is spread over processes")
    run: RunSection = comfort(RunSection(), "what is written, and when")
