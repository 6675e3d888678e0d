"""The lower bounds of pyproject.toml as pins, for the run that proves them (`make test-lowest`).

`python tools/floors.py > floors.txt`, then `pip install -c floors.txt '.[dev]'`: pip reads the pins
as constraints, so a bound that another package cannot live with fails the installation.
"""

from __future__ import annotations

import re
import tomllib
from itertools import chain
from pathlib import Path

PROJECT = tomllib.loads((Path(__file__).parents[1] / "pyproject.toml").read_text())["project"]


def floors() -> list[str]:
    """`name==bound` for each requirement of the package and of its extras."""
    wanted = [*PROJECT["dependencies"], *chain(*PROJECT["optional-dependencies"].values())]
    found = (re.match(r"([\w.-]+)(?:\[\w+\])?>=([\w.]+)", each) for each in wanted)
    return sorted({f"{match[1]}=={match[2]}" for match in found if match})


if __name__ == "__main__":
    print("\n".join(floors()))  # noqa: T201 - the result
