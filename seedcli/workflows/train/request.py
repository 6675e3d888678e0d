"""What the commands that train were asked for."""

from __future__ import annotations

import shlex
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from seedcli.options import (
    MAX_PROCESSES,
    MAX_TOGETHER,
    SHARED_OUT,
    Option,
    OverridesArgument,
    RecipeArgument,
    ResumeOption,
)


@dataclass(frozen=True, kw_only=True)
class TrainRequest:
    """What `seed train-tokenizer`, `seed pretrain` or `seed instruct` was asked for."""

    recipe: RecipeArgument
    overrides: OverridesArgument = ()
    output: Annotated[
        Path | None, Option("Run folder; default runs/RECIPE.", "-o", metavar="DIR")
    ] = None
    num_processes: Annotated[
        int,
        Option(
            "Processes to start on this machine; under torchrun leave it out.",
            "--nproc",
            min=1,
            max=MAX_PROCESSES,
            panel=SHARED_OUT,
        ),
    ] = 1
    num_nodes: Annotated[
        int,
        Option(
            "Machines; run the same command on each.",
            "--nnodes",
            min=1,
            max=MAX_TOGETHER,
            panel=SHARED_OUT,
        ),
    ] = 1
    node_rank: Annotated[int, Option("Which of the machines this is.", min=0, panel=SHARED_OUT)] = 0
    rendezvous: Annotated[
        str | None,
        Option(
            "Address of machine 0; for more than one machine.",
            "--rdzv",
            metavar="HOST:PORT",
            panel=SHARED_OUT,
        ),
    ] = None
    resume: ResumeOption = False

    def resume_command(self, command: str, folder: Path) -> str:
        """What to type after an interruption."""
        words = ["seed", command, self.recipe, *self.overrides, "-o", str(folder)]
        if self.num_processes > 1:
            words += ["--nproc", str(self.num_processes)]
        if self.num_nodes > 1:
            words += ["--nnodes", str(self.num_nodes), "--node-rank", str(self.node_rank)]
            words += ["--rdzv", self.rendezvous] if self.rendezvous else []
        return shlex.join([*words, "--resume"])
