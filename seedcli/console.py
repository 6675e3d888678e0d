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
import traceback
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any, TextIO

from seedcli.errors import DataError, SeedError
from seedcli.files import json_text
from seedcli.progress import (
    BarProgress,
    Bars,
    CallbackProgress,
    LineProgress,
    OnProgress,
    Progress,
)

if TYPE_CHECKING:
    from rich.console import Console as RichConsole


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


class Remembering(Reporter):
    """Keeps what it is told.

    Attributes:
        told: Notes and warnings in their order.
    """

    def __init__(self) -> None:
        self.told: list[str] = []

    def note(self, text: str) -> None:
        self.told.append(text)

    warn = note


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
        self._bars: Bars | None = None
        self._in_lines = False  # progress that goes to a log is shown

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
                    bars = Bars(self._rich(sys.stderr), takes_stdout=self._results is not None)
                    self._bars = stack.enter_context(bars)
                    stack.callback(setattr, self, "_bars", None)
                yield stack.enter_context(BarProgress(description, total, self._bars))
        else:
            lines, is_step = LineProgress(description, total, self._say), self._in_lines
            self._in_lines = True
            try:
                yield lines
            finally:
                self._in_lines = is_step
            lines.end(is_step=is_step)

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
                Bars(RichConsole(file=sys.stderr)) as bars,
                BarProgress(description, total, bars) as bar,
            ):
                yield bar
        elif callable(self._progress):
            yield CallbackProgress(description, total, self._progress)
        else:
            yield Progress(description, total)


def wrapped(text: str, width: int) -> str:
    """Lines that are too long for a terminal -> lines that end between words. What goes on stands
    below the line's second column where it has one, else below its beginning.
    """
    lines = []
    for line in text.split("\n"):
        if len(line) <= width:
            lines.append(line)
            continue
        column = re.match(r"(\s*\S+(?: \S+)*?\s{2,})\S", line)
        if column is None or len(column[1]) > width // 2:
            column = re.match(r"(\s*)", line)
        indent = len(column[1]) if column else 0
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
