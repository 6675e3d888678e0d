"""What a process must know about its siblings: its rank and its rows of a batch. Torch-free."""

from __future__ import annotations

import os
from dataclasses import dataclass

from seedcli.errors import UsageError


@dataclass(frozen=True)
class Ranks:
    """This process's place among `world` processes."""

    rank: int = 0
    world: int = 1

    @classmethod
    def from_environment(cls) -> Ranks:
        """As torchrun and `launcher` describe it; one process where they did not run."""
        return cls(int(os.environ.get("RANK", "0")), int(os.environ.get("WORLD_SIZE", "1")))

    def rows(self, batch_size: int) -> slice:
        """This rank's rows of a global batch.

        Raises:
            UsageError: The batch does not split evenly.
        """
        if batch_size % self.world:
            raise UsageError(
                f"batch size {batch_size} does not split over {self.world} processes", remedy="set optimization.batch_size to a multiple"
            )
        share = batch_size // self.world
        return slice(self.rank * share, (self.rank + 1) * share)
