"""The one training loop of `seed train-tokenizer`: every stage runs through `train`, on one process
or many, with or without DeepSpeed.

Exactness comes from having little state. A batch, a learning rate and all random numbers of a step
are pure functions of (seed, step, rank, world), so a checkpoint holds only what training changes:
trainable parameters, buffers (moving averages live there), optimizer moments and the step.
"""

from __future__ import annotations

import math
import os
import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import torch
from accelerate import Accelerator, DistributedDataParallelKwargs
from accelerate.utils import DeepSpeedPlugin
from torch import Tensor, nn

from seedcli.console import Reporter
from seedcli.errors import Interrupted, NumericalError, UsageError
from seedcli.models.device import keep_freed_memory
from seedcli.recipe.tokenizer import OptimizationSection, ParallelSection, RunSection
from seedcli.training.checkpoints import (
    load_checkpoint,
    newest_checkpoint,
    save_checkpoint,
    uses_deepspeed,
)
from seedcli.training.optimizer import build_optimizer, learning_rate_at
from seedcli.training.process import memory_mb, seed_step, stop_signals
from seedcli.training.run_folder import MetricsLog


class Stage(Protocol):
    """What a stage of the training gives to the loop.

    `model` holds trainable and frozen parts (requires_grad False); state that changes without
    gradients (moving averages) must be buffers.
    """

    name: str
    model: nn.Module

    def batch(self, step: int) -> dict[str, Tensor]:
        """This rank's part of global batch `step`; a pure function of (seed, step, rank, world).
        The global RNGs are seeded by the loop.
        """

    def losses(self, batch: dict[str, Tensor]) -> dict[str, Tensor]:
        """`loss` (scalar, differentiable) and named parts, each a detached scalar."""

    def after_step(self, step: int) -> dict[str, float]:
        """Moving averages, revival, health figures for the log; may raise NumericalError."""

    def save(self, folder: Path) -> None:
        """Writes the finished part in its final format."""


@dataclass(frozen=True, kw_only=True)
class TrainingResult:
    """What a finished run reports. `losses` are those of the last step; `images_per_s` is the mean
    over this process's steps.
    """

    folder: Path
    model_folder: Path
    steps: int
    losses: dict[str, float]
    images_per_s: float
    elapsed_s: float


class _LossModule(nn.Module):
    """Puts `stage.losses` behind `forward`, which is where data parallelism
    and DeepSpeed hook in.
    """

    def __init__(self, stage: Stage):
        super().__init__()
        self.model = stage.model
        self._losses = stage.losses

    def forward(self, batch: dict[str, Tensor]) -> dict[str, Tensor]:
        return self._losses(batch)


def train(
    stage: Stage,
    *,
    seed: int,
    optimization: OptimizationSection,
    parallel: ParallelSection,
    run: RunSection,
    folder: Path,
    resume: bool = False,
    resume_command: str = "the same command with --resume",
    reporter: Reporter | None = None,
) -> TrainingResult:
    """Trains `stage` to `optimization.steps` and saves the finished part to `folder/model`.

    Args:
        folder: The run folder; gets `metrics.jsonl` and `checkpoints/step-NNNNNNNN/`.
        resume: Continue from the newest checkpoint of the folder; without one
            the run starts at step 0.
        resume_command: Shown when the run is interrupted.

    Raises:
        UsageError: The folder holds checkpoints and `resume` is off.
        NumericalError: A loss or gradient is not finite; names the last good checkpoint.
        Interrupted: SIGTERM or Ctrl-C; a checkpoint was written.
    """
    reporter = reporter or Reporter()
    keep_freed_memory()
    accelerator = build_accelerator(parallel, optimization)
    stage.model.to(accelerator.device)
    optimizer = build_optimizer(stage.model, optimization)
    module, optimizer = accelerator.prepare(_LossModule(stage), optimizer)
    checkpoints = folder / "checkpoints"
    done = newest_checkpoint(checkpoints)
    if done and not resume:
        raise UsageError(
            f"{folder} already holds a run ({done.name})",
            remedy="continue it with --resume, or choose another folder with -o",
        )
    step = load_checkpoint(done, accelerator, module, optimizer) if done else 0
    started_at = step
    metrics = MetricsLog(folder / "metrics.jsonl", step) if accelerator.is_main_process else None
    parts: dict[str, float] = {}
    began = last_log = time.perf_counter()
    with stop_signals() as stop, reporter.progress(stage.name, optimization.steps) as progress:
        progress.resume(step)
        for loaded in _batches(
            stage,
            seed,
            range(step, optimization.steps),
            accelerator.process_index,
            run.loader_workers,
        ):
            seed_step(seed + 1, step, accelerator.process_index)
            _set_modes(stage.model)
            learning_rate = learning_rate_at(step, optimization)
            for group in optimizer.param_groups:
                group["lr"] = learning_rate
            batch = {
                name: tensor.to(accelerator.device, non_blocking=True)
                for name, tensor in loaded.items()
            }
            losses = module(batch)
            accelerator.backward(losses["loss"])
            if optimization.gradient_clip and not uses_deepspeed(accelerator):
                accelerator.clip_grad_norm_(module.parameters(), optimization.gradient_clip)
            parts, stop_now = _agree(accelerator, losses, stop["requested"])
            if not math.isfinite(parts["loss"]):
                raise NumericalError(
                    _not_finite(stage.name, step, parts, newest_checkpoint(checkpoints)),
                    remedy=_CURE,
                )
            optimizer.step()
            optimizer.zero_grad()
            step += 1
            health = stage.after_step(step)
            progress.advance(1, loss=parts["loss"])
            if metrics:
                metrics.add(parts)
            if metrics and (step % run.log_every_steps == 0 or step == optimization.steps):
                now = time.perf_counter()
                speed = optimization.batch_size * metrics.steps_since(step) / (now - last_log)
                eta = (optimization.steps - step) * optimization.batch_size / speed
                line = {
                    "step": step,
                    **metrics.means(step),
                    "lr": learning_rate,
                    "images_per_s": round(speed, 2),
                    "memory_mb": memory_mb(),
                    "eta_s": round(eta),
                }
                metrics.write(line | health)
                last_log = now
            if stop_now or step % run.checkpoint_every_steps == 0 or step == optimization.steps:
                _refuse_broken_weights(stage, step, checkpoints)
                save_checkpoint(
                    checkpoints, step, accelerator, module, optimizer, keep=run.keep_checkpoints
                )
            if stop_now and step < optimization.steps:
                raise Interrupted(
                    f"stopped after step {step} of {optimization.steps}; a checkpoint is "
                    f"in {checkpoints}",
                    remedy=resume_command,
                )
    model_folder = folder / "model"
    if accelerator.is_main_process:
        stage.save(model_folder)
    accelerator.wait_for_everyone()
    elapsed_s = time.perf_counter() - began
    images_per_s = (step - started_at) * optimization.batch_size / elapsed_s
    return TrainingResult(
        folder=folder,
        model_folder=model_folder,
        steps=step,
        losses=parts,
        images_per_s=images_per_s,
        elapsed_s=elapsed_s,
    )


