"""Verdicts on made-up results: what is compared, what is refused and why."""

import dataclasses

import pytest

from seedcli.benchmarks.paper_numbers import Measurement, PaperNumbers, Protocol, PublishedNumber
from seedcli.benchmarks.scorecard import (
    Missing,
    differences,
    missing_row,
    models_of,
    place_number,
    score_all,
    score_number,
)

PROTOCOL = Protocol(
    "describe",
    "caption",
    "seed eval caption --dataset {dataset} --model {model}",
    assumed=("settings.prompt",),
)
CONDITIONS = {
    "num_images": 5000,
    "settings.prompt": "Describe.",
    "settings.decoding.num_beams": 5,
    "settings.preprocess.geometry": "squash",
}
MEASUREMENT = Measurement(
    "Understanding", PROTOCOL, "coco", "COCO", "test", CONDITIONS, {"settings.feature": "codes"}
)
NUMBER = PublishedNumber(
    MEASUREMENT, "cider", "SEED-LLaMA-I 8B", 124.5, 1, "T", "a table", weights="seed-llama-8b-sft"
)
RESULT = {
    "benchmark": "caption",
    "dataset": "coco",
    "split": "test",
    "model": "seed-llama-8b-sft",
    "num_images": 5000,
    "metrics": {"cider": 124.0, "bleu_4": 30.0},
    "intervals": {"cider": [122.0, 126.0]},
    "chance": {"cider": 3.0},
    "settings": {
        "prompt": "Describe.",
        "feature": "codes",
        "decoding": {"num_beams": 5, "seed": 0},
        "preprocess": {"geometry": "squash"},
    },
    "folder": "runs/eval/caption",
}


def lacking(number):
    return Missing(number.measurement.command(number.weights), ("weights",))


def changed(path, value):
    """The result with one leaf changed, or removed for None."""
    result = {
        key: dict(inner) if isinstance(inner, dict) else inner for key, inner in RESULT.items()
    }
    place, (*outer, last) = result, path.split(".")
    for key in outer:
        place[key] = dict(place[key])
        place = place[key]
    if value is None:
        del place[last]
    else:
        place[last] = value
    return result


def score(*results, number=NUMBER):
    return score_number(number, results, lacking)


@pytest.mark.parametrize(
    ("interval", "verdict"),
    [
        ((122.0, 126.0), "within"),
        ((124.54, 126.0), "within"),  # 124.5 may have been 124.54
        ((124.6, 126.0), "above"),
        ((120.0, 124.46), "within"),
        ((120.0, 124.4), "below"),
        ((124.5, 124.5), "within"),
    ],
)
def test_where_our_interval_lies(interval, verdict):
    assert place_number(124.5, 1, interval) == verdict
    row = score(changed("intervals.cider", list(interval)))
    assert (row.verdict, row.interval, row.reasons) == (verdict, interval, ())


def test_a_comparable_result_states_what_it_stands_on():
    row = score(RESULT)
    assert (row.published, row.mark, row.ours, row.interval, row.chance) == (
        124.5,
        "T",
        124.0,
        (122.0, 126.0),
        3.0,
    )
    assert row.assumed == ("prompt",)
    assert (row.our_model, row.folder, row.command) == (
        "seed-llama-8b-sft",
        "runs/eval/caption",
        None,
    )


@pytest.mark.parametrize(
    ("path", "value", "reason"),
    [
        ("model", "mine", "model is mine, published: seed-llama-8b-sft"),
        ("split", "val", "split is val, published: test"),
        ("num_images", 500, "num_images is 500, published: 5000"),
        ("settings.prompt", "What is it?", "prompt is What is it?, published: Describe."),
        ("settings.decoding.num_beams", 1, "decoding.num_beams is 1, published: 5"),
        (
            "settings.preprocess.geometry",
            "center-crop",
            "preprocess.geometry is center-crop, published: squash",
        ),
        ("settings.prompt", None, "prompt is not stated, published: Describe."),
        ("settings.decoding", None, "decoding.num_beams is not stated, published: 5"),
        ("intervals.cider", None, "the result has no interval"),
        ("metrics.cider", None, "the result has no cider"),
    ],
)
def test_other_conditions_are_named_and_not_compared(path, value, reason):
    row = score(changed(path, value))
    assert (row.verdict, row.reasons) == ("not comparable", (reason,))


