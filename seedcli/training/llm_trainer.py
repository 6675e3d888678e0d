"""One phase of training a language model on packed rows: the Hugging Face Trainer with our data
position, checkpoints, figures and guards.

The loss of an update is the mean over its learned tokens, all rows of all processes together; which
rows these are depends on the recipe alone. So one process and many compute the same update, and a
checkpoint needs the position of each lane only.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
import torch.distributed
import torch.nn.functional as F
from torch import Tensor, nn
from torch.optim.lr_scheduler import LambdaLR
from transformers import PrinterCallback, Trainer, TrainerCallback, TrainingArguments

from seedcli.console import Progress, Reporter
from seedcli.errors import Interrupted, NumericalError
from seedcli.models.device import keep_freed_memory
from seedcli.recipe.language import LlmParallelSection, LlmRunSection, TokenOptimizationSection
from seedcli.training.checkpoints import (
    load_checkpoint,
    newest_checkpoint,
    read_progress,
    save_checkpoint,
)
from seedcli.training.llm_batches import PackedBatches, RowSource
from seedcli.training.llm_engine import build_adamw, rows_of_update, training_arguments, whole_model
from seedcli.training.optimizer import learning_rate_at
from seedcli.training.process import memory_mb, seed_step, stop_signals
from seedcli.training.run_folder import MetricsLog
from seedcli.training.speed import matmul_rate, training_flops

_CURE = (
    "lower the phase's optimization.learning_rate or set its gradient_clip, then "
    "continue with --resume"
)
# summed losses and numbers of learned tokens, by kind
_SUMS = ("loss_text", "text", "loss_image", "image")


@dataclass(frozen=True, kw_only=True)
class PhaseResult:
    """What a finished phase reports; `model` is whole and without wrappers, and may be None where
    this process does not write.
    """

    model: nn.Module | None
    arguments: TrainingArguments
    steps: int
    losses: dict[str, float]
    tokens_per_s: float
    elapsed_s: float

    @property
    def is_main(self) -> bool:
        """Whether this process writes."""
        return self.arguments.process_index == 0


def train_phase(
    name: str,
    build_model: Callable[[torch.device], nn.Module],
    rows: RowSource,
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
) -> PhaseResult:
    """Trains a phase to `optimization.steps` from its newest checkpoint, or from the
    start where there is none.

    Args:
        build_model: Called with the device once the process group stands; what is
            trained requires gradients.
        rows: Where packed rows come from.
        is_image_token: Token ids -> which of them are codes or markers; None where
            the vocabulary has none.
        folder: Of the phase; gets `metrics.jsonl` and `checkpoints/step-NNNNNNNN/`.
        resume: Checkpoints may be there.
        resume_command: Shown when the run is interrupted.

    Raises:
        UsageError: The rows of an update do not split over the processes.
        NumericalError: A loss or the weights are not finite; names the last good checkpoint.
        Interrupted: SIGTERM or Ctrl-C; a checkpoint was written.
    """
    keep_freed_memory()
    reporter = reporter or Reporter()
    world = _world()
    lanes, accumulation = rows_of_update(
        optimization, parallel, context_length=context_length, world=world
    )
    checkpoint = newest_checkpoint(folder / "checkpoints") if resume else None
    written = read_progress(checkpoint) if checkpoint else {}
    other_world = parallel.engine == "deepspeed" and written.get("world", world) != world
    arguments = training_arguments(
        folder,
        optimization,
        parallel,
        run,
        seed=seed,
        accumulation=accumulation,
        other_world=other_world,
    )
    model = build_model(arguments.device)
    batches = PackedBatches(
        rows,
        lanes=lanes,
        rank=arguments.process_index,
        world=world,
        accumulation=accumulation,
        state=written.get("lanes"),
    )
    with stop_signals() as stop, reporter.progress(f"phase {name}", optimization.steps) as progress:
        trainer = PackedTrainer(
            model,
            arguments,
            batches,
            name=name,
            is_image_token=is_image_token,
            optimization=optimization,
            parallel=parallel,
            run=run,
            folder=folder,
            checkpoint=checkpoint,
            tally=_Tally.of(written.get("course")),
            stop=stop,
            progress=progress,
        )
        trainer.train()
    done = trainer.state.global_step
    if done < optimization.steps or trainer.stopping or stop["requested"]:
        raise Interrupted(
            f"phase {name}: stopped after update {done} of {optimization.steps}; a checkpoint is "
            f"in {folder / 'checkpoints'}",
            remedy=resume_command,
        )
    return PhaseResult(
        model=whole_model(
            trainer.accelerator.unwrap_model(trainer.model),
            build_model,
            engine=parallel.engine,
            is_main=arguments.process_index == 0,
        ),
        arguments=arguments,
        steps=done,
        losses=trainer.tally.last,
        tokens_per_s=trainer.tally.all_tokens / trainer.tally.elapsed_s,
        elapsed_s=trainer.tally.elapsed_s,
    )


@dataclass
class _Tally:
    """Sums since the last line of the log, over all processes; and the course of the phase, which a
    resumed run goes on with.
    """

    sums: dict[str, float] = field(default_factory=dict)
    last: dict[str, float] = field(default_factory=dict)
    all_tokens: float = 0.0
    began: float = field(default_factory=time.perf_counter)

    @classmethod
    def of(cls, course: dict[str, Any] | None) -> _Tally:
        """The tally of a checkpoint's `course`; a new one where there is none."""
        if course is None:
            return cls()
        return cls(
            last=course["losses"],
            all_tokens=course["real_tokens"],
            began=time.perf_counter() - course["elapsed_s"],
        )

    @property
    def elapsed_s(self) -> float:
        """Seconds of training up to now, without what was lost and without pauses."""
        return time.perf_counter() - self.began

    def course(self) -> dict[str, Any]:
        """What a checkpoint keeps."""
        return {"losses": self.last, "real_tokens": self.all_tokens, "elapsed_s": self.elapsed_s}

    def add(self, figures: dict[str, float]) -> dict[str, float]:
        """Counts one update and returns its mean losses."""
        for name, value in figures.items():
            self.sums[name] = self.sums.get(name, 0.0) + value
        self.all_tokens += figures["real_tokens"]
        self.last = mean_losses(figures)
        return self.last


