"""Errors that a user can cause, each with the exit code that scripts rely on and
the next thing to type.
"""

import difflib
import importlib.util
from collections.abc import Iterable

# What Python says of a value that is not of the shape that its reader takes for granted.
MALFORMED = (
    ValueError,
    TypeError,
    LookupError,
    AttributeError,
    StopIteration,
    OverflowError,
)


def did_you_mean(word: str, known: Iterable[str], *, most: int = 1) -> str:
    """The end of "nothing is called WORD": `; did you mean X?`, or nothing where none is near."""
    near = difflib.get_close_matches(word, list(known), n=most, cutoff=0.5 if most > 1 else 0.6)
    return f"; did you mean {' or '.join(near)}?" if near else ""


class SeedError(Exception):
    """Base of every error that is shown as one message instead of a traceback.

    Args:
        message: What was found and what was expected, with the offending value.
        remedy: What to type or change next; printed on a line of its own.
    """

    exit_code = 1

    def __init__(self, message: str, *, remedy: str | None = None):
        super().__init__(message)
        self.message = message
        self.remedy = remedy


class UsageError(SeedError):
    """Wrong arguments or malformed codes."""

    exit_code = 2


class RecipeError(UsageError):
    """A recipe that does not validate; the message lists every fault of the file."""


class DataError(SeedError):
    """Weights or data that are missing, unreadable or refused."""

    exit_code = 3


class NoSpaceError(DataError):
    """The disk is full; nothing half written is left."""


class PartialFailure(SeedError):
    """The command is done, but some inputs failed; each was named on stderr
    and in the error file.
    """

    exit_code = 4


class NumericalError(SeedError):
    """NaN, a collapsed codebook, or another numerical failure; the message gives advice."""

    exit_code = 5


class Interrupted(SeedError):
    """Ctrl-C or SIGTERM; the message says how to continue."""

    exit_code = 130


def require_package(package: str, *, extra: str, needed_by: str) -> None:
    """Checks that a package of one of our extras is installed, before anything is loaded.

    Raises:
        UsageError: It is not; tells the line to type.
    """
    if importlib.util.find_spec(package) is None:
        raise UsageError(
            f"{needed_by} needs the package {package}, which is not installed",
            remedy=f"pip install 'seedcli[{extra}]'",
        )
