"""`seed tokenize` and `seed tokens` as a user types them: what comes back, exit codes, and runs
that are killed half-way.
"""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from seedcli.cli.main import app
from seedcli.models.language.vocab import parse_spans
from tests.contracts.test_light_start import run_python

DEADLINE_S = 100


@pytest.fixture
def pictures(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Twenty pictures in the current folder's `pictures`."""
    folder = tmp_path / "pictures"
    folder.mkdir()
    for number in range(20):
        blocks = np.random.default_rng(number).integers(0, 256, (4, 4, 3), dtype=np.uint8)
        Image.fromarray(blocks).resize((24, 24), Image.Resampling.BICUBIC).save(
            folder / f"{number:02d}.png"
        )
    monkeypatch.chdir(tmp_path)
    return folder


@pytest.fixture
def seed(tiny_tokenizer_folder):
    """Runs a command in this process with the tiny model."""

    def invoke(*arguments: str, stdin: str | None = None):
        model = ["--model", str(tiny_tokenizer_folder)] if arguments[0] == "tokenize" else []
        return CliRunner().invoke(app, [*arguments, *model], input=stdin)

    return invoke


@pytest.fixture
def start(tiny_tokenizer_folder):
    """Starts a command in a process of its own."""
    running = []

    def begin(*arguments: str, stdin: str = "") -> subprocess.Popen[str]:
        command = [
            sys.executable,
            "-m",
            "seedcli",
            *arguments,
            "--model",
            str(tiny_tokenizer_folder),
        ]
        environment = os.environ | {
            "PYTHONPATH": str(Path(__file__).parents[2]),
            "OMP_NUM_THREADS": "1",
        }
        Path("stdin.txt").write_text(stdin)
        with open("stdin.txt") as file:
            process = subprocess.Popen(
                command,
                stdin=file,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
                env=environment,
            )
        running.append(process)
        return process

    yield begin
    for process in running:
        process.kill()
        process.wait()
        process.stdout.close()
        process.stderr.close()


def lines(text: str) -> list[dict]:
    return [json.loads(line) for line in text.splitlines()]


def test_one_object_an_image_in_input_order(pictures, seed):
    result = seed("tokenize", "pictures/03.png", "pictures/01.png")
    assert result.exit_code == 0, result.stderr
    records = lines(result.stdout)
    assert [record["source"] for record in records] == ["pictures/03.png", "pictures/01.png"]
    assert all(
        len(record["codes"]) == 32 and set(map(type, record["codes"])) == {int}
        for record in records
    )
    assert {record["model"] for record in records} == {"tiny"}
    assert all(record["fingerprint"] for record in records)
    assert "codes by tiny" in result.stderr


def test_token_text_stdin_and_quiet(pictures, seed):
    codes = [record["codes"] for record in lines(seed("tokenize", "pictures/03.png").stdout)]
    result = seed("tokenize", "-", "--format", "tokens", "--quiet", stdin="pictures/03.png\n")
    assert parse_spans(result.stdout) == codes
    assert result.stderr == ""


def test_bad_images_are_named_and_the_others_are_done(pictures, seed):
    (pictures / "00.png").write_bytes(b"")
    (pictures / "01.png").write_text("a text")
    (pictures / "02.png").write_bytes((pictures / "03.png").read_bytes()[:200])
    result = seed("tokenize", "pictures")
    assert result.exit_code == 4
    assert len(lines(result.stdout)) == 17
    for name, reason in (("00", "is empty"), ("01", "is not an image"), ("02", "is truncated")):
        assert f"pictures/{name}.png: {reason}" in result.stderr
    assert "3 of 20 images failed" in result.stderr
    assert "Traceback" not in result.stderr


def test_missing_input_and_missing_model(pictures, seed):
    result = seed("tokenize", "absent.png")
    assert (result.exit_code, result.stdout) == (3, "")
    assert "no such file or folder: absent.png" in result.stderr
    assert seed("tokenize").exit_code == 2
    result = CliRunner().invoke(app, ["tokenize", "pictures/00.png", "--model", "seed-nanno"])
    assert result.exit_code == 2
    assert "did you mean seed-nano?" in result.stderr


def test_output_folder_summary_and_second_try(pictures, seed):
    whole = (pictures / "07.png").read_bytes()
    (pictures / "07.png").write_bytes(b"")
    result = seed("tokenize", "pictures", "-o", "out", "--shard-size", "8")
    assert result.exit_code == 4
    assert "out/errors.jsonl names them" in result.stderr
    summary = json.loads(result.stdout)
    assert (summary["images"], summary["failed"], summary["shards"], summary["errors"]) == (
        19,
        1,
        3,
        "out/errors.jsonl",
    )
    (pictures / "07.png").write_bytes(whole)
    result = seed("tokenize", "-o", "out", "--shard-size", "8", "--retry-failed")
    assert result.exit_code == 0, result.stderr
    assert json.loads(result.stdout)["images"] == 20
    result = seed("tokens", "verify", "out")
    assert json.loads(result.stdout) == {"shards": 4, "images": 20, "problems": []}


def test_dry_run_writes_nothing_and_loads_no_torch(pictures, tiny_tokenizer_folder):
    command = ["tokenize", "pictures", "-o", "out", "--dry-run", "--model"]
    script = (
        "import sys; from seedcli.cli.main import app; "
        f"app({[*command, str(tiny_tokenizer_folder)]}, standalone_mode=False); "
        "assert 'torch' not in sys.modules"
    )
    planned = run_python(script, cwd=Path.cwd())
    assert (planned["images"], planned["shards"], planned["output"]) == (20, 1, "out")
    assert not Path("out").exists()


def wait_for(condition, process: subprocess.Popen[str]) -> None:
    deadline = time.monotonic() + DEADLINE_S
    while not condition():
        assert process.poll() is None, process.stderr.read()
        assert time.monotonic() < deadline, sorted(map(str, Path().rglob("*")))
        time.sleep(0.05)


def children_of(process: subprocess.Popen[str]) -> list[int]:
    return [
        int(pid)
        for pid in Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
    ]


def is_running(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def shard_bytes(folder: str) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(Path(folder).glob("*.parquet"))}


@pytest.fixture
def stalled(pictures) -> str:
    """Paths for stdin; the fifteenth is a pipe that nobody writes to, where a worker
    waits until it is killed.
    """
    (pictures / "14.png").rename("kept.png")
    os.mkfifo(pictures / "14.png")
    return "".join(f"pictures/{number:02d}.png\n" for number in range(20))


def unstall() -> None:
    Path("pictures/14.png").unlink()
    Path("kept.png").rename("pictures/14.png")


OPTIONS = ("--shard-size", "10", "--batch-size", "2")


@pytest.mark.slow
def test_a_killed_run_is_continued_to_the_same_bytes(stalled, start, seed):
    process = start("tokenize", "-", "-o", "out", *OPTIONS, "--workers", "1", stdin=stalled)
    journal = Path("out/.seed/images-000001.journal")
    # two passes of the second shard are done
    wait_for(lambda: journal.exists() and journal.read_bytes().count(b"\n") == 2, process)
    workers = children_of(process)
    assert workers
    process.kill()
    process.wait()
    first = shard_bytes("out")
    assert list(first) == ["images-000000.parquet"]
    deadline = time.monotonic() + 10
    while any(map(is_running, workers)):
        assert time.monotonic() < deadline, "workers outlive a killed run"
        time.sleep(0.05)
    with journal.open("ab") as file:
        file.write(b'[["torn line')

    unstall()
    refused = seed("tokenize", "-", "-o", "out", *OPTIONS, stdin=stalled)
    assert refused.exit_code == 3
    assert "--resume continues it" in refused.stderr
    result = seed("tokenize", "-", "-o", "out", *OPTIONS, "--workers", "0", "--resume", stdin="")
    assert result.exit_code == 0, result.stderr
    summary = json.loads(result.stdout)
    assert (summary["images"], summary["computed"]) == (20, 6)
    seed("tokenize", "-", "-o", "reference", *OPTIONS, "--workers", "0", stdin=stalled)
    assert shard_bytes("out") == shard_bytes("reference")
    assert first.items() <= shard_bytes("out").items()
    assert sorted(path.name for path in Path("out").iterdir()) == [
        ".seed",
        *sorted(shard_bytes("out")),
    ]


@pytest.mark.slow
def test_a_second_driver_is_refused_and_tasks_with_parts_share_a_folder(stalled, start, seed):
    first = start("tokenize", "-", "-o", "out", *OPTIONS, "--workers", "0", stdin=stalled)
    journal = Path("out/.seed/images-000001.journal")
    wait_for(lambda: journal.exists() and journal.read_bytes().count(b"\n") == 2, first)
    for options in (["--resume"], ["--part", "0/2"]):
        refused = seed("tokenize", "-", "-o", "out", *OPTIONS, *options, stdin="")
        assert refused.exit_code == 3
        assert f"out is held by process {first.pid} on " in refused.stderr
    first.kill()
    first.wait()
    unstall()
    reference = seed("tokenize", "-", "-o", "reference", *OPTIONS, stdin=stalled)
    for part in ("0/2", "1/2"):
        result = seed("tokenize", "-", "-o", "parts", *OPTIONS, "--part", part, stdin=stalled)
        assert result.exit_code == 0, result.stderr
        summary = json.loads(result.stdout)
        assert (summary["part"], summary["shards"], summary["images"]) == (part, 1, 10)
    whole = seed("tokenize", "-", "-o", "parts", *OPTIONS, "--resume", stdin="")
    summary = json.loads(whole.stdout)
    assert (summary["images"], summary["computed"], summary["shards"]) == (20, 0, 2)
    assert reference.exit_code == 0
    assert shard_bytes("parts") == shard_bytes("reference")


@pytest.mark.slow
def test_an_interrupted_file_is_continued(stalled, start, seed):
    process = start("tokenize", "-", "-o", "codes.jsonl", *OPTIONS, "--workers", "1", stdin=stalled)
    journal = Path("codes.jsonl.unfinished/images-000001.journal")
    wait_for(lambda: journal.exists() and journal.read_bytes().count(b"\n") == 2, process)
    process.send_signal(signal.SIGTERM)
    _, stderr = process.communicate(timeout=DEADLINE_S)
    assert process.returncode == 130, stderr
    assert "--resume" in stderr
    assert not Path("codes.jsonl").exists()
    unstall()
    assert seed("tokenize", "-", "-o", "codes.jsonl", *OPTIONS, stdin=stalled).exit_code == 3
    result = seed("tokenize", "-", "-o", "codes.jsonl", *OPTIONS, "--resume", stdin="")
    assert result.exit_code == 0, result.stderr
    assert json.loads(result.stdout)["computed"] == 6
    streamed = seed("tokenize", "-", "--batch-size", "2", stdin=stalled)
    assert Path("codes.jsonl").read_text() == streamed.stdout
    assert not Path("codes.jsonl.unfinished").exists()


def test_force_starts_an_interrupted_file_anew(pictures, seed):
    Path("codes.jsonl.unfinished").mkdir()
    Path("codes.jsonl.unfinished/manifest.json").write_text('{"settings": {}, "shards": []}')
    result = seed("tokenize", "pictures", "-o", "codes.jsonl", "--force")
    assert result.exit_code == 0, result.stderr
    assert len(Path("codes.jsonl").read_text().splitlines()) == 20


def test_tokens_commands(pictures, seed):
    seed("tokenize", "pictures", "-o", "out", "--shard-size", "8")
    info = json.loads(seed("tokens", "info", "out").stdout)
    assert (info["tokenizer"], info["shards"], info["images"], info["num_codes"]) == (
        "tiny",
        3,
        20,
        64,
    )
    head = lines(seed("tokens", "head", "out", "-n", "2").stdout)
    streamed = lines(seed("tokenize", "pictures", "--limit", "2").stdout)
    assert [record["codes"] for record in head] == [record["codes"] for record in streamed]
    stats = json.loads(seed("tokens", "stats", "out").stdout)
    assert 0 < stats["codebook_usage"] <= 1
    assert 1 <= stats["codebook_perplexity"] <= 64
    assert len(stats["position_entropy_bits"]) == 32
    merged = seed("tokens", "merge", "out", "-o", "all.parquet")
    assert json.loads(merged.stdout) == {"output": "all.parquet", "shards": 1, "images": 20}
    assert lines(seed("tokens", "head", "all.parquet", "-n", "20").stdout) == lines(
        seed("tokens", "head", "out", "-n", "20").stdout
    )
    parts = seed("tokens", "merge", "out", "-o", "parts", "--shard-size", "7")
    assert json.loads(parts.stdout)["shards"] == 3
    again = seed("tokens", "merge", "out", "-o", "all.parquet")
    assert again.exit_code == 3
    assert "never rewritten" in again.stderr


def test_tokens_verify_finds_what_is_wrong(pictures, seed):
    seed("tokenize", "pictures", "-o", "out", "--shard-size", "8")
    Path("out/images-000002.parquet").unlink()
    Path("out/images-000001.parquet").write_bytes(b"broken")
    Path("out/copy.parquet").write_bytes(Path("out/images-000000.parquet").read_bytes())
    result = seed("tokens", "verify", "out")
    assert result.exit_code == 3
    problems = " ".join(json.loads(result.stdout)["problems"])
    assert "images-000001.parquet: is no readable parquet file" in problems
    assert "8 keys that occurred before" in problems
    assert "1 of 3 shards are not finished" in problems


def test_a_page_shows_what_was_read_from_stdin(pictures, tiny_model_folder):
    (pictures / "02.png").write_text("no picture")
    words = ["tokenize", "-", "--model", str(tiny_model_folder), "--page", "page.html"]
    paths = "pictures/01.png\npictures/02.png\npictures/03.png\n"
    result = CliRunner().invoke(app, words, input=paths)
    assert result.exit_code == 4, result.stderr  # one of them is none; the others are shown
    codes = [record["codes"] for record in lines(result.stdout)]
    page = Path("page.html").read_text()
    assert re.findall(r"<li [^>]*>(\d+)</li>", page) == [str(each) for row in codes for each in row]
    assert page.count("data:image/webp") == 4


def test_a_page_without_a_picture_decoder_is_refused_before_anything_is_computed(seed, pictures):
    result = seed("tokenize", "pictures", "--page", "page.html")
    assert result.exit_code == 3 and result.stdout == "" and not Path("page.html").exists()
