"""How the results of `seed eval` are shown. One file per benchmark has its command."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from seedcli.benchmarks.metric_words import metric_words
from seedcli.cli.terminal import table
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


def interval_words(interval: Sequence[float] | None) -> str:
    """An interval, for people."""
    return "" if interval is None else f"{interval[0]:.2f} .. {interval[1]:.2f}"


def show_result(result: dict[str, Any], more: Sequence[Sequence[str]] = ()) -> str:
    """An envelope -> lines for people: each metric with its interval and, where it is known,
    what chance would reach; `more` are rows below.
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
    rows = [
        [
            metric_words(name),
            "none" if value is None else f"{value:.2f}",
            interval_words(result["intervals"].get(name)),
            "" if chance.get(name) is None else f"{chance[name]:.2f}",
        ]
        for name, value in result["metrics"].items()
    ]
    head = ["metric", "value", "95 % interval", "chance" if chance else ""]
    lines += table(head, [*rows, *more], figures=(1, 2, 3))
    if result.get("published_split") is False:
        lines.append("not the published split: do not compare with published numbers")
    return "\n".join(lines)
