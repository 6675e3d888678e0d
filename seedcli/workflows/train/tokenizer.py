"""Recipe -> a trained part of the visual tokenizer or of its image decoder, in a run folder."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from seedcli.console import Reporter
from seedcli.data.documents.left_out import Tally, add_tallies, describe_tally
from seedcli.files import publish_json
from seedcli.recipe.pictures import TokenizerRecipe
from seedcli.training.ranks import Ranks
from seedcli.training.run_folder import alone, open_run_folder
from seedcli.training.run_page import write_run_page
from seedcli.workflows.train.dry_run import downloads
from seedcli.workflows.train.parts import find_parts, require_data


@alone
def run(
    recipe: TokenizerRecipe,
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
            Where weights would have to be downloaded, say what it takes and build nothing.

    Raises:
        SeedError: see `training.stage.train_stage` and the stages.
    """
    reporter, optimization = reporter or Reporter(), recipe.optimization
    ranks = Ranks.from_environment()
    ranks.rows(optimization.batch_size)  # refuses what does not split
    length = {"steps": optimization.steps, "images": optimization.steps * optimization.batch_size}
    dry = {"dry_run": True, "output": str(output)}
    fetched = downloads(recipe) if dry_run else []
    if any(part["download_bytes"] != 0 for part in fetched):
        return {"stage": recipe.stage, **length, "downloads": fetched, **dry}
    require_data(recipe)  # what is missing is said before torch is imported
    parts = find_parts(recipe, reporter)
    from seedcli.training.stage import train_stage
    from seedcli.workflows.train.build_stage import build_stage

    stage = build_stage(recipe, parts, ranks, reporter)
    parameters = list(stage.model.parameters())
    trained = sum(one.numel() for one in parameters if one.requires_grad)
    size = {
        "stage": stage.name,
        "trained_parameters": trained,
        "frozen_parameters": sum(one.numel() for one in parameters) - trained,
        **length,
    }
    if dry_run:
        return size | {"downloads": fetched, **dry}
    if ranks.rank == 0:
        open_run_folder(output, recipe, resume=resume)
        if recipe.validation is not None and recipe.validation.share:
            _write_held_out(recipe, output)
    left_out = stage.prepare(output)
    try:
        result = train_stage(
            stage,
            seed=recipe.seed,
            optimization=optimization,
            parallel=recipe.parallel,
            run=recipe.run,
            folder=output,
            resume=resume,
            resume_command=resume_command,
            reporter=reporter,
        )
    finally:
        if ranks.rank == 0:
            write_run_page(output)
    return (
        size
        | {
            "model": str(output / "model"),
            "losses": result.losses,
            "images_per_s": round(result.per_s, 1),
            "elapsed_s": round(result.elapsed_s, 1),
        }
        | _tell_left_out(recipe, add_tallies([left_out, result.left_out]), ranks, reporter)
    )


def _sources(recipe: Any) -> list[Any]:
    return getattr(recipe.data, "sources", [recipe.data])


def _tell_left_out(recipe: Any, left_out: Tally, ranks: Any, reporter: Reporter) -> dict[str, Any]:
    """Says at the end which sources had rows of no use; the same for the command's result."""
    sources = _sources(recipe)
    found = {
        sources[number].path: dict(counts)
        for number, counts in left_out.items()
        if len(counts) > 1  # more than the number of rows
    }
    if ranks.rank == 0:
        for name, counts in found.items():
            reporter.note(describe_tally(name, counts, what="rows drawn"))
    return {"left_out": found} if found else {}


def _write_held_out(recipe: Any, output: Path) -> None:
    """What a share holds out is chosen by the run, so the run says what it was: `held_out.json`,
    for `seed eval retrieval`, of the pictures that are files.
    """
    from seedcli.data.images.captioned import as_retrieval_set, read_training_pictures

    held_out = [
        picture
        for source in _sources(recipe)
        if getattr(source, "kind", "pictures") == "pictures"
        for picture in read_training_pictures(source, recipe.validation, words=False)[1]
    ]
    found = as_retrieval_set(held_out)
    if found["images"]:
        publish_json(output / "held_out.json", found)
