"""The only place that prints: results to stdout, everything else to stderr.

Workflows get a `Reporter` and never know where its words go; commands use the one `console`. Rich
is loaded when something is drawn, so that `seed --help` and `seed --version` do not pay for it.
"""

from __future__ import annotations

import contextlib
import io
import logging
import os
import re
import sys
import textwrap
import time
import traceback
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any, TextIO

from seedcli.errors import DataError, SeedError
from seedcli.files import json_text

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


class Reporter:
    """What a workflow may say while it works. This base class is silent, for tests
    and for use as a library.
    """

    def __reduce__(self) -> tuple[type[Reporter], tuple[()]]:
        """In another process it is silent: what workers have to say comes through their engine."""
        return Reporter, ()

    def note(self, text: str) -> None:
        """Say something worth knowing."""

    def warn(self, text: str) -> None:
        """Say something that the user should look at; the work goes on."""

    @contextlib.contextmanager
    def progress(self, description: str, total: int | None = None) -> Iterator[Progress]:
        """Show how far a loop has come; `total` None means that nobody knows the end."""
        yield Progress(description, total)


class WithoutBars(Reporter):
    """Says what it is told to another reporter, but shows no progress: a step of a longer work,
    which has a bar of its own.
    """

    def __init__(self, reporter: Reporter):
        self.note, self.warn = reporter.note, reporter.warn  # type: ignore[method-assign]


class Console(Reporter):
    """The reporter of the command line, and the way of results to stdout.

    Results are JSON Lines when `--json` was given or stdout is no terminal, else
    a rendering for people.
    """

    def __init__(self) -> None:
        self.json = False
        self.quiet = False
        self.debug = False
        self._results: TextIO | None = None
        self._bars: _Bars | None = None

    def configure(
        self, *, json: bool | None = None, quiet: bool | None = None, debug: bool | None = None
    ) -> None:
        """Set the habits that every command shares; None leaves one as it is."""
        self.json = self.json if json is None else json
        self.quiet = self.quiet if quiet is None else quiet
        self.debug = self.debug if debug is None else debug

    @property
    def stdout(self) -> TextIO:
        """Where results go, also while `results_only` keeps everybody else away from it."""
        return self._results or sys.stdout

    @property
    def results_are_json(self) -> bool:
        """True when a script reads the results."""
        return self.json or not self.stdout.isatty()

    @contextlib.contextmanager
    def results_only(self) -> Iterator[None]:
        """Keep stdout for results: meanwhile `print` and native code write to stderr (deepspeed
        logs to stdout when it is imported).
        """
        outer = sys.stdout
        with contextlib.ExitStack() as stack:
            if _file_descriptor(outer) == 1:
                outer.flush()
                saved = os.dup(1)
                os.dup2(2, 1)
                stack.callback(os.close, saved)
                stack.callback(os.dup2, saved, 1)
                self._results = os.fdopen(
                    saved, "w", encoding="utf-8", errors="backslashreplace", closefd=False
                )
            else:
                self._results = outer
            stack.callback(setattr, self, "_results", None)
            stack.enter_context(contextlib.redirect_stdout(sys.stderr))
            yield

    def result(self, obj: Any, *, human: Callable[[Any], Any] | None = None) -> None:
        """Give one result: a JSON line for scripts, for people what `human(obj)` returns (text or a
        rich renderable), else a listing.
        """
        if self.results_are_json:
            self.text(json_text(obj, default=str))
        else:
            with self._bars_aside(), stdout_named(self.stdout):
                shown = human(obj) if human else _listing(obj)
                screen = self._rich(self.stdout)
                screen.print(
                    wrapped(shown, screen.width) if isinstance(shown, str) else shown,
                    highlight=False,
                    markup=False,
                    soft_wrap=True,
                )

    def text(self, line: str) -> None:
        """Give one result that is text by contract (code tokens, TOML), the same
        for people and scripts.
        """
        self.stream(line + "\n")

    def stream(self, text: str) -> None:
        """Give a piece of a result that is still growing, or what a terminal shows as a
        picture; no newline is added.
        """
        with self._bars_aside(), stdout_named(self.stdout):
            self.stdout.write(text)
            self.stdout.flush()

    def _bars_aside(self) -> contextlib.AbstractContextManager[None]:
        """Takes the bars from a terminal while a result is written to it."""
        if self._bars is None or not self.stdout.isatty():
            return contextlib.nullcontext()
        return self._bars.aside()

    def note(self, text: str) -> None:
        if not self.quiet:
            self._say(text)

    def warn(self, text: str) -> None:
        if not self.quiet:
            self._say(f"warning: {text}", style="yellow")

    def error(self, exc: BaseException) -> None:
        """Show what went wrong and what to type next; never silenced. `--debug` puts
        the traceback before it.
        """
        if self.debug:
            self._say("".join(traceback.format_exception(exc)).rstrip())
        self._say(f"error: {exc}", style="bold red")
        if isinstance(exc, SeedError) and exc.remedy:
            self._say(f"  -> {exc.remedy}")

    @contextlib.contextmanager
    def progress(self, description: str, total: int | None = None) -> Iterator[Progress]:
        if self.quiet:
            yield Progress(description, total)
        elif sys.stderr.isatty():
            with contextlib.ExitStack() as stack:
                if self._bars is None:
                    bars = _Bars(self._rich(sys.stderr), takes_stdout=self._results is not None)
                    self._bars = stack.enter_context(bars)
                    stack.callback(setattr, self, "_bars", None)
                yield stack.enter_context(_BarProgress(description, total, self._bars))
        else:
            lines = _LineProgress(description, total, self._say)
            yield lines
            lines.write()

    def _say(self, text: str, style: str | None = None) -> None:
        # work does not end because nobody can hear of it
        with contextlib.suppress(OSError):
            if sys.stderr.isatty():
                self._rich(sys.stderr).print(
                    text, style=style, highlight=False, markup=False, soft_wrap=True
                )
            else:
                sys.stderr.write(text + "\n")
                sys.stderr.flush()

    def _rich(self, file: TextIO) -> RichConsole:
        from rich.console import Console as RichConsole

        return RichConsole(file=file)


