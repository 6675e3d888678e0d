"""The one training loop: a stage of the visual tokenizer (`stage.py`) and a phase of a language
model (`phase.py`) run through `train`, on one process or many, with or without DeepSpeed.

Exactness comes from having little state. Learning rate and random numbers of an update are pure
functions of (seed, step, rank), and so is the batch, or it has a position. So a checkpoint holds
what training changes (trainable parameters, buffers, optimizer moments), the step and the position.
"""

from __future__ import annotations

import contextlib
import math
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import torch
from accelerate import Accelerator
from accelerate.tracking import GeneralTracker
from accelerate.utils import send_to_device
from torch import Tensor, nn

from seedcli.console import Reporter
from seedcli.data.documents.left_out import Tally
from seedcli.errors import Interrupted, NumericalError, UsageError
from seedcli.models.device import keep_freed_memory
from seedcli.recipe.language import LlmRunSection, TokenOptimizationSection
from seedcli.recipe.pictures import OptimizationSection, RunSection
from seedcli.training.checkpoints import (
    load_checkpoint,
    newest_checkpoint,
    read_progress,
    save_checkpoint,
)
from seedcli.training.optimizer import learning_rate_at
from seedcli.training.process import memory_mb, seed_step, stop_signals
from seedcli.training.run_folder import MetricsLog
from seedcli.training.trackers import open_tracker

_CURE = (
    "lower the learning rate or a loss weight, or set gradient_clip, in the recipe or as an "
    "override, and type the same with --resume: "
)

Figures = dict[str, float]


class Training(Protocol):
    """What the loop trains.

    Attributes:
        title: How messages call it: "stage codebook", "phase lora".
        unit: The figure that counts what is trained on: "images", "real_tokens".
        module: A micro-batch -> figures, each a scalar that is summed over micro-batches and ranks;
            `loss` is differentiable. Data parallelism and DeepSpeed hook into its `forward`.
        optimizer: Over what the module trains.
    """

    title: str
    unit: str
    module: nn.Module
    optimizer: torch.optim.Optimizer

    def updates(self, step: int) -> Iterator[list[dict[str, Tensor]]]:
        """This rank's micro-batches of each update from number `step` (from 0) on; in every update
        as many as Accelerate was told of. What follows the last update is not read.
        """

    def losses(self, sums: Figures) -> Figures:
        """Figures summed over any number of updates -> mean losses, `loss` among them."""

    def pace(self, sums: Figures, elapsed_s: float) -> Figures:
        """Figures of the updates since the last line of the log -> what it says of their speed."""

    def after_update(self, step: int) -> dict[str, Any]:
        """What is done after each update; health figures for the log. May raise NumericalError."""

    def position(self) -> dict[str, Any]:
        """Where the run stands in its data, as JSON; every rank calls this."""

    def left_out(self) -> Tally:
        """Rows that gave way to others, of all ranks; every rank calls this."""


@dataclass(frozen=True, kw_only=True)
class TrainingResult:
    """What a finished, or politely stopped, training reports.

    Attributes:
        steps: Updates that are done.
        stopped: A signal asked for the end; a checkpoint was written.
        losses: Of the last update.
        per_s: What was trained on (see `Training.unit`) a second, over the whole course.
        elapsed_s: Seconds of training, without what was lost and without pauses.
        left_out: Rows that gave way to others, by source.
    """

    steps: int
    stopped: bool
    losses: Figures
    per_s: float
    elapsed_s: float
    left_out: Tally


