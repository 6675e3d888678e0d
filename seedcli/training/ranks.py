"""What a process must know about its siblings: its rank, its rows of a batch, and
how it ends. Torch-free.
"""

from __future__ import annotations

import atexit
import hashlib
import os
import sys
import threading
from dataclasses import dataclass
from typing import TYPE_CHECKING, NoReturn

from seedcli.errors import UsageError

if TYPE_CHECKING:
    from seedcli.recipe.language import LlmParallelSection, TokenOptimizationSection

SAID = "SEEDCLI_SAID"  # a folder with a file for each message that one of the ranks has told
OVER = "over"  # a file there, once the launcher asks the others to end since one has failed


@dataclass(frozen=True)
class Ranks:
    """This process's place among `world` processes."""

    rank: int = 0
    world: int = 1

    @classmethod
    def from_environment(cls) -> Ranks:
        """As torchrun and `launcher` describe it; one process where they did not run.

        Raises:
            UsageError: A rank that no launcher can have given: it would wait for others for ever.
        """
        rank, world = os.environ.get("RANK", "0"), os.environ.get("WORLD_SIZE", "1")
        if not (rank.isdecimal() and world.isdecimal() and int(rank) < int(world)):
            raise UsageError(
                f"the environment says RANK={rank} and WORLD_SIZE={world}, which no launcher sets",
                remedy="unset RANK WORLD_SIZE, or start the processes with torchrun",
            )
        return cls(int(rank), int(world))

    def rows(self, batch_size: int) -> slice:
        """This rank's rows of a global batch.

        Raises:
            UsageError: The batch does not split evenly.
        """
        if batch_size % self.world:
            raise UsageError(
                f"batch size {batch_size} does not split over {self.world} processes",
                remedy="set optimization.batch_size to a multiple",
            )
        share = batch_size // self.world
        return slice(self.rank * share, (self.rank + 1) * share)


def is_first_to_say(text: str) -> bool:
    """Whether no other rank of this machine has said `text` yet: what stops all of them is told
    once, and nothing by those that end since another has failed. True where no launcher of ours
    gave them a folder for it.
    """
    folder = os.environ.get(SAID)
    if folder is None:
        return True
    if os.path.exists(os.path.join(folder, OVER)):
        return False
    name = hashlib.sha256(text.encode(errors="surrogateescape")).hexdigest()
    try:
        # of those that come at once, one makes the file
        os.close(os.open(os.path.join(folder, name), os.O_CREAT | os.O_EXCL))
    except FileExistsError:
        return False
    except OSError:  # the folder is gone: better twice than not at all
        pass
    return True


def end_rank(code: int = 0) -> NoReturn:
    """Ends this rank's process with an exit code as Python would, but without taking
    the interpreter apart.

    gloo's worker threads free their last work when they come to it and need the interpreter for
    that. One that asks while Python is being taken apart aborts the process (torch 2.14: about one
    rank in ten), and a finished run would count as killed.
    """
    # tells idle pools to end and waits for threads that write, as Python does first of all
    threading._shutdown()  # type: ignore[attr-defined]
    atexit._run_exitfuncs()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


def rows_of_update(
    optimization: TokenOptimizationSection,
    parallel: LlmParallelSection,
    *,
    context_length: int,
    world: int,
) -> tuple[int, int]:
    """(lanes: packed rows of one update, micro-batches a process computes for it).

    Raises:
        UsageError: The rows do not split evenly over processes and micro-batches.
    """
    lanes = optimization.batch_tokens // context_length
    at_once = world * parallel.micro_batch_rows
    if lanes % at_once:
        raise UsageError(
            f"an update has {lanes} rows (batch_tokens {optimization.batch_tokens} / "
            f"context_length {context_length}), which do not split over {world} processes with "
            f"micro_batch_rows {parallel.micro_batch_rows}",
            remedy="change parallel.micro_batch_rows or the number of processes; results do not "
            "depend on them",
        )
    return lanes, lanes // at_once
