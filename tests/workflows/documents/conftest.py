"""Requests for the tiny model."""

from __future__ import annotations

import pytest

from seedcli.workflows.documents.request import BuildRequest
from tests.set_files import write_file, write_picture


@pytest.fixture
def ask(tiny_tokenizer_folder, tmp_path):
    """A request for the tiny model, with small passes and shards."""

    def build(set_format: str, inputs: list[str], **options) -> BuildRequest:
        defaults = {
            "images": (tmp_path / "images",),
            "output": tmp_path / "out",
            "batch_size": 4,
            "workers": 0,
        }
        return BuildRequest(
            format=set_format,
            inputs=tuple(inputs),
            model=str(tiny_tokenizer_folder),
            **defaults | options,
        )

    return build


@pytest.fixture
def many(tmp_path, ask) -> BuildRequest:
    """A request of 20 conversations about 10 pictures, in shards of 8."""
    for number in range(10):
        write_picture(tmp_path / f"images/{number}.jpg")
    turns = [{"from": "human", "value": "<image>\nWhat?"}, {"from": "gpt", "value": "A bus"}]
    write_file(
        tmp_path / "x.json",
        [{"id": str(n), "image": f"{n % 10}.jpg", "conversations": turns} for n in range(20)],
    )
    return ask("llava", [str(tmp_path / "x.json")], shard_size=8)
