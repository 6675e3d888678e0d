"""Recipe -> the stage that it names, its networks built or loaded, its data opened."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from seedcli.console import Reporter
from seedcli.data.images.captioned import caption_texts, read_training_pictures
from seedcli.data.mixtures.pairs import Mixture, PicturePairs, TablePairs, TarPairs
from seedcli.errors import RecipeError
from seedcli.files import publish_text
from seedcli.models.device import pick_device
from seedcli.models.drawing.target import load_target, target_embedding
from seedcli.models.drawing.unclip_parts import build_pipeline, load_autoencoder, load_pipeline
from seedcli.models.visual.captions import CaptionTokenizer
from seedcli.models.visual.config import PRESETS, PreprocessConfig
from seedcli.models.visual.model import SeedModel
from seedcli.models.weights.digest import weights_digest
from seedcli.models.weights.load import load_seed_model
from seedcli.models.weights.tensors import save_tokenizer_folder
from seedcli.recipe.drawing import UnclipRecipe
from seedcli.recipe.pictures import TokenizerRecipe
from seedcli.recipe.tokenizer import CausalQFormerRecipe, CodebookRecipe, PairSourceSection
from seedcli.training.initialize import (
    initialize_tokenizer,
    overlay_shape,
    start_from_blip2,
    start_from_model,
    train_wordpiece,
)
from seedcli.training.ranks import Ranks
from seedcli.training.stage import Stage
from seedcli.training.stages.autoencoder import AutoencoderStage
from seedcli.training.stages.causal_qformer import CausalQFormerStage
from seedcli.training.stages.codebook import CodebookStage
from seedcli.training.stages.features import CachedFeatures, StreamedFeatures
from seedcli.training.stages.judge import JudgeStage
from seedcli.training.stages.target import TargetStage
from seedcli.training.stages.unclip import Surroundings, UnclipStage
from seedcli.workflows.train.parts import Parts


def build_stage(recipe: Any, parts: Parts, ranks: Ranks, reporter: Reporter) -> Stage:
    """The stage that the recipe names, built from its sections and from the models it names.

    Raises:
        RecipeError: The stage belongs to another command.
    """

    def with_pictures(stage: Any, **own: Any) -> Any:
        """A stage that holds its pictures in memory."""
        return stage(
            seed=recipe.seed,
            data=recipe.data,
            validation=recipe.validation,
            model=recipe.model,
            losses=recipe.losses,
            batch_size=recipe.optimization.batch_size,
            ranks=ranks,
            reporter=reporter,
            **own,
        )

    match recipe.stage:
        case "target":
            return with_pictures(TargetStage, autoencoder=parts.autoencoder, views=recipe.views)
        case "judge":
            return with_pictures(JudgeStage, blur=recipe.blur)
        case "causal-qformer":
            return _build_causal_qformer(recipe, parts, ranks, reporter)
        case "codebook":
            return _build_codebook(recipe, parts, ranks, reporter)
        case "autoencoder":
            return with_pictures(AutoencoderStage, crops=recipe.crops)
        case "unclip":
            return _build_unclip(recipe, parts, ranks, reporter)
        case _:
            raise RecipeError(
                f"stage {recipe.stage!r} is not trained by `seed train-tokenizer`",
                remedy="see seed recipes ls",
            )


def _build_unclip(recipe: UnclipRecipe, parts: Parts, ranks: Ranks, reporter: Reporter) -> Stage:
    if parts.pipeline is None:  # "scratch", which has both others
        assert parts.target and parts.autoencoder
        pipeline = build_pipeline(
            target=parts.target,
            autoencoder=parts.autoencoder,
            prediction=recipe.diffusion.prediction,
        )
    else:
        pipeline = load_pipeline(parts.pipeline)
        if parts.target:
            pipeline.register_modules(image_encoder=load_target(parts.target))
        if parts.autoencoder:
            pipeline.register_modules(vae=load_autoencoder(parts.autoencoder))
    tokenizer = None
    if parts.tokenizer:
        tokenizer = load_seed_model(parts.tokenizer, reporter=reporter)
    _check_widths(pipeline, tokenizer)
    folders = (parts.target, parts.autoencoder, parts.pipeline)
    made_by = [weights_digest(folder) for folder in folders if folder]
    return UnclipStage(
        seed=recipe.seed,
        around=Surroundings(
            pipeline=pipeline,
            tokenizer=tokenizer,
            true_share=recipe.codes.true_share if recipe.codes else 1.0,
            made_by=" ".join([*made_by, tokenizer.fingerprint if tokenizer else ""]),
        ),
        data=recipe.data,
        validation=recipe.validation,
        features=recipe.features,
        model=recipe.model,
        diffusion=recipe.diffusion,
        batch_size=recipe.optimization.batch_size,
        ranks=ranks,
        device=pick_device(recipe.parallel.device),
        reporter=reporter,
    )


def _check_widths(pipeline: Any, tokenizer: Any) -> None:
    """Refuses parts that do not speak of one embedding."""
    if pipeline.image_encoder is None:
        raise RecipeError(
            'target = "pipeline", and the pipeline has no image encoder',
            remedy='target = "clip-h", or the folder of a target',
        )
    width = pipeline.image_encoder.config.projection_dim
    found = {}
    if tokenizer is not None:
        found["the tokenizer's generation embedding"] = tokenizer.config.generation.generation_dim
    if pipeline.unet is not None:
        found["the pipeline's UNet"] = (
            pipeline.unet.config.projection_class_embeddings_input_dim // 2
        )
    for name, other in found.items():
        if other != width:
            raise RecipeError(
                f"the target has embeddings of width {width}, {name} has {other}",
                remedy="train decoder and tokenizer towards one target",
            )


def _build_causal_qformer(
    recipe: CausalQFormerRecipe, parts: Parts, ranks: Ranks, reporter: Reporter
) -> Stage:
    model = recipe.model
    config = overlay_shape(
        PRESETS[model.preset],
        {**model.shape, "qformer": {**model.shape.get("qformer", {}), "mask": model.mask}},
    )
    captions = CaptionTokenizer(
        parts.vocab or train_wordpiece(_captions(recipe), vocab_size=config.qformer.vocab_size)
    )
    tokenizer = SeedModel(config, text_branch=True)
    initialize_tokenizer(tokenizer, seed=recipe.seed)
    if parts.start:
        start_from_model(tokenizer, parts.start, reporter=reporter)
    elif parts.blip2:
        vision, blip2 = parts.blip2
        start_from_blip2(tokenizer, vision=vision, blip2=blip2)
    if recipe.losses.temperature:
        tokenizer.text_branch.temperature.data.fill_(recipe.losses.temperature)

    def save(tokenizer: SeedModel, folder: Path) -> None:
        publish_text(folder / "vocab.txt", "\n".join(captions.pieces) + "\n")
        name = recipe.name or config.name
        save_tokenizer_folder(tokenizer, folder, name=name, trained=_trained(recipe))

    return CausalQFormerStage(
        tokenizer,
        pairs=_build_mixture(recipe, config.preprocess.training, reporter),
        captions=captions,
        loss=recipe.losses,
        train_vision=model.train_vision,
        batch_size=recipe.optimization.batch_size,
        save=save,
        ranks=ranks,
    )


def _build_codebook(
    recipe: CodebookRecipe, parts: Parts, ranks: Ranks, reporter: Reporter
) -> Stage:
    assert parts.tokenizer and parts.target
    device = pick_device(recipe.parallel.device)
    tokenizer = load_seed_model(parts.tokenizer, device=device, text_branch=True, reporter=reporter)
    # Trained parameters must not alias the memory-mapped file they came from.
    tokenizer.load_state_dict(
        {name: tensor.float().clone() for name, tensor in tokenizer.state_dict().items()},
        assign=True,
    )
    target = load_target(parts.target).to(device)
    config, width = tokenizer.config, target.config.projection_dim
    if width != config.generation.generation_dim:
        raise RecipeError(
            f"target {recipe.target} has embeddings of width {width}, "
            f"the tokenizer's generation embedding has {config.generation.generation_dim}"
        )
    if target.config.image_size != config.vision.image_size_px:
        raise RecipeError(
            f"target {recipe.target} reads pictures of {target.config.image_size} px, the "
            f"tokenizer {config.vision.image_size_px} px"
        )

    autocast = {"bf16": torch.bfloat16, "fp16": torch.float16}.get(recipe.parallel.precision)

    @torch.no_grad()
    def frozen(pixels: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        place = next(target.parameters()).device
        pixels = pixels.to(place)
        with torch.autocast(place.type, dtype=autocast, enabled=autocast is not None):
            return tokenizer.causal_embeddings(pixels), target_embedding(target, pixels)

    pairs = _build_mixture(recipe, config.preprocess.training, reporter)
    features: CachedFeatures | StreamedFeatures
    if recipe.features.source == "cache":
        features = CachedFeatures(
            frozen,
            pairs,
            key={
                "tokenizer": tokenizer.fingerprint,
                "target": recipe.target,
                "data": recipe.data.model_dump(mode="json"),
                "seed": recipe.seed,
            },
            num_views=recipe.features.views * len(pairs),
            batch_size=recipe.features.batch_size,
            seed=recipe.seed,
            write=ranks.rank == 0,
            reporter=reporter,
        )
    else:
        features = StreamedFeatures(frozen, pairs)

    def save(trained: SeedModel, folder: Path) -> None:
        facts = _trained(recipe) | {"trained_with_prefixes": recipe.losses.prefix_share > 0}
        name = recipe.name or config.name
        save_tokenizer_folder(trained, folder, name=name, trained=facts, vocab=parts.vocab)

    return CodebookStage(
        tokenizer,
        features=features,
        learning=recipe.codebook,
        losses=recipe.losses,
        batch_size=recipe.optimization.batch_size,
        seed=recipe.seed,
        save=save,
        ranks=ranks,
    )


def _trained(recipe: TokenizerRecipe) -> dict[str, Any]:
    """What the finished folder says of its training."""
    return {
        "stage": recipe.stage,
        "recipe": recipe.name,
        "steps": recipe.optimization.steps,
        "batch_size": recipe.optimization.batch_size,
    }


def _captions(recipe: CausalQFormerRecipe) -> list[str]:
    """What a vocabulary is learned from: the training captions of the listed pictures.

    Raises:
        RecipeError: No source is listed.
    """
    listed = [source for source in recipe.data.sources if source.kind == "pictures"]
    if not listed:
        raise RecipeError(
            'model.vocab = "train" reads the captions of sources of kind "pictures"; there is none',
            remedy='model.vocab = "bert", or the path of a vocabulary',
        )
    found = [read_training_pictures(source, recipe.validation)[0] for source in listed]
    return sorted({text for pictures in found for text in caption_texts(pictures)})


def _build_mixture(
    recipe: CausalQFormerRecipe | CodebookRecipe, preprocess: PreprocessConfig, reporter: Reporter
) -> Mixture:
    """The recipe's weighted sources as one sequence of augmented pairs; the reporter hears what of
    them is left out.

    Raises:
        DataError: A source cannot be read.
    """
    sources = [
        (_open_pairs(source, recipe, reporter), source.weight) for source in recipe.data.sources
    ]
    return Mixture(sources, seed=recipe.seed, preprocess=preprocess)


def _open_pairs(source: PairSourceSection, recipe: TokenizerRecipe, reporter: Reporter) -> Any:

    match source.kind:
        case "pictures":
            pictures, _ = read_training_pictures(source, recipe.validation)
            return PicturePairs(pictures, by_picture=source.by_picture)
        case "table":
            return TablePairs(
                source.path,
                split=source.split or "train",
                image_column=source.image_column or "image",
                caption_column=source.caption_column or "caption",
            )
        case "tar":
            pairs = TarPairs(source.path, caption_key=source.caption_key)
            for reason, number in pairs.left_out.items():
                left = f"{number:,} left out beside {len(pairs):,} rows"
                reporter.note(f"{source.path}: {left}, {reason}")
            return pairs
