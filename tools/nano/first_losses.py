"""Whether a recipe repeats the first losses of the run that it made.

    python -m tools.nano.first_losses RUN_FOLDER [KEY=VALUE ...]

RUN_FOLDER is a run folder, or its log in the bundle (`seedcli/bundled/nano/training/STAGE`); its
name is the recipe's. The recipe of this checkout is trained, with the given overrides, until it has
logged as far as the first 20 updates (or the run's first line, where it logged less often), and
stopped. Each line of `metrics.jsonl` is a mean since the line before it, so means are compared. Of
a language model's training the first phase is.

Tolerance: 1 % of a loss. On one machine runs are equal bit for bit; other kernels move single
updates in bf16 by some thousandths. Prints one JSON object, and ends with 1 where a loss differs by
more.
"""

from __future__ import annotations

import argparse
import json
import signal
import subprocess
import sys
import tempfile
import time
import tomllib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

UPDATES = 20
TOLERANCE = 0.01
_PHASES = ("text", "lora", "full")  # of a language model, in their order
_COMMANDS = {"pretrain": "pretrain", "instruct": "instruct"}
_LOOK_EVERY_S = 1.0


def find_log(folder: Path) -> Path:
    """Log of a run, or of its first phase, in a run folder or as the bundle keeps it.

    Raises:
        FileNotFoundError: There is none.
    """
    names = ["metrics.jsonl"]
    names += [name for one in _PHASES for name in (f"{one}/metrics.jsonl", f"{one}.metrics.jsonl")]
    for name in names:
        if (folder / name).is_file():
            return folder / name
    raise FileNotFoundError(f"{folder} has no log: none of {', '.join(names)}")


def read_first(log: Path) -> dict[int, float]:
    """Log -> step and mean loss of its lines up to `UPDATES`, at least of its first; a line that is
    not whole yet does not count.
    """
    found: dict[int, float] = {}
    for text in log.read_text(encoding="utf-8").splitlines(keepends=True):
        if not text.endswith("\n"):
            break
        line = json.loads(text)
        if found and line["step"] > UPDATES:
            break
        found[line["step"]] = line["loss"]
    return found


def compare(wanted: dict[int, float], found: dict[int, float]) -> dict[str, Any]:
    """Step -> loss, twice -> both beside each other, the largest difference, and whether that is
    within the tolerance.

    Raises:
        ValueError: They were logged at other steps.
    """
    if wanted.keys() != found.keys():
        raise ValueError(f"logged at {sorted(found)}, the run at {sorted(wanted)}")
    worst = max(abs(found[step] - loss) / abs(loss) for step, loss in wanted.items())
    return {
        "run": wanted,
        "recipe": found,
        "largest_difference": round(worst, 6),
        "repeats": worst <= TOLERANCE,
    }


def train_first(
    folder: Path, wanted: dict[int, float], overrides: Sequence[str]
) -> dict[int, float]:
    """Trains the recipe as far as the run's first lines -> its own.

    Raises:
        RuntimeError: The training ended before.
    """
    made = tomllib.loads((folder / "recipe.resolved.toml").read_text(encoding="utf-8"))
    command = _COMMANDS.get(made["stage"], "train-tokenizer")
    every = f"run.log_every_steps={made['run']['log_every_steps']}"
    with tempfile.TemporaryDirectory() as work:
        output, said = Path(work) / "run", Path(work) / "said"
        with said.open("w") as log:
            training = subprocess.Popen(
                [
                    sys.executable,
                    "-m",
                    "seedcli",
                    command,
                    folder.name,
                    "-o",
                    output,
                    every,
                    *overrides,
                ],
                stdout=log,
                stderr=log,
            )
            try:
                while training.poll() is None:
                    time.sleep(_LOOK_EVERY_S)
                    try:
                        found = read_first(find_log(output))
                    except FileNotFoundError:
                        continue
                    if found.keys() >= wanted.keys():
                        return {step: found[step] for step in wanted}
            finally:
                if training.poll() is None:
                    training.send_signal(signal.SIGTERM)
                training.wait()
        raise RuntimeError(f"the training ended early:\n{said.read_text()[-2000:]}")


def main() -> int:
    """Command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("folder", type=Path, help="run folder, or its log in the bundle")
    parser.add_argument("overrides", nargs="*", help="KEY=VALUE, as the run was given")
    given = parser.parse_args()
    wanted = read_first(find_log(given.folder))
    result = compare(wanted, train_first(given.folder.resolve(), wanted, given.overrides))
    sys.stdout.write(json.dumps({"recipe_name": given.folder.resolve().name, **result}) + "\n")
    return 0 if result["repeats"] else 1


if __name__ == "__main__":
    sys.exit(main())
