"""The first pass of `seed tokens build`: what it counts, and what it refuses."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from seedcli.errors import DataError, UsageError
from seedcli.workflows.documents.build import run
from seedcli.workflows.documents.listing import plan
from tests.set_files import write_file


def test_plan_counts_and_writes_nothing(tmp_path, many):
    request = dataclasses.replace(many, limit=12)
    (tmp_path / "images/3.jpg").unlink()
    planned = plan(request)
    assert (
        planned["conversations"],
        planned["pictures"],
        planned["pictures_missing"],
        planned["shards"],
    ) == (12, 10, 1, 2)
    assert planned["first_missing"] == "3.jpg"
    assert planned["forms"] == ["messages"]
    assert not request.output.exists()
    summary = run(request)
    assert (summary.rows, summary.failed, summary.pictures) == (11, 1, 10)


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"format": "lava"}, UsageError, "no FORMAT is called lava"),
        ({"inputs": ()}, UsageError, "no INPUT"),
        ({"inputs": ("gone.json",)}, DataError, "no such file: gone.json"),
        ({"images": (Path("gone"),)}, DataError, "--images gone: no such file or folder"),
        ({"output": Path("x.parquet")}, UsageError, "the output is a folder of shards"),
    ],
)
def test_what_cannot_be_meant_is_refused_before_anything_is_written(options, error, message, many):
    request = dataclasses.replace(many, **options)
    for act in (run, plan):
        with pytest.raises(error, match=message) as raised:
            act(request)
        assert raised.value.remedy
    assert not list(request.output.glob("*.parquet"))


def test_no_picture_at_all_points_to_images(tmp_path, ask, many):
    request = many
    (tmp_path / "nowhere").mkdir()
    with pytest.raises(
        DataError, match=r"not one of the 10 pictures is found; the first is 0.jpg"
    ) as raised:
        run(dataclasses.replace(request, images=(tmp_path / "nowhere",)))
    assert "--images DIR" in raised.value.remedy
    write_file(tmp_path / "empty.json", [])
    with pytest.raises(DataError, match="hold no document"):
        run(ask("llava", [str(tmp_path / "empty.json")], output=tmp_path / "empty"))
