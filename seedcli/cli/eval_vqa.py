"""`seed eval vqa`."""

from typing import Any

from seedcli.cli.eval_tables import give, interval_words, show_result
from seedcli.console import console
from seedcli.workflows.evaluate.requests import VqaRequest


def vqa(request: VqaRequest) -> None:
    """Questions about pictures and videos: accuracy over all and by kind, beside that of
    answering without a look.

    A FILE is a JSON list, or JSON Lines, of {"image" or "images", "question", "answer" or
    "answers", "choices"?, "kind"?, "key"?}; an image that is a folder is a video. Answers are kept
    in the run's folder; the same command goes on where an interrupted one stopped.

    \b
    Under --data-root, as published:
      vqav2/       v2_OpenEndedQuestions_mscoco_val2014_questions.json, v2_mscoco_val2014_annotations.json, val2014/
      okvqa/       OpenEnded_mscoco_val2014_questions.json, mscoco_val2014_annotations.json; pictures also in coco/val2014/
      vizwiz/      Annotations/val.json, val/
      seed-bench/  SEED-Bench.json, SEED-Bench-image/
      msvd/        test_qa.json, frames/vid1451/
      msrvtt/      test_qa.json, frames/video7010/
      nextqa/      test.csv (open or multiple choice), frames/4010069381/

    \b
    Example:
      seed eval vqa
      seed eval vqa --by likelihood --limit 200
      seed eval vqa --dataset vqav2 --data-root ~/data --model seed-llama-8b-sft
      seed eval vqa --dataset seed-bench --data-root ~/data --model seed-llama-8b-sft
    """  # noqa: E501
    from seedcli.workflows.evaluate.run import measure

    result = measure(request, reporter=console)
    give(result, _show_vqa, asked="questions")


def _show_vqa(result: dict[str, Any]) -> str:
    if "submission" in result:
        return (
            f"{show_result(result)}\nthis split's answers are kept by its evaluation server, which "
            f"takes {result['submission']}"
        )
    rows = [["answered without a look", f"{result['majority']['accuracy']:.2f}", "", ""]]
    for kind, part in result.get("kinds", {}).items():
        name = f"{kind or 'no kind'}, {part['num_questions']} questions"
        ends = interval_words(part["intervals"]["accuracy"])
        blind = f"{part['majority']['accuracy']:.2f}"
        rows += [
            [name, f"{part['metrics']['accuracy']:.2f}", ends, ""],
            ["  without a look", blind, "", ""],
        ]
    return show_result(result, rows)
