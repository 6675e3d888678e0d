"""Readers of question sets, for training and measuring alike, on tiny files made by hand in their
layouts.
"""

import dataclasses
import json

import pytest

from seedcli.data.published_sets.picture_finder import Frames, Named
from seedcli.data.published_sets.questions import (
    Question,
    numbered,
    read_gqa,
    read_msrvtt_qa,
    read_nextqa,
    read_question,
    read_seed_bench,
    read_vqa,
)
from seedcli.data.published_sets.records import read_records


def annotator(*answers):
    return [
        {"answer": answer, "answer_confidence": "yes", "answer_id": number}
        for number, answer in enumerate(answers, 1)
    ]


VQA_QUESTIONS = {
    "data_subtype": "val2014",
    "questions": [
        {"image_id": 262148, "question": "Where is he looking?", "question_id": 262148000},
        {"image_id": 9, "question": "How many?", "question_id": 9001},
    ],
}
VQA_ANNOTATIONS = {
    "annotations": [
        {
            "question_id": 9001,
            "image_id": 9,
            "answer_type": "number",
            "answers": annotator("2", "2", "3"),
        },
        {
            "question_id": 262148000,
            "image_id": 262148,
            "answer_type": "other",
            "answers": annotator("down", "at table", "down"),
        },
    ]
}


SEED_BENCH = {
    "question_type": {"Instances Counting": 5, "Action Recognition": 10},
    "questions": [
        {
            "question_id": "101669",
            "data_id": "1454426_2591111986",
            "data_type": "image",
            "question_type_id": 5,
            "answer": "C",
        }
        | {
            "question": "How many towels?",
            "choice_a": "One",
            "choice_b": "Two",
            "choice_c": "Three",
            "choice_d": "Four",
        },
        {
            "question_id": "v1",
            "data_id": "video.mp4",
            "data_type": "video",
            "question_type_id": 10,
            "answer": "A",
        }
        | {"question": "What?", "choice_a": "a", "choice_b": "b", "choice_c": "c", "choice_d": "d"},
    ],
}


def questions_of(read, tmp_path, *contents):
    """Contents of files -> questions."""
    paths = [tmp_path / f"{number}.json" for number in range(len(contents))]
    for path, content in zip(paths, contents, strict=True):
        path.write_text(json.dumps(content))
    return [one for found in read_records(paths) for one in read(found.record)]


def test_vqa_pairs_questions_with_their_annotations(tmp_path):
    first, second = questions_of(read_vqa, tmp_path, VQA_QUESTIONS, VQA_ANNOTATIONS)
    assert first == Question(
        "262148000",
        (Named(("COCO_val2014_000000262148.jpg", "000000262148.jpg")),),
        "Where is he looking?",
        ("down", "at table", "down"),
        kind="other",
        meta={"question_id": 262148000},
    )
    assert (second.kind, second.answers, second.scoring) == ("number", ("2", "2", "3"), "vqa")
    assert second.as_sample().segments[1:] == (
        "How many? Please provide an accurate answer consisting of only one word or phrase.",
        "2",
    )


def test_vqa_without_annotations_has_no_answers(tmp_path):
    whole = VQA_QUESTIONS | {"data_subtype": "test-dev2015"}
    rows = questions_of(read_vqa, tmp_path, whole)
    assert [row.answers for row in rows] == [(), ()]
    assert rows[1].picture == "COCO_test2015_000000000009.jpg"


def test_okvqa_learns_what_was_said_and_is_scored_by_stems():
    said = [{"answer_id": 1, "raw_answer": "racing cars", "answer": "race car"}]
    record = {"question_id": 1, "image_id": 5, "question": "What sport?", "answers": said}
    (row,) = read_vqa(record)
    assert (row.answers, row.stemmed) == (("race car",), True)
    assert row.as_sample().segments[-1] == "racing cars"


