"""Recipe -> a language model that reads and writes codes: words (optional), LoRA, merge, everything but the input embedding."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

from seedcli.console import Reporter
from seedcli.errors import UsageError
from seedcli.schema_llm import PretrainRecipe
from seedcli.workflows.llm_phases import PhasedRun, VisualCodes, attention_kernel, lora_model, planned, visual_codes

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast


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
        dry_run: Say what would be trained; read and write nothing.

    Raises:
        SeedError: see `training.llm_trainer.train_phase`, the sources and the models.
    """
    phases = {name: phase for name in ("text", "lora", "full") if (phase := getattr(recipe, name)) is not None}
    if dry_run:
        plans = [planned(name, phase.optimization, recipe.context_length) for name, phase in phases.items()]
        return {
            "phases": plans,
            "start": recipe.language_model.start,
            "tokenizer": recipe.tokenizer,
            "output": str(output),
            "dry_run": True,
        }
    from seedcli.training.run_folder import open_run_folder

    reporter = reporter or Reporter()
    work = PhasedRun(
        folder=output,
        name=recipe.name or "pretrain",
        seed=recipe.seed,
        context_length=recipe.context_length,
        template=recipe.language_model.template,
        parallel=recipe.parallel,
        run=recipe.run,
        resume=resume,
        resume_command=resume_command,
        reporter=reporter,
    )
    if work.ranks.rank == 0:
        work.refuse_other_run()
        open_run_folder(output, recipe, resume=resume)
    start = _text_phase(recipe, work) if recipe.text else _find_start(recipe.language_model.start, reporter)
    visual = visual_codes(recipe.tokenizer, reporter=reporter)
    sources = work.open_sources(recipe.data, visual)
    if recipe.lora:
        from seedcli.models.text_tokenizer import extend_text_tokenizer

        text_tokenizer = extend_text_tokenizer(start, visual.num_codes)
        start = work.phase(
            "lora",
            lora_model(start, text_tokenizer, recipe.lora, parallel=recipe.parallel, seed=recipe.seed),
            recipe.data,
            sources,
            text_tokenizer,
            recipe.lora.optimization,
            visual=visual,
            target=output / "lora" / "model" if recipe.full else work.result,
            merge=True,
        )
    if recipe.full:
        _full_phase(recipe, work, start, sources, visual)
    return {"model": str(work.result), "phases": work.done}


def _text_phase(recipe: PretrainRecipe, work: PhasedRun) -> Path:
    """Phase 0: words only; from scratch it learns the text vocabulary first."""
    from seedcli.models.seed_llama import build_language_model, load_causal_model
    from seedcli.models.text_tokenizer import load_text_tokenizer

    assert recipe.text is not None
    data = recipe.text.data
    sources = work.open_sources(data, None)
    target = work.folder / "text" / "model"
    shape, start = recipe.language_model.shape, None
    if shape is None:
        start = _find_start(recipe.language_model.start, work.reporter)
        text_tokenizer = load_text_tokenizer(start)
    else:
        text_tokenizer = _text_vocabulary(work, work.documents(data, sources, None), shape.text_vocab_size)

    def build(device):
        attention = attention_kernel(recipe.parallel, device)
        if start is not None:
            return load_causal_model(start, attention=attention)
        return build_language_model(
            text_tokenizer,
            hidden_size=shape.hidden_size,
            intermediate_size=shape.intermediate_size,
            num_layers=shape.num_layers,
            num_heads=shape.num_heads,
            max_positions=shape.max_positions,
            rope_theta=shape.rope_theta,
            attention=attention,
            seed=recipe.seed,
        )

    return work.phase("text", build, data, sources, text_tokenizer, recipe.text.optimization, visual=None, target=target)


def _text_vocabulary(work: PhasedRun, documents: Any, size: int) -> PreTrainedTokenizerFast:
    """The vocabulary that the text phase's documents teach; learned once, then read from the run folder."""
    from seedcli.models.text_tokenizer import load_text_tokenizer, train_text_tokenizer

    folder = work.folder / "text" / "vocabulary"
    if work.ranks.rank == 0 and not folder.is_dir():
        partial = folder.with_name("vocabulary.partial")
        shutil.rmtree(partial, ignore_errors=True)
        train_text_tokenizer(documents.texts(), size).save_pretrained(partial)
        partial.rename(folder)
    work.wait_for(folder)
    return load_text_tokenizer(folder)


def _full_phase(recipe: PretrainRecipe, work: PhasedRun, start: Path, sources: Any, visual: VisualCodes) -> None:
    """Phase 3: every parameter but the input embedding."""
    from seedcli.models.lora import untie_embeddings
    from seedcli.models.seed_llama import extend_language_model, load_causal_model
    from seedcli.models.text_tokenizer import extend_text_tokenizer
    from seedcli.training.llm_engine import gather_parameters

    assert recipe.full is not None
    text_tokenizer = extend_text_tokenizer(start, visual.num_codes)

    def build(device):
        model = load_causal_model(start, attention=attention_kernel(recipe.parallel, device))
        extend_language_model(model, text_tokenizer, seed=recipe.seed, gather=gather_parameters)
        untie_embeddings(model)
        model.get_input_embeddings().requires_grad_(False)
        return model

    work.phase("full", build, recipe.data, sources, text_tokenizer, recipe.full.optimization, visual=visual, target=work.result)


def _find_start(start: str, reporter: Reporter) -> Path:
    """Folder of the language model to start from: as named, a role of `seed models`, or a hub id.

    Raises:
        UsageError: No such folder, preset or hub id.
    """
    from seedcli.models.download import fetch
    from seedcli.models.sources import LLM_FILES, ROLES, Role, Source

    path = Path(start).expanduser()
    if path.is_dir():
        return path
    if start in ROLES:
        return fetch(ROLES[start], reporter=reporter)
    if start.count("/") == 1 and not start.startswith((".", "/", "~")):
        source = Source(repo=start, files=LLM_FILES)
        return fetch(
            Role(name=start, title="language model", kind="folder", sources=(source,), lay_out="name the folder"), reporter=reporter
        )
    raise UsageError(
        f"language_model.start = {start!r} is no folder, preset or hub id",
        remedy="name a folder with config.json and weights, or a hub id such as lmsys/vicuna-7b-v1.1",
    )
