"""What was published of SEED and SEED-LLaMA: `paper_numbers.toml` -> numbers, each with its
evidence and the conditions it holds under.
"""

from __future__ import annotations

import dataclasses
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from functools import cache
from pathlib import Path
from typing import Any, Literal, get_args

from seedcli.recipe.read import leaves

Mark = Literal["S", "P", "T", "M"]
MARKS: dict[Mark, str] = {
    "S": "the document that this project started from",
    "P": "the project page, read",
    "T": "another paper's table that quotes it, read",
    "M": "from memory, unverified",
}
FILE = Path(__file__).with_name("paper_numbers.toml")


@dataclass(frozen=True)
class Protocol:
    """How a number was measured, as far as it is known.

    Attributes:
        name: Of the protocol.
        benchmark: As results call it.
        command: What measures it; `{dataset}`, `{split}`, `{model}` and the keys of a measurement's
            `match` are filled in.
        conditions: Dotted key of a result -> the value it must have.
        without: Dotted keys that a result must not have.
        assumed: Conditions that no publication states.
        note: Where the assumed ones come from, and what is not known at all.
        language_model: Whether a language model takes part.
    """

    name: str
    benchmark: str
    command: str
    conditions: Mapping[str, Any] = field(default_factory=dict)
    without: tuple[str, ...] = ()
    assumed: tuple[str, ...] = ()
    note: str = ""
    language_model: bool = False


@dataclass(frozen=True)
class Measurement:
    """One thing to measure: a protocol on a set.

    Attributes:
        table: Title of the table that it belongs to.
        protocol: How.
        dataset: Name of the set, as `--dataset` takes it.
        title: What tables call the set.
        split: Of the set.
        conditions: Dotted key of a result -> the value it must have: the split's counts, the
            protocol's conditions and the number's own.
        match: Dotted key of a result -> value that tells this measurement from others of
            its protocol on the set.
    """

    table: str
    protocol: Protocol
    dataset: str
    title: str
    split: str
    conditions: Mapping[str, Any]
    match: Mapping[str, Any]

    def command(self, model: str) -> str:
        """The command that measures it with a model."""
        words = {key.rpartition(".")[2]: value for key, value in self.match.items()}
        return self.protocol.command.format(
            dataset=self.dataset, split=self.split, model=model, **words
        )

    @property
    def name(self) -> str:
        """Of a folder for its result."""
        words = [self.protocol.benchmark, self.dataset, self.split, *map(str, self.match.values())]
        return "-".join(word.replace(" ", "_") for word in words)


@dataclass(frozen=True)
class PublishedNumber:
    """A cell of a published table.

    Attributes:
        measurement: What was measured, and how.
        metric: Key of it in a result.
        model: As the table calls it.
        value: In the table's unit: percent, or x100.
        decimals: Digits after the point that were printed.
        mark: How sure we are that it was published so; see MARKS.
        source: Where it was read.
        weights: What `--model` takes to repeat it; None for models that this program does not run.
        absent: Why not.
    """

    measurement: Measurement
    metric: str
    model: str
    value: float
    decimals: int
    mark: Mark
    source: str
    weights: str | None = None
    absent: str = ""


@dataclass(frozen=True)
class PaperNumbers:
    """All of the file.

    Attributes:
        published: In the file's order.
        own: Measurements for a model that nothing was published of.
    """

    published: tuple[PublishedNumber, ...]
    own: tuple[Measurement, ...]


@cache
def read_paper_numbers() -> PaperNumbers:
    """The published numbers that come with this program.

    Raises:
        ValueError: A row has no known mark, neither weights nor a reason for their absence, or
            names what is not there.
    """
    return parse_paper_numbers(FILE.read_text(encoding="utf-8"))


def parse_paper_numbers(text: str) -> PaperNumbers:
    """Text of such a file -> numbers; see `read_paper_numbers`."""
    content = tomllib.loads(text, parse_float=Decimal)
    protocols = {}
    for name, entry in content["protocols"].items():
        lists = {key: tuple(entry.get(key, ())) for key in ("without", "assumed")}
        protocols[name] = Protocol(
            name, **{**entry, **lists, "conditions": flatten(entry.get("conditions", {}))}
        )

    def measurement(
        entry: Mapping[str, Any], dataset: str, split: str | None = None
    ) -> Measurement:
        try:
            known, protocol = content["sets"][dataset], protocols[entry["protocol"]]
        except KeyError as error:
            raise ValueError(
                f"{entry.get('table')}: there is no set or protocol called {error}"
            ) from None
        conditions = {
            **known.get("counts", {}),
            **protocol.conditions,
            **flatten(entry.get("conditions", {})),
        }
        match = flatten(entry.get("match", {}))
        protocol = dataclasses.replace(protocol, command=entry.get("command", protocol.command))
        return Measurement(
            entry["table"],
            protocol,
            dataset,
            known["title"],
            split or known["split"],
            conditions,
            match,
        )

    published = []
    for entry in content["numbers"]:
        where = f"{entry['table']}, {entry['model']}"
        if entry.get("mark") not in get_args(Mark):
            raise ValueError(
                f"{where}: mark {entry.get('mark')!r}, expected one of {', '.join(MARKS)}"
            )
        if ("weights" in entry) == ("absent" in entry):
            raise ValueError(f"{where}: expected either `weights` or why they are `absent`")
        facts = {name: entry.get(name) for name in ("mark", "source", "weights")} | {
            "absent": entry.get("absent", "")
        }
        for dataset, metrics in entry["values"].items():
            for metric, value in metrics.items():
                digits = max(0, -int(Decimal(value).as_tuple().exponent))
                published.append(
                    PublishedNumber(
                        measurement(entry, dataset),
                        metric,
                        entry["model"],
                        float(value),
                        digits,
                        **facts,
                    )
                )
    for protocol in protocols.values():
        asked = {
            key
            for number in published
            if number.measurement.protocol.name == protocol.name
            for key in number.measurement.conditions
        }
        if unknown := set(protocol.assumed) - asked:
            raise ValueError(
                f"protocol {protocol.name} assumes {', '.join(sorted(unknown))}, which "
                "is no condition"
            )
    own = [
        measurement(entry, entry["dataset"], split)
        for entry in content.get("own", ())
        for split in entry["splits"]
    ]
    return PaperNumbers(tuple(published), tuple(own))


def flatten(values: Mapping[str, Any]) -> dict[str, Any]:
    """Nested mappings -> values by dotted key."""
    return {name: value for name, _, value in leaves(values)}