def train(
    training: Training,
    accelerator: Accelerator,
    *,
    seed: int,
    optimization: OptimizationSection | TokenOptimizationSection,
    run: RunSection | LlmRunSection,
    folder: Path,
    resume: bool = False,
    resume_command: str = "the same command with --resume",
    reporter: Reporter | None = None,
) -> TrainingResult:
    """Trains to `optimization.steps` from the newest checkpoint of `folder`, or from the start
    where there is none.

    Args:
        training: What is trained.
        accelerator: See `accelerator.begin_training`.
        seed: Of the random numbers of each update.
        optimization: Length, schedule and clipping.
        run: When to log and to write checkpoints.
        folder: Gets `metrics.jsonl` and `checkpoints/step-NNNNNNNN/`.
        resume: Checkpoints may be there.
        resume_command: Shown when the training is interrupted.
        reporter: Shows progress.

    Raises:
        UsageError: The folder holds checkpoints and `resume` is off.
        NumericalError: A loss, a gradient or the weights are not finite; names the last good
            checkpoint.
        Interrupted: SIGTERM or Ctrl-C before the last update; a checkpoint was written.
    """
    reporter = reporter or Reporter()
    keep_freed_memory()
    checkpoints = folder / "checkpoints"
    done = newest_checkpoint(checkpoints)
    if done and not resume:
        raise UsageError(
            f"{folder} already holds a run ({done.name})",
            remedy="continue it with --resume, or choose another folder with -o",
        )
    module, optimizer = accelerator.prepare(training.module, training.optimizer)
    step = load_checkpoint(done, accelerator, module, optimizer) if done else 0
    course = _Course.of(read_progress(done) if done else {}, training.unit)
    tracker = None
    if accelerator.is_main_process:
        facts = optimization.model_dump() | {"seed": seed, "training": training.title}
        tracker = open_tracker(run.tracker, folder, facts)
    log = _Log(training, folder, step, accelerator, tracker)
    reporter.note(_header(training, accelerator, optimization, step))
    frozen = _frozen_parts(training.module)
    stopping = False

    def refuse(what: str) -> None:
        good = newest_checkpoint(checkpoints)
        raise NumericalError(
            f"{training.title}, {what}; last good checkpoint: {good or 'none yet'}",
            remedy=_CURE + (f"it goes on at {good.name}" if good else "it begins anew"),
        )

    with (
        contextlib.closing(log),
        stop_signals() as stop,
        reporter.progress(training.title, optimization.steps) as progress,
    ):
        progress.resume(step)
        numbers, updates = range(step + 1, optimization.steps + 1), training.updates(step)
        # the numbers come first: else the batches of one update too many would be read
        for step, batches in zip(numbers, updates, strict=False):
            seed_step(seed, step - 1, accelerator.process_index)
            _set_modes(training.module, frozen)
            for group in optimizer.param_groups:
                group["lr"] = learning_rate_at(step - 1, optimization)
            figures: dict[str, Tensor] = {}
            for batch in batches:
                with accelerator.accumulate(module):
                    found = module(send_to_device(batch, accelerator.device, non_blocking=True))
                    # both engines divide by the number of micro-batches
                    accelerator.backward(found["loss"] * len(batches))
                for name, value in found.items():
                    figures[name] = figures.get(name, 0.0) + torch.as_tensor(value).detach()
            # without clipping, this measures the norm and no more
            norm = accelerator.clip_grad_norm_(
                module.parameters(), optimization.gradient_clip or math.inf
            )
            sums, stopping = _agree(accelerator, figures, stop["requested"])
            losses = training.losses(sums)
            suspects = losses | {"gradient norm": 0.0 if norm is None else float(norm)}
            # fp16's loss scale overflows now and then, and recovers
            decisive = ("loss",) if accelerator.mixed_precision == "fp16" else tuple(suspects)
            if bad := [name for name in decisive if not math.isfinite(suspects[name])]:
                refuse(f"update {step}: " + ", ".join(f"{name} {suspects[name]}" for name in bad))
            optimizer.step()
            optimizer.zero_grad()
            health = training.after_update(step)
            course.add(losses, sums[training.unit])
            pace = f"{training.unit.removeprefix('real_')}/s"
            progress.advance(1, loss=losses["loss"], **{pace: course.per_s})
            last = step == optimization.steps
            log.add(sums)
            if step % run.log_every_steps == 0 or last or stopping:
                log.write(step, optimization, norm, health)
            if step % run.checkpoint_every_steps == 0 or last or stopping:
                if not _weights_are_finite(training.module):
                    refuse(f"weights are not finite after update {step}")
                save_checkpoint(
                    checkpoints,
                    step,
                    accelerator,
                    module,
                    optimizer,
                    keep=run.keep_checkpoints,
                    position=training.position() | {"course": course.kept()},
                )
            if stopping:
                break
        stopping |= stop["requested"]
    if stopping and step < optimization.steps:
        raise Interrupted(
            stopped_after(training.title, step, optimization.steps, folder), remedy=resume_command
        )
    return TrainingResult(
        steps=step,
        stopped=stopping,
        losses=course.losses,
        per_s=course.per_s,
        elapsed_s=course.elapsed_s,
        left_out=training.left_out(),
    )


def _header(
    training: Training,
    accelerator: Accelerator,
    optimization: OptimizationSection | TokenOptimizationSection,
    step: int,
) -> str:
    """What begins: parameters, device, length."""
    parameters = list(training.module.parameters())
    learned = sum(each.numel() for each in parameters if each.requires_grad)
    frozen = sum(each.numel() for each in parameters) - learned
    precision = {"no": "fp32"}.get(accelerator.mixed_precision, accelerator.mixed_precision)
    processes = f", {accelerator.num_processes} processes" * (accelerator.num_processes > 1)
    length = f"updates{f' {step + 1:,} to' if step else ':'} {optimization.steps:,}"
    if step >= optimization.steps:
        length = f"all {step:,} updates are done"
    return (
        f"{training.title}: {learned:,} parameters learn"
        + (f", {frozen:,} are frozen" if frozen else "")
        + f"; on {accelerator.device}, {precision}{processes}; {length}"
    )


