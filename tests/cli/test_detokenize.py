"""`seed detokenize` as typed: exit codes, what goes to stdout, the pipe of the README, nothing
heavy before codes are checked.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from typer.testing import CliRunner

from seedcli.cli.main import app
from seedcli.data.images.facts import read_picture_facts
from seedcli.models.language.vocab import format_span

CODES = [(5 * position) % 64 for position in range(32)]
QUICK = ["--steps", "1", "--guidance", "2", "--device", "cpu"]


def _seed(*words: str | Path, stdin: str | None = None) -> Any:
    return CliRunner().invoke(app, ["detokenize", *map(str, words)], input=stdin)


def _numbers() -> list[str]:
    return [str(code) for code in CODES]


def test_integers_on_the_command_line(tiny_model_folder: Path, tmp_path: Path) -> None:
    result = _seed(*_numbers(), "-o", tmp_path / "out.png", "-m", tiny_model_folder, *QUICK)
    assert result.exit_code == 0, result.stderr
    row = json.loads(result.stdout)
    assert list(row) == [
        "source",
        "output",
        "codes",
        "model",
        "fingerprint",
        "steps",
        "guidance",
        "seed",
    ]
    assert (row["codes"], row["steps"], row["guidance"], row["seed"]) == (CODES, 1, 2.0, 0)
    assert "pictures by tiny" in result.stderr

    words = [
        "detokenize",
        *_numbers(),
        "-o",
        str(tmp_path / "out.png"),
        "-m",
        str(tiny_model_folder),
        "--resume",
        *QUICK,
    ]
    kept, loaded = (json.loads(line) for line in _fresh(words, stdin="").stdout.splitlines())
    assert kept == row | {"kept": True}
    assert "torch" not in loaded


def test_a_file_and_a_folder_with_quiet(tiny_model_folder: Path, tmp_path: Path) -> None:
    lines = tmp_path / "codes.jsonl"
    lines.write_text(
        "".join(
            json.dumps({"source": f"x/{name}.jpg", "codes": CODES}) + "\n"
            for name in ("cat", "dog")
        )
    )
    result = _seed(lines, "-o", tmp_path / "out", "-m", tiny_model_folder, "--quiet", *QUICK)
    assert (result.exit_code, result.stderr) == (0, "")
    rows = [json.loads(line) for line in result.stdout.splitlines()]
    assert [(row["source"], row["output"]) for row in rows] == [
        (f"x/{name}.jpg", str(tmp_path / "out" / f"{name}.png")) for name in ("cat", "dog")
    ]
    assert [row["seed"] for row in rows] == [0, 1]


def test_token_text_on_stdin(tiny_model_folder: Path, tmp_path: Path) -> None:
    result = _seed(
        "-o", tmp_path / "out.png", "-m", tiny_model_folder, *QUICK, stdin=format_span(CODES) + "\n"
    )
    assert result.exit_code == 0, result.stderr
    assert read_picture_facts(tmp_path / "out.png")["codes"] == CODES


def test_dry_run_draws_nothing_and_loads_nothing(tiny_model_folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    words = [
        "detokenize",
        "-o",
        str(out),
        "-m",
        str(tiny_model_folder),
        "--dry-run",
        "--limit",
        "2",
    ]
    done = _fresh(words, stdin=f"{json.dumps(CODES)}\n" * 3)
    assert done.returncode == 0, done.stderr
    row, loaded = (json.loads(line) for line in done.stdout.splitlines())
    assert (row["dry_run"], row["images"], row["kept"], row["first_output"]) == (
        True,
        2,
        0,
        str(out / "000000.png"),
    )
    assert (row["steps"], row["guidance"]) == (20, 10.0)
    assert loaded == []
    assert not out.exists()


def _fresh(words: list[str], stdin: str) -> subprocess.CompletedProcess[str]:
    """A process of its own; the last line of its stdout lists the heavy packages that it loaded."""
    code = (
        "import sys, json, atexit\n"
        "heavy = ['torch', 'diffusers', 'transformers', 'numpy', 'PIL', 'pyarrow']\n"
        "from seedcli.cli.main import app\n"
        "try:\n"
        f"    app({words!r}, standalone_mode=True)\n"
        "finally:\n"
        "    print(json.dumps([name for name in heavy if name in sys.modules]))\n"
    )
    return subprocess.run(
        [sys.executable, "-c", code], input=stdin, capture_output=True, text=True, timeout=100
    )


@pytest.mark.parametrize(
    ("codes", "says"),
    [
        ("[8192" + ", 0" * 31 + "]", "stdin, line 1: code 0 is 8192, expected 0..8191"),
        ("[0" + ", 0" * 30 + "]", "stdin, line 1: 31 codes, expected exactly 32"),
        ("[0.5" + ", 0" * 31 + "]", "stdin, line 1: code 0 is 0.5, expected an integer"),
    ],
)
def test_malformed_codes_exit_2_before_anything_heavy_is_loaded(
    tmp_path: Path, codes: str, says: str
) -> None:
    done = _fresh(["detokenize", "-m", "seed-2", "-o", str(tmp_path / "out.png")], stdin=codes)
    assert done.returncode == 2
    assert says in done.stderr
    assert "Traceback" not in done.stderr
    assert json.loads(done.stdout) == []


def test_exit_codes_of_what_a_user_can_do_wrong(tiny_model_folder: Path, tmp_path: Path) -> None:
    out, model = ["-o", tmp_path / "out.png"], ["-m", tiny_model_folder]
    foreign = json.dumps({"codes": CODES, "model": "seed-2", "fingerprint": "f00"})
    photo = tmp_path / "photo.png"
    Image.new("RGB", (4, 4)).save(photo)
    cases = [
        (2, _seed(*_numbers()[:31], *out, *model), "31 codes"),
        (2, _seed("1.5", *_numbers()[1:], *out, *model), "'1.5'"),
        (2, _seed(*_numbers(), *model), "-o"),
        (2, _seed(*_numbers(), *out, *model, "--fill", "mean"), "--codes-only"),
        (2, _seed(*_numbers(), *out, *model, "--fill", "llm"), "--codes-only"),
        (
            2,
            _seed(*_numbers(), *out, *model, "--codes-only", "8", "--llm", "seed-nano"),
            "--fill llm",
        ),
        (2, _seed(*_numbers(), *out, *model, "--codes-only", "8", "--fill", "lmm"), "lmm"),
        (
            3,
            _seed(*_numbers(), *out, *model, "--codes-only", "8", "--fill", "llm"),
            "--llm names one",
        ),
        (2, _seed(*_numbers(), *out, *model, "--guidance", "0.5"), "--guidance"),
        (2, _seed(*_numbers(), *out, "-m", "sead-nano"), "seed-nano"),
        (2, _seed(*out, *model, stdin=""), "stdin holds no codes"),
        (3, _seed(tmp_path / "none.jsonl", *out, *model), "none.jsonl"),
        (3, _seed(photo, *out, *model), "no text"),
        (3, _seed(*out, *model, stdin=foreign), "--model seed-2"),
        (3, _seed(*_numbers(), "-o", photo, *model), "--force"),
        (3, _seed(*_numbers(), *out, "-m", tmp_path), "holds no model"),
    ]
    for code, result, says in cases:
        assert (result.exit_code, result.stdout) == (code, ""), result.output
        assert says in result.stderr
        assert "Traceback" not in result.stderr
    assert not (tmp_path / "out.png").exists()


def test_force_draws_codes_of_another_model(tiny_model_folder: Path, tmp_path: Path) -> None:
    foreign = json.dumps({"codes": CODES, "model": "seed-2", "fingerprint": "f00"})
    result = _seed(
        "-o", tmp_path / "out.png", "-m", tiny_model_folder, "--force", *QUICK, stdin=foreign
    )
    assert result.exit_code == 0
    assert "warning: stdin, line 1: these codes were made by seed-2 (f00)" in result.stderr


def test_the_readme_pipe(tiny_model_folder: Path, tmp_path: Path) -> None:
    """`seed tokenize img.jpg | seed detokenize -o out.png`, two processes and a pipe;
    the codes come through.
    """
    Image.effect_mandelbrot((80, 60), (-2, -1, 1, 1), 50).convert("RGB").save(tmp_path / "img.jpg")
    seed, model = f"{sys.executable} -m seedcli", f"--model {tiny_model_folder}"
    command = (
        f"{seed} tokenize img.jpg {model} | tee codes.jsonl | {seed} detokenize -o out.png "
        f"{model} --steps 1"
    )
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
    done = subprocess.run(
        ["bash", "-o", "pipefail", "-c", command],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        timeout=110,
    )
    assert done.returncode == 0, done.stderr
    made, drawn = json.loads((tmp_path / "codes.jsonl").read_text()), json.loads(done.stdout)
    assert drawn["source"] == "img.jpg"
    assert (drawn["codes"], drawn["fingerprint"]) == (made["codes"], made["fingerprint"])
    with Image.open(tmp_path / "out.png") as image:
        assert image.size == (32, 32)


@pytest.mark.slow
def test_interrupted_it_keeps_what_is_done(tiny_model_folder: Path, tmp_path: Path) -> None:
    out, lines = tmp_path / "out", tmp_path / "codes.jsonl"
    lines.write_text((json.dumps(CODES) + "\n") * 2000)
    words = [
        sys.executable,
        "-m",
        "seedcli",
        "detokenize",
        str(lines),
        "-o",
        str(out),
        "-m",
        str(tiny_model_folder),
        "-b",
        "1",
        *QUICK,
    ]
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
    process = subprocess.Popen(
        words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment
    )
    first = process.stdout.readline()
    time.sleep(0.2)
    process.send_signal(signal.SIGTERM)
    rest, errors = process.communicate(timeout=60)
    assert process.returncode == 130, errors
    assert "--resume" in errors
    outputs = [Path(json.loads(line)["output"]) for line in [first, *rest.splitlines()]]
    assert 1 <= len(outputs) < 2000
    assert all(read_picture_facts(path) for path in outputs)
    assert not list(out.glob("*.partial"))
