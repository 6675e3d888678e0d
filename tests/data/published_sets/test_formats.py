"""Every published layout against values of the wrong kind: a record is read, or is lost with a
reason.
"""

from __future__ import annotations

from typing import Any

import pytest

from seedcli.benchmarks.retrieval_sets import load_retrieval_set
from seedcli.benchmarks.vqa_sets import load_question_set
from seedcli.data.published_sets.formats import set_format
from seedcli.data.published_sets.job import DocumentListing
from seedcli.data.published_sets.picture_finder import PictureFinder
from seedcli.errors import DataError, UsageError
from tests.damaged import damaged
from tests.published_sets import PUBLISHED
from tests.set_files import write_file


@pytest.mark.parametrize("name", PUBLISHED)
def test_a_value_of_the_wrong_kind_costs_its_record(name, tmp_path):
    case = PUBLISHED[name]
    inputs = [tmp_path / one for one in case.write(tmp_path)]
    finder = PictureFinder([tmp_path / "images"])
    for file, content in case.files.items():
        if not isinstance(content, list | dict):  # cells of tables and CSV have one kind
            continue
        for other in damaged(content):
            if isinstance(other, list) or (isinstance(other, dict) and isinstance(content, dict)):
                write_file(tmp_path / file, other)
                lines = _lines(case.format, finder, inputs)
                assert all(line.keys() & {"segments", "messages", "problem"} for line in lines)
        write_file(tmp_path / file, content)


def _lines(name: str, finder: PictureFinder, inputs: list[Any]) -> list[dict[str, Any]]:
    listing = DocumentListing(set_format(name), finder, name="set", num_queries=4, num_codes=64)
    return list(listing.lines(inputs))


@pytest.mark.parametrize(
    ("name", "load"),
    [
        ("vizwiz", load_question_set),
        ("aokvqa", load_question_set),
        ("msrvtt-qa", load_question_set),
        ("karpathy", load_retrieval_set),
    ],
)
def test_measuring_names_the_record(name, load, tmp_path):
    case = PUBLISHED[name]
    case.write(tmp_path)
    [(file, content)] = case.files.items()
    refused = []
    for other in damaged(content):
        if isinstance(other, list | dict):
            write_file(tmp_path / file, other)
            try:
                load(str(tmp_path / file), images=tmp_path / "images")
            except (DataError, UsageError) as error:  # a split that the set has not, for the latter
                refused.append(error.message)
    assert refused
    assert all(str(tmp_path) in message for message in refused)
