"""Answers for many at once: one thread writes what waits in one batch, one draws what is written
in batches of its own, one reads pictures. On the path: prompts of many -> words and pictures.

Whoever leaves frees the place at the next token or denoising step. Words never wait for a drawing.
"""

from __future__ import annotations

import collections
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from seedcli.data.documents.documents import Codes
from seedcli.models.language.token_loop import TokenLoop
from seedcli.workflows.chat.model import ChatModel
from seedcli.workflows.pictures import DRAW_BATCH_SIZE
from seedcli.workflows.serve.answer import (
    Asked,
    Drawn,
    Event,
    Failed,
    OutOfTimeError,
    Picture,
    Writing,
)
from seedcli.workflows.serve.metrics import Metrics

if TYPE_CHECKING:
    from seedcli.workflows.chat.pictures import Drawing


class BusyError(Exception):
    """Too many wait already."""


class _NobodyWaitsError(Exception):
    """Ends a drawing that nobody waits for any more."""


@dataclass(eq=False)
class Sketch:
    """An image that waits to be drawn.

    Attributes:
        codes: [Q].
        seed: Of the picture.
        how: Steps and guidance in place of the model's; what is drawn together has the same.
        drawing: What comes of it; whoever waits no more cancels it.
        arrived: When it was asked for, in `time.monotonic` seconds.
    """

    codes: Codes
    seed: int
    how: tuple[int | None, float | None] = (None, None)
    drawing: Future[Drawing] = field(default_factory=Future)
    arrived: float = field(default_factory=time.monotonic)