def mean_losses(figures: dict[str, float]) -> dict[str, float]:
    """Summed losses and numbers of tokens -> `loss`, and `loss_text` and `loss_image` where
    there are such tokens.
    """
    learned = figures["text"] + figures["image"]
    losses = {"loss": (figures["loss_text"] + figures["loss_image"]) / max(learned, 1.0)}
    return losses | {
        f"loss_{kind}": figures[f"loss_{kind}"] / figures[kind]
        for kind in ("text", "image")
        if figures[kind]
    }


class PackedTrainer(Trainer):
    """The Hugging Face Trainer over packed rows: one loss computation, our schedule, checkpoints
    with the data's position, and guards.
    """

    def __init__(
        self,
        model: nn.Module,
        arguments: TrainingArguments,
        batches: PackedBatches,
        *,
        name: str,
        is_image_token: Callable[[Tensor], Tensor] | None,
        optimization: TokenOptimizationSection,
        parallel: LlmParallelSection,
        run: LlmRunSection,
        folder: Path,
        checkpoint: Path | None,
        tally: _Tally,
        stop: dict[str, bool],
        progress: Progress,
    ):
        self.name, self.optimization, self.parallel, self.run = name, optimization, parallel, run
        self.batches, self.folder, self.checkpoint = batches, folder, checkpoint
        self.is_image_token, self.stop, self.progress = is_image_token, stop, progress
        self.tally, self.stopping = tally, False
        self.update: dict[str, Tensor | float] = {}
        super().__init__(
            model=model, args=arguments, train_dataset=batches, callbacks=[_Figures(self)]
        )
        self.remove_callback(PrinterCallback)
        self.loss_is_scaled_for_ga = True
        self.device_rate, self.flops = (
            matmul_rate(arguments.device, parallel.precision),
            training_flops(model),
        )

    @property
    def checkpoints(self) -> Path:
        """Folder of the phase's checkpoints."""
        return self.folder / "checkpoints"

    def get_train_dataloader(self) -> torch.utils.data.DataLoader:
        """Micro-batches of this rank; not prepared by Accelerate, which would
        deal them out once more.
        """
        return self.batches.loader(
            workers=self.run.loader_workers, pin_memory=self.args.dataloader_pin_memory
        )

    def create_optimizer(self, model: nn.Module | None = None) -> torch.optim.Optimizer:
        """AdamW with the recipe's values."""
        if self.optimizer is None:
            self.optimizer = build_adamw(model or self.model, self.optimization, self.parallel)
        return self.optimizer

    def create_scheduler(
        self, num_training_steps: int, optimizer: torch.optim.Optimizer | None = None
    ) -> LambdaLR:
        """The recipe's schedule, by step; one that is cut short or prolonged bends there."""
        if self.lr_scheduler is None:
            self.lr_scheduler = self._scheduler(optimizer or self.optimizer, step=0)
            self._created_lr_scheduler = True
        return self.lr_scheduler

    def _scheduler(self, optimizer: torch.optim.Optimizer, *, step: int) -> LambdaLR:
        peak = self.optimization.learning_rate
        for group in optimizer.param_groups:
            group["lr"] = group["initial_lr"] = peak
        return LambdaLR(
            optimizer,
            lambda update: learning_rate_at(update, self.optimization) / peak,
            last_epoch=step - 1,
        )

    def _prepare_for_training(
        self, max_steps: int, train_dataloader: Any, resume_from_checkpoint: str | None
    ) -> tuple[nn.Module, Any]:
        prepared = super()._prepare_for_training(max_steps, train_dataloader, None)
        if self.checkpoint:
            step = load_checkpoint(
                self.checkpoint, self.accelerator, self.model_wrapped, self.optimizer
            )
            self.state.global_step = step
            self.lr_scheduler = self.callback_handler.lr_scheduler = self._scheduler(
                self.optimizer, step=step
            )
        return prepared

    def _run_epoch(self, *args: Any, **kwargs: Any) -> None:
        # killed after the last update, before the model was saved
        if self.state.global_step >= self.state.max_steps:
            self.control.should_training_stop = True
            return
        super()._run_epoch(*args, **kwargs)

    def get_batch_samples(
        self, epoch_iterator: Iterator, num_batches: int, device: torch.device
    ) -> tuple[list[dict[str, Tensor]], Tensor]:
        """All micro-batches of this rank for one update, and the number of learned tokens of all
        ranks; moves the position.
        """
        batch_samples = [next(epoch_iterator) for _ in range(num_batches)]
        self.update = dict.fromkeys(_SUMS, 0.0)
        for batch in batch_samples:
            self.batches.moved(batch.pop("lanes"))
            for name, value in batch.pop("counts").items():
                self.update[name] = self.update.get(name, 0.0) + value
        return batch_samples, self._get_num_items_in_batch(batch_samples, device).clamp(min=1)

    def compute_loss(
        self,
        model: nn.Module,
        inputs: dict[str, Tensor],
        return_outputs: bool = False,
        num_items_in_batch: Tensor | None = None,
    ) -> Tensor | tuple[Tensor, Any]:
        """Sum of cross entropies over the number of learned tokens of the whole update, times ranks
        because gradients are averaged.
        """
        labels = inputs.pop("labels")
        wanted = F.pad(labels[:, 1:], (0, 1), value=-100)
        learned = wanted != -100
        wanted = wanted[learned]
        # The output layer, a large part of a small model, sees the positions that are
        # learned and no others.
        head = self.accelerator.unwrap_model(model).get_output_embeddings()
        hook = head.register_forward_pre_hook(lambda _, states: (states[0][learned],))
        try:
            # No attention mask and no cache: only then does transformers tell packed documents
            # apart, by their positions.
            outputs = model(**inputs, use_cache=False)
        finally:
            hook.remove()
        losses = F.cross_entropy(outputs.logits.float(), wanted, reduction="none")
        self._count_losses(losses.detach(), wanted)
        loss = losses.sum() / num_items_in_batch * self.accelerator.num_processes
        return (loss, outputs) if return_outputs else loss

    def _count_losses(self, losses: Tensor, wanted: Tensor) -> None:
        image = (
            self.is_image_token(wanted)
            if self.is_image_token
            else torch.zeros_like(wanted, dtype=torch.bool)
        )
        for kind, mask in (("text", ~image), ("image", image)):
            self.update[f"loss_{kind}"] += torch.where(mask, losses, 0.0).sum()
            self.update[kind] += mask.sum()

    def floating_point_ops(self, inputs: dict[str, Tensor]) -> int:
        """Not counted here, an update at a time: `training.speed` says what an update costs."""
        return 0

    def _get_grad_norm(
        self, model: nn.Module, grad_norm: Tensor | float | None = None
    ) -> Tensor | float | None:
        self.grad_norm = super()._get_grad_norm(model, grad_norm)
        return self.grad_norm

    def agree(self) -> tuple[dict[str, float], bool]:
        """Figures of the update summed over ranks, and whether any rank was asked to stop: one
        collective, so all ranks act alike.
        """
        names = list(self.update)
        values = [
            torch.as_tensor(value, dtype=torch.float64, device=self.args.device)
            for value in self.update.values()
        ]
        values.append(
            torch.tensor(
                float(self.stop["requested"]), dtype=torch.float64, device=self.args.device
            )
        )
        *sums, stopping = self.accelerator.reduce(torch.stack(values), reduction="sum").tolist()
        return dict(zip(names, sums, strict=True)), stopping > 0

    def refuse_broken(self, losses: dict[str, float]) -> None:
        """Stops the run where an update was not finite.

        Raises:
            NumericalError: with the last good checkpoint.
        """
        figures = dict(losses)
        # fp16's loss scale overflows now and then, and recovers
        if self.parallel.precision != "fp16" and self.grad_norm is not None:
            figures["gradient norm"] = float(self.grad_norm)
        bad = ", ".join(
            f"{name} {value}" for name, value in figures.items() if not math.isfinite(value)
        )
        if bad:
            self._fail(f"update {self.state.global_step}: {bad}")

    def _fail(self, what: str) -> None:
        good = newest_checkpoint(self.checkpoints)
        raise NumericalError(
            f"phase {self.name}, {what}; last good checkpoint: {good or 'none yet'}", remedy=_CURE
        )

    def _save_checkpoint(self, model: nn.Module, trial: Any) -> None:
        broken = not all(
            parameter.isfinite().all()
            for parameter in self.model.parameters()
            if parameter.requires_grad
        )
        if broken:
            self._fail(f"weights are not finite after update {self.state.global_step}")
        save_checkpoint(
            self.checkpoints,
            self.state.global_step,
            self.accelerator,
            self.model_wrapped,
            self.optimizer,
            keep=self.run.keep_checkpoints,
            position={"lanes": self.batches.all_lanes(), "course": self.tally.course()},
        )


