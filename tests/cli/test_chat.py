"""`seed chat` as it is typed: one turn, and piped turns."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from seedcli.cli.main import app
from tests.contracts.source_tree import ROOT
from tests.llm_fixture import QUICK_CHAT

EXAMPLE = str(ROOT / "examples" / "face.png")


@pytest.fixture
def run(tiny_llm_folder, tmp_path):
    def call(*words: str, stdin: str = ""):
        return CliRunner().invoke(
            app,
            [
                "chat",
                "--model",
                str(tiny_llm_folder),
                "-o",
                str(tmp_path / "out"),
                *QUICK_CHAT,
                *words,
            ],
            input=stdin,
        )

    return call


def test_once_answers_one_turn_as_json(run, tmp_path, picture) -> None:
    result = run("--once", "draw it", "--image", str(picture), "--draw", "--json")
    assert result.exit_code == 0, result.output
    (answer,) = [json.loads(line) for line in result.stdout.splitlines()]
    assert answer["text"].startswith("<image>")
    assert answer["images"] == [
        str(tmp_path / "out" / f"{n}.png") for n in range(len(answer["codes"]))
    ]
    assert all(
        len(codes) == 32 and all(0 <= code < 64 for code in codes) for codes in answer["codes"]
    )
    assert all(Path(path).is_file() for path in answer["images"])
    assert "answers by tiny-llm" in result.stderr


def test_piped_lines_are_turns_and_commands(run, tmp_path, picture) -> None:
    transcript = tmp_path / "talk.jsonl"
    lines = [
        f"/image {picture}",
        "what is it",
        "/draw a dog",
        f'/save "{transcript}"',
        "/seed 5",
        "/quit",
        "never said",
    ]
    result = run("--codes", stdin="\n".join(lines) + "\n")
    assert result.exit_code == 0, result.output
    answers = [json.loads(line) for line in result.stdout.splitlines()]
    assert len(answers) == 2 and len(answers[1]["codes"]) == 1
    (row,) = [json.loads(line) for line in transcript.read_text().splitlines()]
    assert row["messages"][0] == {"role": "user", "content": "<image>what is it"}


def test_again_answers_once_more_with_the_next_seed(run, tmp_path) -> None:
    transcript = tmp_path / "talk.jsonl"
    result = run("--codes", stdin=f"/draw a dog\n/again\n/seed 0\n/again\n/save {transcript}\n")
    assert result.exit_code == 0, result.output
    first, second, third = (json.loads(line) for line in result.stdout.splitlines())
    assert len(second["codes"]) == 1 and second["codes"] != first["codes"]
    assert third == first
    (row,) = [json.loads(line) for line in transcript.read_text().splitlines()]
    assert len(row["messages"]) == 2 and row["images"] == first["codes"]


def test_turns_are_taken_back_and_conversations_gone_on_with(run, tmp_path, picture) -> None:
    first, second = tmp_path / "first.jsonl", tmp_path / "second.jsonl"
    result = run(
        "--codes",
        stdin=f"/image {picture}\nwhat is it\n/save {first}\n/draw a dog\n/undo\n/save {first}\n",
    )
    assert result.exit_code == 0, result.output
    assert "taken back: a dog" in result.stderr
    kept = first.read_text()
    (row,) = map(json.loads, kept.splitlines())
    assert len(row["messages"]) == 2 and len(row["images"]) == 1

    result = run("--codes", stdin=f"/load {first}\n/codes\na bus\n/save {second}\n/save {first}\n")
    assert result.exit_code == 0, result.output
    codes, _answer = map(json.loads, result.stdout.splitlines())
    assert codes == {"role": "user", "codes": row["images"][0]}
    (longer,) = map(json.loads, second.read_text().splitlines())
    assert longer["messages"][:2] == row["messages"] and longer["key"] == row["key"]
    assert longer["messages"][2]["content"] == "a bus"
    assert first.read_text() == second.read_text()  # replaced, not doubled


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"fingerprint": "another"}, "made by another, not by"),
        ({"images": [[1, 2]]}, "2 codes, expected exactly 32"),
        ({"images": []}, "the text says <image> 1 times, 0 images"),
        ({"messages": [{"role": "user", "content": "hi"}], "images": []}, "ends with no conver"),
        (None, "ends with no conversation"),
    ],
)
def test_what_cannot_be_gone_on_with_is_refused(run, tmp_path, change, message) -> None:
    path = tmp_path / "talk.jsonl"
    row = {
        "messages": [
            {"role": "user", "content": "<image>what"},
            {"role": "assistant", "content": "a dog"},
        ],
        "images": [[0] * 32],
    }
    path.write_text(json.dumps(row | change) + "\n" if change is not None else "no JSON\n")
    result = run("--codes", stdin=f"/load {path}\n")
    assert result.exit_code == 3, result.output
    assert message in result.stderr


def test_paths_are_written_as_a_terminal_drops_them(run, tmp_path, picture) -> None:
    spaced = tmp_path / "my picture.png"
    spaced.write_bytes(picture.read_bytes())
    literal = tmp_path / "back\\slash.png"
    literal.write_bytes(picture.read_bytes())
    paths = [str(spaced), str(spaced).replace(" ", "\\ "), f"'{spaced}'", str(literal)]
    result = run(
        "--codes",
        stdin="".join(f"/image {path}\n" for path in paths) + "<image><image><image><image> what\n",
    )
    assert result.exit_code == 0, result.output


def test_piped_bytes_that_are_no_text_are_refused(tiny_llm_folder) -> None:
    command = [
        sys.executable,
        "-m",
        "seedcli",
        "chat",
        "--model",
        str(tiny_llm_folder),
        "--codes",
        *QUICK_CHAT,
    ]
    done = subprocess.run(
        command,
        input=b"caf\xe9\n",
        capture_output=True,
        cwd=ROOT,
        timeout=100,
        env={**os.environ, "PYTHONUTF8": "1"},
    )
    assert done.returncode == 2, done.stderr
    assert b"no UTF-8 at its character 4" in done.stderr


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
        (
            ["--once", "look: <image>", "--image", EXAMPLE, "--image", EXAMPLE],
            "",
            2,
            "say <image> once for each, or not at all",
        ),
        (
            ["--once", "hi", "--seed", "99999999999999999999"],
            "",
            2,
            "seed is 99999999999999999999, expected 0 to 2^53",
        ),
        (["--once", "hi", "--temperature", "1e-45"], "", 2, "expected 0, or 0.001 to 1000"),
        (
            ["--once", "hi", "--code-guidance", "inf"],
            "",
            2,
            "code_guidance is inf, expected 1 to 1000",
        ),
        (
            ["--once", "hi", "--picture-guidance", "inf"],
            "",
            2,
            "--picture-guidance is inf, expected 1 to 1000",
        ),
        (
            ["--once", "what is <img> good for"],
            "",
            2,
            "attaches a picture, <image> marks its place",
        ),
        (["--once", "caf\udce9"], "", 2, "no UTF-8 at its character 4"),
        (["--once", "hi", "-o", EXAMPLE], "", 3, "is no folder"),
        (["--once", "hi", "--negative", "missing.jsonl"], "", 3, "missing.jsonl"),
        (["--once", "hi", "--image", "README.md"], "", 3, "is not an image"),
        (["--unconstrained"], "/draw\n", 2, "/draw needs the image grammar"),
        ([], "/again\n", 2, "nothing was said yet"),
        ([], "/seed 99999999999999999999\n", 2, "expected 0 to 2^53"),
        ([], "/image one.png two\\ 2.png\n", 2, "/image takes one path, found 2"),
        ([], "/paint a dog\n", 2, "no command is called /paint"),
        ([], "/undo\n", 2, "nothing to take back"),
        ([], "/load missing.jsonl\n", 3, "missing.jsonl cannot be read"),
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
    result = run(
        "--once",
        "a dog",
        "--unconstrained",
        "--codes",
        "--temperature",
        "3",
        "--max-new-tokens",
        "120",
    )
    assert result.exit_code == 0, result.output
    answer = json.loads(result.stdout)
    assert answer["malformed"] > 0 and answer["codes"] == []
