"""`seed eval clip-similarity`: drawn pictures against true ones, under a CLIP model."""

from typing import Any

from seedcli.cli.eval_tables import give, show_result
from seedcli.console import console
from seedcli.workflows.evaluate.requests import SimilaritySettings


def clip_similarity(settings: SimilaritySettings) -> None:
    """Similarity of drawn pictures to the true ones and to their captions, x100,
    with the level of chance.

    Pictures, answers and a page that shows them (index.html) are kept in a folder; a run that was
    stopped goes on where it was. Without sampling options decoding is that of the official
    evaluation: 4 beams, temperature 0 (its pictures: --negative unconditional --picture-guidance
    5). With --task image, --model is a visual tokenizer.

    \b
    Examples:
      seed eval clip-similarity --limit 50
      seed eval clip-similarity --task image --ceiling
      seed eval clip-similarity --dataset coco --data-root ~/data --model seed-llama-8b-sft -o runs/coco
    """  # noqa: E501
    from seedcli.workflows.evaluate.run import measure

    give(measure(settings, reporter=console), _show)


def _show(result: dict[str, Any]) -> str:
    lines = [
        show_result(result),
        (
            f"judge {result['judge']['name']}; clip_* x100, valid in percent of answers; pictures: "
            f"{result['sheet']}"
        ),
    ]
    lines += [
        (
            f"{name}, {part['num_images']} images: clip_i {part['metrics']['clip_i']:.2f}, clip_t "
            f"{part['metrics']['clip_t']:.2f}"
        )
        for name, part in result["subsets"].items()
        if part["metrics"]["clip_i"] is not None
    ]
    return "\n".join(lines)
