"""Random views of the training pictures, and what frozen networks make of them: computed once
before training and kept in the run folder, so that a resumed run starts at once.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable
from pathlib import Path

import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor

from seedcli.console import Reporter
from seedcli.data.images.augmentation import apply_views, draw_views
from seedcli.files import published
from seedcli.models.visual.config import PreprocessConfig

# views [B,3,S,S] in 0..1 -> tensors [B,...] by name
Encoder = Callable[[Tensor], dict[str, Tensor]]


class EncodedViews:
    """A fixed number of views of each picture, and what an encoder gave for each.

    Attributes:
        squares: The pictures, uint8 [N,3,S,S].
        views: What each view does to its picture [V,N,8], see `draw_views`.
        encoded: By name, [V,N,...] in half precision.
    """

    def __init__(
        self,
        squares: Tensor,
        config: PreprocessConfig,
        encode: Encoder,
        *,
        count: int,
        seed: int,
        made_by: str,
        batch_size: int = 64,
        folder: Path,
        write: bool = True,
        reporter: Reporter | None = None,
    ):
        """Draws the views from `seed` and encodes them, or reads those of the run folder where they
        are just these.

        Args:
            squares: uint8 [N,3,S,S].
            config: Of the views; `random-affine`.
            encode: Frozen; runs on the CPU or moves what it gets.
            count: Views of each picture.
            seed: Of the views; torch's global generator stays as it was.
            made_by: What tells this encoder from others, e.g. digests of its weights.
            batch_size: Pictures of one pass through the encoder.
            folder: The run folder, which keeps them as `views.safetensors`.
            write: Encode what is missing; of many processes only one does, and the others wait for
                its file.
            reporter: Shows the progress.
        """
        self.squares = squares
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self.views = torch.stack([draw_views(len(squares), config) for _ in range(count)])
        stamp = hashlib.sha256(made_by.encode())
        for tensor in (squares, self.views):
            stamp.update(tensor.numpy().tobytes())
        cache = folder / "views.safetensors"
        while (encoded := _read(cache, stamp.hexdigest())) is None:
            if not write:
                time.sleep(1)
                continue
            found = self._encode(encode, batch_size, reporter or Reporter())
            with published(cache, rivals=True) as partial:
                save_file(found, partial, {"stamp": stamp.hexdigest()})
        self.encoded = encoded

    def __len__(self) -> int:
        """Views of all pictures."""
        return self.views.shape[0] * self.views.shape[1]

    def pictures(self, numbers: Tensor, rows: Tensor) -> Tensor:
        """View numbers [B] and pictures [B] -> views [B,3,S,S] in 0..1."""
        return apply_views(self.squares[rows], self.views[numbers, rows])

    @torch.no_grad()
    def _encode(self, encode: Encoder, batch_size: int, reporter: Reporter) -> dict[str, Tensor]:
        parts: dict[str, list[Tensor]] = {}
        with reporter.progress("encode views", len(self)) as progress:
            for views in self.views:
                for rows in torch.arange(len(self.squares)).split(batch_size):
                    for name, part in encode(apply_views(self.squares[rows], views[rows])).items():
                        parts.setdefault(name, []).append(part.cpu().half())
                    progress.advance(len(rows))
        shape = self.views.shape[:2]
        return {
            name: torch.cat(part).unflatten(0, shape).contiguous() for name, part in parts.items()
        }


def _read(cache: Path, stamp: str) -> dict[str, Tensor] | None:
    if not cache.is_file():
        return None
    with safe_open(cache, "pt") as file:
        if (file.metadata() or {}).get("stamp") != stamp:
            return None
        return {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
