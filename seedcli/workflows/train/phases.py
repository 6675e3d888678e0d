"""What `seed pretrain` and `seed instruct` share: opening a run, its data, one phase with its
merge, and the finished folder.

A phase that is finished has a folder of its model, which appears whole or not at all; so a killed
run continues in the right phase, and a killed merge is done again from the phase's last checkpoint.
"""

from __future__ import annotations

import functools
import gc
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from seedcli.console import Reporter, WithoutBars
from seedcli.data.documents.documents import Codes
from seedcli.data.documents.left_out import describe_tally
from seedcli.errors import UsageError
from seedcli.files import parse_json, publish_json
from seedcli.models.weights.llm_description import LlmFacts
from seedcli.recipe.language import (
    DocumentDataSection,
    InstructRecipe,
    LlmParallelSection,
    PretrainRecipe,
)
from seedcli.training.ranks import Ranks, rows_of_update
from seedcli.workflows.train.parts import require_data
from seedcli.workflows.train.start import VisualCodes

if TYPE_CHECKING:
    import torch
    from accelerate import Accelerator
    from transformers import PreTrainedModel, PreTrainedTokenizerFast

    from seedcli.data.mixtures.documents import DocumentSource
    from seedcli.training.llm_data import DocumentSamples, TokenSamples
    from seedcli.training.loop import TrainingResult

SUMMARY_FILE = "summary.json"  # of a finished phase
_PROBE_TOKENS = 256


