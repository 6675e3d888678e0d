"""A phase of a language model's training on packed rows: what it gives to the loop, and how it
runs.

The loss of an update is the mean over its learned tokens, all rows of all processes together; which
rows these are depends on the recipe alone. So one process and many compute the same update, and a
checkpoint needs the position of each lane only.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from accelerate import Accelerator
from torch import Tensor, nn

from seedcli.console import Reporter
from seedcli.data.documents.left_out import Tally, add_tallies
from seedcli.errors import Interrupted
from seedcli.recipe.language import LlmParallelSection, LlmRunSection, TokenOptimizationSection
from seedcli.training.accelerator import begin_training, spread_while_building, whole_model
from seedcli.training.checkpoints import newest_checkpoint, read_progress, uses_deepspeed
from seedcli.training.llm_batches import PackedBatches, RowSource
from seedcli.training.loop import Figures, TrainingResult, stopped_after, train
from seedcli.training.optimizer import build_phase_optimizer
from seedcli.training.ranks import rows_of_update
from seedcli.training.speed import compile_layers, matmul_rate, training_flops


def train_phase(
    name: str,
    build_model: Callable[[torch.device], nn.Module],
    rows: RowSource,
    accelerator: Accelerator,
    *,
    is_image_token: Callable[[Tensor], Tensor] | None,
    context_length: int,
    seed: int,
    optimization: TokenOptimizationSection,
    parallel: LlmParallelSection,
    run: LlmRunSection,
    folder: Path,
    resume: bool = False,
    resume_command: str = "the same command with --resume",
    reporter: Reporter | None = None,
) -> tuple[TrainingResult, nn.Module | None]:
    """Trains a phase to `optimization.steps` from its newest checkpoint, or from the
    start where there is none.

    Args:
        build_model: Called with the device; what is trained requires gradients.
        rows: Where packed rows come from.
        accelerator: Built from `parallel`.
        is_image_token: Token ids -> which of them are codes or markers; None where
            the vocabulary has none.
        folder: Of the phase; gets `metrics.jsonl` and `checkpoints/step-NNNNNNNN/`.
        resume: Checkpoints may be there.
        resume_command: Shown when the run is interrupted.

    Returns:
        How it went, and the model, whole and without wrappers; None may stand for the model on
        ranks but the first, which do not write it.

    Raises:
        UsageError: The rows of an update do not split over the processes.
        NumericalError: A loss or the weights are not finite; names the last good checkpoint.
        Interrupted: SIGTERM or Ctrl-C; a checkpoint was written.
    """
    world = accelerator.num_processes
    lanes, accumulation = rows_of_update(
        optimization, parallel, context_length=context_length, world=world
    )
    checkpoint = newest_checkpoint(folder / "checkpoints") if resume else None
    written = read_progress(checkpoint) if checkpoint else {}
    begin_training(
        accelerator,
        micro_batch=parallel.micro_batch_rows,
        accumulation=accumulation,
        gradient_clip=optimization.gradient_clip,
        other_world=written.get("world", world) != world,
    )
    with spread_while_building(accelerator):
        model = build_model(accelerator.device)
    if parallel.gradient_checkpointing:
        if hasattr(model, "activation_checkpointing_enable"):  # its name since transformers 5.23
            model.activation_checkpointing_enable()
        else:
            model.gradient_checkpointing_enable()
    if not uses_deepspeed(accelerator):
        model.to(accelerator.device)
    if parallel.compile:
        compile_layers(model, accelerator.device)
    batches = PackedBatches(
        rows,
        lanes=lanes,
        rank=accelerator.process_index,
        world=world,
        accumulation=accumulation,
        state=written.get("lanes"),
    )
    training = PhaseTraining(
        name,
        model,
        batches,
        accelerator,
        is_image_token=is_image_token,
        optimization=optimization,
        parallel=parallel,
        run=run,
    )
    result = train(
        training,
        accelerator,
        seed=seed,
        optimization=optimization,
        run=run,
        folder=folder,
        resume=resume,
        resume_command=resume_command,
        reporter=reporter,
    )
    if result.stopped:  # in the last update: not one step of the next phase
        raise Interrupted(
            stopped_after(training.title, result.steps, optimization.steps, folder),
            remedy=resume_command,
        )
    return result, whole_model(model, build_model, accelerator)


class PhaseTraining:
    """A phase as the loop sees it: micro-batches of packed rows, whose losses are summed and
    divided by the learned tokens of the whole update.
    """

    unit = "real_tokens"

    def __init__(
        self,
        name: str,
        model: nn.Module,
        batches: PackedBatches,
        accelerator: Accelerator,
        *,
        is_image_token: Callable[[Tensor], Tensor] | None,
        optimization: TokenOptimizationSection,
        parallel: LlmParallelSection,
        run: LlmRunSection,
    ):
        self.title, self.name = f"phase {name}", name
        self.module = _PackedLosses(
            model, is_image_token, accelerator.num_processes, word_weight=optimization.word_weight
        )
        self.optimizer = build_phase_optimizer(model, optimization, parallel)
        self._batches, self._accelerator = batches, accelerator
        self._workers = run.loader_workers
        self._device_rate = matmul_rate(accelerator.device, parallel.precision)
        self._flops = training_flops(model)

    def updates(self, step: int) -> Iterator[list[dict[str, Any]]]:
        """See `loop.Training`; moves the position."""
        # Not prepared by Accelerate, which would deal the rows out once more.
        stream = self._batches.read_ahead(
            workers=self._workers, pin_memory=torch.cuda.is_available()
        )
        while True:
            update = [next(stream) for _ in range(self._batches.accumulation)]
            learned = sum((batch["labels"][:, 1:] != -100).sum() for batch in update)
            learned = self._accelerator.reduce(learned.to(self._accelerator.device), "sum")
            for batch in update:
                self._batches.moved(batch.pop("lanes"))
                batch["learned"] = learned.clamp(min=1)
            yield update

    def losses(self, sums: Figures) -> Figures:
        """Summed losses and numbers of tokens -> `loss`, and `loss_text` and `loss_image` where
        there are such tokens.
        """
        learned = sums["text"] + sums["image"]
        losses = {"loss": (sums["loss_text"] + sums["loss_image"]) / max(learned, 1.0)}
        return losses | {
            f"loss_{kind}": sums[f"loss_{kind}"] / sums[kind]
            for kind in ("text", "image")
            if sums[kind]
        }

    def pace(self, sums: Figures, elapsed_s: float) -> Figures:
        """Tokens a second, and the share of the machine that they take."""
        tokens, learned = sums["real_tokens"], sums["text"] + sums["image"]
        rate = self._device_rate * self._accelerator.num_processes
        return {
            "tokens_per_s": round(tokens / elapsed_s, 1),
            "real_share": tokens / sums["row_tokens"],
            "dropped_images": round(sums.get("dropped_images", 0.0)),
            "utilisation": self._flops.of(tokens, learned=learned) / elapsed_s / rate,
        }

    def after_update(self, step: int) -> Figures:
        """Nothing more."""
        return {}

    def position(self) -> dict[str, Any]:
        """Where each lane stands."""
        return {"lanes": self._batches.all_lanes()}

    def left_out(self) -> Tally:
        """What the lanes wrote down."""
        return add_tallies(state.get("tally", {}) for state in self._batches.all_lanes())


class _PackedLosses(nn.Module):
    """Packed rows -> their summed cross entropies over the learned tokens of the whole update.

    Accelerate and DeepSpeed wrap this module and not the model in it, which stays as it was built.
    """

    def __init__(
        self,
        model: nn.Module,
        is_image_token: Callable[[Tensor], Tensor] | None,
        num_processes: int,
        *,
        word_weight: float,
    ):
        super().__init__()
        self.model, self._word_weight = model, word_weight
        self.config = model.config  # DeepSpeed's bucket sizes follow the width that it tells
        self._is_image_token, self._num_processes = is_image_token, num_processes

    def forward(self, batch: dict[str, Any]) -> dict[str, Any]:
        """A micro-batch of `PackedBatches`, and the number of `learned` tokens of the whole update
        -> `loss`, and by kind of token the summed losses and how many tokens there are.
        """
        wanted = F.pad(batch["labels"][:, 1:], (0, 1), value=-100)
        learned = wanted != -100
        wanted = wanted[learned]
        # The output layer, a large part of a small model, sees the positions that are
        # learned and no others.
        head = self.model.get_output_embeddings()
        hook = head.register_forward_pre_hook(lambda _, states: (states[0][learned],))
        try:
            # No attention mask and no cache: only then does transformers tell packed documents
            # apart, by their positions.
            outputs = self.model(
                input_ids=batch["input_ids"], position_ids=batch["position_ids"], use_cache=False
            )
        finally:
            hook.remove()
        losses = F.cross_entropy(outputs.logits.float(), wanted, reduction="none")
        image = (
            self._is_image_token(wanted)
            if self._is_image_token
            else torch.zeros_like(wanted, dtype=torch.bool)
        )
        sums = {}
        for kind, mask in (("text", ~image), ("image", image)):
            sums[f"loss_{kind}"] = torch.where(mask, losses.detach(), 0.0).sum()
            sums[kind] = mask.sum()
        if self._word_weight != 1:
            losses = torch.where(image, losses, losses * self._word_weight)
        # times ranks, because gradients are averaged
        loss = losses.sum() / batch["learned"] * self._num_processes
        return {"loss": loss, **sums, **batch["counts"]}
