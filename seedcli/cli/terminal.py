"""What the terminal can do: which picture protocol it speaks, and lines with editing."""

from __future__ import annotations

import contextlib
import os
import sys
import time

ANSWER_WITHIN_S = 0.2


def picture_protocol() -> str | None:
    """`kitty`, `iterm`, `sixel`, or None: by what the terminal says of itself, sixel by asking it
    (primary device attributes).
    """
    name, program = os.environ.get("TERM", ""), os.environ.get("TERM_PROGRAM", "")
    if "TMUX" in os.environ or name.startswith(("screen", "tmux")):
        return None  # multiplexers swallow pictures
    if (
        "KITTY_WINDOW_ID" in os.environ
        or name in ("xterm-kitty", "xterm-ghostty")
        or program == "ghostty"
    ):
        return "kitty"
    if program in ("iTerm.app", "WezTerm", "mintty") or os.environ.get("LC_TERMINAL") == "iTerm2":
        return "iterm"
    return "sixel" if "4" in _device_attributes() else None


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


def read_line(prompt: str) -> str:
    """A line from a person, with the editing and history of readline where it is there.

    Raises:
        EOFError: There are no more lines.
    """
    with contextlib.suppress(ImportError):
        import readline  # noqa: F401 - from here on `input` edits lines
    # `input` edits lines only where stdout is the terminal's own
    with contextlib.redirect_stdout(sys.__stdout__):
        return input(prompt)
