"""Recipe -> a language model that follows instructions in words and pictures: LoRA on a pretrained model, merged at the end."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from seedcli.console import Reporter
from seedcli.errors import DataError
from seedcli.schema_llm import InstructRecipe
from seedcli.workflows.llm_phases import PhasedRun, lora_model, planned, visual_codes


def run(
    recipe: InstructRecipe,
    output: Path,
    *,
    resume: bool = False,
    dry_run: bool = False,
    resume_command: str = "the same command with --resume",
    reporter: Reporter | None = None,
) -> dict[str, Any]:
    """Tunes the recipe's start model in the run folder `output`; `output/model` is the result.

    Args:
        resume: Continue at the sample where the folder's run stopped.
        dry_run: Say what would be trained; read and write nothing.

    Raises:
        DataError: The start model's codes are of another visual tokenizer than the one that it names.
        SeedError: see `training.llm_trainer.train_phase`, the sources and the models.
    """
    if dry_run:
        plan = planned("lora", recipe.lora.optimization, recipe.context_length)
        return {"phases": [plan], "start": recipe.start, "output": str(output), "dry_run": True}
    from seedcli.models.llm_registry import locate_llm
    from seedcli.models.text_tokenizer import extend_text_tokenizer
    from seedcli.training.run_folder import open_run_folder

    reporter = reporter or Reporter()
    files = locate_llm(recipe.start, reporter=reporter)
    visual = visual_codes(files.facts.visual_tokenizer, reporter=reporter)
    known = files.facts.visual_fingerprint
    if known is not None and known != visual.fingerprint:
        raise DataError(
            f"{recipe.start} was trained on codes of fingerprint {known}; its tokenizer {files.facts.visual_tokenizer} now makes codes of "
            f"{visual.fingerprint}",
            remedy="put the visual tokenizer back that it was pretrained with, or pretrain again",
        )
    work = PhasedRun(
        folder=output,
        name=recipe.name or "instruct",
        seed=recipe.seed,
        context_length=recipe.context_length,
        template=recipe.template,
        parallel=recipe.parallel,
        run=recipe.run,
        resume=resume,
        resume_command=resume_command,
        reporter=reporter,
        earlier=files.facts.trained,
    )
    if work.ranks.rank == 0:
        work.refuse_other_run()
        open_run_folder(output, recipe, resume=resume)
    text_tokenizer = extend_text_tokenizer(files.text_tokenizer, visual.num_codes)
    work.phase(
        "lora",
        lora_model(files.folder, text_tokenizer, recipe.lora, parallel=recipe.parallel, seed=recipe.seed),
        recipe.data,
        work.open_sources(recipe.data, visual),
        text_tokenizer,
        recipe.lora.optimization,
        visual=visual,
        target=work.result,
        merge=True,
    )
    return {"model": str(work.result), "phases": work.done}
