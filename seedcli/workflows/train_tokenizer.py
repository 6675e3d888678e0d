"""Recipe -> a trained part of the visual tokenizer or of its image decoder, in a run folder."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from seedcli.console import Reporter
from seedcli.errors import RecipeError
from seedcli.schema import Recipe


def run(
    recipe: Recipe,
    output: Path,
    *,
    resume: bool = False,
    dry_run: bool = False,
    resume_command: str = "the same command with --resume",
    reporter: Reporter | None = None,
) -> dict[str, Any]:
    """Trains the recipe's stage into the run folder `output` and returns what a caller wants to know of it.

    Args:
        resume: Continue from the newest checkpoint of `output`.
        dry_run: Build everything, train nothing, write nothing: parameters, images and steps.

    Raises:
        SeedError: see `training.loop.train` and the stages.
    """
    from seedcli.training.loop import train
    from seedcli.training.ranks import Ranks
    from seedcli.training.run_folder import open_run_folder, plot_metrics

    reporter = reporter or Reporter()
    ranks = Ranks.from_environment()
    ranks.rows(recipe.optimization.batch_size)
    stage = build_stage(recipe, ranks, reporter)
    size = {
        "stage": stage.name,
        "trained_parameters": sum(parameter.numel() for parameter in stage.model.parameters() if parameter.requires_grad),
        "frozen_parameters": sum(parameter.numel() for parameter in stage.model.parameters() if not parameter.requires_grad),
        "steps": recipe.optimization.steps,
        "images": recipe.optimization.steps * recipe.optimization.batch_size,
    }
    if dry_run:
        return size | {"dry_run": True, "output": str(output)}
    if ranks.rank == 0:
        open_run_folder(output, recipe, resume=resume)
    try:
        result = train(
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


def build_stage(recipe: Recipe, ranks: Any, reporter: Reporter) -> Any:
    """The stage that the recipe names, built from its sections.

    Raises:
        RecipeError: The stage belongs to another command.
    """
    match recipe.stage:
        case "target":
            from seedcli.training.stage_target import TargetStage

            return TargetStage(
                seed=recipe.seed,
                data=recipe.data,
                model=recipe.model,
                losses=recipe.losses,
                batch_size=recipe.optimization.batch_size,
                ranks=ranks,
            )
        case "autoencoder":
            from seedcli.training.stage_autoencoder import AutoencoderStage

            return AutoencoderStage(
                seed=recipe.seed,
                data=recipe.data,
                model=recipe.model,
                losses=recipe.losses,
                batch_size=recipe.optimization.batch_size,
                ranks=ranks,
            )
        case "unclip":
            from seedcli.training.stage_unclip import UnclipStage

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
            raise RecipeError(f"stage {recipe.stage!r} is not trained by `seed train-tokenizer`", remedy="see seed recipes ls")
