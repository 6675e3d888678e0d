"""Recipe -> a language model that follows instructions in words and pictures: a pretrained model
learns from conversations, by LoRA (merged at the end) or whole.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from seedcli.console import Reporter
from seedcli.recipe.language import InstructRecipe
from seedcli.training.run_folder import alone, open_run_folder
from seedcli.workflows.train.dry_run import planned
from seedcli.workflows.train.phases import PhasedRun
from seedcli.workflows.train.start import refuse_longer_rows, refuse_other_codes, visual_codes


@alone
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
        dry_run: Say what would be trained and downloaded; read and write nothing.

    Raises:
        DataError: The start model's codes are of another visual tokenizer than
            the one that it names.
        SeedError: see `training.phase.train_phase`, the sources and the models.
    """
    if dry_run:
        return planned(recipe, output, start=recipe.start)
    from seedcli.models.weights.adapter import ADAPTER_FILE, refuse_adapter
    from seedcli.models.weights.llm_description import FACTS_FILE
    from seedcli.models.weights.locate_llm import locate_llm, read_llama_config

    reporter = reporter or Reporter()
    work = PhasedRun(
        recipe=recipe,
        folder=output,
        resume=resume,
        resume_command=resume_command,
        reporter=reporter,
    )
    work.check()
    files = locate_llm(recipe.start, option="start", reporter=reporter)
    if files.adapter is not None:  # training would have to write the base's weights anew
        refuse_adapter([ADAPTER_FILE], files.adapter.folder)
    refuse_longer_rows(recipe.start, read_llama_config(files.folder), recipe.context_length)
    work.earlier = files.facts.trained
    stated = f"visual_tokenizer in {files.folder / FACTS_FILE}"
    visual = visual_codes(files.facts.visual_tokenizer, option=stated, reporter=reporter)
    remedy = "put the visual tokenizer back that it was pretrained with, or pretrain again"
    refuse_other_codes(recipe.start, files.facts, visual, remedy=remedy)
    if work.ranks.rank == 0:
        open_run_folder(output, recipe, resume=resume)
    sources = work.open_sources(recipe.data, visual)
    work.code_phases(files.folder, files.text_tokenizer, sources, visual)
    return {"model": str(output / "model"), "phases": work.done}
