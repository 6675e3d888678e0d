"""`seed tokens build` that is killed and continued, and by several at once: the same bytes."""

from __future__ import annotations

import base64
import contextlib
import dataclasses
import os
import subprocess

import fsspec
import pytest

from seedcli.console import Reporter
from seedcli.engine.engines import EngineChoice, Slice
from seedcli.errors import DataError
from seedcli.progress import Progress
from seedcli.storage import as_place, own_partial
from seedcli.workflows.documents.build import run
from tests.set_files import png, write_file
from tests.tiny_shards import shard_bytes


class Interrupting(Reporter):
    """Ctrl-C after the second step of a part of the work."""

    def __init__(self, part: str):
        self._part = part

    @contextlib.contextmanager
    def progress(self, description, total=None):
        progress = Progress(description, total)
        steps = iter(range(2))

        def advance(n=1, **figures):
            if description == self._part and n and next(steps, None) is None:
                raise KeyboardInterrupt

        progress.advance = advance
        yield progress


@pytest.mark.parametrize("part", ["list documents", "tokenize", "put together"])
def test_an_interrupted_build_is_continued_to_the_same_bytes(part, tmp_path, many):
    request = many
    reference = dataclasses.replace(request, output=tmp_path / "elsewhere" / "out")
    run(reference)
    with pytest.raises(KeyboardInterrupt):
        run(request, reporter=Interrupting(part))
    done = shard_bytes(request.output)
    assert len(done) == (3 if part == "put together" else 0)
    if part != "list documents":
        with pytest.raises(DataError, match="holds a run of seed already") as raised:
            run(request)
        assert "--resume" in raised.value.remedy
        with pytest.raises(DataError, match="was begun with shard_size 8, now it is 9"):
            run(dataclasses.replace(request, resume=True, shard_size=9))
    ended = subprocess.Popen(["true"])  # one that was killed between a manifest and its partial
    ended.wait()
    left = own_partial(request.workspace / "manifest.json").name
    left = request.workspace / left.replace(f"-{os.getpid()}.", f"-{ended.pid}.")
    left.write_text("{}")
    summary = run(dataclasses.replace(request, resume=True))
    assert summary.rows == 20
    assert shard_bytes(request.output) == shard_bytes(reference.output)
    assert not list(request.output.rglob("*.partial"))
    again = run(dataclasses.replace(request, resume=True, inputs=(), images=()))
    assert dataclasses.replace(again, elapsed_s=0) == dataclasses.replace(summary, elapsed_s=0)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::ResourceWarning")  # aiobotocore's sessions
def test_a_build_in_a_bucket_is_continued_to_the_same_bytes(bucket, tmp_path, ask, many):
    here = many
    run(here)
    s3 = fsspec.filesystem("s3")
    there = dataclasses.replace(here, output=as_place(f"{bucket}/out"), work=tmp_path / "work")
    run(dataclasses.replace(there, engine=EngineChoice(part=Slice(0, 2))))
    with pytest.raises(KeyboardInterrupt):
        run(dataclasses.replace(there, resume=True), reporter=Interrupting("put together"))
    assert "bucket/out/.seed/documents.jsonl" in s3.find("bucket/out")
    with pytest.raises(DataError, match="s3://bucket/out holds a run of seed already"):
        run(there)
    assert run(dataclasses.replace(there, resume=True)).rows == 20
    assert {path.name: path.read_bytes() for path in there.output.glob("*.parquet")} == shard_bytes(
        here.output
    )
    assert [name for name in s3.find("bucket/out") if not name.endswith(".parquet")] == [
        "bucket/out/.seed/manifest.json"
    ]
    assert not list(there.work.rglob("*"))

    carried = "data:image/png;base64," + base64.b64encode(png("c.png")).decode()
    said = [{"role": "user", "content": "<image>?"}, {"role": "assistant", "content": "Yes"}]
    write_file(tmp_path / "own.jsonl", [{"messages": said, "images": [carried]}, {"messages": 5}])
    own = ask("messages", [str(tmp_path / "own.jsonl")], output=as_place(f"{bucket}/own"))
    summary = run(dataclasses.replace(own, work=there.work))
    assert (summary.rows, summary.pictures, summary.failed) == (1, 1, 1)
    assert s3.cat("bucket/own/errors.jsonl").count(b"\n") == 1
    assert not s3.exists("bucket/own/.seed/inline")


def test_helpers_share_the_pictures(tmp_path, many):
    request = many
    run(request)
    run(dataclasses.replace(request, output=tmp_path / "two" / "out", engine=EngineChoice(nproc=2)))
    assert shard_bytes(tmp_path / "two" / "out") == shard_bytes(request.output)


def test_tasks_of_an_array_job_share_the_pictures(tmp_path, many):
    request = many
    run(request)
    shared = dataclasses.replace(request, output=tmp_path / "parts" / "out")
    parts = [
        run(dataclasses.replace(shared, engine=EngineChoice(part=Slice(index, 2))))
        for index in range(2)
    ]
    assert [(part.images, part.part) for part in parts] == [(8, "0/2"), (2, "1/2")]
    assert not shard_bytes(shared.output)
    assert run(dataclasses.replace(shared, resume=True)).rows == 20
    assert shard_bytes(shared.output) == shard_bytes(request.output)
