"""Readers of published question files, on tiny files made by hand in their layouts."""

import pytest

from seedcli.benchmarks.vqa_files import (
    QuestionRow,
    number_repeated,
    read_nextqa,
    read_question_list,
    read_seed_bench,
    read_video_qa,
    read_vizwiz,
    read_vqa,
)


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


def test_vqa_pairs_questions_with_their_annotations():
    first, second = read_vqa(VQA_QUESTIONS, VQA_ANNOTATIONS, picture="COCO_val2014_{:012d}.jpg")
    assert first == QuestionRow(
        "262148000",
        "COCO_val2014_000000262148.jpg",
        "Where is he looking?",
        ("down", "at table", "down"),
        kind="other",
    )
    assert (second.kind, second.answers, second.scoring) == ("number", ("2", "2", "3"), "vqa")


def test_vqa_without_annotations_has_no_answers():
    rows = read_vqa(VQA_QUESTIONS, None, picture="{:012d}.jpg")
    assert [row.answers for row in rows] == [(), ()]


def test_a_question_without_its_annotation():
    with pytest.raises(KeyError):
        read_vqa(VQA_QUESTIONS, {"annotations": VQA_ANNOTATIONS["annotations"][:1]}, picture="{}")


def test_okvqa_takes_the_answers_that_its_evaluation_takes():
    note = {
        "question_id": 1,
        "answer_type": "other",
        "answers": [{"answer_id": 1, "raw_answer": "racing", "answer": "race"}],
    }
    questions = {"questions": [{"image_id": 5, "question": "What sport?", "question_id": 1}]}
    (row,) = read_vqa(questions, {"annotations": [note]}, picture="{}")
    assert row.answers == ("race",)


def test_vizwiz():
    item = {
        "image": "VizWiz_val_00000000.jpg",
        "question": "Ok. There is another picture.",
        "answers": annotator("unanswerable", "beer"),
        "answer_type": "other",
        "answerable": 1,
    }
    rows = read_vizwiz([item, {"image": "VizWiz_test_1.jpg", "question": "What?"}])
    assert [row.key for row in rows] == ["VizWiz_val_00000000.jpg", "VizWiz_test_1.jpg"]
    assert rows[0].answers == ("unanswerable", "beer") and rows[1].answers == ()


def test_keys_that_repeat_are_numbered():
    rows = [QuestionRow(key, "a.png", f"{number}?") for number, key in enumerate("abaa")]
    assert [row.key for row in number_repeated(rows)] == ["a", "b", "a#2", "a#3"]
    assert [row.question for row in number_repeated(rows)] == ["0?", "1?", "2?", "3?"]


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


def test_seed_bench_is_its_picture_dimensions():
    (row,) = read_seed_bench(SEED_BENCH)
    assert row == QuestionRow(
        "101669",
        "1454426_2591111986",
        "How many towels?",
        ("Three",),
        "Instances Counting",
        ("One", "Two", "Three", "Four"),
    )
    assert row.scoring == "choice"


def test_a_letter_that_is_none():
    with pytest.raises(ValueError):
        read_seed_bench({"questions": [SEED_BENCH["questions"][0] | {"answer": "E"}]})


def test_video_questions_have_their_first_word_as_kind():
    (row,) = read_video_qa(
        [{"answer": "someone", "id": 35084, "question": "who is slicing?", "video_id": 1451}]
    )
    assert row == QuestionRow("35084", "1451", "who is slicing?", ("someone",), "who")
    assert row.scoring == "exact"


def test_nextqa_in_both_layouts():
    common = {
        "video": "4010069381",
        "question": "how do the two men play",
        "qid": "6",
        "type": "CH",
    }
    (choice,) = read_nextqa(
        [
            common
            | {"answer": "2", "a0": "roll", "a1": "tap", "a2": "strum", "a3": "hit", "a4": "pat"}
        ]
    )
    assert (choice.question, choice.answers, choice.choices[2]) == (
        "how do the two men play?",
        ("strum",),
        "strum",
    )
    (open_question,) = read_nextqa(
        [common | {"answer": "strum the guitar", "additional_ref_answer": "play"}]
    )
    assert (open_question.answers, open_question.choices, open_question.key) == (
        ("strum the guitar",),
        (),
        "4010069381_6",
    )


def test_our_own_layout():
    rows = read_question_list(
        [
            {
                "image": "a.png",
                "question": "Which?",
                "answer": "red",
                "choices": ["red", "blue"],
                "kind": "colour",
            },
            {
                "images": ["a.png", "b.png"],
                "question": "Same?",
                "answers": ["no", "no", "yes"],
                "key": "q",
            },
            {"image": "a.png", "question": "Open?"},
        ]
    )
    assert [row.key for row in rows] == ["000000", "q", "000002"]
    assert [row.scoring for row in rows] == ["choice", "vqa", "exact"]
    assert (rows[1].picture, rows[1].more_pictures) == ("a.png", ("b.png",))


@pytest.mark.parametrize(
    ("items", "error"),
    [
        (
            [{"image": "a", "question": "?", "answer": "green", "choices": ["red"]}],
            "not among the choices",
        ),
        (
            [
                {"image": "a", "question": "?", "key": "q"},
                {"image": "a", "question": "?", "key": "q"},
            ],
            "two questions",
        ),
        ([{"question": "?"}], "images"),
    ],
)
def test_our_own_layout_gone_wrong(items, error):
    with pytest.raises((ValueError, KeyError), match=error):
        read_question_list(items)
