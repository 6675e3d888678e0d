"""Pictures of training documents -> codes, by a visual tokenizer that is loaded when
the first picture comes.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

from seedcli.console import Reporter
from seedcli.data.documents.documents import Codes
from seedcli.data.images.images import build_preprocess, open_image

if TYPE_CHECKING:
    from seedcli.models.visual.model import SeedModel

_MICRO_BATCH = 32  # every pass has this shape, so that codes do not depend on who comes along


class PictureCodes:
    """Paths or encoded bytes of pictures -> their codes, in the same order."""

    def __init__(self, model: str, *, device: str = "auto", reporter: Reporter | None = None):
        self._model, self._device, self._reporter = model, device, reporter or Reporter()

    @cached_property
    def tokenizer(self) -> SeedModel:
        """The visual tokenizer, loaded once."""
        from seedcli.models.weights.load import load_seed_model

        return load_seed_model(self._model, device=self._device, reporter=self._reporter)

    def __call__(self, pictures: Sequence[str | bytes]) -> list[Codes]:
        """Pictures -> codes.

        Raises:
            ImageError: One of them cannot be read.
        """
        import torch

        preprocess = build_preprocess(self.tokenizer.config.preprocess.codes)
        place = next(self.tokenizer.parameters()).device
        found: list[Codes] = []
        with self._reporter.progress("encode pictures", len(pictures)) as progress:
            for start in range(0, len(pictures), _MICRO_BATCH):
                chunk = pictures[start : start + _MICRO_BATCH]
                squares = np.stack([preprocess.to_array(open_image(picture)) for picture in chunk])
                padded = np.zeros((_MICRO_BATCH, *squares.shape[1:]), dtype=np.uint8)
                padded[: len(chunk)] = squares
                with torch.inference_mode():
                    codes = self.tokenizer.encode(
                        preprocess.normalize(torch.from_numpy(padded).to(place))
                    )
                found += [tuple(row) for row in codes[: len(chunk)].tolist()]
                progress.advance(len(chunk))
        return found
