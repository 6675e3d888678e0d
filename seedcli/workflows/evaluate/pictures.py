"""The visual side of a benchmark: pictures -> codes on their way in, codes -> picture files on
their way out; loaded at first use.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from PIL import Image
from torch import Tensor

from seedcli.benchmarks.retrieval_sets import ImageRef, RetrievalSet
from seedcli.console import Reporter
from seedcli.data.documents.documents import Codes
from seedcli.data.images.facts import picture_facts, save_picture
from seedcli.data.images.images import ImageError, build_preprocess, open_image
from seedcli.errors import DataError
from seedcli.models.weights.description import ModelFacts
from seedcli.models.weights.digest import weights_digest
from seedcli.models.weights.load import find_target
from seedcli.models.weights.locate import ModelFiles
from seedcli.workflows.pictures import SeedTokenizer

if TYPE_CHECKING:
    from transformers import CLIPVisionModelWithProjection

# of a decoder that comes without its image encoder, as the published one is downloaded
CLIP_TARGET = "clip-h"


@dataclass(frozen=True)
class Pair:
    """A true picture and the caption that goes with it: the first of its captions."""

    image: ImageRef
    caption: str


def caption_pairs(found: RetrievalSet) -> dict[str, Pair]:
    """Set -> a pair for each picture with a caption, by its number; of emoji those by the main
    vendor, as in retrieval.

    Raises:
        DataError: No picture has a caption.
    """
    captions: dict[int, str] = {}
    for caption, image in zip(found.captions, found.txt2img, strict=True):
        captions.setdefault(image, caption)
    main = found.subsets.get("main", (True,) * len(found.images))
    pairs = {
        f"{number:06d}": Pair(image, captions[number])
        for number, (image, taken) in enumerate(zip(found.images, main, strict=True))
        if taken and number in captions
    }
    if not pairs:
        raise DataError(f"no picture of {found.name} {found.split} has a caption")
    return pairs


def read_picture(image: ImageRef) -> Image.Image:
    """A picture of a set, upright RGB.

    Raises:
        DataError: It is no usable image.
    """
    try:
        return open_image(image.read())
    except ImageError as error:
        raise DataError(
            f"{image.name}: {error.reason}",
            remedy="a benchmark needs all of its pictures: replace this one",
        ) from error


class EvalPictures:
    """A visual tokenizer with the settings by which a benchmark draws.

    Attributes:
        tokenizer: Reads and draws.
        steps: Denoising steps.
        guidance: How closely pictures follow the codes.
    """

    def __init__(
        self,
        files: ModelFiles,
        *,
        steps: int | None,
        guidance: float | None,
        device: str,
        dtype: str,
        reporter: Reporter,
        decoder: ModelFiles | None = None,
    ):
        """Loads nothing.

        Args:
            files: Of the tokenizer.
            steps: Denoising steps; None takes the preset's.
            guidance: Of the picture decoder; None takes the preset's.
            device: Where both compute.
            dtype: Of the tokenizer; the decoder takes float16 on a GPU, else float32.
            reporter: Hears of downloads.
            decoder: Files of a model whose picture decoder draws; None: the tokenizer's own.

        Raises:
            UsageError: No such device, or settings out of range.
        """
        self._dtype, self._reporter = dtype, reporter
        self._made_of = functools.partial(
            EvalPictures,
            files,
            steps=steps,
            guidance=guidance,
            device=device,
            dtype=dtype,
            reporter=reporter,
            decoder=decoder,
        )
        self.tokenizer = SeedTokenizer(
            files, device=device, dtype=dtype, decoder=decoder, reporter=reporter
        )
        self.steps, self.guidance = self.tokenizer.drawing_settings(steps, guidance)

    def __reduce__(self) -> tuple[Any, ...]:
        """In another process, or on another machine, it is found and loaded anew."""
        return self._made_of, ()

    @property
    def visual(self) -> ModelFacts:
        """What is known of the tokenizer without its weights."""
        return self.tokenizer.facts

    @property
    def name(self) -> str:
        """What messages call the tokenizer."""
        return self.tokenizer.name

    @property
    def fingerprint(self) -> str:
        """Of the tokenizer; where its files do not state it, its weights are loaded."""
        return self.tokenizer.fingerprint

    @cached_property
    def target(self) -> CLIPVisionModelWithProjection:
        """The encoder whose embedding the generation embedding was trained towards: the decoder's
        own, or CLIP ViT-H/14.
        """
        from seedcli.models.drawing.target import load_target

        own = self.tokenizer.decoder_folder / "image_encoder"
        complete = (own / "config.json").is_file() and any(own.glob("*.safetensors"))
        return load_target(
            own if complete else find_target(CLIP_TARGET, reporter=self._reporter)
        ).to(self.tokenizer.device)

    def settings(self) -> dict[str, Any]:
        """What decides pictures, for the settings of a run."""
        return {
            "tokenizer": self.name,
            "fingerprint": self.fingerprint,
            "dtype": self._dtype,
            "preprocessing": dataclasses.asdict(self.visual.config.preprocess.codes),
            "decoder": {
                "weights": weights_digest(self.tokenizer.decoder_folder),
                "steps": self.steps,
                "guidance": self.guidance,
            },
        }

    def read(self, images: Sequence[ImageRef]) -> list[Codes]:
        """Pictures -> codes of each, in one pass."""
        codes = self.tokenizer.encode(list(map(read_picture, images)), batch_size=len(images))
        return [tuple(row) for row in codes.tolist()]

    @torch.inference_mode()
    def target_embeddings(self, images: Sequence[ImageRef]) -> Tensor:
        """Pictures -> their true target embeddings [B,G]: what a perfect tokenizer
        would hand to the decoder.
        """
        from seedcli.models.drawing.target import target_embedding

        preprocess = build_preprocess(
            dataclasses.replace(
                self.visual.config.preprocess.codes, image_size_px=self.target.config.image_size
            )
        )
        pixels = torch.stack([preprocess(read_picture(image)) for image in images])
        return target_embedding(self.target, pixels.to(self.tokenizer.device))

    def paint(
        self,
        codes: Sequence[Codes],
        paths: Sequence[Path],
        seeds: Sequence[int],
        *,
        made_by: str,
        negative: Codes | None = None,
    ) -> None:
        """Codes -> picture files, which carry what they were drawn from, as those
        of `seed detokenize` do.

        Args:
            codes: Of each picture.
            paths: Where each goes.
            seeds: Of the start noise of each.
            made_by: The command.
            negative: Codes of an image that all of them move away from.
        """
        if not codes:
            return
        away = None if negative is None else self.tokenizer.generation_embeddings(negative)
        drawn = self.draw(self.tokenizer.generation_embeddings(codes), seeds, away)
        for image, each, path, seed in zip(drawn, codes, paths, seeds, strict=True):
            save_picture(image, path, self.facts(each, seed, negative), made_by=made_by)

    def facts(self, codes: Codes, seed: int, negative: Codes | None = None) -> dict[str, Any]:
        """What the file of a picture states."""
        return picture_facts(
            codes,
            model=self.name,
            fingerprint=self.fingerprint,
            steps=self.steps,
            guidance=self.guidance,
            seed=seed,
            negative=negative,
        )

    def draw(
        self, embeddings: Tensor, seeds: Sequence[int], negative: Tensor | None = None
    ) -> list[Image.Image]:
        """Generation embeddings [B,G], and one [1,G] to move away from -> B pictures."""
        return self.tokenizer.draw(
            embeddings, seeds, steps=self.steps, guidance=self.guidance, negative=negative
        )
