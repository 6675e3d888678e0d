"""Recipe -> a trained part of the visual tokenizer or of its image decoder, in a run folder."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from seedcli.console import Reporter
from seedcli.errors import RecipeError
from seedcli.files import publish_text
from seedcli.models.visual.config import PreprocessConfig
from seedcli.recipe.tokenizer import CausalQFormerRecipe, CodebookRecipe, PairDataSection, Recipe
from seedcli.training.run_folder import alone, open_run_folder, plot_metrics

if TYPE_CHECKING:
    from seedcli.models.visual.model import SeedModel


@alone
def run(
    recipe: Recipe,
    output: Path,
    *,
    resume: bool = False,
    dry_run: bool = False,
    resume_command: str = "the same command with --resume",
    reporter: Reporter | None = None,
) -> dict[str, Any]:
    """Trains the recipe's stage into the run folder `output` and returns what a
    caller wants to know of it.

    Args:
        resume: Continue from the newest checkpoint of `output`.
        dry_run: Build everything, train nothing, write nothing: parameters, images and steps.

    Raises:
        SeedError: see `training.stage.train_stage` and the stages.
    """
    from seedcli.training.ranks import Ranks
    from seedcli.training.stage import train_stage

    reporter = reporter or Reporter()
    ranks = Ranks.from_environment()
    ranks.rows(recipe.optimization.batch_size)
    stage = build_stage(recipe, ranks, output, reporter)
    size = {
        "stage": stage.name,
        "trained_parameters": sum(
            parameter.numel() for parameter in stage.model.parameters() if parameter.requires_grad
        ),
        "frozen_parameters": sum(
            parameter.numel()
            for parameter in stage.model.parameters()
            if not parameter.requires_grad
        ),
        "steps": recipe.optimization.steps,
        "images": recipe.optimization.steps * recipe.optimization.batch_size,
    }
    if dry_run:
        return size | {"dry_run": True, "output": str(output)}
    if ranks.rank == 0:
        open_run_folder(output, recipe, resume=resume)
    if recipe.stage == "codebook":
        stage.prepare()
    try:
        result = train_stage(
            stage,
            seed=recipe.seed,
            optimization=recipe.optimization,
            parallel=recipe.parallel,
            run=recipe.run,
            folder=output,
            resume=resume,
            resume_command=resume_command,
            reporter=reporter,
        )
    finally:
        if ranks.rank == 0:
            plot_metrics(output)
    return size | {
        "model": str(result.model_folder),
        "losses": result.losses,
        "images_per_s": round(result.images_per_s, 1),
        "elapsed_s": round(result.elapsed_s, 1),
    }


def build_stage(recipe: Recipe, ranks: Any, output: Path, reporter: Reporter) -> Any:
    """The stage that the recipe names, built from its sections.

    Raises:
        RecipeError: The stage belongs to another command.
    """
    match recipe.stage:
        case "target":
            from seedcli.training.stages.target import TargetStage

            return TargetStage(
                seed=recipe.seed,
                data=recipe.data,
                model=recipe.model,
                losses=recipe.losses,
                batch_size=recipe.optimization.batch_size,
                ranks=ranks,
            )
        case "judge":
            from seedcli.training.stages.judge import JudgeStage

            return JudgeStage(
                seed=recipe.seed,
                data=recipe.data,
                model=recipe.model,
                batch_size=recipe.optimization.batch_size,
                ranks=ranks,
            )
        case "causal-qformer":
            return _build_causal_qformer(recipe, ranks, reporter)
        case "codebook":
            return _build_codebook(recipe, ranks, output, reporter)
        case "autoencoder":
            from seedcli.training.stages.autoencoder import AutoencoderStage

            return AutoencoderStage(
                seed=recipe.seed,
                data=recipe.data,
                crops=recipe.crops,
                model=recipe.model,
                losses=recipe.losses,
                batch_size=recipe.optimization.batch_size,
                ranks=ranks,
            )
        case "unclip":
            from seedcli.training.stages.unclip import UnclipStage

            return UnclipStage(
                seed=recipe.seed,
                target=Path(recipe.target),
                autoencoder=Path(recipe.autoencoder),
                data=recipe.data,
                model=recipe.model,
                diffusion=recipe.diffusion,
                batch_size=recipe.optimization.batch_size,
                ranks=ranks,
                reporter=reporter,
            )
        case _:
            raise RecipeError(
                f"stage {recipe.stage!r} is not trained by `seed train-tokenizer`",
                remedy="see seed recipes ls",
            )


def _build_causal_qformer(recipe: CausalQFormerRecipe, ranks: Any, reporter: Reporter) -> Any:
    from seedcli.models.visual.captions import CaptionTokenizer
    from seedcli.models.visual.config import PRESETS
    from seedcli.models.visual.model import SeedModel
    from seedcli.models.weights.download import fetch
    from seedcli.models.weights.locate import locate
    from seedcli.models.weights.published import BLIP_2, VIT_G
    from seedcli.models.weights.tensors import save_tokenizer_folder
    from seedcli.training.initialize import (
        initialize_tokenizer,
        overlay_shape,
        start_from_blip2,
        start_from_model,
        train_wordpiece,
    )
    from seedcli.training.stages.causal_qformer import CausalQFormerStage

    model = recipe.model
    config = overlay_shape(
        PRESETS[model.preset],
        {**model.shape, "qformer": {**model.shape.get("qformer", {}), "mask": model.mask}},
    )
    match model.vocab:
        case "train":
            from seedcli.data.emoji import train_texts

            captions = CaptionTokenizer(
                train_wordpiece(train_texts(), vocab_size=config.qformer.vocab_size)
            )
        case "bert":
            from seedcli.models.weights.load import find_vocab

            captions = CaptionTokenizer(find_vocab(locate(model.preset), reporter=reporter))
        case path:
            captions = CaptionTokenizer(Path(path))
    tokenizer = SeedModel(config, text_branch=True)
    initialize_tokenizer(tokenizer, seed=recipe.seed)
    match model.start:
        case "scratch":
            pass
        case "blip2":
            start_from_blip2(
                tokenizer,
                vision=fetch(VIT_G, reporter=reporter),
                blip2=fetch(BLIP_2, reporter=reporter),
            )
        case folder:
            start_from_model(tokenizer, locate(folder, reporter=reporter), reporter=reporter)
    if recipe.losses.temperature:
        tokenizer.text_branch.temperature.data.fill_(recipe.losses.temperature)

    def save(tokenizer: SeedModel, folder: Path) -> None:
        publish_text(folder / "vocab.txt", "\n".join(captions.pieces) + "\n")
        trained = {
            "stage": recipe.stage,
            "recipe": recipe.name,
            "steps": recipe.optimization.steps,
            "batch_size": recipe.optimization.batch_size,
        }
        save_tokenizer_folder(tokenizer, folder, name=recipe.name or config.name, trained=trained)

    return CausalQFormerStage(
        tokenizer,
        pairs=build_mixture(recipe.data, seed=recipe.seed, preprocess=config.preprocess.training),
        captions=captions,
        loss=recipe.losses,
        train_vision=model.train_vision,
        batch_size=recipe.optimization.batch_size,
        save=save,
        ranks=ranks,
    )


def _build_codebook(recipe: CodebookRecipe, ranks: Any, output: Path, reporter: Reporter) -> Any:
    import torch

    from seedcli.models.device import pick_device
    from seedcli.models.drawing.target import load_target, target_embedding
    from seedcli.models.weights.load import find_target, load_seed_model
    from seedcli.models.weights.locate import locate
    from seedcli.models.weights.tensors import save_tokenizer_folder
    from seedcli.training.stages.codebook import CodebookStage
    from seedcli.training.stages.features import CachedFeatures, StreamedFeatures

    device = pick_device(recipe.parallel.device)
    tokenizer = load_seed_model(
        locate(recipe.tokenizer, reporter=reporter),
        device=device,
        text_branch=True,
        reporter=reporter,
    )
    # Trained parameters must not alias the memory-mapped file they came from.
    tokenizer.load_state_dict(
        {name: tensor.float().clone() for name, tensor in tokenizer.state_dict().items()},
        assign=True,
    )
    target = load_target(find_target(recipe.target, reporter=reporter)).to(device)
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

    pairs = build_mixture(recipe.data, seed=recipe.seed, preprocess=config.preprocess.training)
    if recipe.features.source == "cache":
        features = CachedFeatures(
            frozen,
            pairs,
            folder=output,
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
        facts = {
            "stage": recipe.stage,
            "recipe": recipe.name,
            "steps": recipe.optimization.steps,
            "batch_size": recipe.optimization.batch_size,
        }
        facts["trained_with_prefixes"] = recipe.losses.prefix_share > 0
        save_tokenizer_folder(
            trained,
            folder,
            name=recipe.name or config.name,
            trained=facts,
            vocab=Path(recipe.tokenizer) / "vocab.txt",
        )

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


def build_mixture(data: PairDataSection, *, seed: int, preprocess: PreprocessConfig) -> Any:
    """The recipe's weighted sources as one sequence of augmented pairs.

    Raises:
        DataError: A source cannot be read.
        RecipeError: Emoji of another split than `train`.
    """
    from seedcli.data.mixtures.pairs import EmojiPairs, Mixture, TablePairs, TarPairs

    sources = []
    for source in data.sources:
        match source.kind:
            case "emoji":
                if source.path != "train":
                    raise RecipeError(
                        f"data.sources: the emoji split {source.path!r} is not for training",
                        remedy='path = "train"',
                    )
                pairs = EmojiPairs("train", by_picture=source.by_picture)
            case "table":
                pairs = TablePairs(
                    source.path,
                    split=source.split,
                    image_column=source.image_column,
                    caption_column=source.caption_column,
                )
            case "tar":
                pairs = TarPairs(source.path, caption_key=source.caption_key)
        sources.append((pairs, source.weight))
    return Mixture(sources, seed=seed, preprocess=preprocess)