def test_what_must_not_be_there_is_named():
    protocol = dataclasses.replace(PROTOCOL, without=("settings.decoding.quantize",))
    number = dataclasses.replace(
        NUMBER, measurement=dataclasses.replace(MEASUREMENT, protocol=protocol)
    )
    assert differences(number, RESULT) == ()
    assert differences(number, changed("settings.decoding.quantize", "4bit")) == (
        "decoding.quantize is 4bit, published: none",
    )


def test_a_result_of_two_models_has_the_names_of_both():
    both = {
        "causal": {"name": "llm", "tokenizer": "eyes", "fingerprint": "f"},
        "bilateral": {"name": "twin", "tokenizer": "others"},
    }
    both["bilateral"]["fingerprint"] = "g"
    assert models_of(RESULT | {"models": both}) == {
        "llm": "f",
        "eyes": "f",
        "twin": "g",
        "others": "g",
    }
    assert models_of(RESULT | {"fingerprint": "h"}) == {"seed-llama-8b-sft": "h"}


def test_every_difference_is_named():
    result = changed("split", "val") | {"num_images": 7}
    assert differences(NUMBER, result) == (
        "split is val, published: test",
        "num_images is 7, published: 5000",
    )


def test_numbers_from_memory_never_succeed():
    remembered = dataclasses.replace(NUMBER, mark="M")
    row = score(RESULT, number=remembered)
    assert (row.verdict, row.ours, row.reasons) == ("unverified", 124.0, ("it would be: within",))
    assert score(changed("model", "mine"), number=remembered).verdict == "not comparable"


@pytest.mark.parametrize(
    ("path", "value"),
    [("benchmark", "vqa"), ("dataset", "flickr30k"), ("settings.feature", "causal")],
)
def test_results_of_other_measurements_do_not_count(path, value):
    row = score(changed(path, value))
    assert (row.verdict, row.reasons) == ("not run", ("weights",))
    assert row.command == "seed eval caption --dataset coco --model seed-llama-8b-sft"
    assert row.ours is None


def test_of_several_results_the_nearest_is_taken_then_the_newest():
    far, newer = changed("settings.prompt", "What?"), changed("intervals.cider", [124.0, 125.0])
    assert score(far, RESULT).ours == 124.0 and score(far, RESULT).verdict == "within"
    assert score(newer, RESULT).interval == (124.0, 125.0)
    unscored = changed("metrics.cider", None)
    assert score(unscored, far).reasons == ("prompt is What?, published: Describe.",)


def test_models_that_cannot_be_run_are_for_scale():
    other = dataclasses.replace(NUMBER, weights=None, absent="another system")
    row = score(RESULT, number=other)
    assert (row.verdict, row.reasons, row.ours, row.command) == (
        "not run",
        ("another system",),
        None,
        None,
    )


def test_results_of_no_published_set_stand_beside():
    nano = changed("dataset", "emoji") | {"model": "seed-nano", "split": "unseen"}
    mine = nano | {"model": "mine", "benchmark": "puzzle"}
    rows = score_all(PaperNumbers((NUMBER,), ()), [RESULT, nano, mine], lacking)
    assert [(row.metric, row.verdict, row.table) for row in rows] == [
        ("cider", "within", "Understanding"),
        ("cider", "not comparable", "Understanding"),
        ("bleu_4", "not comparable", "Understanding"),
        ("cider", "not comparable", "puzzle"),
        ("bleu_4", "not comparable", "puzzle"),
    ]
    assert (
        rows[1].reasons == ("trained on emoji, 5,000 images",)
        and rows[1].published is None
        and rows[1].model == "seed-nano, codes"
    )
    assert rows[3].reasons == ("nothing was published on emoji, 5,000 images",)
    absent = PaperNumbers((dataclasses.replace(NUMBER, weights=None, absent="gone"),), ())
    gone, *beside = score_all(absent, [RESULT], lacking)
    assert gone.reasons == ("gone",)
    assert [row.reasons for row in beside] == [
        ("the published models cannot be had, 5,000 images",)
    ] * 2


def test_what_is_missing_of_our_own_has_its_command():
    row = missing_row(
        MEASUREMENT, "seed-nano", Missing("seed eval caption", ("no language model",))
    )
    assert (row.verdict, row.command, row.reasons, row.published) == (
        "not run",
        "seed eval caption",
        ("no language model",),
        None,
    )
