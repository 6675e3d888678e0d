"""A stage of the visual tokenizer's training: what it gives to the loop, and how it runs."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Protocol

import torch
import torch.distributed
from torch import Tensor, nn

from seedcli.console import Reporter
from seedcli.data.documents.left_out import Tally, add_tallies
from seedcli.recipe.pictures import OptimizationSection, ParallelSection, RunSection
from seedcli.training.accelerator import begin_training, build_accelerator
from seedcli.training.checkpoints import newest_checkpoint, read_progress
from seedcli.training.loop import Figures, TrainingResult, train
from seedcli.training.optimizer import build_stage_optimizer
from seedcli.training.process import seed_step
from seedcli.training.readers import read_ahead
from seedcli.training.run_page import write_run_page
from seedcli.training.speed import compile_layers


class Stage(Protocol):
    """What a stage of the training gives to the loop.

    `model` holds trainable and frozen parts (requires_grad False); state that changes without
    gradients (moving averages) must be buffers.
    """

    name: str
    model: nn.Module

    def prepare(self, folder: Path) -> Tally:
        """Before training, and on resume: computes what can be computed once, and keeps it in the
        run folder.

        Returns:
            What of its sources was of no use.
        """
        return {}

    def batch(self, step: int) -> dict[str, Any]:
        """This rank's part of global batch `step`; a pure function of (seed, step, rank, world).
        Tensors, and in `left_out` what of its sources was of no use. The global RNGs are seeded by
        the loop.
        """

    def losses(self, batch: dict[str, Tensor]) -> dict[str, Tensor]:
        """`loss` (scalar, differentiable) and named parts, each a detached scalar."""

    def after_step(self, step: int) -> dict[str, Any]:
        """Moving averages, revival, health figures for the log; may raise NumericalError."""
        return {}

    def examine(self, step: int, sheet: Path) -> dict[str, float]:
        """How the stage does on what no update saw: figures for the log, and, from stages that
        draw, a sheet of pictures in the file. Called now and then, on the first rank alone.
        """
        return {}

    def save(self, folder: Path) -> None:
        """Writes the finished part in its final format."""


def train_stage(
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
        UsageError, NumericalError, Interrupted: see `loop.train`.
    """
    accelerator = build_accelerator(parallel)
    share = optimization.batch_size // accelerator.num_processes
    begin_training(
        accelerator, micro_batch=share, accumulation=1, gradient_clip=optimization.gradient_clip
    )
    stage.model.to(accelerator.device)
    if parallel.compile:
        compile_layers(stage.model, accelerator.device)
    newest = newest_checkpoint(folder / "checkpoints") if resume else None
    training = StageTraining(
        stage,
        optimization,
        seed=seed,
        rank=accelerator.process_index,
        share=share,
        run=run,
        sheets=folder / "sheets",
        left_out=read_progress(newest).get("left_out", {}) if newest else {},
    )
    result = train(
        training,
        accelerator,
        seed=seed + 1,  # what the model draws is not what its data drew
        optimization=optimization,
        run=run,
        folder=folder,
        resume=resume,
        resume_command=resume_command,
        reporter=reporter,
    )
    if accelerator.is_main_process:
        stage.save(folder / "model")
    accelerator.wait_for_everyone()
    return result


class StageTraining:
    """A stage as the loop sees it: one micro-batch an update, losses averaged over ranks."""

    unit = "images"

    def __init__(
        self,
        stage: Stage,
        optimization: OptimizationSection,
        *,
        seed: int,
        rank: int,
        share: int,
        run: RunSection,
        sheets: Path,
        left_out: Mapping[str, Mapping[str, int]],
    ):
        self.title = f"stage {stage.name}"
        self.module = _StageLosses(stage, share)
        self.optimizer = build_stage_optimizer(stage.model, optimization)
        self._stage, self._steps, self._workers = stage, optimization.steps, run.loader_workers
        self._data = _Steps(stage, seed, rank)
        self._examines = rank == 0
        self._every, self._sheets = run.examine_every_steps, sheets
        # what a checkpoint has of all ranks, one of them goes on with
        self._left_out = add_tallies([left_out] if rank == 0 else [])

    def updates(self, step: int) -> Iterator[list[dict[str, Tensor]]]:
        """See `loop.Training`."""
        for batch in read_ahead(
            self._data,
            steps=range(step, self._steps),
            workers=self._workers,
            pin_memory=torch.cuda.is_available(),
        ):
            self._left_out = add_tallies([self._left_out, batch.pop("left_out", {})])
            yield [batch]

    def losses(self, sums: Figures) -> Figures:
        """Each loss, averaged over ranks and updates."""
        return {
            name: value / sums["ranks"]
            for name, value in sums.items()
            if name not in ("images", "ranks")
        }

    def pace(self, sums: Figures, elapsed_s: float) -> Figures:
        """Images a second, all ranks together."""
        return {"images_per_s": round(sums["images"] / elapsed_s, 2)}

    def after_update(self, step: int) -> dict[str, Any]:
        """The stage's own, and every now and then what an examination says."""
        figures = self._stage.after_step(step)
        due = step == self._steps or (self._every and step % self._every == 0)
        if self._examines and due:
            # other sizes than an update's, once in a while: not worth a compilation
            with torch.compiler.set_stance("force_eager"):
                figures |= self._stage.examine(step, self._sheets / f"step-{step:08d}.png")
            write_run_page(self._sheets.parent)  # who looks in while it trains sees how it goes
        return figures

    def position(self) -> dict[str, Any]:
        """No place, since a batch is a function of its number; what was left out so far."""
        return {"left_out": self.left_out()}

    def left_out(self) -> Tally:
        """What was left out on all ranks; every rank calls this."""
        parts: list[Tally] = [self._left_out]
        if torch.distributed.is_initialized():
            parts = [{} for _ in range(torch.distributed.get_world_size())]
            torch.distributed.all_gather_object(parts, self._left_out)
        return add_tallies(parts)


class _StageLosses(nn.Module):
    """Puts `stage.losses` behind `forward`, which is where data parallelism
    and DeepSpeed hook in.
    """

    def __init__(self, stage: Stage, share: int):
        super().__init__()
        self.model = stage.model
        self._losses = stage.losses
        self._share = share

    def forward(self, batch: dict[str, Tensor]) -> dict[str, Any]:
        return {**self._losses(batch), "images": self._share, "ranks": 1}


class _Steps(torch.utils.data.Dataset):
    """Step number -> this rank's batch; seeds what augmentation draws from, so it does not matter
    which process runs it.
    """

    def __init__(self, stage: Stage, seed: int, rank: int):
        self._stage, self._seed, self._rank = stage, seed, rank

    def __getitem__(self, step: int) -> dict[str, Tensor]:
        seed_step(self._seed, step, self._rank)
        return self._stage.batch(step)
