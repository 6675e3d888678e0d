"""Question sets by name and file: layouts, sizes, frames of videos, and what errors say."""

import csv
import dataclasses
import json
import pickle
import shutil

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from seedcli.benchmarks.vqa import score_answer
from seedcli.benchmarks.vqa_sets import NAMED_QUESTIONS, load_question_set
from seedcli.data.images.images import open_image
from seedcli.errors import DataError, UsageError
from tests.data.published_sets.test_questions import SEED_BENCH, VQA_ANNOTATIONS, VQA_QUESTIONS
from tests.set_files import png
from tests.videos import write_video


def draw(path):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (8, 8), "red").save(path)


@pytest.fixture
def root(tmp_path):
    vqa = tmp_path / "vqav2"
    for part, name in (
        ("val2014", "COCO_val2014_{:012d}.jpg"),
        ("test2015", "COCO_test2015_{:012d}.jpg"),
    ):
        for number in (262148, 9):
            draw(vqa / part / name.format(number))
    (vqa / "v2_OpenEnded_mscoco_val2014_questions.json").write_text(json.dumps(VQA_QUESTIONS))
    (vqa / "v2_OpenEnded_mscoco_test-dev2015_questions.json").write_text(json.dumps(VQA_QUESTIONS))
    (vqa / "annotations").mkdir()
    (vqa / "annotations" / "v2_mscoco_val2014_annotations.json").write_text(
        json.dumps(VQA_ANNOTATIONS)
    )
    (tmp_path / "seed-bench").mkdir()
    (tmp_path / "seed-bench" / "SEED-Bench.json").write_text(json.dumps(SEED_BENCH))
    draw(tmp_path / "seed-bench" / "SEED-Bench-image" / "picture.png")
    (tmp_path / "seed-bench" / "SEED-Bench-image" / "picture.png").rename(
        tmp_path / "seed-bench" / "SEED-Bench-image" / "1454426_2591111986"
    )
    return tmp_path


def write_videos(root, num_frames=10):
    for number in range(num_frames):
        draw(root / "msvd" / "frames" / "vid1451" / f"{number}.jpg")
    row = {"answer": "someone", "id": 1, "question": "who is slicing?", "video_id": 1451}
    (root / "msvd" / "test_qa.json").write_text(json.dumps([row]))


def test_a_split_of_another_size_is_refused(root):
    with pytest.raises(DataError, match="has 2 questions.*214,354") as caught:
        load_question_set("vqav2", data_root=root)
    assert "--allow-split" in caught.value.remedy
    found = load_question_set("vqav2", data_root=root, allow_split=True)
    assert found.published_split is False and found.split == "val"
    assert [one.pictures[0].name for one in found.questions.values()][1].endswith(
        "vqav2/val2014/COCO_val2014_000000000009.jpg"
    )
    assert (found.answered_by, found.num_frames) == ("generation", None)


def test_the_published_split_is_a_whole_one(root, monkeypatch):
    named = NAMED_QUESTIONS["vqav2"]
    smaller = {
        name: dataclasses.replace(named.splits[name], sizes=(2,)) for name in ("val", "test-dev")
    }
    monkeypatch.setitem(NAMED_QUESTIONS, "vqav2", dataclasses.replace(named, splits=smaller))
    # published figures are of test-dev
    assert load_question_set("vqav2", data_root=root).published_split is False
    assert load_question_set("vqav2", split="test-dev", data_root=root).published_split is True
    assert (
        load_question_set("vqav2", split="test-dev", data_root=root, limit=1).published_split
        is False
    )


def test_limit_asks_for_the_first_pictures_only_and_is_the_same_set(root):
    (root / "vqav2" / "val2014" / "COCO_val2014_000000000009.jpg").unlink()
    with pytest.raises(DataError, match=r"1 of 2 pictures are missing.*000000000009"):
        load_question_set("vqav2", data_root=root, allow_split=True)
    some = load_question_set("vqav2", data_root=root, allow_split=True, limit=1)
    draw(root / "vqav2" / "val2014" / "COCO_val2014_000000000009.jpg")
    assert some.digest == load_question_set("vqav2", data_root=root, allow_split=True).digest