class Engine:
    """One model that answers many.

    Attributes:
        model: Language model, visual tokenizer and picture decoder.
        metrics: What happens is counted there.
        reader: Thread that pictures and prompts are read in.
    """

    def __init__(self, model: ChatModel, *, batch_size: int, max_waiting: int, metrics: Metrics):
        """Starts the threads.

        Args:
            model: Loaded.
            batch_size: Answers written together.
            max_waiting: Answers that may wait for a place beside.
            metrics: Counts what happens.
        """
        self.model, self.metrics = model, metrics
        self.batch_size, self.max_waiting = batch_size, max_waiting
        self.reader = ThreadPoolExecutor(1, thread_name_prefix="seed-read")
        self._changed = threading.Condition()
        self._waiting: collections.deque[Writing] = collections.deque()
        self._sketches: collections.deque[Sketch] = collections.deque()
        self._closed = False
        self._threads = [
            threading.Thread(target=work, name=name, daemon=True)
            for name, work in (("seed-write", self._write), ("seed-draw", self._draw))
        ]
        for thread in self._threads:
            thread.start()

    def ask(self, asked: Sequence[Asked], hear: Sequence[Callable[[Event], None]]) -> list[Writing]:
        """Answers that are written as soon as there is room; all of them, or none.

        Raises:
            BusyError: Too many wait already.
        """
        writings = [Writing(each, listener) for each, listener in zip(asked, hear, strict=True)]
        with self._changed:
            if len(self._waiting) + len(writings) > self.max_waiting:
                raise BusyError
            self._waiting += writings
            self.metrics.waiting.set(len(self._waiting))
            self._changed.notify_all()
        return writings

    def sketch(self, *sketches: Sketch) -> None:
        """Images that are drawn when the drawings before them are done; together, as far as a batch
        holds them.
        """
        with self._changed:
            self._sketches += sketches
            self.metrics.undrawn.set(len(self._sketches))
            self._changed.notify_all()

    def leave(self, writing: Writing) -> None:
        """Nobody waits for this answer any more."""
        writing.left = True
        for drawing in writing.drawings:
            drawing.cancel()
        with self._changed:
            self._changed.notify_all()

    def close(self) -> None:
        """Ends the threads; what is not answered by now is not answered any more."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()
        for thread in self._threads:
            thread.join()
        self.reader.shutdown(cancel_futures=True)

    def _write(self) -> None:
        """The thread that owns the language model."""
        loop = self.model.llm.open_loop()
        under_way: list[Writing] = []
        while True:
            with self._changed:
                while not (self._closed or under_way or self._waiting):
                    self._changed.wait()
                if self._closed:
                    return
                arrivals = self._take_waiting(self.batch_size - len(under_way))
            under_way += [writing for writing in arrivals if self._begin(writing, loop)]
            try:
                loop.step()
            except BaseException as error:  # of all rows; the next ones begin anew
                for writing in under_way:
                    writing.hear(Failed(error))
                loop, under_way = self.model.llm.open_loop(), []
            under_way = self._sort_out(loop, under_way)
            self.metrics.writing.set(len(under_way))

    def _take_waiting(self, room: int) -> list[Writing]:
        """Those that are begun now; those that have left or are late are forgotten."""
        now = time.monotonic()
        begun: list[Writing] = []
        kept: collections.deque[Writing] = collections.deque()
        for writing in self._waiting:
            if writing.left:
                continue
            if writing.asked.deadline <= now:
                writing.hear(Failed(OutOfTimeError()))
            elif len(begun) < room:
                begun.append(writing)
            else:
                kept.append(writing)
        self._waiting = kept
        self.metrics.waiting.set(len(kept))
        return begun

    def _begin(self, writing: Writing, loop: TokenLoop) -> bool:
        asked = writing.asked
        writing.begun = time.monotonic()
        self.metrics.stage("queue", writing.begun - writing.arrived)
        try:
            writing.row = self.model.llm.open_row(
                asked.prompt,
                asked.sampling,
                image=asked.image,
                seed=asked.seed,
                wordless=asked.wordless,
                num_likeliest=asked.num_likeliest,
                last_image=asked.last_image,
                on_part=lambda part: self._heard(writing, writing.take(part)),
            )
        except Exception as error:
            writing.hear(Failed(error))
            return False
        loop.join([writing.row])
        return True

    def _heard(self, writing: Writing, picture: Picture | None) -> None:
        if picture is None:
            return

        def hear(drawing: Future[Drawing]) -> None:
            if not drawing.cancelled():
                error = drawing.exception()
                writing.hear(Failed(error) if error else Drawn(picture.number, drawing.result()))

        sketch = Sketch(picture.codes, writing.asked.seed + picture.number)
        sketch.drawing.add_done_callback(hear)
        writing.drawings.append(sketch.drawing)
        self.sketch(sketch)

    def _sort_out(self, loop: TokenLoop, under_way: list[Writing]) -> list[Writing]:
        """Ends answers that are complete, late or left; returns the others."""
        now = time.monotonic()
        for writing in under_way:
            writing.cut = not writing.row.done and writing.asked.deadline <= now
        gone = [
            writing.row
            for writing in under_way
            if not writing.row.done and (writing.left or writing.stopped or writing.cut)
        ]
        if gone:
            loop.leave(gone)
        for writing in under_way:
            if writing.row.done:
                self._end(writing)
        return [writing for writing in under_way if not writing.row.done]

    def _end(self, writing: Writing) -> None:
        row = writing.row
        self.metrics.tokens.inc(len(row.written))
        if writing.left:
            self.metrics.left.inc()
            return
        self.metrics.stage("write", time.monotonic() - writing.begun)
        try:
            answer = self.model.llm.close_row(row)
        except Exception as error:
            writing.hear(Failed(error))
            return
        last = row.last_image is not None and row.images >= row.last_image
        writing.end(len(row.written), answer.ended or last)

    def _draw(self) -> None:
        """The thread that owns the picture decoder."""
        while True:
            with self._changed:
                while not (self._closed or self._sketches):
                    self._changed.wait()
                if self._closed:
                    return
                batch = self._take_sketches()
            if not batch:
                continue
            self._draw_batch(batch)

    def _take_sketches(self) -> list[Sketch]:
        """The next that are drawn together; those that nobody waits for are forgotten."""
        wanted = [sketch for sketch in self._sketches if not sketch.drawing.cancelled()]
        batch = [each for each in wanted if each.how == wanted[0].how][:DRAW_BATCH_SIZE]
        chosen = set(map(id, batch))
        self._sketches = collections.deque(each for each in wanted if id(each) not in chosen)
        self.metrics.undrawn.set(len(self._sketches))
        return batch

    def _draw_batch(self, batch: list[Sketch]) -> None:
        began = time.monotonic()
        for sketch in batch:
            self.metrics.stage("draw_queue", began - sketch.arrived)

        def on_step(_done: int) -> None:
            if self._closed or all(sketch.drawing.cancelled() for sketch in batch):
                raise _NobodyWaitsError

        steps, guidance = batch[0].how
        try:
            drawings = self.model.draw(
                [sketch.codes for sketch in batch],
                [sketch.seed for sketch in batch],
                steps=steps,
                guidance=guidance,
                on_step=on_step,
            )
            self.metrics.stage("draw", time.monotonic() - began)
            self.metrics.drawn.inc(len(batch))
        except _NobodyWaitsError:
            return
        except BaseException as error:
            for sketch in batch:
                if sketch.drawing.set_running_or_notify_cancel():
                    sketch.drawing.set_exception(error)
            return
        for sketch, drawing in zip(batch, drawings, strict=True):
            if sketch.drawing.set_running_or_notify_cancel():
                sketch.drawing.set_result(drawing)
