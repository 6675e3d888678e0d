"""A stage small enough to train in milliseconds, with all that makes resuming hard: dropout, a
frozen part, a moving average.

Run as a script it is one rank: `python -m tests.training.tiny_stage FOLDER '{"engine": ...}'
DROPOUT [--resume]`; rank and world come from the environment.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from seedcli.console import Reporter
from seedcli.recipe.pictures import OptimizationSection, ParallelSection, RunSection
from seedcli.training.moving_average import MovingAverage
from seedcli.training.ranks import Ranks, end_rank
from seedcli.training.stage import train_stage

OPTIMIZATION = OptimizationSection(
    steps=6,
    batch_size=8,
    learning_rate=1e-2,
    min_learning_rate=0.0,
    warmup_steps=2,
    schedule="cosine",
    weight_decay=0.1,
    betas=(0.9, 0.99),
    adam_epsilon=1e-8,
    gradient_clip=0.5,
)
RUN = RunSection(log_every_steps=1, checkpoint_every_steps=3, keep_checkpoints=2)


class TinyStage:
    """A network learns to imitate a frozen one; `at_step` holds functions to call
    when a batch is asked for.
    """

    name = "tiny"

    def __init__(self, ranks: Ranks = Ranks(), dropout: float = 0.2, at_step: dict | None = None):
        torch.manual_seed(0)
        teacher = nn.Sequential(
            nn.Linear(6, 16), nn.Dropout(0.5), nn.Tanh(), nn.Linear(16, 3)
        ).requires_grad_(False)
        student = nn.Sequential(
            nn.Linear(6, 12), nn.LayerNorm(12), nn.Dropout(dropout), nn.GELU(), nn.Linear(12, 3)
        )
        self.model = nn.ModuleDict(
            {"teacher": teacher, "student": student, "average": MovingAverage(student, 0.9)}
        )
        self.ranks, self.at_step = ranks, at_step or {}
        self.examined: list[str] = []

    def batch(self, step: int) -> dict[str, Any]:
        self.at_step.get(step, lambda: None)()
        inputs = torch.randn(
            OPTIMIZATION.batch_size, 6, generator=torch.Generator().manual_seed(step)
        )
        inputs = inputs[self.ranks.rows(OPTIMIZATION.batch_size)]
        return {"inputs": inputs, "left_out": {1: {"rows": len(inputs) + 1, "is empty": 1}}}

    def losses(self, batch: dict[str, Tensor]) -> dict[str, Tensor]:
        wanted = self.model["teacher"](batch["inputs"])
        loss = (self.model["student"](batch["inputs"]) - wanted).square().mean()
        return {"loss": loss, "wanted": wanted.mean().detach()}

    def examine(self, step: int, sheet: Path) -> dict[str, float]:
        self.examined.append(sheet.name)
        return {"held_out": step / 10}

    def after_step(self, step: int) -> dict[str, float]:
        self.model["average"].update(self.model["student"], step)
        return {"noise": torch.rand(()).item()}

    def save(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        torch.save(self.model.state_dict(), folder / "weights.pt")


def train_tiny(
    folder: Path,
    stage: TinyStage | None = None,
    *,
    parallel: ParallelSection | None = None,
    resume: bool = False,
    run: RunSection = RUN,
    reporter: Reporter | None = None,
):
    """`train_stage` on the tiny stage."""
    return train_stage(
        stage or TinyStage(),
        seed=5,
        optimization=OPTIMIZATION,
        parallel=parallel or ParallelSection(device="cpu"),
        run=run,
        folder=folder,
        resume=resume,
        reporter=reporter,
    )


if __name__ == "__main__":
    folder, parallel, dropout, *flags = sys.argv[1:]
    torch.set_num_threads(1)
    stage = TinyStage(Ranks.from_environment(), dropout=float(dropout))
    section = ParallelSection.model_validate_json(
        json.dumps({"device": "cpu", **json.loads(parallel)})
    )
    train_tiny(Path(folder), stage, parallel=section, resume="--resume" in flags)
    end_rank()
