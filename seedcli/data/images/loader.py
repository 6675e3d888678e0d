"""Items -> squares uint8 [B,3,S,S], decoded in worker processes, in order, with memory that does
not depend on how many there are.

Workers are started afresh (not forked: a fork of a process with torch's threads may hang) and
import Pillow and NumPy only, so that each costs about 50 MB and 0.2 s. What cannot be decoded comes
back as a reason, and so does an image that kills its worker.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass, replace

import numpy as np

from seedcli.data.images.images import ImageError, ImageHandling, Preprocess, open_image
from seedcli.data.images.items import Item
from seedcli.data.images.video import read_frames
from seedcli.data.text_files import decode_text
from seedcli.errors import DataError
from seedcli.models.visual.config import PreprocessConfig
from seedcli.storage import open_to_read

_CRASHED = "the decoder crashed on it"


@dataclass(frozen=True)
class DecodedBatch:
    """One chunk of items after decoding.

    Attributes:
        items: The items, without their undecoded bytes, with captions read.
        squares: uint8 [n,3,S,S], one of a picture, `Item.frames` of a video; zeros where decoding
            failed.
        reasons: Why an item failed, or None, for each item.
        times_s: When the frames of a video are shown, None for a picture, for each item.
    """

    items: list[Item]
    squares: np.ndarray
    reasons: list[str | None]
    times_s: list[list[float] | None]


class ImageLoader:
    """Decodes chunks of items ahead of their use; a context manager, since it owns processes.

    Args:
        config: The preprocess; a fixed geometry (random ones would draw
            differently in every worker).
        handling: See `open_image`.
        workers: Number of processes; 0 decodes in this one.
    """

    def __init__(
        self, config: PreprocessConfig, handling: ImageHandling = "seed", workers: int = 0
    ):
        if config.geometry not in ("squash", "center-crop"):
            raise ValueError(f"ImageLoader decodes with a fixed geometry, not {config.geometry!r}")
        self.config, self.handling, self.workers = config, handling, workers
        self._pool: ProcessPoolExecutor | None = None

    def __enter__(self) -> ImageLoader:
        self.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, *exc_info: object) -> None:
        self._stop()

    def start(self) -> None:
        """Starts the workers, so that they come up while a model loads."""
        if self.workers and self._pool is None:
            self._pool = self._build_pool(self.workers)

    def batches(self, chunks: Iterable[list[Item]]) -> Iterator[DecodedBatch]:
        """Chunks of items -> decoded batches, one each, in order; at most `workers + 2`
        chunks are held at a time.
        """
        if not self.workers:
            for chunk in chunks:
                yield decode_chunk(chunk, self.config, self.handling)
            return
        self.start()
        waiting: deque[tuple[list[Item], Future[DecodedBatch]]] = deque()
        for chunk in chunks:
            waiting.append((chunk, self._submit(chunk)))
            if len(waiting) > self.workers + 1:
                yield self._take(waiting)
        while waiting:
            yield self._take(waiting)

    def _submit(self, chunk: list[Item]) -> Future[DecodedBatch]:
        try:
            return self._pool.submit(decode_chunk, chunk, self.config, self.handling)
        # seen again, and dealt with, when this chunk's turn comes
        except BrokenProcessPool as error:
            broken: Future[DecodedBatch] = Future()
            broken.set_exception(error)
            return broken

    def _take(self, waiting: deque[tuple[list[Item], Future[DecodedBatch]]]) -> DecodedBatch:
        chunk, future = waiting.popleft()
        try:
            return future.result()
        except BrokenProcessPool:
            # One image killed a worker, and the pool died with it. Which image, only decoding them
            # one by one can tell.
            self._stop()
            decoded = self._decode_apart(chunk)
            self._pool = self._build_pool(self.workers)
            for position, (later, lost) in enumerate(waiting):
                if not lost.done() or lost.exception() is not None:
                    waiting[position] = (later, self._submit(later))
            return decoded

    def _decode_apart(self, chunk: list[Item]) -> DecodedBatch:
        parts = []
        pool = self._build_pool(1)
        for item in chunk:
            try:
                parts.append(pool.submit(decode_chunk, [item], self.config, self.handling).result())
            except BrokenProcessPool:
                parts.append(
                    decode_chunk(
                        [replace(item, data=None, path=None, problem=_CRASHED)],
                        self.config,
                        self.handling,
                    )
                )
                pool.shutdown(wait=False)
                pool = self._build_pool(1)
        pool.shutdown()
        return DecodedBatch(
            items=[part.items[0] for part in parts],
            squares=np.concatenate([part.squares for part in parts]),
            reasons=[part.reasons[0] for part in parts],
            times_s=[part.times_s[0] for part in parts],
        )

    def _build_pool(self, workers: int) -> ProcessPoolExecutor:
        return ProcessPoolExecutor(
            workers, mp_context=multiprocessing.get_context("spawn"), initializer=_start_worker
        )

    def _stop(self) -> None:
        if self._pool is None:
            return
        # a worker may hang on a dead file server, or on threads of a bucket's client, and has
        # nothing to lose. Python 3.14 has terminate_workers() for this.
        for process in list((self._pool._processes or {}).values()):
            process.terminate()
        self._pool.shutdown(wait=True, cancel_futures=True)
        self._pool = None


def _start_worker() -> None:
    """In a new worker: leave Ctrl-C to the main process, and end with it,
    also when it is killed.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    end_with_parent()


def end_with_parent() -> None:
    """Lets this child process end when its parent does, also when that is killed."""

    def wait() -> None:
        multiprocessing.parent_process().join()
        os._exit(1)

    threading.Thread(target=wait, daemon=True).start()


def decode_chunk(
    items: list[Item], config: PreprocessConfig, handling: ImageHandling
) -> DecodedBatch:
    """Reads, decodes and resizes items in this process; failures become reasons. Of a failed video
    some frames may stand in their squares.
    """
    preprocess = Preprocess(config)
    size_px, slots = config.image_size_px, sum(item.slots for item in items)
    squares = np.zeros((slots, 3, size_px, size_px), dtype=np.uint8)
    reasons: list[str | None] = []
    times_s: list[list[float] | None] = []
    done: list[Item] = []
    slot = 0
    for item in items:
        reason, shown = item.problem, list[float]()
        source = item.data if item.data is not None else item.path
        if reason is None:
            try:
                if item.frames is None:
                    squares[slot] = preprocess.to_array(open_image(source, handling))
                else:
                    for frame in read_frames(source, item.frames, only=item.part):
                        squares[slot + len(shown)] = preprocess.to_array(frame.image)
                        shown.append(frame.time_s)
            except ImageError as error:
                reason = error.reason
        slot += item.slots
        text = item.text
        if item.text_path is not None and reason is None:
            text = _read_text(item.text_path)
        reasons.append(reason)
        times_s.append(shown if item.is_video and reason is None else None)
        done.append(replace(item, data=None, text=text))
    return DecodedBatch(items=done, squares=squares, reasons=reasons, times_s=times_s)


def _read_text(path: str) -> str | None:
    try:
        with open_to_read(path) as file:
            return decode_text(file.read(1 << 20)).strip()
    except (OSError, DataError):
        return None
