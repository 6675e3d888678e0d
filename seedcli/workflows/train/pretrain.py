"""Recipe -> a language model that reads and writes codes: words (optional), LoRA, merge, everything
but the input embedding.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from seedcli.console import Reporter
from seedcli.files import published
from seedcli.recipe.language import PretrainRecipe
from seedcli.training.run_folder import alone, open_run_folder
from seedcli.workflows.train.dry_run import planned
from seedcli.workflows.train.phases import PhasedRun, attention_kernel
from seedcli.workflows.train.start import (
    Start,
    locate_start,
    refuse_other_codes,
    visual_codes,
)

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast


@alone
def run(
    recipe: PretrainRecipe,
    output: Path,
    *,
    resume: bool = False,
    dry_run: bool = False,
    resume_command: str = "the same command with --resume",
    reporter: Reporter | None = None,
) -> dict[str, Any]:
    """Trains the recipe's phases in the run folder `output`; `output/model` is the result.

    Args:
        resume: Continue in the phase and at the sample where the folder's run stopped.
        dry_run: Say what would be trained and downloaded; read and write nothing.

    Raises:
        SeedError: see `training.phase.train_phase`, the sources and the models.
    """
    start, name = None, recipe.language_model.start
    if dry_run:
        return planned(recipe, output, start=name, tokenizer=recipe.tokenizer)
    reporter = reporter or Reporter()
    work = PhasedRun(
        recipe=recipe,
        folder=output,
        resume=resume,
        resume_command=resume_command,
        reporter=reporter,
    )
    work.check()
    if recipe.language_model.shape is None:
        start = locate_start(name, context_length=recipe.context_length, reporter=reporter)
    visual = visual_codes(recipe.tokenizer, option="tokenizer", reporter=reporter)
    if start:
        remedy = (
            f"tokenizer={start.facts.visual_tokenizer}, or start from a model that speaks no codes"
            if start.facts
            else ""
        )
        refuse_other_codes(name, start.facts, visual, remedy=remedy)
    if work.ranks.rank == 0:
        open_run_folder(output, recipe, resume=resume)
    sources = work.open_sources(recipe.data, visual)
    folder, words = (start.folder, start.text_tokenizer) if start else (None, None)
    if recipe.text:
        folder = words = _text_phase(recipe, work, start)
    work.code_phases(folder, words, sources, visual)
    return {"model": str(output / "model"), "phases": work.done}


def _text_phase(recipe: PretrainRecipe, work: PhasedRun, start: Start | None) -> Path:
    """Phase 0: words only; from scratch it learns the text vocabulary first."""
    from seedcli.models.language.seed_llama import build_language_model, load_causal_model
    from seedcli.models.language.text_tokenizer import load_text_tokenizer

    assert recipe.text is not None
    data = recipe.text.data
    sources = work.open_sources(data, None)
    shape = recipe.language_model.shape
    if start is not None:
        text_tokenizer = load_text_tokenizer(start.text_tokenizer)
    else:
        text_tokenizer = _text_vocabulary(
            work, work.documents(data, sources, None), shape.text_vocab_size
        )

    def build(device):
        attention = attention_kernel(recipe.parallel, device)
        if start is not None:
            return load_causal_model(start.folder, attention=attention)
        return build_language_model(
            text_tokenizer,
            **shape.model_dump(exclude={"text_vocab_size"}),
            attention=attention,
            seed=recipe.seed,
        )

    return work.phase("text", build, data, sources, text_tokenizer, visual=None)


def _text_vocabulary(work: PhasedRun, documents: Any, size: int) -> PreTrainedTokenizerFast:
    """The vocabulary that the text phase's documents teach; learned once, then
    read from the run folder.
    """
    from seedcli.models.language.text_tokenizer import load_text_tokenizer, train_text_tokenizer

    folder = work.folder / "text" / "vocabulary"
    if work.ranks.rank == 0 and not folder.is_dir():
        with published(folder) as partial:
            train_text_tokenizer(documents.texts(), size).save_pretrained(partial)
    work.wait_for(folder)
    return load_text_tokenizer(folder)
