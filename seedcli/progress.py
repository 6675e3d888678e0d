"""How far a piece of work has come: in silence, as bars of a terminal, as lines of a log, or to a
function of the user's.
"""

from __future__ import annotations

import contextlib
import logging
import sys
import time
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any, TextIO

if TYPE_CHECKING:
    from rich.console import Console as RichConsole

LOG_EVERY_S = 30.0  # progress lines where stderr is a file or a pipe
# What is being done, how much is done, how much there is (None: nobody knows).
OnProgress = Callable[[str, int, int | None], None]


class Progress:
    """Counter of a running piece of work; the base class counts in silence."""

    def __init__(self, description: str, total: int | None):
        self.description = description
        self.total = total
        self.done = 0
        self.figures: dict[str, Any] = {}

    def __reduce__(self) -> tuple[type[Progress], tuple[str, int | None]]:
        """In another process it counts in silence."""
        return Progress, (self.description, self.total)

    def advance(self, n: int = 1, **figures: Any) -> None:
        """Count `n` more units and show `figures` (say, loss=2.31) beside the bar."""
        self.done += n
        self.figures.update(figures)

    def resume(self, n: int) -> None:
        """Count `n` units that an earlier run did: done, but no part of this run's rate."""
        self.done += n


class CallbackProgress(Progress):
    """Tells a function of the user's how far a loop has come."""

    def __init__(self, description: str, total: int | None, tell: OnProgress):
        super().__init__(description, total)
        self._tell = tell

    def advance(self, n: int = 1, **figures: Any) -> None:
        super().advance(n, **figures)
        self._tell(self.description, self.done, self.total)

    def resume(self, n: int) -> None:
        super().resume(n)
        self._tell(self.description, self.done, self.total)


def duration(seconds: float) -> str:
    """Seconds -> words for people: `40 s`, `12 min`, `2 h 05 min`, `3 d 04 h`."""
    if seconds < 100:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    if minutes < 100:
        return f"{minutes} min"
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes:02d} min" if hours < 48 else f"{hours // 24} d {hours % 24:02d} h"


class LineProgress(Progress):
    """A line now and then, for logs."""

    def __init__(self, description: str, total: int | None, say: Callable[[str], None]):
        super().__init__(description, total)
        self._say = say
        self._started = self._written = time.monotonic()
        self._earlier = 0

    def resume(self, n: int) -> None:
        super().resume(n)
        self._earlier += n

    def advance(self, n: int = 1, **figures: Any) -> None:
        super().advance(n, **figures)
        if time.monotonic() - self._written >= LOG_EVERY_S:
            self.write()

    def end(self, *, is_step: bool) -> None:
        """The last line; of one thing, or a step of a longer work, that was quickly done there is
        nothing to say.
        """
        if self._written > self._started or not (is_step or self.total == 1):
            self.write()

    def write(self) -> None:
        self._written = time.monotonic()
        rate = (self.done - self._earlier) / max(self._written - self._started, 1e-9)
        of_total = f"/{self.total}" if self.total is not None else ""
        left = ""
        if self.total is not None and rate and self.done < self.total:
            left = f", {duration((self.total - self.done) / rate)} left"
        self._say(
            f"{self.description}: {self.done}{of_total}, {rate:.3g}/s{left}{_figures(self.figures)}"
        )


class Bars:
    """The bars of a terminal, each on a line that rewrites itself. What is said meanwhile, by us,
    by `warnings` or by a logger of a library, appears above them.
    """

    def __init__(self, console: RichConsole, *, takes_stdout: bool = False):
        """Not shown yet.

        Args:
            console: Of the terminal.
            takes_stdout: What is printed is no result, and goes above the bars too: a library that
                is imported meanwhile may log to what was stdout then.
        """
        from rich.progress import (
            BarColumn,
            MofNCompleteColumn,
            TextColumn,
            TimeElapsedColumn,
            TimeRemainingColumn,
        )
        from rich.progress import Progress as RichProgress

        columns = [
            TextColumn("{task.description}"),
            # figures of a training need the room on a narrow terminal
            BarColumn(bar_width=max(10, min(40, console.width - 72))),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TimeRemainingColumn(),
            TextColumn("{task.fields[figures]}"),
        ]
        self.rich = RichProgress(*columns, console=console)
        self._takes_stdout = takes_stdout
        self._loggers: list[tuple[logging.StreamHandler, TextIO]] = []

    def __enter__(self) -> Bars:
        from rich.live import Live

        before = sys.stderr
        # one that was shown before would first wipe as many lines as it had
        self.rich.live = Live(
            console=self.rich.console,
            refresh_per_second=10,
            redirect_stdout=self._takes_stdout,
            get_renderable=self.rich.get_renderable,
        )
        self.rich.start()
        for handler in _stream_handlers():
            # a logger keeps the stderr that it found when it was set up
            if handler.stream in (before, sys.__stderr__) and sys.stderr is not before:
                self._loggers.append((handler, handler.setStream(sys.stderr)))
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.rich.stop()
        for handler, stream in self._loggers:
            handler.setStream(stream)
        self._loggers = []

    @contextlib.contextmanager
    def aside(self) -> Iterator[None]:
        """Takes the bars away while something else is written to the same terminal."""
        self.rich.live.transient = True
        self.__exit__()
        try:
            yield
        finally:
            self.__enter__()


def _stream_handlers() -> Iterator[logging.StreamHandler]:
    """Handlers of all loggers that write to a stream (and not to a file)."""
    loggers = [logging.root, *logging.root.manager.loggerDict.values()]
    for logger in loggers:
        for handler in getattr(logger, "handlers", ()):  # placeholders have none
            if type(handler) is logging.StreamHandler:
                yield handler


class BarProgress(Progress):
    """One of the bars; one that ends before another does leaves no line."""

    def __init__(self, description: str, total: int | None, bars: Bars):
        super().__init__(description, total)
        self._bar = bars.rich
        self._task = self._bar.add_task(description, total=total, figures="")

    def __enter__(self) -> BarProgress:
        return self

    def __exit__(self, *exc_info: object) -> None:
        if len(self._bar.tasks) > 1:
            self._bar.remove_task(self._task)

    def advance(self, n: int = 1, **figures: Any) -> None:
        super().advance(n, **figures)
        self._bar.update(self._task, advance=n, figures=_figures(self.figures))

    def resume(self, n: int) -> None:
        super().resume(n)
        self._bar.reset(self._task, completed=self.done)


def _figures(figures: dict[str, Any]) -> str:
    return "".join(
        f"  {name}={value:.4g}" if isinstance(value, float) else f"  {name}={value}"
        for name, value in figures.items()
    )
