"""How the results of `seed eval` are shown. One file per benchmark has its command."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from seedcli.benchmarks.metric_words import metric_words
from seedcli.console import console
from seedcli.errors import PartialFailure


def give(
    result: dict[str, Any],
    human: Callable[[dict[str, Any]], str],
    *,
    asked: str | None = None,
) -> None:
    """Gives what a benchmark measured; what a task of an array job did is no measurement yet.

    Args:
        result: The envelope.
        human: The envelope for people.
        asked: What was asked of a model, where some could not be.

    Raises:
        PartialFailure: Some could not; it ends the command with exit code 4.
    """
    is_part = "part" in result
    console.result(result, human=None if is_part else human)
    if asked is not None and not is_part:
        _tell_failed(result, asked)


def _tell_failed(result: dict[str, Any], what: str) -> None:
    if result["num_failed"]:
        raise PartialFailure(
            f"{result['num_failed']} of {result[f'num_{what}']} {what} could not be asked, and "
            f"count as wrong; {result['folder']}/samples.jsonl says why (failed)"
        )


def show_result(result: dict[str, Any]) -> str:
    """An envelope -> lines for people: each metric with its interval and, where it is known,
    what chance would reach.
    """
    counts = ", ".join(
        f"{value:,} {name.removeprefix('num_')}"
        for name, value in result.items()
        if name.startswith("num_")
    )
    lines = [f"{result['benchmark']}: {result['dataset']} {result['split']}, {counts}"]
    lines.append(
        f"{result['model']} ({result['fingerprint'] or 'without fingerprint'}), answers in "
        f"{result['folder']}"
    )
    chance = result.get("chance", {})
    lines.append(f"{'':<28}{'':>9}  {'95 % interval':>18}" + (f"{'chance':>9}" if chance else ""))
    for name, value in result["metrics"].items():
        shown = metric_words(name)
        interval = result["intervals"].get(name)
        ends = "" if interval is None else f"{interval[0]:.2f} .. {interval[1]:.2f}"
        by_chance = f"{chance[name]:>9.2f}" if chance.get(name) is not None else ""
        figure = "none" if value is None else f"{value:.2f}"
        lines.append(f"{shown:<28}{figure:>9}  {ends:>18}{by_chance}".rstrip())
    if result.get("published_split") is False:
        lines.append("not the published split: do not compare with published numbers")
    return "\n".join(lines)
