"""Workers without a model, for tests of the engines: importable, since they travel to others."""

from __future__ import annotations

import contextlib
import inspect
import os
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from seedcli.errors import DataError

# torch looks where it is called from, when it is imported and when it registers an operator
inspect.getmodule(sys._getframe(), "imported")


@dataclass(frozen=True)
class Squares:
    """Writes the squares of a part's numbers into a file, whole, and says each.

    A number in `deadly` ends the process that comes to it; one in `wrong` is an error.
    """

    folder: Path
    deadly: frozenset[int] = frozenset()
    wrong: frozenset[int] = frozenset()
    pause_s: float = 0.0

    @contextlib.contextmanager
    def __call__(self, place, reporter):
        reporter.note(f"opened at {place.name}")
        inspect.getmodule(sys._getframe(), "of an operator")
        (self.folder / f"opened-{os.getpid()}").touch()
        yield self.compute
        (self.folder / f"closed-{os.getpid()}").touch()

    def compute(self, part: tuple[int, ...]) -> Iterator[int]:
        squares = []
        for number in part:
            time.sleep(self.pause_s)
            if number in self.deadly:
                with open(self.folder / f"died-{number}", "a") as file:
                    file.write("x")
                os._exit(9)
            if number in self.wrong:
                raise DataError(f"{number} is wrong", remedy="another number")
            squares.append(number * number)
            yield squares[-1]
        partial = self.folder / f"{part[0]}.{os.getpid()}"
        partial.write_text(" ".join(map(str, squares)))
        partial.rename(self.folder / f"{part[0]}.txt")
