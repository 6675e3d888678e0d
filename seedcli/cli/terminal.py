"""What the terminal can do: which picture protocol it speaks, and lines with editing."""

from __future__ import annotations

import contextlib
import os
import sys
import time
from typing import TYPE_CHECKING, Annotated, Literal

import typer

if TYPE_CHECKING:
    from seedcli.data.images.terminal import PictureProtocol

ShowHow = Literal["auto", "kitty", "iterm", "sixel", "blocks", "no"]
ShowOption = Annotated[
    ShowHow,
    typer.Option(
        "--show",
        help="How a terminal shows pictures: in its own protocol, or in blocks of colour; auto "
        "looks at it.",
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
