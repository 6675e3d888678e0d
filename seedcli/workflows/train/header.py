"""What a training says before it begins: which recipe, on what, how long, and where it goes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

_SHOWN = 4  # sources; of more the heaviest


def header(command: str, recipe: Any, folder: Path) -> str:
    """Recipe and run folder -> a few lines for people."""
    lines = [f"seed {command} {recipe.name}"]
    for name, section in [*recipe, ("", recipe)]:
        if hasattr(section, "data"):
            lines.append(f"  data{f' of {name}' if name else ''}: {_data(section.data)}")
    lengths = [f"{name} {_length(section)}" for name, section in recipe.lengths.items()]
    lines += [
        f"  length: {', '.join(lengths)}",
        f"  into: {folder}, a checkpoint every {recipe.run.checkpoint_every_steps:,} updates",
    ]
    if recipe.run.tracker == "tensorboard":
        lines.append(f"  to look on: tensorboard --logdir {folder}")
    return "\n".join(lines)


def _length(optimization: Any) -> str:
    if hasattr(optimization, "batch_tokens"):
        return f"{optimization.steps:,} updates of {optimization.batch_tokens:,} tokens"
    return f"{optimization.steps:,} updates of {optimization.batch_size:,} images"


def _data(data: Any) -> str:
    """A data section -> its sources, with their shares where there are several."""
    sources = list(getattr(data, "sources", (data,)))
    names = [_name(source) for source in sources]
    weights = [getattr(source, "weight", 1.0) for source in sources]
    if len(names) == 1:
        return names[0]
    heaviest = sorted(zip(weights, names, strict=True), key=lambda pair: -pair[0])
    shown = [f"{name} {weight / sum(weights):.0%}" for weight, name in heaviest[:_SHOWN]]
    more = len(names) - _SHOWN
    return ", ".join(shown) + (f", and {more} more" if more > 0 else "")


def _name(source: Any) -> str:
    kind = getattr(source, "kind", "")
    return f"{kind} {source.path}" if kind.startswith("emoji") else str(source.path)
