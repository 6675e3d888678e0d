"""`seed eval caption`."""

from typing import Any

from seedcli.cli.eval_tables import give, show_result
from seedcli.console import console
from seedcli.workflows.evaluate.requests import CaptionRequest


def caption(request: CaptionRequest) -> None:
    """Descriptions of pictures against reference captions: CIDEr, BLEU, ROUGE-L; for emoji also the
    rank of the right name.

    Answers are kept in the run's folder; the same command goes on where an interrupted one stopped,
    and scores without asking again.

    \b
    Example:
      seed eval caption
      seed eval caption --dataset coco --data-root ~/data --model seed-llama-8b-sft --words ptb
      seed eval caption --dataset coco --data-root ~/data --model seed-llama-8b-pretrain --shots 2
    """
    from seedcli.workflows.evaluate.run import measure

    result = measure(request, reporter=console)
    give(result, _show_caption, asked="images")


def _show_caption(result: dict[str, Any]) -> str:
    lines = [show_result(result)]
    for name, part in result.get("subsets", {}).items():
        figures = ", ".join(
            f"{metric} {'none' if value is None else f'{value:.1f}'}"
            for metric, value in part["metrics"].items()
        )
        lines.append(f"{name} ({part['num_images']}): {figures}")
    return "\n".join(lines)
