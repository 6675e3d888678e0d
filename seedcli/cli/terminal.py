"""What the terminal can do: which picture protocol it speaks, lines with editing, tables of its
width.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import sys
import textwrap
import time
from collections.abc import Callable, Container, Iterator, Sequence
from itertools import zip_longest
from typing import TYPE_CHECKING, Annotated, Literal
from unicodedata import east_asian_width

from seedcli.options import Option

if TYPE_CHECKING:
    from seedcli.data.images.terminal import PictureProtocol

ShowHow = Literal["auto", "kitty", "iterm", "sixel", "blocks", "no"]
ShowOption = Annotated[
    ShowHow,
    Option(
        "How a terminal shows pictures: in its own protocol, or in blocks of colour; auto looks "
        "at it."
    ),
]

ANSWER_WITHIN_S = 0.2


def picture_protocol() -> PictureProtocol | None:
    """How pictures are shown: `kitty`, `iterm` or `sixel` by what the terminal says of itself
    (sixel by asking it for its primary device attributes), else `blocks` of colour. None for
    terminals without 24-bit colour.
    """
    name, program = os.environ.get("TERM", ""), os.environ.get("TERM_PROGRAM", "")
    if name in ("", "dumb", "linux") or (program == "Apple_Terminal" and not _says_true_color()):
        return None
    if "TMUX" in os.environ or name.startswith(("screen", "tmux")):
        return "blocks"  # multiplexers swallow pictures
    if (
        "KITTY_WINDOW_ID" in os.environ
        or name in ("xterm-kitty", "xterm-ghostty")
        or program == "ghostty"
    ):
        return "kitty"
    if program in ("iTerm.app", "WezTerm", "mintty") or os.environ.get("LC_TERMINAL") == "iTerm2":
        return "iterm"
    return "sixel" if "4" in _device_attributes() else "blocks"


def shown_by(wanted: ShowHow) -> PictureProtocol | None:
    """What `--show` says -> protocol; None where nothing is shown."""
    return picture_protocol() if wanted == "auto" else None if wanted == "no" else wanted


def _says_true_color() -> bool:
    return os.environ.get("COLORTERM") in ("truecolor", "24bit")


def _device_attributes() -> list[str]:
    """The terminal's answer to DA1; 4 among the numbers means sixel. Empty where
    nobody answers in time.
    """
    if os.environ.get("TERM", "dumb") == "dumb" or not (sys.stdin.isatty() and sys.stderr.isatty()):
        return []
    try:
        import select
        import termios
        import tty
    except ImportError:  # Windows
        return []
    source = sys.stdin.fileno()
    before = termios.tcgetattr(source)
    answer = b""
    try:
        tty.setcbreak(source)
        sys.stderr.write("\x1b[c")
        sys.stderr.flush()
        end = time.monotonic() + ANSWER_WITHIN_S
        while not answer.endswith(b"c") and (left := end - time.monotonic()) > 0:
            if select.select([source], [], [], left)[0]:
                answer += os.read(source, 64)
    finally:
        termios.tcsetattr(source, termios.TCSADRAIN, before)
    return answer.decode("ascii", "replace").removeprefix("\x1b[?").removesuffix("c").split(";")


def read_line(prompt: str, complete: Callable[[str], list[str]]) -> str:
    """A line from a person, with the editing, history and Tab of readline where it is there.

    Args:
        prompt: Stands before it.
        complete: What has been typed -> lines that it may become.

    Raises:
        EOFError: There are no more lines.
    """
    with contextlib.suppress(ImportError):
        import readline  # from here on `input` edits lines

        readline.set_completer_delims("")  # the completer sees the whole line
        readline.set_completer(lambda line, n: (complete(line)[n:] or [None])[0])
        is_libedit = getattr(readline, "backend", "readline") == "editline"
        readline.parse_and_bind("bind ^I rl_complete" if is_libedit else "tab: complete")
    # `input` edits lines only where stdout is the terminal's own
    with contextlib.redirect_stdout(sys.__stdout__):
        return input(prompt)


def table(
    head: Sequence[str], rows: Sequence[Sequence[str]], *, figures: Container[int] = ()
) -> list[str]:
    """Cells -> lines that fit the terminal: where it is too narrow, the words of heads above
    figures stand below each other, then those of the widest columns.

    Args:
        head: Names of the columns.
        rows: Cells of each row.
        figures: Columns that stand at the right and whose cells, but for the head's, stay whole.

    Returns:
        The head and then each row, which may have several lines.
    """
    cells = [head, *rows]
    columns = range(len(head))
    widths = [max(len(row[column]) for row in cells) for column in columns]
    least = [
        max(
            len(part)
            for row in cells
            for part in (
                [row[column]] if column in figures and row is not head else row[column].split()
            )
            or [""]
        )
        for column in columns
    ]
    room = shutil.get_terminal_size().columns - 2 * len(columns[1:])
    while sum(widths) > room and (wide := [each for each in columns if widths[each] > least[each]]):
        widths[max(wide, key=lambda each: (each in figures, widths[each]))] -= 1

    def lines(row: Sequence[str]) -> Iterator[str]:
        broken = [
            textwrap.wrap(cell, width or 1, break_long_words=False, break_on_hyphens=False)
            for cell, width in zip(row, widths, strict=True)
        ]
        for parts in zip_longest(*broken, fillvalue=""):
            yield "  ".join(
                part.rjust(width) if column in figures else part.ljust(width)
                for column, part, width in zip(columns, parts, widths, strict=True)
            ).rstrip()

    return ["\n".join(lines(row)) for row in cells]


class WordWrap:
    """Text that grows -> lines of a terminal, broken between words. A word is written when it is
    whole.
    """

    def __init__(self, write: Callable[[str], None], width: int | None = None):
        """Begins a line.

        Args:
            write: Takes what is written.
            width: Columns; None for the terminal's.
        """
        self._write = write
        self._width = width or shutil.get_terminal_size().columns
        self._column, self._space, self._word = 0, "", ""

    def add(self, text: str) -> None:
        """Writes the words that end in `text`."""
        for char in text:
            if not char.isspace():
                self._word += char
                continue
            self._end_word()
            if char == "\n" and self._column:
                self._break()
            elif self._column:
                self._space += char

    def end_line(self) -> None:
        """Writes what is left and ends the line, if one was begun."""
        self._end_word()
        if self._column:
            self._break()

    def _end_word(self) -> None:
        if not self._word:
            return
        columns = sum(1 + (east_asian_width(char) in "WF") for char in self._word)
        if self._column and self._column + len(self._space) + columns > self._width:
            self._break()
        self._write(self._space + self._word)
        self._column += len(self._space) + columns
        self._space = self._word = ""

    def _break(self) -> None:
        self._write("\n")
        self._column, self._space = 0, ""
