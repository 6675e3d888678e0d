"""Recipe sections of the visual tokenizer: stage I, the causal Q-Former, and stage II, the
codebook. Torch-free.
"""

from __future__ import annotations

from typing import Literal

from seedcli.recipe.pictures import FeaturesSection, PicturesSection, TokenizerRecipe
from seedcli.recipe.sections import Strict, comfort, setting


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


class CausalQFormerRecipe(TokenizerRecipe):
    """Stage I: the causal Q-Former is contrasted with captions."""

    stage: Literal["causal-qformer"] = setting("what is trained")
    data: PairDataSection
    model: TokenizerModelSection
    losses: CausalQFormerLossSection


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


class CodebookRecipe(TokenizerRecipe):
    """Stage II: codebook, reconstruction and generation embedding over the
    frozen causal Q-Former.
    """

    stage: Literal["codebook"] = setting("what is trained")
    tokenizer: str = setting("folder of the finished stage `causal-qformer`")
    target: str = setting(
        "the CLIP whose image embedding is the generation target: a folder, `clip-h` (published) "
        "or `seed-nano` (bundled)"
    )
    data: PairDataSection
    features: FeaturesSection
    codebook: CodebookLearningSection
    losses: CodebookLossSection
