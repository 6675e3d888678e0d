"""`seed plan`: parameters, memory, arithmetic and hours of a recipe, before anything is loaded or
downloaded. Here for the language model; `plan_tokenizer` for the stages of the tokenizer.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, cast

from seedcli.console import Reporter
from seedcli.errors import DataError, UsageError
from seedcli.files import parse_json
from seedcli.models.language.cost import (
    DEVICES,
    KNOWN_SHAPES,
    Adapter,
    Arithmetic,
    Device,
    LlamaShape,
    Phase,
    activation_bytes,
    count_parameters,
    memory_per_rank,
    shape_from_config,
    training_flops,
)
from seedcli.models.weights.locate_llm import find_llm_here, has_words
from seedcli.recipe.language import (
    DocumentDataSection,
    FullPhaseSection,
    InstructRecipe,
    LoraPhaseSection,
    PhaseSection,
    PretrainRecipe,
    TokenOptimizationSection,
)
from seedcli.recipe.pictures import TokenizerRecipe
from seedcli.recipe.sections import Recipe

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

GB = 1e9
UTILISATION = 0.4  # of the device's peak, assumed; the run's own metrics.jsonl says the true one

# (hidden size, stage) -> what the published run took: its name, devices, their kind, hours. Source:
# the project page.
_PUBLISHED_RUNS: dict[tuple[int, str], tuple[str, int, str, int]] = {
    (4096, "pretrain"): ("SEED-LLaMA 8B, pretraining", 64, "A100-40G", 144),
    (5120, "pretrain"): ("SEED-LLaMA 14B, pretraining", 64, "A100-40G", 216),
    (4096, "instruct"): ("SEED-LLaMA 8B, instruction tuning", 32, "A100-80G", 16),
    (5120, "instruct"): ("SEED-LLaMA 14B, instruction tuning", 32, "A100-80G", 27),
}


@dataclass(frozen=True)
class _Planned:
    """One phase of a recipe, in the terms of `llm_cost`."""

    name: str
    phase: Phase
    shape: LlamaShape
    data: DocumentDataSection
    optimization: TokenOptimizationSection
    num_queries: int
    adapter: Adapter | None = None


def run(
    recipe: Recipe, *, gpus: str, utilisation: float = UTILISATION, reporter: Reporter = Reporter()
) -> dict[str, Any]:
    """Recipe and devices -> what the run would cost.

    Args:
        recipe: Of any training command.
        gpus: Kind and number, e.g. `a100-40g:64`.
        utilisation: Share of the device's peak that the arithmetic gets, recomputation included.
        reporter: Hears what was assumed.

    Raises:
        UsageError: An unknown device, a share that is none, a batch that does not split, or a part
            whose shape is known only once it is trained.
        DataError: Nobody knows the model's shape without its `config.json`.
    """
    if not 0 < utilisation <= 1:
        raise UsageError(
            f"--utilisation {utilisation:g}: expected a share above 0, at most 1",
            remedy=f"--utilisation {UTILISATION}",
        )
    kind, device, count = parse_devices(gpus)
    if not isinstance(recipe, PretrainRecipe | InstructRecipe):
        return _plan_stage(cast(TokenizerRecipe, recipe), kind, device, count, utilisation)
    phases, base = _phases(recipe)
    arithmetic: Arithmetic = "fp32"
    if recipe.parallel.precision != "fp32":
        arithmetic = "half" if recipe.parallel.engine == "deepspeed" else "autocast"
    peak = (device.fp32_tflops if arithmetic == "fp32" else device.half_tflops) * 1e12
    text_tokenizer = _text_tokenizer(
        base, phases[-1].num_queries, extend=isinstance(recipe, PretrainRecipe)
    )
    mixtures: dict[int, dict[str, Any]] = {}
    rows = []
    for planned in phases:
        if id(planned.data) not in mixtures:
            reporter.note("reading lengths of documents")
            mixtures[id(planned.data)] = _mixture(planned, recipe, text_tokenizer)
        mixture = mixtures[id(planned.data)]
        rows.append(_phase(planned, recipe, mixture, arithmetic, count, count * peak * utilisation))
    shape = phases[-1].shape
    result = {
        "recipe": recipe.name,
        "command": recipe.command,
        "devices": _described(kind, device, count, peak, utilisation),
        "model": {
            "start": base,
            **dataclasses.asdict(shape),
            "parameters": count_parameters(shape, "text").total,
        },
        "context_length": recipe.context_length,
        "phases": rows,
        "hours": sum(row["hours"] for row in rows),
        "device_hours": sum(row["hours"] for row in rows) * count,
        "host_gb_per_rank_while_loading": 4 * count_parameters(shape, "text").total / GB,
    }
    if published := _PUBLISHED_RUNS.get((shape.hidden_size, recipe.stage)):
        run_name, number, devices, hours = published
        result["published"] = {
            "run": run_name,
            "devices": f"{number} x {devices}",
            "hours": hours,
            "device_hours": number * hours,
        }
    return result


def _plan_stage(
    recipe: TokenizerRecipe, kind: str, device: Device, count: int, utilisation: float
) -> dict[str, Any]:
    from seedcli.workflows.train.plan_tokenizer import plan_stage

    half = recipe.parallel.precision != "fp32"
    peak = (device.half_tflops if half else device.fp32_tflops) * 1e12
    return {
        "recipe": recipe.name,
        "command": recipe.command,
        "devices": _described(kind, device, count, peak, utilisation),
        **plan_stage(recipe, count=count, peak_flops=count * peak * utilisation),
    }


def _described(
    kind: str, device: Device, count: int, peak: float, utilisation: float
) -> dict[str, Any]:
    return {
        "kind": kind,
        "count": count,
        "peak_tflops": peak / 1e12,
        "memory_gb": device.memory_gb,
        "utilisation": utilisation,
    }


def parse_devices(gpus: str) -> tuple[str, Device, int]:
    """`h100-80g:8` -> kind, facts and number; `h100` is the first kind of that name.

    Raises:
        UsageError: No such kind, or no number.
    """
    kind, _, number = gpus.lower().partition(":")
    named = [one for one in DEVICES if kind in (one, one.partition("-")[0])]
    if not named:
        raise UsageError(
            f"--gpus {gpus}: {kind!r} is not known",
            remedy=f"KIND:NUMBER with one of {', '.join(DEVICES)}",
        )
    if number and not (number.isdecimal() and int(number)):
        raise UsageError(
            f"--gpus {gpus}: found {number!r} as their number", remedy=f"--gpus {kind}:8"
        )
    return named[0], DEVICES[named[0]], int(number or 1)


def _phases(recipe: PretrainRecipe | InstructRecipe) -> tuple[list[_Planned], str]:
    """Phases of a recipe, and the model that they start from."""
    from seedcli.models.weights.llm_description import FACTS_FILE, read_llm_facts
    from seedcli.models.weights.locate import locate

    if isinstance(recipe, InstructRecipe):
        start = recipe.start
        folder = find_llm_here(start)
        known = folder is not None and (folder / FACTS_FILE).is_file()
        num_queries = read_llm_facts(folder).num_queries if known and folder else 32
        words = shape = _shape_of(start)
    else:
        config = locate(recipe.tokenizer).config
        num_queries = config.qformer.num_queries
        start, own = recipe.language_model.start, recipe.language_model.shape
        if own is None:
            words = _shape_of(start)
        else:
            words = LlamaShape(
                hidden_size=own.hidden_size,
                intermediate_size=own.intermediate_size,
                num_layers=own.num_layers,
                num_heads=own.num_heads,
                num_kv_heads=own.num_heads,
                vocab_size=own.text_vocab_size,
            )
        shape = words.with_vocab(words.vocab_size + config.codebook.num_codes + 2)
    return [
        _Planned(
            name,
            cast(Phase, "text" if _all_learn(section) else name),
            words if name == "text" else shape,
            getattr(section, "data", recipe.data),
            section.optimization,
            0 if name == "text" else num_queries,
            Adapter(**section.adapter.model_dump(include={"rank", "targets", "trained_whole"}))
            if isinstance(section, LoraPhaseSection)
            else None,
        )
        for name, section in recipe.phases.items()
    ], start


def _all_learn(section: PhaseSection) -> bool:
    """Whether a phase trains every parameter, as the one of words does."""
    return isinstance(section, FullPhaseSection) and section.input_embedding == "trained"


def _shape_of(start: str) -> LlamaShape:
    """Shape of the model that a run starts from: `config.json`, a known model, or the shipped
    recipe whose run it would be.

    Raises:
        DataError: None of them.
    """
    folder = find_llm_here(start)
    if folder and (folder / "config.json").is_file():
        try:
            return shape_from_config(parse_json((folder / "config.json").read_bytes()))
        except (ValueError, KeyError, TypeError) as error:
            raise DataError(
                f"{folder / 'config.json'}: not the configuration of a Llama: "
                f"{type(error).__name__} {error}"
            ) from None
    if start in KNOWN_SHAPES:
        return KNOWN_SHAPES[start]
    from seedcli.recipe.files import shipped_recipes
    from seedcli.recipe.read import load_recipe

    runs = [name for name in shipped_recipes() if name in Path(start).parts]
    if runs and isinstance(earlier := load_recipe(runs[0]), PretrainRecipe):
        return _phases(earlier)[0][-1].shape
    raise DataError(
        f"{start}: no folder with a config.json on this disk, and its shape is not known",
        remedy="download its config.json and name the folder; known without: "
        f"{', '.join(KNOWN_SHAPES)}",
    )


def _text_tokenizer(
    start: str, num_queries: int, *, extend: bool
) -> PreTrainedTokenizerBase | None:
    """The text tokenizer with codes where it lies on this disk; the number of
    codes changes no length.
    """
    folder = find_llm_here(start)
    if folder is None or not has_words(folder):
        return None
    from seedcli.models.language.text_tokenizer import extend_text_tokenizer, load_text_tokenizer

    if extend:
        return extend_text_tokenizer(folder, max(num_queries, 1))
    return load_text_tokenizer(folder)


def _mixture(
    planned: _Planned,
    recipe: PretrainRecipe | InstructRecipe,
    text_tokenizer: PreTrainedTokenizerBase | None,
) -> dict[str, Any]:
    """Lengths of a phase's documents, source by source, and their padding."""
    from seedcli.data.documents.conversations import conversation_template
    from seedcli.data.mixtures.lengths import padding, source_lengths

    unknown = recipe.template == "own" and not (text_tokenizer and text_tokenizer.chat_template)
    template = conversation_template("vicuna" if unknown else recipe.template, text_tokenizer)
    settings = {
        "template": template,
        "num_queries": planned.num_queries,
        "num_codes": 1,
        "text_tokenizer": text_tokenizer,
        "seed": recipe.seed,
    }
    sources = [(section, source_lengths(section, **settings)) for section in planned.data.sources]
    mean, shares = padding(sources, context_length=recipe.context_length, seed=recipe.seed)
    total = sum(section.weight for section, _ in sources)
    return {
        "sources": [
            {
                "source": f"{section.kind} {section.path}",
                "form": section.form,
                "share": section.weight / total,
                "mean_tokens": lengths.mean,
                "max_tokens": section.max_tokens,
                "lengths": lengths.basis,
            }
            for section, lengths in sources
        ],
        "mean_tokens": mean,
        "padding_unpacked": shares.to_longest,
        "padding_packed": shares.packed,
    }


