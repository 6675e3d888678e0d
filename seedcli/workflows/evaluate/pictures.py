"""The visual side of a benchmark: pictures -> codes on their way in, codes -> picture files on
their way out; loaded at first use.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from PIL import Image
from torch import Tensor

from seedcli.benchmarks.retrieval_sets import ImageRef, RetrievalSet
from seedcli.data.documents.documents import Codes
from seedcli.data.images.facts import picture_facts, save_picture
from seedcli.data.images.images import ImageError, Preprocess, open_image
from seedcli.errors import DataError
from seedcli.models.weights.digest import weights_digest
from seedcli.models.weights.load import find_target
from seedcli.models.weights.locate import ModelFiles
from seedcli.workflows.pictures import SeedTokenizer

if TYPE_CHECKING:
    from transformers import CLIPVisionModelWithProjection

PICTURES = "pictures"  # folder of what was drawn, in that of a run
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


class EvalPictures(SeedTokenizer):
    """A visual tokenizer with the settings by which a benchmark draws.

    Attributes:
        steps: Denoising steps.
        guidance: How closely pictures follow the codes.
    """

    def __init__(
        self,
        files: ModelFiles,
        *,
        steps: int | None = None,
        guidance: float | None = None,
        **how: Any,
    ):
        """Loads nothing.

        Args:
            files: Of the tokenizer.
            steps: Denoising steps; None takes the preset's.
            guidance: Of the picture decoder; None takes the preset's.
            **how: Device, dtype, decoder and reporter, as `SeedTokenizer` takes them.

        Raises:
            UsageError: No such device, or settings out of range.
        """
        super().__init__(files, **how)
        self.steps, self.guidance = self.drawing_settings(steps, guidance)
        self._made_of = functools.partial(
            EvalPictures, files, steps=steps, guidance=guidance, **how
        )

    @functools.cached_property
    def target(self) -> CLIPVisionModelWithProjection:
        """The encoder whose embedding the generation embedding was trained towards: the decoder's
        own, or CLIP ViT-H/14.
        """
        from seedcli.models.drawing.target import load_target

        own = self.decoder_folder / "image_encoder"
        complete = (own / "config.json").is_file() and any(own.glob("*.safetensors"))
        folder = own if complete else find_target(CLIP_TARGET, reporter=self._reporter)
        return load_target(folder).to(self.device)

    def settings(self) -> dict[str, Any]:
        """What decides pictures, for the settings of a run."""
        return {
            "tokenizer": self.name,
            "fingerprint": self.fingerprint,
            "dtype": self._dtype,
            "preprocessing": dataclasses.asdict(self.config.preprocess.codes),
            "decoder": {
                "weights": weights_digest(self.decoder_folder),
                "steps": self.steps,
                "guidance": self.guidance,
            },
        }

    def read(self, images: Sequence[ImageRef]) -> list[Codes]:
        """Pictures -> codes of each, in one pass."""
        codes = self.encode(list(map(read_picture, images)), batch_size=len(images))
        return [tuple(row) for row in codes.tolist()]

    @torch.inference_mode()
    def target_embeddings(self, images: Sequence[ImageRef]) -> Tensor:
        """Pictures -> their true target embeddings [B,G]: what a perfect tokenizer
        would hand to the decoder.
        """
        from seedcli.models.drawing.target import target_embedding

        preprocess = Preprocess(
            dataclasses.replace(
                self.config.preprocess.codes, image_size_px=self.target.config.image_size
            )
        )
        pixels = torch.stack([preprocess(read_picture(image)) for image in images])
        return target_embedding(self.target, pixels.to(self.device))

    def paint(
        self,
        codes: Mapping[str, Codes | None],
        seeds: Sequence[int],
        folder: Path,
        *,
        made_by: str,
        negative: Codes | None = None,
    ) -> list[str | None]:
        """Codes by key -> files `pictures/KEY.png`, which carry what they were drawn from, as those
        of `seed detokenize` do; returns where they are in the folder, None where there are no
        codes.

        Args:
            codes: Of each picture.
            seeds: Of the start noise of each.
            folder: Of the run.
            made_by: The command.
            negative: Codes of an image that all of them move away from.
        """
        paths = [None if each is None else f"{PICTURES}/{key}.png" for key, each in codes.items()]
        wanted = [
            (each, seed, folder / path)
            for each, seed, path in zip(codes.values(), seeds, paths, strict=True)
            if each is not None and path is not None
        ]
        if wanted:
            drawn = self.draw(
                self.generation_embeddings([each for each, _, _ in wanted]),
                [seed for _, seed, _ in wanted],
                steps=self.steps,
                guidance=self.guidance,
                negative=None if negative is None else self.generation_embeddings(negative),
            )
            for image, (each, seed, path) in zip(drawn, wanted, strict=True):
                save_picture(image, path, self.picture_facts(each, seed, negative), made_by=made_by)
        return paths

    def picture_facts(
        self, codes: Codes, seed: int, negative: Codes | None = None
    ) -> dict[str, Any]:
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