def build_accelerator(parallel: ParallelSection, optimization: OptimizationSection) -> Accelerator:
    """Accelerate set up from the recipe; joins the process group that torchrun or `launcher`
    describes in the environment.
    """
    plugin = None
    world = int(os.environ.get("WORLD_SIZE", "1"))
    if parallel.engine == "deepspeed":
        config = {
            "train_micro_batch_size_per_gpu": optimization.batch_size // world,
            "gradient_accumulation_steps": 1,
            "gradient_clipping": optimization.gradient_clip or 0.0,
            "zero_optimization": {"stage": parallel.zero_stage},
            "zero_allow_untested_optimizer": True,
            "bf16": {"enabled": parallel.precision == "bf16"},
            "fp16": {"enabled": parallel.precision == "fp16"},
        }
        if parallel.offload_optimizer:
            config["zero_optimization"]["offload_optimizer"] = {"device": "cpu"}
        plugin = DeepSpeedPlugin(hf_ds_config=config)
    # Moving averages are buffers that the stage itself keeps equal on all ranks; broadcasting them
    # every step would only cost time.
    data_parallel = DistributedDataParallelKwargs(
        broadcast_buffers=False, find_unused_parameters=parallel.find_unused_parameters
    )
    # Without a GPU, Accelerate joins the process group only when it is told that the CPU is meant;
    # else each rank would train on its own.
    accelerator = Accelerator(
        cpu=parallel.device == "cpu" or (world > 1 and not torch.cuda.is_available()),
        mixed_precision={"fp32": "no"}.get(parallel.precision, parallel.precision),
        deepspeed_plugin=plugin,
        kwargs_handlers=[data_parallel],
    )
    if accelerator.num_processes != world:
        raise UsageError(
            f"{world} ranks were started, but Accelerate joined {accelerator.num_processes}",
            remedy="parallel.device=cpu",
        )
    return accelerator


def _agree(
    accelerator: Accelerator, losses: dict[str, Tensor], stop: bool
) -> tuple[dict[str, float], bool]:
    """Mean losses over ranks and whether any rank was asked to stop, in one collective, so
    that all ranks act alike.
    """
    values = torch.stack(
        [value.detach().float().reshape(()) for value in losses.values()]
        + [torch.tensor(float(stop), device=accelerator.device)]
    )
    *means, stopping = accelerator.reduce(values, reduction="mean").tolist()
    return dict(zip(losses, means, strict=True)), stopping > 0


class _Steps(torch.utils.data.Dataset):
    """Step number -> this rank's batch; seeds what augmentation draws from, so it does not matter
    which process runs it.
    """

    def __init__(self, stage: Stage, seed: int, rank: int):
        self._stage, self._seed, self._rank = stage, seed, rank

    def __getitem__(self, step: int) -> dict[str, Tensor]:
        seed_step(self._seed, step, self._rank)
        return self._stage.batch(step)


def _batches(
    stage: Stage, seed: int, steps: range, rank: int, workers: int
) -> Iterable[dict[str, Tensor]]:
    return torch.utils.data.DataLoader(
        _Steps(stage, seed, rank),
        batch_size=None,
        sampler=steps,
        num_workers=workers,
        pin_memory=torch.cuda.is_available(),
    )


def _set_modes(model: nn.Module) -> None:
    """Training mode for what trains; frozen parts stay in eval mode, so that
    their dropout never runs.
    """
    model.train()
    for part in model.modules():
        parameters = list(part.parameters())
        if parameters and not any(parameter.requires_grad for parameter in parameters):
            part.eval()


def _refuse_broken_weights(stage: Stage, step: int, checkpoints: Path) -> None:
    if not all(
        parameter.isfinite().all()
        for parameter in stage.model.parameters()
        if parameter.requires_grad
    ):
        good = newest_checkpoint(checkpoints)
        raise NumericalError(
            f"weights are not finite after update {step}; last good checkpoint: "
            f"{good or 'none yet'}",
            remedy=_CURE,
        )


_CURE = (
    "lower optimization.learning_rate or set optimization.gradient_clip, then "
    "continue with --resume"
)


def _not_finite(name: str, step: int, parts: dict[str, float], good: Path | None) -> str:
    bad = ", ".join(f"{part} {value}" for part, value in parts.items() if not math.isfinite(value))
    return f"stage {name}, step {step}: {bad}; last good checkpoint: {good or 'none yet'}"
