"""Annotation files -> records: endings, packing, wrapping, joining, and files that are
not what they should be.
"""

from __future__ import annotations

import gzip
import json
import zipfile
from pathlib import Path

import pytest

from seedcli.data.published_sets.records import read_records, stem_of
from seedcli.errors import DataError

ROWS = [{"a": 1}, {"a": 2}]
LINES = "\n".join(map(json.dumps, ROWS)) + "\n\n"


def records(*paths):
    return [found.record for found in read_records(paths)]


def test_lines_lists_and_packed_files_give_the_same(tmp_path):
    (tmp_path / "a.jsonl").write_text(LINES)
    (tmp_path / "lines_by_another_name.json").write_text(LINES)
    (tmp_path / "list.json").write_text(json.dumps(ROWS))
    (tmp_path / "data.json").write_text(json.dumps({"version": 1, "data": ROWS}))
    with gzip.open(tmp_path / "b.jsonl.gz", "wt") as file:
        file.write(LINES)
    with zipfile.ZipFile(tmp_path / "docs_shard_0_v2.jsonl.zip", "w") as archive:
        archive.writestr("docs_shard_0_v2.jsonl", LINES)
    for path in tmp_path.iterdir():
        assert records(path) == ROWS, path
    found = list(read_records([tmp_path / "a.jsonl", tmp_path / "list.json"]))
    assert [(one.path.name, one.number) for one in found] == [
        ("a.jsonl", 0),
        ("a.jsonl", 1),
        ("list.json", 0),
        ("list.json", 1),
    ]


def test_answers_are_joined_in_whatever_order_files_are_named(tmp_path):
    questions, answers = tmp_path / "q.json", tmp_path / "a.json"
    questions.write_text(
        json.dumps(
            [
                {"question_id": 2, "question": "b?"},
                {"question_id": 1, "question": "a?"},
                {"question_id": 3, "question": "c?"},
            ]
        )
    )
    answers.write_text(
        json.dumps([{"question_id": 1, "answer": "A"}, {"question_id": 2, "answer": "B"}])
    )
    for order in ((questions, answers), (answers, questions)):
        assert [(one["question"], one.get("answer")) for one in records(*order)] == [
            ("b?", "B"),
            ("a?", "A"),
            ("c?", None),
        ]


def test_what_is_no_object_is_kept_as_nothing(tmp_path):
    (tmp_path / "a.json").write_text('[{"a": 1}, 5, "x"]')
    assert records(tmp_path / "a.json") == [{"a": 1}, None, None]


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.jsonl", b'{"a": 1}\n{"a"', "a.jsonl, line 2: is no JSON"),
        ("a.json", b"[1,", "a.json: is no JSON"),
        ("a.csv", b"a\xff", "a.csv: cannot be read"),
        ("a.parquet", b"PAR", "a.parquet: is no readable parquet file"),
        ("a.jsonl.gz", b"plain", "a.jsonl.gz: cannot be read"),
        ("a.jsonl.zip", b"plain", "a.jsonl.zip: cannot be read"),
        ("a.xml", b"<a>", "a.xml: is none of .json, .jsonl"),
        ("gone.json", None, "gone.json: cannot be read"),
    ],
)
def test_files_that_are_not_what_they_should_be(tmp_path, name, content, message):
    if content is not None:
        (tmp_path / name).write_bytes(content)
    with pytest.raises(DataError, match=message) as raised:
        records(tmp_path / name)
    assert raised.value.remedy


def test_stems_keep_dots_that_are_no_ending():
    names = {
        "TextVQA_0.5.1_train.json": "TextVQA_0.5.1_train",
        "docs_v2.jsonl.zip": "docs_v2",
        "a.txt.gz": "a",
    }
    assert {name: stem_of(Path("x") / name) for name in names} == names