def _phase(
    planned: _Planned,
    recipe: PretrainRecipe | InstructRecipe,
    mixture: dict[str, Any],
    arithmetic: Arithmetic,
    ranks: int,
    flops_per_s: float,
) -> dict[str, Any]:
    parallel, context_length = recipe.parallel, recipe.context_length
    tokens = planned.optimization.steps * planned.optimization.batch_tokens
    real_tokens = tokens * (1 - mixture["padding_packed"])
    documents = real_tokens / mixture["mean_tokens"]
    attended = (
        context_length
        if parallel.attention in ("sdpa", "eager") or arithmetic == "fp32"
        else mixture["mean_tokens"] / 2
    )
    parameters = count_parameters(planned.shape, planned.phase, planned.adapter)
    per_token = training_flops(
        planned.shape,
        planned.phase,
        planned.adapter,
        attended_tokens=attended,
        gradient_checkpointing=parallel.gradient_checkpointing,
    )
    hours = tokens * per_token / flops_per_s / 3600
    activations = activation_bytes(
        planned.shape,
        planned.adapter,
        tokens=parallel.micro_batch_rows * context_length,
        arithmetic=arithmetic,
        gradient_checkpointing=parallel.gradient_checkpointing,
        eager_row_tokens=context_length if parallel.attention == "eager" else 0,
    )
    stages: Sequence[Literal[0, 1, 2, 3]] = (
        (0, 1, 2, 3) if ranks > 1 or parallel.engine == "deepspeed" else (0,)
    )
    memory = []
    for stage in stages:
        one = memory_per_rank(
            parameters,
            ranks=ranks,
            zero_stage=stage,
            arithmetic=arithmetic,
            activations=activations,
            optimizer=planned.optimization.optimizer,
            offload_optimizer=parallel.offload_optimizer,
            offload_parameters=parallel.offload_parameters,
        )
        parts = {"device": one.device} | dataclasses.asdict(one)
        memory.append(
            {"zero_stage": stage, "chosen": stage == parallel.zero_stage}
            | {f"{name}_gb": value / GB for name, value in parts.items()}
        )
    return {
        "phase": planned.name,
        "trainable": parameters.trainable,
        "frozen": parameters.frozen,
        "adapter": parameters.adapter,
        "steps": planned.optimization.steps,
        "tokens": tokens,
        "real_tokens": round(real_tokens),
        "documents": round(documents),
        "documents_per_step": round(documents / planned.optimization.steps),
        "flops_per_token": per_token,
        "hours": hours,
        "hours_unpacked": hours
        * (1 - mixture["padding_packed"])
        / (1 - mixture["padding_unpacked"]),
        "memory_per_device": memory,
        "mixture": mixture,
    }