class LibraryReporter(Reporter):
    """The reporter of a program that uses the library: nothing is printed unasked. Notes and
    warnings go to the logger `seedcli`, which is silent until the program sets logging up.

    Args:
        progress: True shows bars, on stderr or in a notebook; a function is called with what is
            being done, how much is done, and how much there is (None: nobody knows).
    """

    def __init__(self, progress: bool | OnProgress = False):
        self._progress = progress
        self._log = logging.getLogger("seedcli")
        if not self._log.handlers:  # without one Python writes warnings to stderr
            self._log.addHandler(logging.NullHandler())

    def note(self, text: str) -> None:
        self._log.info(text)

    def warn(self, text: str) -> None:
        self._log.warning(text)

    @contextlib.contextmanager
    def progress(self, description: str, total: int | None = None) -> Iterator[Progress]:
        if self._progress is True:
            from rich.console import Console as RichConsole

            with (
                _Bars(RichConsole(file=sys.stderr)) as bars,
                _BarProgress(description, total, bars) as bar,
            ):
                yield bar
        elif callable(self._progress):
            yield _CallbackProgress(description, total, self._progress)
        else:
            yield Progress(description, total)


class _CallbackProgress(Progress):
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


class _LineProgress(Progress):
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


class _Bars:
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
        self.rich = RichProgress(*columns, console=console, redirect_stdout=takes_stdout)
        self._loggers: list[tuple[logging.StreamHandler, TextIO]] = []

    def __enter__(self) -> _Bars:
        before = sys.stderr
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
            self.rich.live.transient = False
            self.__enter__()


def _stream_handlers() -> Iterator[logging.StreamHandler]:
    """Handlers of all loggers that write to a stream (and not to a file)."""
    loggers = [logging.root, *logging.root.manager.loggerDict.values()]
    for logger in loggers:
        for handler in getattr(logger, "handlers", ()):  # placeholders have none
            if type(handler) is logging.StreamHandler:
                yield handler


class _BarProgress(Progress):
    """One of the bars; one that ends before another does leaves no line."""

    def __init__(self, description: str, total: int | None, bars: _Bars):
        super().__init__(description, total)
        self._bar = bars.rich
        self._task = self._bar.add_task(description, total=total, figures="")

    def __enter__(self) -> _BarProgress:
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


def wrapped(text: str, width: int) -> str:
    """Lines that are too long for a terminal -> lines that end between words. What goes on stands
    below the line's second column where it has one, else below its beginning.
    """
    lines = []
    for line in text.split("\n"):
        if len(line) <= width:
            lines.append(line)
            continue
        column = re.match(r"(\s*\S+(?: \S+)*?\s{2,})\S", line) or re.match(r"(\s*)", line)
        indent = len(column[1]) if column and len(column[1]) <= width // 2 else 0
        lines += textwrap.wrap(
            line,
            width,
            subsequent_indent=" " * indent,
            drop_whitespace=True,
            expand_tabs=False,
            replace_whitespace=False,
            break_long_words=False,  # a path stays whole, to be copied
            break_on_hyphens=False,
        )
    return "\n".join(lines)


def _words(value: Any) -> str:
    """A value of a result for people: no quotes, brackets or None of Python's."""
    match value:
        case None:
            return "none"
        case bool():
            return "yes" if value else "no"
        case float():
            return f"{value:.4g}"
        case list() | tuple():
            return ", ".join(map(_words, value)) or "none"
        case dict():
            return ", ".join(f"{key} {_words(item)}" for key, item in value.items()) or "none"
        case _:
            return str(value)


def _listing(obj: Any) -> str:
    """A plain rendering of nested dictionaries and lists."""

    def lines(value: Any, indent: str) -> Iterator[str]:
        if isinstance(value, dict):
            width = max((len(str(key)) for key in value), default=0)
            for key, item in value.items():
                if isinstance(item, dict) and item:
                    yield f"{indent}{key}"
                    yield from lines(item, indent + "  ")
                else:
                    yield f"{indent}{key!s:<{width}}  {_words(item)}"
        else:
            yield f"{indent}{_words(value)}"

    return "\n".join(lines(obj, ""))


@contextlib.contextmanager
def stdout_named(stdout: TextIO) -> Iterator[None]:
    """Results that cannot be written, to a full disk say, end as DataError; a reader that has gone,
    as BrokenPipeError.
    """
    try:
        yield
    except OSError as error:
        _silence(stdout)
        if isinstance(error, BrokenPipeError):
            raise
        raise DataError(
            f"stdout cannot be written: {error.strerror or error}",
            remedy="send the results somewhere else, with -o or >",
        ) from None


def _silence(stream: TextIO) -> None:
    """Sends what is still buffered in a stream nowhere, so that it cannot fail again at exit."""
    number = _file_descriptor(stream)
    if number is not None:
        with open(os.devnull, "w") as nowhere:
            os.dup2(nowhere.fileno(), number)


def _file_descriptor(stream: TextIO) -> int | None:
    try:
        return stream.fileno()
    except (AttributeError, io.UnsupportedOperation, OSError, ValueError):
        return None


console = Console()
