"""`seed tokens build` and `seed tokens formats` as a user types them: what comes back, exit codes,
and how little is loaded.
"""

from __future__ import annotations

import json
from pathlib import Path

import pyarrow as pa
import pytest
from typer.testing import CliRunner

from seedcli.cli.main import app
from seedcli.data.published_sets.formats import FORMATS
from tests.contracts.test_light_start import run_python
from tests.published_sets import PUBLISHED
from tests.set_files import write_file


@pytest.fixture
def llava(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A LLaVA file of one conversation in the current folder."""
    monkeypatch.chdir(tmp_path)
    [name] = PUBLISHED["llava"].write(tmp_path)
    return Path(name).name


def seed(*arguments: str):
    return CliRunner().invoke(app, ["tokens", *arguments])


@pytest.fixture
def build(tiny_tokenizer_folder):
    """Builds shards of a file in the folder out."""

    def call(file: str, *more: str):
        model = str(tiny_tokenizer_folder)
        return seed("build", "llava", file, "-o", "out", "--model", model, *more)

    return call


def test_a_summary_and_shards_that_the_other_commands_read(build, llava):
    built = build(llava, "--images", "images")
    assert built.exit_code == 0, built.stderr
    summary = json.loads(built.stdout)
    assert summary | {"elapsed_s": 0, "fingerprint": ""} == {
        "output": "out",
        "conversations": 1,
        "pictures": 1,
        "failed": 0,
        "left_out": 0,
        "shards": 1,
        "model": "tiny",
        "fingerprint": "",
        "elapsed_s": 0,
    }
    assert json.loads(seed("info", "out").stdout)["conversations"] == 1
    assert json.loads(seed("verify", "out").stdout)["problems"] == []
    [record] = [json.loads(line) for line in seed("head", "out").stdout.splitlines()]
    assert [message["role"] for message in record["messages"]] == [
        "user",
        "assistant",
        "user",
        "assistant",
    ]
    assert (record["key"], record["meta"]) == ("out/conversation_58k/0", {"id": "000000000009"})


def test_pictures_beside_the_file_and_partial_failure(build, llava):
    records = json.loads(Path(llava).read_text())
    damaged = [{"image": "gone.jpg"}, {"image": 5}, {"conversations": 5}]
    write_file(Path("two.json"), [*records, *(records[0] | one for one in damaged)])
    built = build("two.json")
    assert built.exit_code == 4
    assert json.loads(built.stdout)["failed"] == 3
    assert "3 of 4 documents could not be made" in built.stderr
    assert "out/errors.jsonl" in built.stderr
    errors = [json.loads(line) for line in Path("out/errors.jsonl").read_text().splitlines()]
    assert [error["source"] for error in errors] == ["two.json[1]", "two.json[2]", "two.json[3]"]
    assert "gone.jpg" in errors[0]["error"]
    assert errors[1]["error"] == "a picture is a name or a list of codes; here 5"
    assert "is no record of LLaVA" in errors[2]["error"]


def test_unfinished_builds_are_reported_with_their_own_command(build, llava):
    build(llava, "--images", "images")
    (Path("out") / "out-000000.parquet").rename("kept.parquet")
    write_file(Path("out") / "other.parquet", pa.table({"a": [1]}))
    assert "seed tokens build --resume" in seed("verify", "out").stdout


def test_an_unknown_format_names_the_nearest(llava):
    refused = seed("build", "lava", llava, "-o", "out")
    assert refused.exit_code == 2
    assert "no FORMAT is called lava" in refused.stderr
    assert "did you mean llava?" in refused.stderr


def test_formats_lists_every_layout():
    records = [json.loads(line) for line in seed("formats").stdout.splitlines()]
    assert {record["format"] for record in records} == set(FORMATS)
    assert all(record["source"] and record["forms"] and record["files"] for record in records)


def test_dry_run_writes_nothing_and_loads_no_torch(llava, tiny_tokenizer_folder):
    command = ["tokens", "build", "llava", llava, "--images", "images", "-o", "out", "--dry-run"]
    script = (
        "import sys; from seedcli.cli.main import app; "
        f"app({[*command, '--model', str(tiny_tokenizer_folder)]}, standalone_mode=False); "
        "assert 'torch' not in sys.modules"
    )
    planned = run_python(script, cwd=Path.cwd())
    assert (planned["conversations"], planned["pictures"], planned["pictures_missing"]) == (1, 1, 0)
    assert not Path("out").exists()