class _Figures(TrainerCallback):
    """Seeds each update, counts it, logs, and asks for checkpoints and for the end."""

    def __init__(self, trainer: PackedTrainer):
        self._trainer = trainer

    def on_train_begin(
        self, args: TrainingArguments, state: Any, control: Any, **kwargs: Any
    ) -> None:
        step = state.global_step
        self._trainer.progress.resume(step)
        self._metrics = (
            MetricsLog(self._trainer.folder / "metrics.jsonl", step)
            if args.process_index == 0
            else None
        )
        self._logged_at, self._began = step, time.perf_counter()

    def on_step_begin(
        self, args: TrainingArguments, state: Any, control: Any, **kwargs: Any
    ) -> None:
        seed_step(args.seed, state.global_step, args.process_index)

    def on_step_end(self, args: TrainingArguments, state: Any, control: Any, **kwargs: Any) -> None:
        trainer, step = self._trainer, state.global_step
        figures, stopping = trainer.agree()
        trainer.stopping |= stopping
        losses = trainer.tally.add(figures)
        trainer.refuse_broken(losses)
        trainer.progress.advance(1, loss=losses["loss"])
        last = step >= state.max_steps
        if step % trainer.run.log_every_steps == 0 or last or stopping:
            self._log(step, state.max_steps)
        control.should_save = bool(
            stopping or last or step % trainer.run.checkpoint_every_steps == 0
        )
        control.should_training_stop = bool(stopping or last)

    def _log(self, step: int, max_steps: int) -> None:
        trainer, now = self._trainer, time.perf_counter()
        sums, trainer.tally.sums = trainer.tally.sums, {}
        elapsed_s, updates = now - self._began, step - self._logged_at
        self._began, self._logged_at = now, step
        tokens_per_s = sums["real_tokens"] / elapsed_s
        flops_per_s = (
            trainer.flops.of(sums["real_tokens"], learned=sums["text"] + sums["image"]) / elapsed_s
        )
        line = {
            "step": step,
            **mean_losses(sums),
            "gradient_norm": float(trainer.grad_norm) if trainer.grad_norm is not None else None,
            "lr": learning_rate_at(step - 1, trainer.optimization),
            "tokens_per_s": round(tokens_per_s, 1),
            "real_share": sums["real_tokens"] / sums["row_tokens"],
            "dropped_images": round(sums.get("dropped_images", 0.0)),
            "utilisation": flops_per_s / (trainer.device_rate * trainer.accelerator.num_processes),
            "memory_mb": memory_mb(),
            "eta_s": round((max_steps - step) * elapsed_s / updates),
        }
        if self._metrics:
            self._metrics.write(line)


def _world() -> int:
    import os

    return int(os.environ.get("WORLD_SIZE", "1"))