@dataclass(kw_only=True)
class PhasedRun:
    """A run of one or more phases in one folder.

    Attributes:
        recipe: What is trained.
        folder: The run folder; `folder/model` is the result.
        resume_command: What to type after an interruption.
        earlier: Facts of the training of the model that the run starts from.
        done: Facts of finished phases, for `seed.json` and for the command's result.
    """

    recipe: PretrainRecipe | InstructRecipe
    folder: Path
    resume: bool
    resume_command: str
    reporter: Reporter
    ranks: Ranks = field(default_factory=Ranks.from_environment)
    earlier: dict[str, Any] = field(default_factory=dict)
    done: dict[str, dict[str, Any]] = field(default_factory=dict)

    @functools.cached_property
    def accelerator(self) -> Accelerator:
        """What all phases train with; asking for it joins the group of ranks."""
        from seedcli.training.accelerator import build_accelerator

        return build_accelerator(self.recipe.parallel)

    def target(self, name: str) -> Path:
        """Folder of a finished phase's model; the last one's is the run's."""
        is_last = name == list(self.recipe.phases)[-1]
        return self.folder / ("" if is_last else name) / "model"

    def check(self) -> None:
        """Checks what can be known before anything is read: that the folder is free or the run
        continues, that every update splits, and that the data are there.

        Raises:
            UsageError: The folder holds a run, and `resume` is off; a finished phase would be
                longer or shorter now; or the rows of an update do not split over the processes.
            DataError: A source is not there.
        """
        lengths = self.recipe.lengths
        for name, optimization in lengths.items():
            try:
                rows_of_update(
                    optimization,
                    self.recipe.parallel,
                    context_length=self.recipe.context_length,
                    world=self.ranks.world,
                )
            except UsageError as error:
                raise UsageError(f"phase {name}: {error.message}", remedy=error.remedy) from None
        if self.ranks.rank != 0:
            return
        patterns = ("model", "*/model", "*/vocabulary", "*/checkpoints/step-*")
        held = [path for pattern in patterns for path in sorted(self.folder.glob(pattern))]
        if held and not self.resume:
            raise UsageError(
                f"{self.folder} already holds a run ({held[-1].relative_to(self.folder)})",
                remedy="continue it with --resume, or choose another folder with -o",
            )
        for name, optimization in lengths.items():
            if not self.target(name).is_dir():
                continue
            if (done := self._summary(name)["steps"]) != optimization.steps:
                raise UsageError(
                    f"{self.folder}: phase {name} is finished after {done} updates, the recipe "
                    f"says {optimization.steps}",
                    remedy=f"resume with {name}.optimization.steps={done}, or choose another "
                    "folder with -o",
                )
        require_data(self.recipe)

    def _summary(self, name: str) -> dict[str, Any]:
        return parse_json((self.folder / name / SUMMARY_FILE).read_bytes())

    def wait_for(self, path: Path) -> None:
        """Waits until another rank has written `path`."""
        while not path.exists():
            time.sleep(0.5)

    def _codes_of(self, visual: VisualCodes) -> Callable[[Sequence[Any]], list[Codes]]:
        """A function: pictures -> their codes, by a tokenizer that is loaded with the first."""
        from seedcli.workflows.pictures import SeedTokenizer

        tokenizer = SeedTokenizer(
            visual.files,
            device=self.recipe.parallel.device,
            reporter=WithoutBars(self.reporter),  # whose bar is that of all pictures
        )

        def codes_of(pictures: Sequence[Any]) -> list[Codes]:
            # a cache of codes must not depend on how many pictures came along
            found = tokenizer.encode(pictures, fixed_shape=True)
            return [tuple(row) for row in found.tolist()]

        return codes_of

    def open_sources(
        self, data: DocumentDataSection, visual: VisualCodes | None
    ) -> list[DocumentSource]:
        """The recipe's sources, their pictures encoded: rank 0 does that first, the
        others read what it cached.
        """
        from seedcli.data.mixtures.documents import open_source
        from seedcli.models.weights.cache import writable_cache

        cache = writable_cache(self.folder / "cache")
        codes_of = self._codes_of(visual) if visual else None

        def open_all() -> list[DocumentSource]:
            return [
                open_source(
                    section,
                    codes_of=codes_of,
                    num_queries=visual.num_queries if visual else 0,
                    num_codes=visual.num_codes if visual else 0,
                    fingerprint=(visual.fingerprint or "") if visual else "",
                    cache=cache,
                    reporter=self.reporter,
                )
                for section in data.sources
            ]

        ready = self.folder / ("sources-ready" if visual else "texts-ready")
        if self.ranks.rank == 0:
            ready.unlink(missing_ok=True)
            sources = open_all()
            ready.touch()
            return sources
        self.wait_for(ready)
        return open_all()

    def documents(
        self,
        data: DocumentDataSection,
        sources: list[DocumentSource],
        text_tokenizer: PreTrainedTokenizerFast | None,
    ) -> DocumentSamples:
        """Opened sources as documents, conversations in the recipe's template."""
        from seedcli.data.documents.conversations import conversation_template
        from seedcli.training.llm_data import DocumentSamples

        return DocumentSamples(
            data,
            sources,
            template=conversation_template(self.recipe.template, text_tokenizer),
            seed=self.recipe.seed,
        )

    def phase(
        self,
        name: str,
        build_model: Callable[[torch.device], PreTrainedModel],
        data: DocumentDataSection,
        sources: list[DocumentSource],
        text_tokenizer: PreTrainedTokenizerFast,
        *,
        visual: VisualCodes | None,
        merge: bool = False,
    ) -> Path:
        """Trains one phase and writes its model to `target(name)`, unless it is
        there; returns that folder.
        """
        from seedcli.data.documents.packing import PackedStream
        from seedcli.models.language.code_vocabulary import CodeVocabulary
        from seedcli.training.llm_data import TokenSamples
        from seedcli.training.phase import train_phase
        from seedcli.training.run_page import write_run_page

        folder, target = self.folder / name, self.target(name)
        if target.is_dir():
            self.reporter.note(f"phase {name} is finished: {target}")
            self.done[name] = self._summary(name)
            return target
        vocabulary = CodeVocabulary.of(text_tokenizer, visual.num_queries) if visual else None
        context_length = self.recipe.context_length
        documents = self.documents(data, sources, text_tokenizer)
        samples = TokenSamples(documents, text_tokenizer, vocabulary, context_length=context_length)
        if self.ranks.rank == 0:
            for line in samples.look_through():
                self.reporter.note(line)
        try:
            result, model = train_phase(
                name,
                build_model,
                functools.partial(PackedStream, samples, context_length=context_length),
                self.accelerator,
                is_image_token=vocabulary.is_image_token if vocabulary else None,
                context_length=context_length,
                seed=self.recipe.seed,
                optimization=self.recipe.lengths[name],
                parallel=self.recipe.parallel,
                run=self.recipe.run,
                folder=folder,
                resume=self.resume,
                resume_command=self.resume_command,
                reporter=self.reporter,
            )
        finally:
            if self.ranks.rank == 0:
                write_run_page(folder)
        if self.ranks.rank == 0:
            self._finish(name, result, model, samples, text_tokenizer, visual, merge=merge)
        self.wait_for(target)
        del model
        gc.collect()
        return target

    def code_phases(
        self, start: Path, words: Path, sources: list[DocumentSource], visual: VisualCodes
    ) -> None:
        """The recipe's phases `lora` and `full`, one after the other.

        Args:
            start: Folder of the model that the first of them starts from.
            words: Folder or file of its text tokenizer.
        """
        if self.recipe.lora:
            start = words = self._code_phase("lora", start, words, sources, visual)
        if self.recipe.full:
            self._code_phase("full", start, words, sources, visual)

    def _code_phase(
        self,
        name: Literal["lora", "full"],
        start: Path,
        words: Path,
        sources: list[DocumentSource],
        visual: VisualCodes,
    ) -> Path:
        """Adapters, attached from the recipe's seed and merged at the end, or everything, but for
        the input embedding unless the recipe has it trained; of the model in `start`, its
        vocabulary extended.
        """
        from seedcli.models.language.text_tokenizer import extend_text_tokenizer

        text_tokenizer, seed = extend_text_tokenizer(words, visual.num_codes), self.recipe.seed

        def build(device: torch.device) -> PreTrainedModel:
            import torch

            from seedcli.models.language.lora import attach_lora, untie_embeddings
            from seedcli.models.language.seed_llama import extend_language_model, load_causal_model
            from seedcli.training.accelerator import gather_parameters

            attention = attention_kernel(self.recipe.parallel, device)
            model = load_causal_model(start, attention=attention)
            extend_language_model(model, text_tokenizer, seed=seed, gather=gather_parameters)
            if name == "full":
                assert self.recipe.full
                untie_embeddings(model)
                learns = self.recipe.full.input_embedding == "trained"
                model.get_input_embeddings().requires_grad_(learns)
                return model
            assert self.recipe.lora
            with torch.random.fork_rng(devices=[]):
                torch.manual_seed(seed)
                return attach_lora(model, **self.recipe.lora.adapter.model_dump())

        data = self.recipe.data
        return self.phase(
            name, build, data, sources, text_tokenizer, visual=visual, merge=name == "lora"
        )

    def _finish(
        self,
        name: str,
        result: TrainingResult,
        model: Any,
        samples: TokenSamples,
        text_tokenizer: PreTrainedTokenizerFast,
        visual: VisualCodes | None,
        *,
        merge: bool,
    ) -> None:
        from seedcli.data.documents.conversations import WrittenTemplate, conversation_template
        from seedcli.data.documents.packing import PackedStream
        from seedcli.models.language.seed_llama import parameter_facts, save_language_model

        recipe = self.recipe
        facts = {
            **parameter_facts(model),
            "steps": result.steps,
            "losses": {key: round(value, 5) for key, value in result.losses.items()},
            "tokens_per_s": round(result.per_s, 1),
            "elapsed_s": round(result.elapsed_s, 1),
        }
        if left_out := samples.lost(result.left_out):
            facts["left_out"] = left_out
            for source, counts in left_out.items():
                if line := describe_tally(source, counts, what="rows drawn"):
                    self.reporter.note(line)
        if merge:
            import torch

            from seedcli.models.language.lora import merge_lora

            row = next(iter(PackedStream(samples, context_length=recipe.context_length, lanes=1)))
            probe = torch.from_numpy(row.input_ids[None, :_PROBE_TOKENS]).long()
            model, difference = merge_lora(model, probe)
            facts["largest_logit_difference_of_merge"] = difference
        self.done[name] = facts
        publish_json(self.folder / name / SUMMARY_FILE, facts)
        told = None
        if visual:
            conversations = recipe.data.has_conversations
            template = conversation_template(recipe.template, text_tokenizer)
            # other programs ask the model as it was taught; an own template is there already
            if conversations and isinstance(template, WrittenTemplate):
                text_tokenizer.chat_template = template.jinja(text_tokenizer)
            run_name = recipe.name or recipe.command
            told = LlmFacts(
                name=run_name,
                visual_tokenizer=visual.tokenizer,
                visual_fingerprint=visual.fingerprint,
                decoder_fingerprint=visual.decoder_fingerprint,
                num_queries=visual.num_queries,
                num_codes=visual.num_codes,
                template=recipe.template if conversations else None,
                trained={"recipe": run_name, "phases": self.done}
                | ({"started_from": self.earlier} if self.earlier else {}),
            )
        save_language_model(
            model,
            text_tokenizer,
            self.target(name),
            facts=told,
            shard_size=recipe.run.shard_size,
        )


def attention_kernel(parallel: LlmParallelSection, device: torch.device) -> str:
    """The recipe's attention, `auto` resolved."""
    import torch

    from seedcli.models.language.seed_llama import fastest_attention

    if parallel.attention != "auto":
        return parallel.attention
    return fastest_attention(
        device,
        {"bf16": torch.bfloat16, "fp16": torch.float16}.get(parallel.precision, torch.float32),
    )
