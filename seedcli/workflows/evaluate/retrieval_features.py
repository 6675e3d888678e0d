"""Features of a retrieval set's pictures and captions, computed on the engine that was asked for
and kept on disk, so that a second figure costs nothing.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from seedcli.benchmarks.image_refs import ImageRef
from seedcli.benchmarks.retrieval_sets import RetrievalSet
from seedcli.console import Reporter
from seedcli.data.images.images import Preprocess
from seedcli.data.tables import save_array
from seedcli.engine.engines import Place, use_threads
from seedcli.engine.workers import open_workers
from seedcli.errors import NoSpaceError, PartialFailure, UsageError
from seedcli.models.visual.captions import CaptionTokenizer
from seedcli.models.visual.model import SeedModel
from seedcli.models.weights.cache import cache_folder
from seedcli.models.weights.load import find_vocab, load_seed_model
from seedcli.models.weights.locate import locate
from seedcli.workflows.evaluate.pictures import read_picture
from seedcli.workflows.evaluate.requests import RetrievalRequest

# AILab-CVC/SEED@93b3cf4:LV/models/blip2_models/blip2.py, compute_sim_matrix
RETRIEVAL_TEXT_TOKENS = 35
_READERS = 2  # threads that open pictures; decoding and resizing release the interpreter
_STRETCH = 256  # items of a part of the work

Kind = Literal["pictures", "captions"]


@dataclass(frozen=True)
class Stretch:
    """A part of the work: items of one kind, and the place of the first."""

    kind: Kind
    start: int
    items: Sequence[ImageRef] | Sequence[str]


class Eyes:
    """A visual tokenizer with its text branch: pictures -> causal embeddings, captions -> text
    features. It opens workers that are like it.

    Args:
        request: Model, device, dtype, and pictures or captions of one pass.
        reporter: Hears of downloads.
    """

    def __init__(self, request: RetrievalRequest, reporter: Reporter):
        self._request, self._reporter = request, reporter

    def __reduce__(self) -> tuple[Any, ...]:
        """In another process, or on another machine, it is found and loaded anew."""
        return Eyes, (self._request, self._reporter)

    @contextlib.contextmanager
    def __call__(self, place: Place, reporter: Reporter) -> Iterator[Any]:
        """See `seedcli.engine.engines.OpenWorker`."""
        use_threads(place)
        yield self.look

    @cached_property
    def tokenizer(self) -> SeedModel:
        """The model."""
        return load_seed_model(
            self._files,
            device=self._request.device,
            dtype=self._request.dtype,
            text_branch=True,
            reporter=self._reporter,
        )

    @cached_property
    def _files(self) -> Any:
        return locate(self._request.model, reporter=self._reporter)

    @cached_property
    def vocab(self) -> Path:
        """File of the words that captions are split into."""
        return find_vocab(self._files, reporter=self._reporter)

    @property
    def max_text_tokens(self) -> int:
        """Length that captions are padded to."""
        return min(RETRIEVAL_TEXT_TOKENS, self.tokenizer.config.qformer.max_positions)

    def key(self, found: RetrievalSet, kind: Kind) -> dict[str, Any]:
        """What decides features."""
        tokenizer = self.tokenizer
        key = {
            "fingerprint": tokenizer.fingerprint,
            "dtype": str(tokenizer.compute_dtype),
            "device": next(tokenizer.parameters()).device.type,
        }
        if kind == "captions":
            words = {"captions": found.captions, "max_tokens": self.max_text_tokens}
            return key | words | self.words_digest
        return key | {
            "images": [image.stamp for image in found.images],
            "preprocess": asdict(tokenizer.config.preprocess.retrieval),
        }

    @cached_property
    def words_digest(self) -> dict[str, str]:
        """What decides text features; the fingerprint says what codes mean, and words are outside
        it.
        """
        return {
            "vocab": hashlib.sha256(self.vocab.read_bytes()).hexdigest(),
            "text_branch": _tensors_digest(self.tokenizer.text_branch),
        }

    def look(self, stretch: Stretch) -> Iterator[tuple[int, np.ndarray]]:
        """Place and features of each pass: causal embeddings [B,Q,D], or L2-normalised text
        features [B,F]; fp32.
        """
        start = stretch.start
        passes: Any = self._pictures if stretch.kind == "pictures" else self._captions
        for features in passes(stretch.items):
            yield start, features.float().cpu().numpy()
            start += len(features)

    def _pictures(self, images: Sequence[ImageRef]) -> Iterator[Tensor]:
        preprocess = Preprocess(self.tokenizer.config.preprocess.retrieval)
        device = next(self.tokenizer.parameters()).device
        for squares in _read_squares(images, preprocess.to_square, self._request.batch_size):
            with torch.inference_mode():
                pixels = preprocess.normalize(squares.to(device))
                features = self.tokenizer.causal_embeddings(pixels)
            yield features

    def _captions(self, captions: Sequence[str]) -> Iterator[Tensor]:
        words, device = CaptionTokenizer(self.vocab), next(self.tokenizer.parameters()).device
        for start in range(0, len(captions), self._request.batch_size):
            part = captions[start : start + self._request.batch_size]
            text_ids, text_mask = words.encode(part, self.max_text_tokens)
            with torch.inference_mode():
                features = self.tokenizer.text_features(text_ids.to(device), text_mask.to(device))
            yield features


@dataclass(frozen=True)
class Features:
    """Features of a set.

    Attributes:
        pictures: Causal embeddings [N,Q,D] fp32 on the CPU (COCO at full size: 490 MB).
        captions: Text features [M,F], L2-normalised, likewise.
        cached: Which of them were all there.
    """

    pictures: Tensor
    captions: Tensor
    cached: dict[str, bool]


class FeatureCache:
    """Features of a set under the cache folder, a file for each part of the work.

    Args:
        request: Where they are computed, which of them, and whether they are kept.
        eyes: Compute them.
        found: What they look at.
        reporter: Hears of progress.
    """

    def __init__(
        self, request: RetrievalRequest, eyes: Eyes, found: RetrievalSet, reporter: Reporter
    ):
        self._engine, self._device = request.engine, request.device
        if not (self._engine.part.is_whole or request.cache):
            raise UsageError(
                f"--part {self._engine.part}: parts meet in the cache, and --no-cache keeps none",
                remedy="Leave --no-cache out.",
            )
        self._engine.check()
        self._folder = cache_folder() / "retrieval"
        self._eyes, self._found, self._reporter = eyes, found, reporter
        self._keeps = request.cache and bool(eyes.tokenizer.fingerprint)

    def compute(self) -> Features:
        """All of them, from disk where they are there."""
        pictures, pictures_cached = self._of("pictures", self._found.images)
        captions, captions_cached = self._of("captions", self._found.captions)
        cached = {"images": pictures_cached, "texts": captions_cached}
        return Features(torch.from_numpy(pictures), torch.from_numpy(captions), cached)

    def compute_part(self) -> dict[str, Any]:
        """What a task of an array job does: its part of them; returns what it has to say."""
        numbers = {
            "num_images": len(self._of("pictures", self._found.images)[0]),
            "num_captions": len(self._of("captions", self._found.captions)[0]),
        }
        return {
            "benchmark": "retrieval",
            "dataset": self._found.name,
            "split": self._found.split,
            "part": str(self._engine.part),
            **numbers,
            "folder": str(self._folder),
        }

    def _of(self, kind: Kind, items: Sequence[Any]) -> tuple[np.ndarray, bool]:
        """Features of this call's part of the items, and whether all of it was on disk."""
        key = json.dumps(self._eyes.key(self._found, kind), sort_keys=True)
        folder = self._folder / hashlib.sha256(key.encode()).hexdigest()[:32]
        stretches = self._engine.part.of(
            [
                Stretch(kind, start, items[start : start + _STRETCH])
                for start in range(0, len(items), _STRETCH)
            ]
        )
        features = {}
        for stretch in stretches if self._keeps else ():
            with contextlib.suppress(OSError, ValueError, EOFError):
                features[stretch.start] = np.load(folder / f"{stretch.start:09d}.npy")
        missing = [stretch for stretch in stretches if stretch.start not in features]
        if missing:
            self._compute(missing, kind, folder, features)
        found = [features[stretch.start] for stretch in stretches]
        return np.concatenate(found) if found else np.zeros(0, np.float32), not missing

    def _compute(
        self, missing: Sequence[Stretch], kind: Kind, folder: Path, features: dict[int, np.ndarray]
    ) -> None:
        total = sum(len(stretch.items) for stretch in missing)
        said: dict[int, dict[int, np.ndarray]] = {stretch.start: {} for stretch in missing}
        lost: list[str] = []
        with (
            self._reporter.progress(kind, total) as progress,
            open_workers(
                self._engine, self._eyes, device=self._device, reporter=self._reporter
            ) as workers,
        ):
            for report in workers.run(missing):
                start = report.part.start
                match report.state:
                    case "running":
                        place, found = report.said
                        # a part that is tried again says it again
                        progress.advance(0 if place in said[start] else len(found))
                        said[start][place] = found
                    case "finished":
                        of_part = said.pop(start)
                        features[start] = np.concatenate([of_part[at] for at in sorted(of_part)])
                        self._keep(folder / f"{start:09d}.npy", features[start])
                    case "lost":
                        lost.append(f"{kind} {start} to {start + len(report.part.items) - 1}")
                        self._reporter.warn(f"{lost[-1]}: {report.said}")
        if lost:
            raise PartialFailure(
                f"{', '.join(lost)} ended the processes that looked at them; the others are kept",
                remedy="the same command tries them again",
            )

    def _keep(self, path: Path, features: np.ndarray) -> None:
        """A cache that cannot be written is no error, but where tasks meet in it."""
        if self._keeps:
            lenient = (OSError, NoSpaceError) if self._engine.part.is_whole else ()
            with contextlib.suppress(*lenient):
                save_array(path, features)


def _read_squares(
    images: Sequence[ImageRef], to_square: Callable[..., Tensor], batch_size: int
) -> Iterator[Tensor]:
    """Pictures in order -> uint8 batches [B,3,S,S]; the next two batches are read meanwhile."""

    def read(image: ImageRef) -> Tensor:
        return to_square(read_picture(image))

    def finish(batch: list[Future[Tensor]]) -> Tensor:
        return torch.stack([future.result() for future in batch])

    with ThreadPoolExecutor(_READERS) as pool:
        pending: deque[list[Future[Tensor]]] = deque()
        try:
            for start in range(0, len(images), batch_size):
                pending.append(
                    [pool.submit(read, image) for image in images[start : start + batch_size]]
                )
                if len(pending) > 2:
                    yield finish(pending.popleft())
            while pending:
                yield finish(pending.popleft())
        finally:
            for future in (future for batch in pending for future in batch):
                future.cancel()


def _tensors_digest(module: torch.nn.Module | None) -> str:
    digest = hashlib.sha256()
    for name, tensor in module.state_dict().items() if module is not None else ():
        digest.update(f"{name} {tensor.dtype} {list(tensor.shape)}".encode())
        digest.update(tensor.detach().cpu().contiguous().view(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()