def test_vizwiz():
    item = {
        "image": "VizWiz_val_00000000.jpg",
        "question": "Ok. There is another picture.",
        "answers": annotator("unanswerable", "beer"),
        "answer_type": "other",
        "answerable": 1,
    }
    (first,), (second,) = (
        read_question(item),
        read_question({"image": "VizWiz_test_1.jpg", "question": "What?"}),
    )
    assert [first.key, second.key] == ["VizWiz_val_00000000.jpg", "VizWiz_test_1.jpg"]
    assert (first.answers, first.kind) == (("unanswerable", "beer"), "other")
    assert second.answers == ()


def test_keys_that_repeat_or_are_missing_are_numbered():
    rows = [Question(key, (), f"{number}?") for number, key in enumerate(["a", "b", "a", "a", ""])]
    assert [row.key for row in numbered(rows)] == ["a", "b", "a#2", "a#3", "000004"]
    assert [row.question for row in numbered(rows)] == ["0?", "1?", "2?", "3?", "4?"]


def test_gqa():
    record = {"id": "02930152", "imageId": "2354786", "question": "Dark?", "answer": "yes"}
    (row,) = read_gqa(record)
    assert (row.key, row.picture, row.answers) == ("02930152", "2354786.jpg", ("yes",))


def test_seed_bench_is_its_picture_dimensions(tmp_path):
    (row,) = questions_of(read_seed_bench, tmp_path, SEED_BENCH)
    assert dataclasses.replace(row, meta={}) == Question(
        "101669",
        (Named(("1454426_2591111986",)),),
        "How many towels?",
        ("Three",),
        "Instances Counting",
        ("One", "Two", "Three", "Four"),
    )
    assert row.scoring == "choice"


def test_a_letter_that_is_none():
    with pytest.raises(ValueError):
        list(read_seed_bench(SEED_BENCH["questions"][0] | {"answer": "E"}))


def test_video_questions_have_their_first_word_as_kind():
    (row,) = read_msrvtt_qa(
        {"answer": "someone", "id": 35084, "question": "who is slicing?", "video_id": 1451}
    )
    assert row.pictures == (Frames(("1451", "video1451", "vid1451"), 4),)
    assert (row.key, row.kind, row.scoring, row.picture) == ("35084", "who", "exact", "1451")


def test_nextqa_in_both_layouts():
    common = {
        "video": "4010069381",
        "question": "how do the two men play",
        "qid": "6",
        "type": "CH",
    }
    choices = {"a0": "roll", "a1": "tap", "a2": "strum", "a3": "hit", "a4": "pat"}
    (choice,) = read_nextqa(common | {"answer": "2"} | choices)
    assert (choice.question, choice.answers, choice.choices[2]) == (
        "how do the two men play?",
        ("strum",),
        "strum",
    )
    (open_question,) = read_nextqa(
        common | {"answer": "strum the guitar", "additional_ref_answer": "play"}
    )
    assert (open_question.answers, open_question.choices, open_question.key) == (
        ("strum the guitar",),
        (),
        "4010069381_6",
    )


def test_our_own_layout():
    choice = {"image": "a.png", "question": "Which?", "answer": "red", "choices": ["red", "blue"]}
    several = {"images": ["a.png", "b.png"], "question": "Same?", "answers": ["no", "no", "yes"]}
    rows = numbered(
        one
        for record in (
            choice | {"kind": "colour"},
            several | {"key": "q"},
            {"image": "a.png", "question": "Open?"},
        )
        for one in read_question(record)
    )
    assert [row.key for row in rows] == ["000000", "q", "000002"]
    assert [row.scoring for row in rows] == ["choice", "vqa", "exact"]
    assert rows[1].pictures == (Named(("a.png",)), Named(("b.png",)))
    with pytest.raises(ValueError, match="not among the choices"):
        list(read_question(choice | {"answer": "green"}))
    with pytest.raises(KeyError, match="images"):
        list(read_question({"question": "?"}))
