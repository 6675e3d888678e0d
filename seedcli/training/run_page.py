"""How a run went, for people: its curves, and held-out pictures as they were drawn at each
examination, in `losses.png` and one page that can be taken elsewhere.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from seedcli.data.images.page import heading, table, wide_picture, write_page
from seedcli.files import parse_json
from seedcli.training.run_folder import plot_metrics, read_metrics

PAGE = "index.html"
MOST_SHEETS = 12  # of the page, spread over the run; all lie in sheets/


def write_run_page(folder: Path) -> Path | None:
    """A run folder -> its `losses.png` and `index.html`; None where nothing was logged yet.

    Raises:
        ImageError: A sheet of pictures is damaged.
        ValueError: `run.json` is.
    """
    plot = plot_metrics(folder)
    if plot is None:
        return None
    lines = read_metrics(folder)
    found = sorted((folder / "sheets").glob("step-*.png"))
    spread = {round(at * (len(found) - 1) / (MOST_SHEETS - 1)) for at in range(MOST_SHEETS)}
    shown = found if len(found) <= MOST_SHEETS else [found[at] for at in sorted(spread)]
    sections = [heading("Curves"), wide_picture(plot, "Figures over the steps of the run")]
    if shown:
        words = "Held-out pictures, and beneath them what was drawn of them at that step."
        if len(shown) < len(found):
            words += f" {len(shown)} of {len(found)} sheets; the others lie in sheets/."
        sections.append(heading("Pictures", words))
        for path in shown:
            step = int(re.findall(r"\d+", path.stem)[0])
            sections += [f"<h3>Step {step:,}</h3>", wide_picture(path, f"Pictures at step {step}")]
    last = {name: value for line in lines for name, value in line.items()}
    rows = [[name, _number(value)] for name, value in last.items()]
    sections += [heading("Last figures"), table(["figure", "value"], rows)]
    write_page(folder / PAGE, f"Training {folder.name}", _facts(folder, lines), sections)
    return folder / PAGE


def _facts(folder: Path, lines: list[dict[str, Any]]) -> list[str]:
    facts = [f"step {lines[-1]['step']:,}"]
    # phases of a language model lie within the folder of their run
    for place in (folder / "run.json", folder.parent / "run.json"):
        if place.is_file():
            start = parse_json(place.read_bytes())[-1]
            facts.append("command: " + " ".join(["seed", *start["command"][1:]]))
            facts.append(f"seedcli {start['seedcli']}, commit {start['git_commit'] or 'unknown'}")
            return facts
    return facts


def _number(value: Any) -> str:
    return f"{value:.6g}" if isinstance(value, float) else str(value)
