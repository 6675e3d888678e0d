"""generation embedding -> image: the unCLIP decoder, a diffusers pipeline folder. The
last arrow of the path.

Everything is stock diffusers but one method: classifier-free guidance may move away from negative
embeddings instead of from zeros. The official repository copies the whole pipeline for that
(AILab-CVC/SEED@93b3cf4:models/pipeline_stable_unclip_img2img.py). The prompt is always empty, so
its embedding is computed once and the text encoder is let go; the image encoder is never loaded.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from diffusers.pipelines.stable_diffusion.pipeline_stable_unclip_img2img import (
    StableUnCLIPImg2ImgPipeline,
)
from diffusers.utils import logging as diffusers_logging
from PIL import Image
from torch import Tensor

from seedcli.errors import DataError, NumericalError
from seedcli.models.quiet import quiet
from seedcli.models.weights.load import check_decoder, refuse_other_parts
from seedcli.models.weights.sizes import check_sizes
from seedcli.models.weights.tensors import UNREADABLE, reason

# larger pictures leave the VAE one by one: 768 px costs about 2 GB of activations each, and
# batching gains nothing
SLICE_FROM_PX = 256


class NegativeUnclipPipeline(StableUnCLIPImg2ImgPipeline):
    """The stock pipeline, with negative embeddings, and without its image encoder."""

    def _encode_image(
        self,
        image: None,
        device: torch.device,
        batch_size: int,
        num_images_per_prompt: int,
        do_classifier_free_guidance: bool,
        noise_level: Tensor,
        generator: list[torch.Generator],
        image_embeds: Tensor,
    ) -> Tensor:
        """Embeddings [B,G], or negatives and embeddings stacked [2B,G] -> class labels of the UNet,
        [2B,2G] under guidance, else [B,2G].

        A negative gets the same small noise as the picture that it belongs to, from a copy of its
        generator. So the start noise of a picture does not change when a negative is given, and a
        picture moved away from itself is the unguided picture.
        """
        copies = [one.clone_state() for one in generator]
        class_labels = self.noise_image_embeddings(
            image_embeds[-batch_size:], noise_level=noise_level, generator=generator
        )
        if not do_classifier_free_guidance:
            return class_labels
        if len(image_embeds) == batch_size:
            return torch.cat([torch.zeros_like(class_labels), class_labels])
        negative_labels = self.noise_image_embeddings(
            image_embeds[:batch_size], noise_level=noise_level, generator=copies
        )
        return torch.cat([negative_labels, class_labels])


class UnclipDecoder:
    """Draws images for generation embeddings.

    Attributes:
        pipeline: The diffusers pipeline, without its text and image encoders.
        generation_dim: Width G of the embeddings that it draws.
        image_size_px: Side of the square images that it draws.
    """

    def __init__(self, pipeline: NegativeUnclipPipeline, prompt_embedding: Tensor):
        self.pipeline = pipeline
        self.prompt_embedding = prompt_embedding
        self.generation_dim: int = pipeline.image_normalizer.config.embedding_dim
        self.image_size_px: int = pipeline.unet.config.sample_size * pipeline.vae_scale_factor
        pipeline.set_progress_bar_config(disable=True)
        if self.image_size_px > SLICE_FROM_PX:
            pipeline.vae.enable_slicing()

    @torch.no_grad()
    def decode_images(
        self,
        generation_embeddings: Tensor,
        *,
        steps: int,
        guidance: float,
        seed: int | Sequence[int],
        negative: Tensor | None = None,
        on_step: Callable[[int], None] | None = None,
    ) -> list[Image.Image]:
        """Generation embeddings [B,G] -> B square RGB images of `image_size_px`.

        The noise of image i is drawn on the CPU from its seed alone: `seed + i`, or the i-th of
        several. The same seed gives the same bytes on one machine at one batch size, and an image
        of a batch can be drawn again by itself (up to rounding: matrix products of other shapes
        differ in the last bit).

        Args:
            generation_embeddings: [B,G], any float dtype, not normalised.
            steps: Denoising steps, at least 1; PNDM calls the UNet once more than
                that, from two steps on.
            guidance: Classifier-free guidance scale; 1 is none, and halves the work.
            seed: Seed of the first image, or one for each.
            negative: Generation embeddings to move away from, [B,G], or [1,G] for all; zeros, as
                in training, when None.
            on_step: Called after each call of the UNet with the count so far.

        Raises:
            ValueError: Shapes that do not fit, or a negative without guidance,
                which would have no effect.
            NumericalError: The decoder produced NaN.

        Source: AILab-CVC/SEED@93b3cf4:models/seed_llama_tokenizer.py `decode` (noise level 0, empty
        prompt). Differs from source: there one unseeded fp16 start noise serves all images of a
        process, and only B=1 works.
        """
        unet = self.pipeline.unet
        embeddings_BG = generation_embeddings.to(unet.device, unet.dtype)
        if embeddings_BG.ndim != 2 or embeddings_BG.shape[1] != self.generation_dim:
            raise ValueError(
                f"generation embeddings are {tuple(embeddings_BG.shape)}, expected [B, "
                f"{self.generation_dim}]"
            )
        batch_size = len(embeddings_BG)
        if negative is not None:
            if guidance <= 1:
                raise ValueError(
                    f"a negative has no effect with guidance {guidance}; guidance must be over 1"
                )
            if negative.ndim != 2 or negative.shape[0] not in (1, batch_size):
                raise ValueError(
                    f"negative is {tuple(negative.shape)}, expected [1 or {batch_size}, "
                    f"{self.generation_dim}]"
                )
            embeddings_BG = torch.cat(
                [negative.to(embeddings_BG).expand(batch_size, -1), embeddings_BG]
            )
        seeds = range(seed, seed + batch_size) if isinstance(seed, int) else seed
        if len(seeds) != batch_size:
            raise ValueError(f"{len(seeds)} seeds for {batch_size} images")
        prompt = self.prompt_embedding.to(unet.device, unet.dtype).expand(batch_size, -1, -1)
        images = self.pipeline(
            prompt_embeds=prompt,
            negative_prompt_embeds=prompt,
            image_embeds=embeddings_BG,
            noise_level=0,
            num_inference_steps=steps,
            guidance_scale=guidance,
            generator=[torch.Generator("cpu").manual_seed(each) for each in seeds],
            callback=None if on_step is None else lambda step, *_: on_step(step + 1),
            output_type="pt",
        ).images
        if not torch.isfinite(images).all():
            raise NumericalError(
                f"the image decoder produced NaN in {unet.dtype}",
                remedy="run it in float32 (--dtype float32); some VAEs overflow in float16",
            )
        processor = self.pipeline.image_processor
        return processor.numpy_to_pil(processor.pt_to_numpy(images))


def as_decoder(pipeline: StableUnCLIPImg2ImgPipeline, prompt_embedding: Tensor) -> UnclipDecoder:
    """A pipeline in training -> a decoder over the same UNet, autoencoder and normalizer."""
    left_out = {"text_encoder", "tokenizer", "image_encoder", "feature_extractor"}
    parts = {name: None if name in left_out else part for name, part in pipeline.components.items()}
    return UnclipDecoder(NegativeUnclipPipeline(**parts), prompt_embedding)


def load_decoder(
    folder: str | Path,
    *,
    generation_dim: int,
    device: str | torch.device = "cpu",
    dtype: torch.dtype = torch.float32,
) -> UnclipDecoder:
    """Folder of a diffusers stable-unCLIP pipeline -> decoder; reads local tensors (safetensors
    where there are any) and nothing else: no network, no code from files.

    Args:
        folder: As `save_pretrained` of diffusers writes it.
        generation_dim: Width G of the generation embeddings that it shall draw.
        device: Where it runs.
        dtype: Dtype of its weights and its arithmetic.

    Raises:
        DataError: Missing or unreadable files, another kind of pipeline, another embedding width.
    """
    folder = Path(folder)
    check_decoder(folder, generation_dim)
    for part in sorted(folder.iterdir()):
        if part.is_dir() and part.name != "image_encoder":  # which is not loaded
            check_sizes(part)
    options: dict[str, Any] = {
        **reading_options(folder),
        "dtype": dtype,
        "image_encoder": None,
        "feature_extractor": None,
    }
    try:
        with quiet(diffusers_logging):
            prompt_encoder = NegativeUnclipPipeline.from_pretrained(
                str(folder), unet=None, vae=None, **options
            )
            prompt_embedding, _ = prompt_encoder.encode_prompt(
                "", torch.device("cpu"), 1, do_classifier_free_guidance=False
            )
            del prompt_encoder
            pipeline = NegativeUnclipPipeline.from_pretrained(
                str(folder), text_encoder=None, tokenizer=None, **options
            )
    except UNREADABLE as error:
        raise DataError(
            f"the image decoder in {folder} cannot be loaded: {reason(error)}",
            remedy="check that the folder is complete (safetensors, as diffusers saves a pipeline)",
        ) from error
    pipeline.to(device)
    # channels last: a quarter less time for seed-nano's decoder on a CPU; Apple's GPUs have had
    # bugs with it
    if torch.device(device).type != "mps":
        pipeline.unet.to(memory_format=torch.channels_last)
        pipeline.vae.to(memory_format=torch.channels_last)
    return UnclipDecoder(pipeline, prompt_embedding.detach().to(device))


def reading_options(folder: Path) -> dict[str, Any]:
    """How `from_pretrained` reads a folder: what lies there, tensors alone, and safetensors
    where there are any.

    Raises:
        DataError: Its index names parts that a stable-unCLIP pipeline does not have.
    """
    refuse_other_parts(folder / "model_index.json")
    safe = sorted((folder / "unet").glob("*.safetensors"))
    weights = safe or sorted((folder / "unet").glob("*.bin"))
    only_half = bool(weights) and all(".fp16." in path.name for path in weights)
    return {
        "local_files_only": True,
        "trust_remote_code": False,
        "use_safetensors": bool(safe) or not weights,
        "variant": "fp16" if only_half else None,
    }
