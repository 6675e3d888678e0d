"""`SeedTokenizer`: pictures -> codes -> pictures, as every verb and every user of the library
holds it. On the path: the whole of it.

Nothing is loaded by making one: the network comes with the first picture that is encoded, the
picture decoder with the first that is drawn.
"""

from __future__ import annotations

import functools
import itertools
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
from PIL import Image

from seedcli.console import LibraryReporter
from seedcli.data.documents.documents import Codes
from seedcli.data.images.endings import VIDEO_FRAMES
from seedcli.data.images.images import ImageHandling, ImageSource, Preprocess
from seedcli.data.images.sources import read_sources
from seedcli.errors import UsageError
from seedcli.models.device import run_ahead
from seedcli.models.language.vocab import check_codes, format_span, parse_spans
from seedcli.models.visual.config import MAX_GUIDANCE, Numerics
from seedcli.models.weights.locate import DEFAULT_MODEL, locate
from seedcli.progress import OnProgress
from seedcli.workflows.placed_model import PlacedModel, normal_tensors

if TYPE_CHECKING:
    from torch import Tensor

BATCH_SIZE = 32  # pictures of one pass through the network
DRAW_BATCH_SIZE = 8  # pictures drawn together

# Codes of one image [Q], or of several [B,Q].
CodesLike: TypeAlias = "Tensor | np.ndarray | Sequence[int] | Sequence[Sequence[int]]"


