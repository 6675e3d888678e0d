"""What is frozen in stage II, computed once: causal embeddings and target embeddings of a fixed
number of augmented views, on disk.

Two memory-mapped half-precision arrays and a small JSON that says what they were made from; an
interrupted run goes on where it stopped.
"""

from __future__ import annotations

import hashlib
import json
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from seedcli.console import Reporter
from seedcli.data.documents.left_out import Tally, add_tallies
from seedcli.data.mixtures.pairs import Mixture
from seedcli.data.sample_order import derived_seed, shuffled_index
from seedcli.files import parse_json, publish_json, space_named

# pixels [B,3,S,S] -> causal embeddings [B,Q,D] and target embeddings [B,G], both frozen
FrozenHalf = Callable[[Tensor], tuple[Tensor, Tensor]]
_PROGRESS = "progress.json"


class StreamedFeatures:
    """Features of new views at every step; nothing on disk."""

    def __init__(self, frozen: FrozenHalf, pairs: Mixture):
        self._frozen, self._pairs = frozen, pairs

    def prepare(self, folder: Path) -> Tally:
        """Nothing to do, nothing left out."""
        return {}

    def batch(self, step: int, *, batch_size: int, rows: slice) -> dict[str, Any]:
        """Rows of global batch `step` -> pixels [B,3,S,S], and what was left out."""
        found = self._pairs.batch(step, batch_size=batch_size, rows=rows)
        return {"pixels": found.pixels, "left_out": found.left_out}

    def features(self, batch: dict[str, Tensor]) -> tuple[Tensor, Tensor]:
        """What `batch` gave -> causal embeddings [B,Q,D], target embeddings [B,G]."""
        return self._frozen(batch["pixels"])


class CachedFeatures:
    """Features of the first `num_views` samples of a mixture, shuffled anew on each pass.

    Args:
        frozen: The frozen half.
        pairs: Where pictures come from.
        key: What the features depend on: fingerprints, data, seed. It becomes a part of the name
            that the arrays have, so nothing stale is ever read.
        num_views: Views in all, e.g. 8 for each picture.
        batch_size: Pictures of one pass through the frozen half.
        seed: Of the order.
        write: Compute what is missing; of many processes only one does, and the
            others wait for its file.
    """

    def __init__(
        self,
        frozen: FrozenHalf,
        pairs: Mixture,
        *,
        key: dict[str, object],
        num_views: int,
        batch_size: int,
        seed: int,
        write: bool = True,
        reporter: Reporter | None = None,
    ):
        facts = key | {"num_views": num_views, "batch_size": batch_size}
        stamp = hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()[:16]
        self._folder, self._count, self._seed = Path(f"features-{stamp}"), num_views, seed
        self._frozen, self._pairs, self._batch_size = frozen, pairs, batch_size
        self._writes, self._reporter = write, reporter or Reporter()

    def prepare(self, folder: Path) -> Tally:
        """Computes what is missing in a run folder, or waits until the writing process has.

        Returns:
            What was left out.

        Raises:
            NoSpaceError: The disk has no room for them.
        """
        self._folder = folder / self._folder.name
        if self._writes:
            with space_named(self._folder / _PROGRESS):
                self._write()
        while self._progress()["done"] < self._count:
            time.sleep(1)
        return add_tallies([self._progress()["left_out"]])

    def _progress(self) -> dict[str, Any]:
        """How many views are `done`, and what was `left_out` of them."""
        file = self._folder / _PROGRESS
        if not all(path.is_file() for path in (file, *self._paths())):
            return {"done": 0, "left_out": {}}
        return parse_json(file.read_bytes())

    def _write(self) -> None:
        batch_size, done = self._batch_size, self._progress()["done"]
        left_out = add_tallies([self._progress()["left_out"]])
        if done >= self._count:
            return
        self._folder.mkdir(parents=True, exist_ok=True)
        arrays: list[np.memmap] = []
        with self._reporter.progress("features of frozen parts", self._count) as progress:
            progress.resume(done)
            for step in range(done // batch_size, -(-self._count // batch_size)):
                pixels, _, missed = self._pairs.batch(
                    step,
                    batch_size=batch_size,
                    rows=slice(0, min(batch_size, self._count - step * batch_size)),
                )
                features = [part.to(torch.float16).cpu().numpy() for part in self._frozen(pixels)]
                left_out = add_tallies([left_out, missed])
                if not arrays:
                    arrays = [
                        _open_array(path, (self._count, *part.shape[1:]), anew=not done)
                        for path, part in zip(self._paths(), features, strict=True)
                    ]
                for array, part in zip(arrays, features, strict=True):
                    array[step * batch_size : step * batch_size + len(part)] = part
                progress.advance(len(pixels))
                if step % 50 == 49:
                    self._mark(arrays, (step + 1) * batch_size, left_out)
        self._mark(arrays, self._count, left_out)

    def _mark(self, arrays: list[np.memmap], done: int, left_out: Tally) -> None:
        for array in arrays:
            array.flush()
        said = {"done": min(done, self._count), "left_out": left_out}
        publish_json(self._folder / _PROGRESS, said)

    def _paths(self) -> tuple[Path, Path]:
        return self._folder / "causal_embeddings.npy", self._folder / "target_embeddings.npy"

    def batch(self, step: int, *, batch_size: int, rows: slice) -> dict[str, Tensor]:
        """Rows of global batch `step` -> causal embeddings [B,Q,D], target
        embeddings [B,G], fp32.
        """
        numbers = []
        for n in range(step * batch_size, (step + 1) * batch_size)[rows]:
            passes, position = divmod(n, self._count)
            seed = derived_seed(self._seed, passes)
            numbers.append(shuffled_index(position, self._count, seed=seed))
        return {
            path.stem: torch.from_numpy(np.load(path, mmap_mode="r")[numbers]).float()
            for path in self._paths()
        }

    def features(self, batch: dict[str, Tensor]) -> tuple[Tensor, Tensor]:
        """What `batch` gave -> causal embeddings [B,Q,D], target embeddings [B,G]."""
        return batch["causal_embeddings"], batch["target_embeddings"]


def _open_array(path: Path, shape: tuple[int, ...], *, anew: bool) -> np.memmap:
    """A half-precision array on disk, all of whose space is taken at once: where a mapped file has
    holes, a full disk is no error but a SIGBUS.
    """
    if not anew:
        return np.lib.format.open_memmap(path, mode="r+")
    array = np.lib.format.open_memmap(path, mode="w+", dtype=np.float16, shape=shape)
    if hasattr(os, "posix_fallocate"):
        with open(path, "r+b") as file:
            os.posix_fallocate(file.fileno(), 0, os.fstat(file.fileno()).st_size)
    return array
