"""The pictures of a conversation: they become codes on their way in, codes become
pictures on their way out, and files where it has a folder.
"""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from seedcli.console import Reporter
from seedcli.data.documents.documents import Codes
from seedcli.data.images.facts import picture_facts, save_picture
from seedcli.data.images.images import ImageSource, read_image
from seedcli.errors import DataError
from seedcli.models.weights.description import ModelFacts
from seedcli.models.weights.llm_description import LlmFacts
from seedcli.models.weights.locate import locate
from seedcli.models.weights.locate_llm import check_visual_tokenizer
from seedcli.workflows.chat.settings import PictureSettings
from seedcli.workflows.pictures import SeedTokenizer

if TYPE_CHECKING:
    from PIL import Image

_REMEMBERED = 1024  # pictures whose codes are kept, so that a server does not grow


def check_output(folder: Path | None) -> None:
    """Refuses a folder of pictures that is a file.

    Raises:
        DataError: It is.
    """
    if folder is not None and folder.exists() and not folder.is_dir():
        raise DataError(f"{folder} is no folder", remedy="choose another -o")


@dataclass(frozen=True, kw_only=True)
class Drawing:
    """An image of an answer.

    Attributes:
        codes: [Q].
        image: The picture; None where nothing is drawn.
        path: Its file, where the conversation keeps pictures in a folder.
        facts: What the picture was drawn from, as `picture_facts` gives it.
    """

    codes: Codes
    image: Image.Image | None = None
    path: Path | None = None
    facts: dict[str, Any] | None = None


class ChatPictures:
    """Reads and draws the pictures of one conversation; weights are loaded when
    the first picture comes.

    Attributes:
        tokenizer: Reads and draws.
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
        self.tokenizer = SeedTokenizer(
            locate(facts.visual_tokenizer, reporter=reporter),
            device=settings.device,
            decoder_dtype=settings.dtype,
            offload=settings.offload,
            reporter=reporter,
        )
        self._steps, self._guidance = self.tokenizer.drawing_settings(
            settings.steps, settings.guidance
        )
        self._check(self.tokenizer.facts)
        if settings.offload and self.tokenizer.device.type == "cpu":
            reporter.warn(
                "--offload moves parts off the GPU between turns; this conversation "
                "computes on the CPU"
            )
        self._known: OrderedDict[str, Codes] = OrderedDict()
        self.negative: Codes | None = None

    def _check(self, known: ModelFacts) -> None:
        check_visual_tokenizer(self._facts, known, chosen=self._chosen, reporter=self._reporter)

    @cached_property
    def _checked(self) -> SeedTokenizer:
        """The tokenizer, with a fingerprint that only its weights could tell compared."""
        tokenizer = self.tokenizer
        if tokenizer.facts.fingerprint is None:
            self._check(ModelFacts(config=tokenizer.config, fingerprint=tokenizer.fingerprint))
        return tokenizer

    def read(self, image: ImageSource) -> Codes:
        """A picture in any form -> its codes; the same pixels are tokenised once, while they
        are among the last that were read.

        Raises:
            ImageError: It is no usable image.
            DataError: The visual tokenizer cannot be loaded.
        """
        upright = read_image(image)
        key = hashlib.sha256(repr(upright.size).encode() + upright.tobytes()).hexdigest()
        if key not in self._known:
            self._known[key] = tuple(self._checked.encode(upright)[0].tolist())
            if len(self._known) > _REMEMBERED:
                self._known.popitem(last=False)
        return self._known[key]

    def draw(
        self,
        codes: Sequence[Codes],
        seeds: Sequence[int],
        *,
        steps: int | None = None,
        guidance: float | None = None,
        on_step: Callable[[int], None] | None = None,
    ) -> list[Drawing]:
        """Codes of B images and a seed for each -> pictures; in the conversation's folder, if it
        has one, each carries what it was drawn from, as those of `seed detokenize` do.

        Args:
            codes: [B,Q].
            seeds: One each.
            steps: In place of the settings'.
            guidance: In place of the settings'.
            on_step: Hears of every denoising step; what it raises ends the drawing.

        Raises:
            DataError: Decoder or folder are missing or do not fit.
            NumericalError: The decoder produced NaN.
        """
        how: dict[str, Any] = {
            "steps": self._steps if steps is None else steps,
            "guidance": self._guidance if guidance is None else guidance,
            "negative": self.negative,
        }
        images = self._checked.decode(codes, seed=seeds, on_step=on_step, **how)
        name, fingerprint = self.tokenizer.name, self.tokenizer.fingerprint
        drawings = []
        for image, each, seed in zip(images, codes, seeds, strict=True):
            facts = picture_facts(each, model=name, fingerprint=fingerprint, seed=seed, **how)
            path = self._keep(image, facts)
            drawings.append(Drawing(codes=each, image=image, path=path, facts=facts))
        return drawings

    def _keep(self, image: Image.Image, facts: dict[str, Any]) -> Path | None:
        if self._settings.output is None:
            return None
        path = free_path(self._settings.output)
        save_picture(image, path, facts, made_by="seed chat")
        return path


def free_path(folder: Path) -> Path:
    """The next free name in a folder of pictures: `0.png`, `1.png`, ..."""
    check_output(folder)
    taken = (
        [int(path.stem) for path in folder.glob("*.png") if path.stem.isdecimal()]
        if folder.is_dir()
        else []
    )
    return folder / f"{max(taken, default=-1) + 1}.png"
