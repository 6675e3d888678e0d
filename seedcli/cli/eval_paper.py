"""`seed eval paper`: the published tables beside what was measured here."""

from typing import Annotated, Any

from seedcli.cli.terminal import table
from seedcli.console import console
from seedcli.errors import PartialFailure
from seedcli.options import Option
from seedcli.workflows.evaluate.paper_request import PaperRequest


def paper(
    request: PaperRequest,
    everything: Annotated[
        bool, Option("Show every number, those without a result too.", "--all")
    ] = False,
) -> None:
    """Every published number beside ours: 95 % interval, and a verdict where both were measured
    alike; else why not, or what to type.

    Results of `seed eval retrieval`, `clip-similarity`, `caption`, `vqa` and `ablation` are
    read, not computed anew. A result that differs from the published measurement in model,
    split, prompt, preprocessing or decoding gets no verdict. Published numbers that are known
    from memory only ([M]) never count as reached. Numbers of seed-nano are of emoji and stand
    beside, for themselves.

    \b
    Example:
      seed eval paper
      seed eval paper --model seed-nano --run -o runs/paper
      seed eval paper --model seed-2 --dataset coco --dataset flickr30k --data-root ~/data --run --json
    """  # noqa: E501
    from seedcli.workflows.evaluate.paper import run_paper

    card = run_paper(request, reporter=console)
    console.result(card, human=lambda card: show_card(card, everything=everything))
    if card["failed"]:
        named = "".join(f"\n  {one['command']}: {one['reason']}" for one in card["failed"])
        raise PartialFailure(
            f"{len(card['failed'])} of the measurements failed:{named}",
            remedy="each of the commands can be typed alone",
        )


def show_card(card: dict[str, Any], *, everything: bool) -> str:
    """The scorecard for people: tables of what has a result, then in a few lines what has none and
    what to type for it; `everything` puts that into the tables.
    """
    from seedcli.benchmarks.scorecard import ScoreRow, by_table
    from seedcli.workflows.evaluate.scorecard_page import HEAD, card_lines, legend

    rows = [ScoreRow(**row) for row in card["rows"]]
    counts = ", ".join(f"{number} {verdict}" for verdict, number in card["verdicts"].items())
    lines = [f"{card['num_results']} results in {card['results']}; numbers: {counts}"]
    absent = [] if everything else [row for row in rows if row.verdict == "not run"]
    rows = [row for row in rows if row not in absent]
    for title, part in by_table(rows).items():
        shown = card_lines(part)
        head, *laid = table(
            HEAD[:1] + HEAD[3:], [line.cells[:1] + line.cells[3:] for line in shown]
        )
        lines += ["", title, head]
        above: tuple[str, ...] = ()
        for line, row in zip(shown, laid, strict=True):
            if above != (above := line.cells[1:3]):
                lines.append(f"  {', '.join(above)}:")
            why = [*line.reasons, *([line.command] if line.command else [])]
            lines += [row, *(f"    {text}" for text in why)]
    if absent:
        lines += ["", *_without_result(absent)]
    return "\n".join([*lines, "", *legend(rows), *card["files"]]).rstrip()


def _without_result(rows: list[Any]) -> list[str]:
    """What is not measured, a line for each model: whether it could be here, or what it takes."""
    models: dict[str, list[Any]] = {}
    for row in rows:
        if row.command is not None:
            named = row.command.partition("--model ")[2].split()
            models.setdefault(named[0] if named else row.model, []).append(row)
    lines = ["Not measured yet; --all lists every number, --run measures what is here:"]
    for model, mine in sorted(models.items(), key=lambda item: any(row.reasons for row in item[1])):
        reasons = [reason for row in mine for reason in row.reasons]
        pulls = [each.rpartition(": ")[2] for each in reasons if "seed models pull" in each]
        needs = pulls[:1]
        if any("--data-root" in row.command for row in mine):
            needs.append("--data-root DIR")
        if needs:
            typed = f"needs {' and '.join(needs)}"
        elif reasons:
            typed = f"needs {reasons[0]}"
        elif "--model" in mine[0].command:
            typed = f"seed eval paper --model {model} --run"
        else:
            typed = mine[0].command
        sets = ", ".join(dict.fromkeys(row.dataset for row in mine))
        lines.append(f"  {model} on {sets}: {len(mine)} numbers; {typed}")
    if others := sum(row.command is None for row in rows):
        lines.append(f"  {others} numbers of other systems, or of models never published")
    return lines
