"""The network of a visual tokenizer and its picture decoder: found once, loaded when they are first
needed, and placed where they compute.
"""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from seedcli.console import Reporter
from seedcli.models.device import decoder_dtype, pick_device
from seedcli.models.visual.config import Numerics, SeedModelConfig
from seedcli.models.weights.description import ModelFacts
from seedcli.models.weights.load import describe, find_decoder, load_seed_model
from seedcli.models.weights.locate import ModelFiles

if TYPE_CHECKING:
    import torch

    from seedcli.models.drawing.unclip import UnclipDecoder
    from seedcli.models.visual.model import SeedModel


class PlacedModel:
    """A visual tokenizer's parts, and what is known of them before they are loaded.

    Attributes:
        files: Where it was found.
        facts: What is known of it without its weights.
        numerics: See `load_seed_model`.
        device: Where the network computes.
        decoder_device: Where the picture decoder computes.
    """

    def __init__(
        self,
        files: ModelFiles,
        *,
        device: str = "auto",
        dtype: str = "auto",
        numerics: Numerics = "default",
        decoder: ModelFiles | None = None,
        decoder_device: str | None = None,
        decoder_dtype: str = "auto",
        offload: bool = False,
        reporter: Reporter | None = None,
    ):
        """Loads nothing; users call `from_pretrained`.

        Args:
            files: What `locate` found.
            device: `auto`, or a torch device.
            dtype: Of the arithmetic before the codebook; see `load_seed_model`.
            numerics: See `load_seed_model`.
            decoder: Files of a model whose picture decoder draws; None: its own.
            decoder_device: Where the picture decoder computes; None: where the network does.
            decoder_dtype: Of the picture decoder; `auto` is float16 on a GPU, else float32.
            offload: Keep network and picture decoder in the host's memory, and on the GPU only
                while they work.
            reporter: Hears of downloads, and of progress.

        Raises:
            UsageError: No such device.
        """
        self._made_of: functools.partial[Any] = functools.partial(
            type(self),
            files,
            device=device,
            dtype=dtype,
            numerics=numerics,
            decoder=decoder,
            decoder_device=decoder_device,
            decoder_dtype=decoder_dtype,
            offload=offload,
        )
        self.files, self._dtype, self.numerics = files, dtype, numerics
        self._decoder, self._decoder_dtype, self._offload = decoder or files, decoder_dtype, offload
        self._reporter = reporter or Reporter()
        self.facts: ModelFacts = describe(files)
        self.device = pick_device(device)
        self.decoder_device = self.device if decoder_device is None else pick_device(decoder_device)

    def __reduce__(self) -> tuple[Any, ...]:
        """In another process, or on another machine, it is found and loaded anew."""
        return self._made_of, ()

    def load(self) -> Self:
        """Loads the network now, so that what is wrong with its files is said; returns itself.

        Raises:
            DataError: Files are missing, damaged, or do not fit.
        """
        _ = self.model
        return self

    @property
    def config(self) -> SeedModelConfig:
        """Sizes, preprocessing and sampling defaults."""
        return self.facts.config

    @property
    def name(self) -> str:
        """What messages and files call it."""
        return self.config.name

    @property
    def title(self) -> str:
        """Name and fingerprint, and what the bundled model is for, as commands introduce it."""
        advice = "; it was trained on emoji, --model seed-2 is the one for photographs"
        return f"{self.name} ({self.fingerprint[:12]})" + advice * (self.name == "seed-nano")

    @property
    def num_codes(self) -> int:
        """Size of the codebook K; codes are 0..K-1."""
        return self.config.codebook.num_codes

    @property
    def num_queries(self) -> int:
        """Codes of one image Q."""
        return self.config.qformer.num_queries

    @functools.cached_property
    def fingerprint(self) -> str:
        """What its codes mean, as 16 hex digits: codes of one fingerprint go together. Where its
        files do not state it, its weights are loaded.
        """
        return self.facts.fingerprint or self.model.fingerprint

    @functools.cached_property
    def model(self) -> SeedModel:
        """The network, where it waits between passes."""
        with normal_tensors():
            return load_seed_model(
                self.files,
                device="cpu" if self._offload else str(self.device),
                dtype=self._dtype,
                numerics=self.numerics,
                reporter=self._reporter,
            )

    @functools.cached_property
    def decoder_folder(self) -> Path:
        """Folder of the picture decoder.

        Raises:
            DataError: There is none, or it draws embeddings of another width.
        """
        return find_decoder(self._decoder, reporter=self._reporter)

    @functools.cached_property
    def decoder(self) -> UnclipDecoder:
        """The picture decoder, where it waits between drawings."""
        from seedcli.models.drawing.unclip import load_decoder

        with normal_tensors():
            return load_decoder(
                self.decoder_folder,
                generation_dim=self.config.generation.generation_dim,
                device="cpu" if self._offload else self.decoder_device,
                dtype=decoder_dtype(self._decoder_dtype, self.decoder_device.type),
            )

    @contextlib.contextmanager
    def _at_work(self, part: Any, device: torch.device) -> Iterator[torch.device]:
        """Has a part on its device while it works; with `offload` it goes back afterwards and the
        GPU's memory is given free.
        """
        with normal_tensors():
            if not self._offload:
                yield device
                return
            import torch

            part.to(device)
            try:
                yield device
            finally:
                part.to("cpu")
                if device.type == "cuda":
                    torch.cuda.empty_cache()


@contextlib.contextmanager
def normal_tensors() -> Iterator[None]:
    """Pictures are also drawn while a language model writes, in torch's inference mode: what is
    loaded and made there must serve outside of it, too.
    """
    import torch

    with torch.inference_mode(False), torch.no_grad():
        yield
