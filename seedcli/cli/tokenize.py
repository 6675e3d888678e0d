"""`seed tokenize`: images -> codes."""

import sys
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from seedcli.console import console
from seedcli.errors import PartialFailure
from seedcli.options import DryRunOption, PageOption
from seedcli.workflows.tokenize.request import TokenizeRequest

if TYPE_CHECKING:
    from seedcli.workflows.tokenize.run import TokenizeSummary

SHOWN = 5  # failed inputs in the last line; each has had a line of its own, unless --quiet


def tokenize(
    request: TokenizeRequest, page: PageOption = None, dry_run: DryRunOption = False
) -> None:
    """Turn images, and frames of videos, into 32 codes each.

    \b
    Examples:
      seed tokenize photo.jpg
      seed tokenize photo.jpg | seed detokenize -o out.png
      seed tokenize photos/ -o codes.jsonl --page codes.html
      seed tokenize clip.mp4 --frames 8
      seed tokenize 'laion/{00000..00127}.tar' -o tokens/ --resume
    """
    from seedcli.workflows.tokenize.page import check_page, write_tokenize_page
    from seedcli.workflows.tokenize.run import plan, run, stream

    if dry_run:
        console.result(plan(request, stdin=sys.stdin))
        return
    stdin: Iterable[str] = sys.stdin
    if page is not None:
        check_page(request, page)
        stdin = list(sys.stdin) if "-" in request.inputs else ()  # they are read twice
    if request.output is not None:
        summary = run(request, stdin=stdin, reporter=console)
        console.result(summary.as_result())
        if page is not None:
            write_tokenize_page(request, page, stdin=stdin, reporter=console)
        refuse_failed(summary, request)
        return
    total = failed = 0
    first_failed: list[str] = []
    with stream(request, stdin=stdin, reporter=console) as codes:
        for outcome in codes.outcomes:
            total += 1
            if outcome.reason is not None:
                failed += 1
                first_failed += [outcome.source] if len(first_failed) < SHOWN else []
                console.warn(f"{outcome.source}: {outcome.reason}")
            elif request.output_format == "tokens":
                console.text(codes.token_text(outcome))
            else:
                console.result(codes.record(outcome), human=_listing)
    if page is not None and failed < total:
        write_tokenize_page(request, page, stdin=stdin, reporter=console)
    if failed:
        named = ", ".join(first_failed) + (f" and {failed - SHOWN} more" if failed > SHOWN else "")
        raise PartialFailure(f"{failed} of {total} images failed: {named}")


def refuse_failed(summary: "TokenizeSummary", request: TokenizeRequest) -> None:
    """Ends the command with exit code 4 where some images failed.

    Raises:
        PartialFailure: There are such.
    """
    if summary.failed:
        raise PartialFailure(
            f"{summary.failed} of {summary.images + summary.failed} images failed; "
            f"{summary.errors} names them",
            remedy="Try them again with --retry-failed." if request.writes_shards else None,
        )


def _listing(record: dict[str, Any]) -> str:
    """For people: the name, and the codes beneath."""
    lines = [record["source"]]
    for frame in record.get("frames", [record]):
        codes = frame["codes"]
        lines += [f"  {frame['time_s']:.3f} s"] if "time_s" in frame else []
        rows = (codes[start : start + 16] for start in range(0, len(codes), 16))
        lines += ("  " + " ".join(f"{code:5d}" for code in row) for row in rows)
    return "\n".join(lines)
