"""VQA accuracy and both steps of its normalisation equal those of the official
evaluation, item by item.
"""

import json
from pathlib import Path

import pytest

from seedcli.benchmarks.vqa import (
    compared_answers,
    normalize_prediction,
    normalize_words,
    strip_punctuation,
    vqa_accuracy,
)

VQA = json.loads((Path(__file__).parent / "data" / "vqa_caption_metrics.json").read_text())["vqa"]


@pytest.mark.parametrize(
    "item", VQA["items"], ids=lambda item: f"{item['question_id']}-{item['prediction']}"
)
def test_every_question(item):
    assert normalize_prediction(item["prediction"]) == item["prediction_normalised"]
    assert compared_answers(item["answers"]) == item["answers_as_compared"]
    # the fixture has 8 decimals
    assert vqa_accuracy(item["prediction"], item["answers"]) == pytest.approx(
        item["accuracy"], abs=1e-8
    )


def test_overall_and_by_type():
    scores = [vqa_accuracy(item["prediction"], item["answers"]) for item in VQA["items"]]
    assert 100 * sum(scores) / len(scores) == pytest.approx(VQA["overall_unrounded"], abs=1e-9)
    for key, part in (("question_type", "perQuestionType"), ("answer_type", "perAnswerType")):
        kinds: dict[str, list[float]] = {}
        for item, score in zip(VQA["items"], scores, strict=True):
            kinds.setdefault(item[key], []).append(100 * score)
        ours = {kind: round(sum(each) / len(each), 2) for kind, each in kinds.items()}
        assert ours == VQA["overall"][part]


@pytest.mark.parametrize("case", VQA["normalisation_only"], ids=lambda case: case["text"])
def test_both_steps(case):
    assert strip_punctuation(case["text"]) == case["after_punctuation"]
    assert (
        normalize_words(strip_punctuation(case["text"]))
        == case["after_punctuation_then_digit_article"]
    )
