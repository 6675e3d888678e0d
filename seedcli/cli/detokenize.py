"""`seed detokenize`: draw pictures from codes."""

import sys
from typing import TYPE_CHECKING, Any

from seedcli.cli.terminal import ShowOption, shown_by
from seedcli.console import console
from seedcli.options import DryRunOption
from seedcli.workflows.detokenize.request import DetokenizeRequest

if TYPE_CHECKING:
    from seedcli.data.images.terminal import PictureProtocol

SHOWN = 4  # pictures that a terminal shows of one call; the others are only named


def detokenize(
    request: DetokenizeRequest, show: ShowOption = "auto", dry_run: DryRunOption = False
) -> None:
    """Draw pictures from codes, as `seed tokenize` printed them.

    Picture i is drawn with seed + i; its PNG carries the codes, the model and the seed
    that it was drawn from.

    \b
    Example:
      seed tokenize img.jpg | seed detokenize -o out.png
      seed detokenize codes.jsonl -o pictures --steps 20 --guidance 5
      seed detokenize codes.jsonl -o completed --codes-only 8 --fill llm
    """
    from seedcli.workflows.detokenize.draw import draw
    from seedcli.workflows.detokenize.run import plan

    planned = plan(request, stdin=sys.stdin.buffer, reporter=console)
    if dry_run:
        console.result(planned.summary())
        return
    people = not console.results_are_json
    for number, result in enumerate(draw(planned, reporter=console)):
        if people and number < SHOWN and (protocol := shown_by(show)):
            console.stream(_before_and_after(result, protocol))
        console.result(
            result,
            human=lambda result: (
                f"{result['output']}  seed {result['seed']}"
                + ("  (kept)" if "kept" in result else "")
            ),
        )


def _before_and_after(result: dict[str, Any], protocol: "PictureProtocol") -> str:
    """A drawn picture for a terminal, beside the one that its codes were made of where it is still
    there.
    """
    from seedcli.data.images.images import ImageError
    from seedcli.data.images.terminal import side_by_side, terminal_image

    source, drawn = result["source"], result["output"]
    try:
        pictures = side_by_side([drawn] if source is None else [source, drawn])
    except ImageError:  # the source is gone, or a row of a table
        pictures = side_by_side([drawn])
    return terminal_image(pictures, protocol)
