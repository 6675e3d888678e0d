"""The pictures of a conversation: files become codes on their way in, codes become
files on their way out.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from seedcli.console import Reporter
from seedcli.data.documents.documents import Codes
from seedcli.data.images.facts import PNG_KEY
from seedcli.data.images.images import build_preprocess, open_image, save_image
from seedcli.errors import DataError, UsageError
from seedcli.models.device import decoder_dtype, pick_device
from seedcli.models.weights.description import ModelFacts
from seedcli.models.weights.llm_description import LlmFacts
from seedcli.models.weights.load import describe, find_decoder, load_seed_model
from seedcli.models.weights.locate_llm import check_visual_tokenizer

if TYPE_CHECKING:
    import torch

    from seedcli.models.drawing.unclip import UnclipDecoder
    from seedcli.models.visual.model import SeedModel

_STRONGEST = 1000  # of guidance; far beyond it numbers overflow


@dataclass(frozen=True, kw_only=True)
class PictureSettings:
    """How pictures are read and drawn.

    Attributes:
        output: Folder of drawn pictures: `0.png`, `1.png`, ... after those that are there.
        steps: Denoising steps; None takes the preset's.
        guidance: How closely the picture decoder follows the codes; None takes the preset's.
        device: Where tokenizer and decoder compute.
        dtype: Of the picture decoder; `auto` is float16 on a GPU, else float32.
        offload: Keep tokenizer and decoder in the host's memory, and on the
            GPU only while they work.
    """

    output: Path = Path("out")
    steps: int | None = None
    guidance: float | None = None
    device: str = "auto"
    dtype: str = "auto"
    offload: bool = False

    def __post_init__(self) -> None:
        if self.guidance is not None and not 1 <= self.guidance <= _STRONGEST:
            raise UsageError(f"--picture-guidance is {self.guidance}, expected 1 to {_STRONGEST}")


def check_output(folder: Path) -> None:
    """Refuses a folder of pictures that is a file.

    Raises:
        DataError: It is.
    """
    if folder.exists() and not folder.is_dir():
        raise DataError(f"{folder} is no folder", remedy="choose another -o")


class ChatPictures:
    """Reads and draws the pictures of one conversation; weights are loaded when
    the first picture comes.

    Attributes:
        negative: Codes of an image that drawn pictures move away from, or None.
    """

    def __init__(
        self, facts: LlmFacts, settings: PictureSettings, *, chosen: bool, reporter: Reporter
    ):
        """Checks the visual tokenizer against the language model's facts, as far as
        that goes without weights.

        Args:
            facts: The language model's.
            settings: How pictures are read and drawn.
            chosen: The user named the visual tokenizer.
            reporter: Hears of downloads and of what does not fit.

        Raises:
            DataError: The visual tokenizer's codes are not those that the language model speaks.
        """
        self._facts, self._settings, self._chosen, self._reporter = (
            facts,
            settings,
            chosen,
            reporter,
        )
        self._visual = describe(facts.visual_tokenizer, reporter=reporter)
        check_visual_tokenizer(facts, self._visual, chosen=chosen, reporter=reporter)
        self._device = pick_device(settings.device)
        if settings.offload and self._device.type == "cpu":
            reporter.warn(
                "--offload moves parts off the GPU between turns; this conversation "
                "computes on the CPU"
            )
        self._home = "cpu" if settings.offload else self._device
        self._known: dict[str, Codes] = {}
        self.negative: Codes | None = None

    @cached_property
    def tokenizer(self) -> SeedModel:
        """The visual tokenizer, where it waits between turns."""
        tokenizer = load_seed_model(
            self._facts.visual_tokenizer, device="cpu", reporter=self._reporter
        )
        if self._visual.fingerprint is None:
            known = ModelFacts(config=tokenizer.config, fingerprint=tokenizer.fingerprint)
            check_visual_tokenizer(self._facts, known, chosen=self._chosen, reporter=self._reporter)
        return tokenizer.to(self._home)

    @cached_property
    def decoder(self) -> UnclipDecoder:
        """The picture decoder, where it waits between turns."""
        from seedcli.models.drawing.unclip import load_decoder

        return load_decoder(
            find_decoder(self._facts.visual_tokenizer, reporter=self._reporter),
            generation_dim=self._visual.config.generation.generation_dim,
            device=self._home,
            dtype=decoder_dtype(self._settings.dtype, self._device.type),
        )

    def read(self, path: str | Path) -> Codes:
        """Image file -> its codes; the same bytes are tokenised once.

        Raises:
            ImageError: It is no usable image.
            DataError: The visual tokenizer cannot be loaded.
        """
        import torch

        image = open_image(Path(path).expanduser())
        key = hashlib.sha256(repr(image.size).encode() + image.tobytes()).hexdigest()
        if key not in self._known:
            pixels = build_preprocess(self._visual.config.preprocess.codes)(image)[None]
            with torch.inference_mode(), self._at_work(self.tokenizer) as device:
                self._known[key] = tuple(self.tokenizer.encode(pixels.to(device))[0].tolist())
        return self._known[key]

    def draw(self, codes: Codes, seed: int) -> Path:
        """Codes -> picture file, which carries what it was drawn from, as those
        of `seed detokenize` do.

        Raises:
            DataError: Decoder or folder are missing or do not fit.
            NumericalError: The decoder produced NaN.
        """
        import torch

        defaults, settings = self._visual.config.detokenize, self._settings
        steps = defaults.steps if settings.steps is None else settings.steps
        guidance = defaults.guidance if settings.guidance is None else settings.guidance
        place = next(self.tokenizer.parameters()).device
        embedding = self.tokenizer.decode(torch.tensor([codes], device=place))
        negative = (
            None
            if self.negative is None
            else self.tokenizer.decode(torch.tensor([self.negative], device=place))
        )
        with self._at_work(self.decoder.pipeline):
            (drawing,) = self.decoder.decode_images(
                embedding, steps=steps, guidance=guidance, seed=seed, negative=negative
            )
        facts: dict[str, Any] = {
            "codes": list(codes),
            "model": self.tokenizer.name,
            "fingerprint": self.tokenizer.fingerprint,
            "steps": steps,
            "guidance": guidance,
            "seed": seed,
        }
        if self.negative is not None:
            facts["negative"] = list(self.negative)
        path = self._free_path()
        save_image(drawing, path, text={PNG_KEY: json.dumps(facts), "Software": "seed chat"})
        return path

    def _free_path(self) -> Path:
        folder = self._settings.output
        check_output(folder)
        taken = (
            [int(path.stem) for path in folder.glob("*.png") if path.stem.isdecimal()]
            if folder.is_dir()
            else []
        )
        return folder / f"{max(taken, default=-1) + 1}.png"

    @contextlib.contextmanager
    def _at_work(self, part: Any) -> Iterator[torch.device]:
        """Has a part on the device while it works; with `offload` it goes back afterwards and the
        GPU's memory is given free.
        """
        import torch

        if self._settings.offload:
            part.to(self._device)
        try:
            yield self._device
        finally:
            if self._settings.offload:
                part.to("cpu")
                if self._device.type == "cuda":
                    torch.cuda.empty_cache()