def stopped_after(title: str, step: int, steps: int, folder: Path) -> str:
    """What an interrupted training says."""
    return (
        f"{title}: stopped after update {step} of {steps}; a checkpoint is "
        f"in {folder / 'checkpoints'}"
    )


@dataclass
class _Course:
    """How the training went from its start, which a resumed one goes on with."""

    unit: str
    losses: Figures = field(default_factory=dict)
    units: float = 0.0
    began: float = field(default_factory=time.perf_counter)

    @classmethod
    def of(cls, progress: dict[str, Any], unit: str) -> _Course:
        """The course that a checkpoint kept; a new one where there is none."""
        kept = progress.get("course")
        if kept is None:
            return cls(unit)
        return cls(unit, kept["losses"], kept[unit], time.perf_counter() - kept["elapsed_s"])

    @property
    def elapsed_s(self) -> float:
        return time.perf_counter() - self.began

    @property
    def per_s(self) -> float:
        """What was trained on in a second."""
        return self.units / self.elapsed_s

    def add(self, losses: Figures, units: float) -> None:
        """Counts one update."""
        self.losses, self.units = losses, self.units + units

    def kept(self) -> dict[str, Any]:
        """What a checkpoint keeps."""
        return {"losses": self.losses, self.unit: self.units, "elapsed_s": self.elapsed_s}


class _Log:
    """Sums figures between lines of `metrics.jsonl`, which the main process writes, and tells them
    to a tracker where the recipe names one.
    """

    def __init__(
        self,
        training: Training,
        folder: Path,
        step: int,
        accelerator: Accelerator,
        tracker: GeneralTracker | None,
    ):
        self._training, self._tracker = training, tracker
        self._sums: Figures = {}
        self._metrics = MetricsLog(folder, step) if accelerator.is_main_process else None
        self._logged_at, self._began = step, time.perf_counter()

    def close(self) -> None:
        """Nothing more will be written."""
        if self._tracker is not None:
            self._tracker.finish()

    def add(self, sums: Figures) -> None:
        """Counts one update."""
        for name, value in sums.items():
            self._sums[name] = self._sums.get(name, 0.0) + value

    def write(
        self,
        step: int,
        optimization: OptimizationSection | TokenOptimizationSection,
        norm: Tensor | float | None,
        health: dict[str, Any],
    ) -> None:
        """One line for the updates since the last one."""
        now = time.perf_counter()
        elapsed_s, updates = now - self._began, step - self._logged_at
        line = {
            "step": step,
            **self._training.losses(self._sums),
            "gradient_norm": None if norm is None else float(norm),
            "lr": learning_rate_at(step - 1, optimization),
            **self._training.pace(self._sums, elapsed_s),
            "memory_mb": memory_mb(),
            "eta_s": round((optimization.steps - step) * elapsed_s / updates),
            **health,
        }
        self._sums, self._began, self._logged_at = {}, now, step
        if self._metrics:
            self._metrics.write(line)
        if self._tracker is not None:
            figures = {
                name: value for name, value in line.items() if isinstance(value, int | float)
            }
            self._tracker.log(figures, step=step)


def _agree(
    accelerator: Accelerator, figures: dict[str, Tensor], stop: bool
) -> tuple[Figures, bool]:
    """Figures summed over ranks, and whether any rank was asked to stop: one collective, so that
    all ranks act alike.
    """
    device = accelerator.device
    # Apple's GPU has no double precision
    dtype = torch.float32 if device.type == "mps" else torch.float64
    values = [value.to(device, dtype).reshape(()) for value in figures.values()]
    values.append(torch.tensor(float(stop), dtype=dtype, device=device))
    *sums, stopping = accelerator.reduce(torch.stack(values), reduction="sum").tolist()
    return dict(zip(figures, sums, strict=True)), stopping > 0


def _frozen_parts(model: nn.Module) -> list[nn.Module]:
    """Parts that have parameters, none of which is trained."""
    return [
        part
        for part in model.modules()
        if (parameters := list(part.parameters()))
        and not any(parameter.requires_grad for parameter in parameters)
    ]


def _set_modes(model: nn.Module, frozen: list[nn.Module]) -> None:
    """Training mode for what trains; frozen parts stay in eval mode, so that
    their dropout never runs.
    """
    model.train()
    for part in frozen:
        part.eval()


def _weights_are_finite(model: nn.Module) -> bool:
    return all(
        parameter.isfinite().all() for parameter in model.parameters() if parameter.requires_grad
    )
