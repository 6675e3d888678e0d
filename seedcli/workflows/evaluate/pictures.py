"""The visual side of a benchmark: pictures -> codes on their way in, codes -> picture files on
their way out; loaded at first use.
"""

from __future__ import annotations

import dataclasses
import json
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
from seedcli.data.images.facts import PNG_KEY
from seedcli.data.images.images import ImageError, build_preprocess, open_image, save_image
from seedcli.errors import DataError
from seedcli.models.device import decoder_dtype, pick_device
from seedcli.models.weights.description import ModelFacts
from seedcli.models.weights.digest import weights_digest
from seedcli.models.weights.load import describe, find_decoder, find_target, load_seed_model

if TYPE_CHECKING:
    from transformers import CLIPVisionModelWithProjection

    from seedcli.models.drawing.unclip import UnclipDecoder
    from seedcli.models.visual.model import SeedModel

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
    """A visual tokenizer with its picture decoder.

    Attributes:
        visual: What is known of the tokenizer without its weights.
        steps: Denoising steps.
        guidance: How closely pictures follow the codes.
    """

    def __init__(
        self,
        model: str,
        *,
        steps: int | None,
        guidance: float | None,
        device: str,
        dtype: str,
        reporter: Reporter,
        decoder: str | None = None,
    ):
        """Finds what there is, and loads nothing.

        Args:
            model: Preset, folder or hub id of the tokenizer.
            steps: Denoising steps; None takes the preset's.
            guidance: Of the picture decoder; None takes the preset's.
            device: Where both compute.
            dtype: Of the tokenizer; the decoder takes float16 on a GPU, else float32.
            reporter: Hears of downloads.
            decoder: Preset, folder or hub id of a model whose picture decoder draws;
                None: the tokenizer's own.

        Raises:
            UsageError: No such model.
            DataError: It holds no model.
        """
        self._decoder = decoder or model
        self._model, self._device, self._dtype, self._reporter = (
            model,
            pick_device(device),
            dtype,
            reporter,
        )
        self.visual: ModelFacts = describe(model, reporter=reporter)
        defaults = self.visual.config.detokenize
        self.steps = defaults.steps if steps is None else steps
        self.guidance = defaults.guidance if guidance is None else guidance

    @property
    def name(self) -> str:
        """What messages call the tokenizer."""
        return self.visual.config.name

    @cached_property
    def fingerprint(self) -> str:
        """Of the tokenizer; where its files do not state it, its weights are loaded."""
        return self.visual.fingerprint or self.tokenizer.fingerprint

    @cached_property
    def decoder_folder(self) -> Path:
        """Folder of the picture decoder."""
        return find_decoder(self._decoder, reporter=self._reporter)

    @cached_property
    def tokenizer(self) -> SeedModel:
        """The visual tokenizer."""
        return load_seed_model(
            self._model, device=str(self._device), dtype=self._dtype, reporter=self._reporter
        )

    @cached_property
    def decoder(self) -> UnclipDecoder:
        """The picture decoder."""
        from seedcli.models.drawing.unclip import load_decoder

        return load_decoder(
            self.decoder_folder,
            generation_dim=self.visual.config.generation.generation_dim,
            device=self._device,
            dtype=decoder_dtype("auto", self._device.type),
        )

    @cached_property
    def target(self) -> CLIPVisionModelWithProjection:
        """The encoder whose embedding the generation embedding was trained towards: the decoder's
        own, or CLIP ViT-H/14.
        """
        from seedcli.models.drawing.target import load_target

        own = self.decoder_folder / "image_encoder"
        complete = (own / "config.json").is_file() and any(own.glob("*.safetensors"))
        return load_target(
            own if complete else find_target(CLIP_TARGET, reporter=self._reporter)
        ).to(self._device)

    def settings(self) -> dict[str, Any]:
        """What decides pictures, for the settings of a run."""
        return {
            "tokenizer": self.name,
            "fingerprint": self.fingerprint,
            "dtype": self._dtype,
            "preprocessing": dataclasses.asdict(self.visual.config.preprocess.codes),
            "decoder": {
                "weights": weights_digest(self.decoder_folder),
                "steps": self.steps,
                "guidance": self.guidance,
            },
        }

    def pixels(self, images: Sequence[ImageRef], image_size_px: int | None = None) -> Tensor:
        """Pictures -> pixels [B,3,S,S] as codes are made of, or the same in another size."""
        config = self.visual.config.preprocess.codes
        preprocess = build_preprocess(
            dataclasses.replace(config, image_size_px=image_size_px or config.image_size_px)
        )
        return torch.stack([preprocess(read_picture(image)) for image in images]).to(self._device)

    @torch.inference_mode()
    def read(self, images: Sequence[ImageRef]) -> list[Codes]:
        """Pictures -> codes of each."""
        return [tuple(codes) for codes in self.tokenizer.encode(self.pixels(images)).tolist()]

    @torch.inference_mode()
    def target_embeddings(self, images: Sequence[ImageRef]) -> Tensor:
        """Pictures -> their true target embeddings [B,G]: what a perfect tokenizer
        would hand to the decoder.
        """
        from seedcli.models.drawing.target import target_embedding

        return target_embedding(self.target, self.pixels(images, self.target.config.image_size))

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
        away = None if negative is None else self.embeddings([negative])
        drawn = self.draw(self.embeddings(codes), seeds, away)
        for image, each, path, seed in zip(drawn, codes, paths, seeds, strict=True):
            facts = {
                "codes": list(each),
                "model": self.name,
                "fingerprint": self.fingerprint,
                "steps": self.steps,
                "guidance": self.guidance,
                "seed": seed,
            } | ({} if negative is None else {"negative": list(negative)})
            save_image(image, path, text={PNG_KEY: json.dumps(facts), "Software": made_by})

    def embeddings(self, codes: Sequence[Codes]) -> Tensor:
        """Codes of B images -> generation embeddings [B,G]."""
        return self.tokenizer.decode(
            torch.tensor(codes, device=next(self.tokenizer.parameters()).device)
        )

    def draw(
        self, embeddings: Tensor, seeds: Sequence[int], negative: Tensor | None = None
    ) -> list[Image.Image]:
        """Generation embeddings [B,G], and one [1,G] to move away from -> B pictures."""
        return self.decoder.decode_images(
            embeddings, steps=self.steps, guidance=self.guidance, seed=seeds, negative=negative
        )