def test_questions_without_their_annotations(root):
    notes = VQA_ANNOTATIONS | {"annotations": VQA_ANNOTATIONS["annotations"][:1]}
    (root / "vqav2" / "annotations" / "v2_mscoco_val2014_annotations.json").write_text(
        json.dumps(notes)
    )
    with pytest.raises(DataError, match="no answers to 1 of 2 questions"):
        load_question_set("vqav2", data_root=root, allow_split=True)


def test_a_test_split_has_pictures_of_its_own_and_no_answers(root):
    found = load_question_set("vqav2", split="test-dev", data_root=root, allow_split=True)
    (first, _) = found.questions.values()
    assert first.row.answers == () and "COCO_test2015_" in first.pictures[0].name


def test_seed_bench_is_answered_by_likelihood(root):
    found = load_question_set("seed-bench", data_root=root, allow_split=True)
    assert (found.split, found.answered_by, len(found.questions)) == ("image", "likelihood", 1)


def test_frames_of_a_video(root):
    write_videos(root)
    (question,) = load_question_set("msvd", data_root=root, allow_split=True).questions.values()
    assert [ref.name.rpartition("/")[2] for ref in question.pictures] == [
        "1.jpg",
        "3.jpg",
        "6.jpg",
        "8.jpg",
    ]
    (two,) = load_question_set(
        "msvd", data_root=root, allow_split=True, num_frames=2
    ).questions.values()
    assert [ref.name.rpartition("/")[2] for ref in two.pictures] == ["2.jpg", "7.jpg"]


def test_frames_sort_by_number(root):
    write_videos(root, num_frames=12)
    (question,) = load_question_set(
        "msvd", data_root=root, allow_split=True, num_frames=12
    ).questions.values()
    assert [ref.name.rpartition("/")[2] for ref in question.pictures] == [
        f"{number}.jpg" for number in range(12)
    ]


def test_a_video_without_frames(root):
    write_videos(root)
    shutil.rmtree(root / "msvd" / "frames" / "vid1451")
    with pytest.raises(DataError, match="1 of 1 videos are missing") as caught:
        load_question_set("msvd", data_root=root, allow_split=True)
    assert "folder of its frames" in caught.value.remedy


def test_nextqa_is_a_table(root):
    draw(root / "nextqa" / "frames" / "401" / "0.jpg")
    with open(root / "nextqa" / "test.csv", "w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(
            [
                "video",
                "frame_count",
                "width",
                "height",
                "question",
                "answer",
                "qid",
                "type",
                "a0",
                "a1",
                "a2",
                "a3",
                "a4",
            ]
        )
        writer.writerow(
            [
                "401",
                "369",
                "640",
                "480",
                'why "so"',
                "1",
                "6",
                "CH",
                "no, one",
                "two",
                "x",
                "y",
                "z",
            ]
        )
    found = load_question_set("nextqa", data_root=root, allow_split=True)
    (question,) = found.questions.values()
    assert (question.row.question, question.row.choices[0], question.row.answers) == (
        'why "so"?',
        "no, one",
        ("two",),
    )
    assert found.num_frames == 8 and len(question.pictures) == 1  # all that there are


def test_videos_of_questions_are_files_too(tmp_path):
    write_video(tmp_path / "clip.mp4")
    (tmp_path / "own.jsonl").write_text('{"image": "clip.mp4", "question": "why?", "answer": "x"}')
    found = load_question_set(str(tmp_path / "own.jsonl"))
    (question,) = found.questions.values()
    # they are read in other processes
    images = [open_image(pickle.loads(pickle.dumps(one)).read()) for one in question.pictures]
    assert [round(image.getpixel((40, 40))[0] / 8) for image in images] == [3, 11, 18, 26]
    assert len({one.stamp for one in question.pictures}) == 4


@pytest.mark.parametrize("dataset", NAMED_QUESTIONS)
def test_what_is_missing_is_named_with_how_to_lay_it_out(dataset, tmp_path):
    with pytest.raises(DataError, match="no --data-root") as caught:
        load_question_set(dataset)
    assert "--data-root DIR with DIR/" in caught.value.remedy
    with pytest.raises(DataError, match="was not found") as caught:
        load_question_set(dataset, data_root=tmp_path)
    for names in NAMED_QUESTIONS[dataset].splits[NAMED_QUESTIONS[dataset].default].files:
        assert all(f"{tmp_path / name}: no such file" in str(caught.value) for name in names)