class SeedTokenizer(PlacedModel):
    """Pictures -> 32 codes each -> pictures.

    ```python
    tokenizer = SeedTokenizer.from_pretrained("seed-nano")
    codes = tokenizer.encode(["cat.png", image, array])  # int64 [3,32]
    images = tokenizer.decode(codes, seed=0)  # three Pillow images
    ```
    """

    @classmethod
    def from_pretrained(
        cls,
        model: str | Path = DEFAULT_MODEL,
        *,
        device: str = "auto",
        dtype: str = "auto",
        numerics: Numerics = "default",
        decoder_dtype: str = "auto",
        offload: bool = False,
        progress: bool | OnProgress = False,
    ) -> SeedTokenizer:
        """Loads a tokenizer; its picture decoder follows when `decode` needs it.

        Args:
            model: Preset (`seed-nano`, bundled; `seed-2`, for photographs), folder or hub id.
            device: `auto` (a GPU where there is one), `cpu`, `cuda`, `cuda:1`, `mps`.
            dtype: Of the arithmetic before the codebook: `float32`, `bfloat16`, `float16`; `auto`
                is float32 everywhere, so that codes agree between devices.
            numerics: `official-fp16` for codes as the official script makes them on a GPU.
            decoder_dtype: Of the picture decoder; `auto` is float16 on a GPU, else float32.
            offload: Keep the parts in the host's memory, and on the GPU only while they work.
            progress: True shows bars on stderr or in a notebook; a function is called with what
                is being done, how much is done, and how much there is (None: nobody knows).

        Raises:
            UsageError: No such model, device or dtype.
            DataError: Files are missing, damaged, or do not fit.
        """
        reporter = LibraryReporter(progress)
        return cls(
            locate(str(model), reporter=reporter),
            device=device,
            dtype=dtype,
            numerics=numerics,
            decoder_dtype=decoder_dtype,
            offload=offload,
            reporter=reporter,
        ).load()

    def encode(
        self,
        images: ImageSource | Iterable[ImageSource],
        *,
        batch_size: int = BATCH_SIZE,
        fixed_shape: bool = False,
        image_handling: ImageHandling = "seed",
        frames: int = VIDEO_FRAMES,
    ) -> Tensor:
        """Pictures -> codes int64 [B,Q] on the CPU, equal to those of `seed tokenize`.

        Matrix products of other shapes may differ in the last bit, which turns a code now and
        then; so a picture alone runs alone, fewer than `batch_size` run in one pass of their
        number, and more in padded passes of `batch_size`, as on the command line.

        Args:
            images: One or many: paths, bytes of files, Pillow images, arrays, tensors; see
                `read_image`. An array [B,H,W,C] or a tensor [B,C,H,W] is many. A path that ends
                as a video's does is `frames` pictures.
            batch_size: Pictures of one pass.
            fixed_shape: Every pass has `batch_size` places, also for fewer pictures, as in token
                shards: so a picture's codes do not depend on how many come along.
            image_handling: `official` reads pictures as the official scripts did, which ignore
                EXIF and drop alpha.
            frames: Of each video, uniformly spaced.

        Raises:
            ImageError: One of them is no usable image; the message says which.
            UsageError: `batch_size` or `frames` under 1, or no image.
        """
        return self._passes(
            images, batch_size, fixed_shape, image_handling, self.encode_squares, "encode", frames
        )

    def embed(
        self,
        images: ImageSource | Iterable[ImageSource],
        *,
        batch_size: int = BATCH_SIZE,
        image_handling: ImageHandling = "seed",
    ) -> Tensor:
        """Pictures -> causal embeddings float32 [B,Q,D] on the CPU, from the pixels that codes
        are made of: what the codebook sees, for probes and retrieval.

        Args:
            images: As for `encode`.
            batch_size: As for `encode`.
            image_handling: As for `encode`.

        Raises:
            ImageError: One of them is no usable image; the message says which.
        """

        def embed(squares: np.ndarray, places: int) -> Tensor:
            return self._forward(
                squares, places, lambda pixels: self.model.causal_embeddings(pixels).float()
            )

        return self._passes(images, batch_size, False, image_handling, embed, "embed")

    def encode_squares(self, squares: np.ndarray, places: int) -> Tensor:
        """uint8 [n,3,S,S], as `Preprocess(config.preprocess.codes).to_array` makes them ->
        codes int64 [n,Q] on the CPU, in one pass padded to `places`.
        """
        return self._forward(squares, places, self.model.encode)

    def encode_ahead(self, batches: Iterable[np.ndarray], places: int) -> Iterator[Tensor]:
        """Arrays as `encode_squares` takes them -> the codes of each, in order. On a GPU a pass
        runs while the one after it is decoded, padded and copied; see `run_ahead`.
        """
        if self._offload:
            yield from (self.encode_squares(squares, places) for squares in batches)
            return

        def encode(padded: Tensor) -> Tensor:
            with normal_tensors():
                return self.model.encode_unchecked(self._preprocess.normalize(padded))

        numbers: deque[int] = deque()

        def padded() -> Iterator[Tensor]:
            import torch

            for squares in batches:
                numbers.append(len(squares))
                yield torch.from_numpy(_pad(squares, places))

        for codes in run_ahead(encode, padded(), self.device):
            yield self.model.check_encoded(codes[: numbers.popleft()])

    def _forward(
        self, squares: np.ndarray, places: int, function: Callable[[Tensor], Tensor]
    ) -> Tensor:
        import torch

        padded = torch.from_numpy(_pad(squares, places))
        with self._at_work(self.model, self.device) as device:
            pixels = self._preprocess.normalize(padded.to(device))
            return function(pixels)[: len(squares)].cpu()

    @functools.cached_property
    def _preprocess(self) -> Any:
        return Preprocess(self.config.preprocess.codes)

    def _passes(
        self,
        images: ImageSource | Iterable[ImageSource],
        batch_size: int,
        fixed_shape: bool,
        handling: ImageHandling,
        run: Callable[[np.ndarray, int], Tensor],
        doing: str,
        frames: int = VIDEO_FRAMES,
    ) -> Tensor:
        import torch

        if batch_size < 1:
            raise UsageError(f"batch_size is {batch_size}, expected at least 1")
        if frames < 1:
            raise UsageError(f"frames is {frames}, expected at least 1")
        waiting, total = read_sources(images, frames, handling)
        places, found = 0, []
        with self._reporter.progress(doing, total) as progress:
            while chunk := list(itertools.islice(waiting, batch_size)):
                squares = [self._preprocess.to_array(picture) for picture in chunk]
                places = places or (batch_size if fixed_shape else len(chunk))
                found.append(run(np.stack(squares), places))
                progress.advance(len(chunk))
        if not found:
            raise UsageError("no image was given, expected one or more")
        return torch.cat(found)

    def decode(
        self,
        codes: CodesLike,
        *,
        seed: int | Sequence[int] = 0,
        steps: int | None = None,
        guidance: float | None = None,
        negative: CodesLike | None = None,
        batch_size: int = DRAW_BATCH_SIZE,
        on_step: Callable[[int], None] | None = None,
    ) -> list[Image.Image]:
        """Codes [Q] or [B,Q] -> Pillow images, those of `seed detokenize`.

        The same seed gives the same picture on one machine at one batch size.

        Args:
            codes: Of one image or of many.
            seed: Of the first picture; picture i is drawn with `seed + i`. Or one for each.
            steps: Denoising steps; None takes the model's.
            guidance: How closely pictures follow the codes, from 1; None takes the model's.
            negative: Codes of an image to move away from: one for all, or one for each.
            batch_size: Pictures drawn together.
            on_step: Hears how many denoising steps of a batch are done; what it raises ends the
                drawing.

        Raises:
            UsageError: Codes that are not Q integers in range, or settings that do not go
                together.
            DataError: The picture decoder is missing or does not fit.
            NumericalError: The picture decoder produced NaN.
        """
        rows = self.check_codes(codes)
        seeds = range(seed, seed + len(rows)) if isinstance(seed, int) else list(seed)
        away = None if negative is None else self.check_codes(negative)
        if len(seeds) != len(rows):
            raise UsageError(f"{len(seeds)} seeds for {len(rows)} images")
        if away is not None and len(away) not in (1, len(rows)):
            raise UsageError(
                f"{len(away)} negatives for {len(rows)} images, expected one for all or one each"
            )
        steps, guidance = self.drawing_settings(steps, guidance, away is not None)
        images: list[Image.Image] = []
        with self._reporter.progress("draw", len(rows)) as progress:
            for start in range(0, len(rows), batch_size):
                part = slice(start, start + batch_size)
                images += self.draw(
                    self.generation_embeddings(rows[part]),
                    seeds[part],
                    steps=steps,
                    guidance=guidance,
                    negative=None
                    if away is None
                    else self.generation_embeddings(away if len(away) == 1 else away[part]),
                    on_step=on_step,
                )
                progress.advance(len(rows[part]))
        return images

    def drawing_settings(
        self, steps: int | None, guidance: float | None, has_negative: bool = False
    ) -> tuple[int, float]:
        """Steps and guidance, the model's where None is given.

        Raises:
            UsageError: Out of range, or a negative image without guidance.
        """
        defaults = self.config.detokenize
        steps = defaults.steps if steps is None else steps
        guidance = defaults.guidance if guidance is None else guidance
        if steps < 1:
            raise UsageError(f"steps is {steps}, expected at least 1")
        if not 1 <= guidance <= MAX_GUIDANCE:
            raise UsageError(f"guidance is {guidance:g}, expected 1 to {MAX_GUIDANCE}")
        if has_negative and guidance <= 1:
            raise UsageError(
                f"a negative has no effect with guidance {guidance:g}",
                remedy="guidance must be over 1 to move away from something",
            )
        return steps, guidance

    def generation_embeddings(self, codes: CodesLike) -> Tensor:
        """Codes [Q] or [B,Q] -> generation embeddings [B,G], where the network is.

        Raises:
            UsageError: Codes that are not Q integers in range.
        """
        import torch

        with self._at_work(self.model, self.device) as device:
            return self.model.decode(torch.tensor(self.check_codes(codes), device=device))

    def draw(
        self,
        embeddings: Tensor,
        seeds: int | Sequence[int],
        *,
        steps: int,
        guidance: float,
        negative: Tensor | None = None,
        on_step: Callable[[int], None] | None = None,
    ) -> list[Image.Image]:
        """Generation embeddings [B,G] -> B pictures at once; see `UnclipDecoder.decode_images`."""
        with self._at_work(self.decoder.pipeline, self.decoder_device):
            return self.decoder.decode_images(
                embeddings,
                steps=steps,
                guidance=guidance,
                seed=seeds,
                negative=negative,
                on_step=on_step,
            )

    def check_codes(self, codes: CodesLike) -> list[Codes]:
        """Codes [Q] or [B,Q] in any form -> a tuple of ints for each image.

        Raises:
            UsageError: They are not Q integers in range; the message says where.
        """
        rows = codes.tolist() if hasattr(codes, "tolist") else list(codes)
        rows = [each.tolist() if hasattr(each, "tolist") else each for each in rows]
        one = not rows or not isinstance(rows[0], (list, tuple))
        return [
            tuple(
                check_codes(
                    row,
                    num_codes=self.num_codes,
                    num_queries=self.num_queries,
                    where="codes" if one else f"codes of image {number}",
                )
            )
            for number, row in enumerate([rows] if one else rows)
        ]

    def to_text(self, codes: CodesLike) -> str:
        """Codes [Q] -> `<img><img_00042>...</img>`; [B,Q] -> the same B times in a row.

        Raises:
            UsageError: Codes that are not Q integers in range.
        """
        return "".join(map(format_span, self.check_codes(codes)))

    def from_text(self, text: str) -> Tensor:
        """Text with B image spans, words between them left out -> codes int64 [B,Q].

        Raises:
            UsageError: There is none, or one is malformed.
        """
        import torch

        spans = parse_spans(text, self.num_queries)
        if not spans:
            raise UsageError(f"the text holds no image: {text[:60]!r}")
        return torch.tensor(self.check_codes(spans))


def _pad(squares: np.ndarray, places: int) -> np.ndarray:
    padded = np.zeros((places, *squares.shape[1:]), dtype=np.uint8)
    padded[: len(squares)] = squares
    return padded
