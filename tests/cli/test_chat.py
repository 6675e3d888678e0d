"""`seed chat` as it is typed: one turn, piped turns, a terminal."""

from __future__ import annotations

import json
import os
import select
import subprocess
import sys
import time
from pathlib import Path

import pytest
from typer.testing import CliRunner

from seedcli.cli.main import app
from tests.contracts.source_tree import ROOT

QUICK = ["--temperature", "1.5", "--top-p", "1", "--max-new-tokens", "40", "--picture-steps", "2", "--device", "cpu"]


@pytest.fixture
def run(tiny_llm_folder, tmp_path):
    def call(*words: str, stdin: str = ""):
        return CliRunner().invoke(app, ["chat", "--model", str(tiny_llm_folder), "-o", str(tmp_path / "out"), *QUICK, *words], input=stdin)

    return call


def test_once_answers_one_turn_as_json(run, tmp_path, picture) -> None:
    result = run("--once", "draw it", "--image", str(picture), "--draw", "--json")
    assert result.exit_code == 0, result.output
    (answer,) = [json.loads(line) for line in result.stdout.splitlines()]
    assert answer["text"].startswith("<image>")
    assert answer["images"] == [str(tmp_path / "out" / f"{n}.png") for n in range(len(answer["codes"]))]
    assert all(len(codes) == 32 and all(0 <= code < 64 for code in codes) for codes in answer["codes"])
    assert all(Path(path).is_file() for path in answer["images"])
    assert "answers by tiny-llm" in result.stderr


def test_piped_lines_are_turns_and_commands(run, tmp_path, picture) -> None:
    transcript = tmp_path / "talk.jsonl"
    lines = [f"/image {picture}", "what is it", "/draw a dog", f'/save "{transcript}"', "/seed 5", "/quit", "never said"]
    result = run("--codes", stdin="\n".join(lines) + "\n")
    assert result.exit_code == 0, result.output
    answers = [json.loads(line) for line in result.stdout.splitlines()]
    assert len(answers) == 2 and len(answers[1]["codes"]) == 1
    (row,) = [json.loads(line) for line in transcript.read_text().splitlines()]
    assert row["messages"][0] == {"role": "user", "content": "<image>what is it"}


def test_the_same_seed_gives_the_same_answers(run) -> None:
    turns = "/draw a dog\na bus\n"
    first = run("--codes", "--seed", "4", stdin=turns).stdout
    assert run("--codes", "--seed", "4", stdin=turns).stdout == first
    assert run("--codes", "--seed", "5", stdin=turns).stdout != first
    assert run("--codes", stdin="/seed 4\n" + turns).stdout == first


@pytest.mark.parametrize(
    ("words", "stdin", "code", "message"),
    [
        (["--once", "hi", "--draw", "--unconstrained"], "", 2, "--draw needs the image grammar"),
        (["--once", "hi", "--top-p", "0"], "", 2, "top_p is 0"),
        (["--once", "hi", "--quantize", "4bit"], "", 2, "needs an NVIDIA GPU"),
        (["--once", "hi", "--image", "missing.png"], "", 3, "missing.png"),
        (["--once", "look: <image>"], "", 2, "0 images are attached"),
        (["--once", "hi", "--draw", "--max-new-tokens", "20"], "", 2, "an image takes 34 tokens"),
        ([], "/paint a dog\n", 2, "no command is called /paint"),
        ([], "/image\n", 2, "/image needs a path"),
        ([], "/seed x\n", 2, "expected a number"),
        ([], "/save\n", 2, "/save needs a path"),
    ],
)
def test_what_a_user_gets_wrong(run, words, stdin, code, message) -> None:
    result = run(*words, stdin=stdin)
    assert result.exit_code == code, result.output
    assert message in result.stderr


def test_unknown_models_are_named(tmp_path) -> None:
    result = CliRunner().invoke(app, ["chat", "--model", "seed-lama-8b-sft", "--once", "hi"])
    assert result.exit_code == 2 and "did you mean seed-llama-8b-sft" in result.stderr
    result = CliRunner().invoke(app, ["chat", "--model", str(tmp_path), "--once", "hi"])
    assert result.exit_code == 3 and "holds no language model" in result.stderr


def test_without_the_grammar_the_answer_says_what_was_malformed(run) -> None:
    result = run("--once", "a dog", "--unconstrained", "--codes", "--temperature", "3", "--max-new-tokens", "120")
    assert result.exit_code == 0, result.output
    answer = json.loads(result.stdout)
    assert answer["malformed"] > 0 and answer["codes"] == []


@pytest.mark.skipif(sys.platform != "linux", reason="a pseudo-terminal")
def test_on_a_terminal_words_stream_and_pictures_are_shown(tiny_llm_folder, tmp_path) -> None:
    import pty

    main, terminal = pty.openpty()
    environment = {key: value for key, value in os.environ.items() if key != "TMUX"}
    environment |= {"TERM": "xterm-kitty", "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "seedcli", "chat", "--model", str(tiny_llm_folder), "-o", str(tmp_path / "out"), *QUICK]
    process = subprocess.Popen(command, stdin=terminal, stdout=terminal, stderr=terminal, cwd=ROOT, env=environment)
    os.close(terminal)
    shown = b""

    def until(wanted: bytes) -> None:
        nonlocal shown
        end = time.monotonic() + 90
        while wanted not in shown:
            assert time.monotonic() < end, shown
            if select.select([main], [], [], 1)[0]:
                shown += os.read(main, 65536)
        shown = shown[shown.index(wanted) + len(wanted) :]

    try:
        until(b"> ")
        os.write(main, b"/help\n")
        until(b"/draw [TEXT]")
        until(b"> ")
        os.write(main, b"/nonsense\n")
        until(b"no command is called /nonsense")
        os.write(main, b"/draw a dog\n")
        until(b"\x1b_Ga=T,f=100,m=1;")
        until(b"0.png")
        until(b"> ")
        os.write(main, b"/quit\n")
        assert process.wait(timeout=60) == 0
    finally:
        process.kill()
        process.wait()
        os.close(main)
    assert (tmp_path / "out" / "0.png").is_file()