def test_a_file_of_our_own(tmp_path):
    draw(tmp_path / "images" / "a.png")
    draw(tmp_path / "video" / "0.png")
    rows = [
        {"image": "a.png", "question": "?", "answer": "red"},
        {"image": "video", "question": "?", "answer": "red"},
    ]
    path = tmp_path / "mine.jsonl"
    path.write_text("\n".join(map(json.dumps, rows)) + "\n")
    found = load_question_set(str(path))
    assert (found.name, found.split, found.published_split) == ("mine", "all", None)
    assert [len(one.pictures) for one in found.questions.values()] == [1, 1]


def test_question_files_of_every_published_layout(tmp_path):
    """What `seed tokens build` reads, `seed eval vqa` reads: tables with pictures too, a byte order
    mark, and U+2028, which ends no line.
    """
    table = pa.table(
        {
            "question_id": ["7", "8"],
            "image": [{"bytes": png("a"), "path": None}, {"bytes": png("b"), "path": None}],
            "question": ["Two\u2028lines?", "What?"],
            "answers": [["disc", "disc", "coin"], ["cut \ufffd"]],
            "category": ["other", "yes"],
        }
    )
    pq.write_table(table, tmp_path / "val-0.parquet")
    found = load_question_set(str(tmp_path / "val-0.parquet"))
    assert [(one.row.key, one.row.kind, one.row.scoring) for one in found.questions.values()] == [
        ("7", "other", "vqa"),
        ("8", "yes", "exact"),
    ]
    assert [ref.read() for one in found.questions.values() for ref in one.pictures] == [
        png("a"),
        png("b"),
    ]
    draw(tmp_path / "2354786.jpg")
    gqa = {"0293": {"question": "Two\u2028lines?", "imageId": "2354786", "answer": "yes \ud83d"}}
    (tmp_path / "gqa.json").write_text("\ufeff" + json.dumps(gqa))
    (question,) = load_question_set(str(tmp_path / "gqa.json")).questions.values()
    assert (question.row.key, question.row.answers) == ("0293", ("yes \ufffd",))


def test_a_named_set_as_tables(tmp_path):
    """As the hub has it; OK-VQA is scored by stems all the same."""
    columns = {
        "question_id": ["1"],
        "question": ["What?"],
        "answers": [["racing"] * 4 + ["cars"]],
    }
    (tmp_path / "okvqa" / "data").mkdir(parents=True)
    table = pa.table(columns | {"image": [{"bytes": png("a"), "path": None}]})
    pq.write_table(table, tmp_path / "okvqa" / "data" / "val2014-00000-of-00002.parquet")
    found = load_question_set("okvqa", data_root=tmp_path, allow_split=True)
    (question,) = found.questions.values()
    assert question.row.stemmed and score_answer(question.row, "the race") == 1.0
    assert question.pictures[0].read() == png("a")


@pytest.mark.parametrize(
    ("content", "error"),
    [
        ("{}", "holds no questions"),
        ("[]", "holds no questions"),
        ("[1", "is no JSON"),
        ("[1]", "no question as expected"),
        ('[{"question": "?"}]', "images"),
    ],
)
def test_a_damaged_file(tmp_path, content, error):
    path = tmp_path / "mine.json"
    path.write_text(content)
    with pytest.raises(DataError, match=error):
        load_question_set(str(path))


def test_names_that_are_none(tmp_path):
    with pytest.raises(UsageError, match="vqav3"):
        load_question_set("vqav3")
    with pytest.raises(UsageError, match="no split 'dev'; it has train, val"):
        load_question_set("okvqa", split="dev", data_root=tmp_path)
    (tmp_path / "mine.json").write_text("[]")
    with pytest.raises(UsageError, match="no splits"):
        load_question_set(str(tmp_path / "mine.json"), split="test")


def test_emoji_by_every_kind_early(root):
    found = load_question_set("emoji", limit=60)
    assert len({one.row.kind for one in found.questions.values()}) >= 7
    assert found.answered_by == "generation" and found.digest == load_question_set("emoji").digest
    assert all(
        one.row.choices and one.row.answers[0] in one.row.choices
        for one in found.questions.values()
    )
