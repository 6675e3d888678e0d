"""What the terminal can do: which picture protocol it speaks, and lines with editing."""

from __future__ import annotations

import contextlib
import os
import shutil
import sys
import time
from collections.abc import Callable
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
