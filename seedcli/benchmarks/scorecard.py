"""Published numbers beside our results: which belongs to which, whether the two may be compared,
and how they compare. Pure functions.

A result is what every benchmark of `seed eval` writes (`result.json`). It is compared only where it
says of itself all that the number's protocol asks for; what it does not say counts as different.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from seedcli.benchmarks.paper_numbers import Measurement, PaperNumbers, PublishedNumber, flatten

Verdict = Literal["within", "below", "above", "unverified", "not comparable", "not run"]
VERDICTS: dict[Verdict, str] = {
    "within": "the published value lies within our 95 % interval",
    "below": "our whole interval lies below the published value",
    "above": "our whole interval lies above the published value",
    "unverified": "comparable, but the published value is quoted from memory: neither "
    "success nor failure",
    "not comparable": "measured under other conditions",
    "not run": "no result",
}
NANO = "seed-nano"
_ABSENT = object()


@dataclass(frozen=True)
class ScoreRow:
    """A line of the scorecard.

    Attributes:
        table, metric, dataset, split, model: Of the published number; of the result where
            nothing was published.
        published, decimals, mark, source: The number; None where nothing was published.
        ours, interval, chance: Of the result, in the number's unit; None where there is none.
        our_model: What was measured.
        verdict: See VERDICTS.
        reasons: Why not comparable, not run, or what else to know.
        assumed: Conditions that the publication does not state.
        command: What to type for a result that is missing.
        folder: Of the result.
    """

    table: str
    metric: str
    dataset: str
    split: str
    model: str
    verdict: Verdict
    reasons: tuple[str, ...] = ()
    published: float | None = None
    decimals: int = 1
    mark: str | None = None
    source: str | None = None
    ours: float | None = None
    interval: tuple[float, float] | None = None
    chance: float | None = None
    our_model: str | None = None
    assumed: tuple[str, ...] = ()
    command: str | None = None
    folder: str | None = None


@dataclass(frozen=True)
class Missing:
    """A measurement without a result.

    Attributes:
        command: What to type.
        lacks: What is not on this machine, or why it failed; empty where it
            could be measured at once.
    """

    command: str
    lacks: tuple[str, ...] = ()


def place_number(
    published: float, decimals: int, interval: tuple[float, float]
) -> Literal["within", "below", "above"]:
    """Where our interval lies; the published value stands for all that are printed as it is."""
    half = 0.5 * 10.0**-decimals
    low, high = interval
    return "below" if high < published - half else "above" if low > published + half else "within"


def differences(number: PublishedNumber, result: Mapping[str, Any]) -> tuple[str, ...]:
    """Published number, result of the same measurement -> in what conditions they differ, in words;
    nothing where they may be compared.
    """
    measurement, found = number.measurement, []
    asked = {"model": number.weights, "split": measurement.split, **measurement.conditions}
    leaves = flatten(result)
    for key, expected in asked.items():
        value = leaves.get(key, _ABSENT)
        name = key.removeprefix("settings.")
        if value is _ABSENT:
            found.append(f"{name} is not stated, published: {expected}")
        elif value != expected:
            found.append(f"{name} is {value}, published: {expected}")
    unwanted = [key for key in measurement.protocol.without if leaves.get(key) is not None]
    return (
        *found,
        *(f"{key.removeprefix('settings.')} is {leaves[key]}, published: none" for key in unwanted),
    )


def models_of(result: Mapping[str, Any]) -> dict[str, str | None]:
    """Names under which a result has its model, or its models where it compares two -> fingerprint
    of the visual tokenizer.
    """
    if "models" not in result:
        return {result["model"]: result.get("fingerprint")}
    return {
        one[key]: one["fingerprint"]
        for one in result["models"].values()
        for key in ("name", "tokenizer")
    }


def belongs(measurement: Measurement, result: Mapping[str, Any]) -> bool:
    """Whether a result is of this measurement, under whatever conditions."""
    leaves = flatten(result)
    wanted = {
        "benchmark": measurement.protocol.benchmark,
        "dataset": measurement.dataset,
        **measurement.match,
    }
    return all(leaves.get(key, _ABSENT) == value for key, value in wanted.items())


def score_number(
    number: PublishedNumber,
    results: Sequence[Mapping[str, Any]],
    missing: Callable[[PublishedNumber], Missing],
) -> ScoreRow:
    """Published number, all results (the newest first) -> its line; of several results the one that
    differs least is taken.
    """
    measurement = number.measurement
    facts: dict[str, Any] = {
        **{name: getattr(measurement, name) for name in ("table", "dataset", "split")},
        **{
            name: getattr(number, name)
            for name in ("metric", "model", "decimals", "mark", "source")
        },
        "published": number.value,
    }
    if number.weights is None:
        return ScoreRow(**facts, verdict="not run", reasons=(number.absent,))
    mine = [result for result in results if belongs(measurement, result)]
    if not mine:
        lack = missing(number)
        return ScoreRow(**facts, verdict="not run", reasons=lack.lacks, command=lack.command)
    result = min(
        mine,
        key=lambda each: (
            each["metrics"].get(number.metric) is None,
            len(differences(number, each)),
        ),
    )
    facts |= _ours(result, number.metric)
    interval = facts["interval"]
    absent = (
        f"the result has no {number.metric}"
        if facts["ours"] is None
        else None
        if interval
        else "the result has no interval"
    )
    reasons = (*differences(number, result), *([absent] if absent else []))
    if reasons:
        return ScoreRow(**facts, verdict="not comparable", reasons=reasons)
    place = place_number(number.value, number.decimals, interval)
    facts["assumed"] = tuple(
        key.removeprefix("settings.")
        for key in measurement.protocol.assumed
        if key in measurement.conditions
    )
    if number.mark == "M":
        return ScoreRow(**facts, verdict="unverified", reasons=(f"it would be: {place}",))
    return ScoreRow(**facts, verdict=place)


def missing_row(measurement: Measurement, model: str, lack: Missing) -> ScoreRow:
    """A measurement of our own without a result -> its line."""
    facts = {name: getattr(measurement, name) for name in ("table", "dataset", "split")}
    return ScoreRow(
        **facts, metric="", model=model, verdict="not run", reasons=lack.lacks, command=lack.command
    )


def own_rows(result: Mapping[str, Any], numbers: PaperNumbers) -> list[ScoreRow]:
    """A result that no published number is of -> a line for each of its figures, in the table of
    its kind of measurement.
    """
    published = [number.measurement for number in numbers.published]
    alike = [each for each in (*published, *numbers.own) if belongs_elsewhere(each, result)]
    if result["dataset"] == "emoji" and NANO in models_of(result):
        reason = "trained on emoji"
    elif any(belongs(each, result) for each in published):
        reason = "the published models cannot be had"
    else:
        reason = f"nothing was published on {result['dataset']}"
    sizes = [
        f"{result[key]:,} {key.removeprefix('num_')}"
        for key in ("num_images", "num_questions")
        if key in result
    ]
    leaves = flatten(result)
    words = dict.fromkeys(str(leaves[key]) for each in alike for key in each.match)
    facts: dict[str, Any] = {
        **{name: result[name] for name in ("dataset", "split")},
        "table": alike[0].table if alike else result["benchmark"],
        "model": ", ".join([result["model"], *words]),
        "verdict": "not comparable",
        "reasons": (", ".join([reason, *sizes]),),
    }
    return [
        ScoreRow(metric=name, **facts, **_ours(result, name))
        for name, value in result["metrics"].items()
        if value is not None
    ]


def belongs_elsewhere(measurement: Measurement, result: Mapping[str, Any]) -> bool:
    """Whether a result is of this kind of measurement, on whatever set."""
    return belongs(measurement, {**result, "dataset": measurement.dataset})


def score_all(
    numbers: PaperNumbers,
    results: Sequence[Mapping[str, Any]],
    missing: Callable[[PublishedNumber], Missing],
) -> list[ScoreRow]:
    """Numbers and all results (the newest first) -> lines of the published numbers, then those of
    results that none of them is of.

    The latter come in the order of the numbers' own measurements.
    """
    theirs = [number.measurement for number in numbers.published if number.weights is not None]
    others = [result for result in results if not any(belongs(each, result) for each in theirs)]
    rows = [score_number(number, results, missing) for number in numbers.published]
    return rows + [
        row
        for result in sorted(others, key=lambda each: _place(each, numbers.own))
        for row in own_rows(result, numbers)
    ]


def _place(result: Mapping[str, Any], own: Sequence[Measurement]) -> int:
    alike = (
        place
        for place, each in enumerate(own)
        if belongs(each, result) and each.split == result["split"]
    )
    return next(alike, len(own))


def by_table(rows: Sequence[ScoreRow]) -> dict[str, list[ScoreRow]]:
    """Lines -> lines by table, in order of first appearance."""
    tables: dict[str, list[ScoreRow]] = {}
    for row in rows:
        tables.setdefault(row.table, []).append(row)
    return tables


def _ours(result: Mapping[str, Any], metric: str) -> dict[str, Any]:
    interval = (result.get("intervals") or {}).get(metric)
    return {
        "ours": result["metrics"].get(metric),
        "interval": tuple(interval) if interval else None,
        "chance": (result.get("chance") or {}).get(metric),
        "our_model": result["model"],
        "folder": result.get("folder"),
    }
