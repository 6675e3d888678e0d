"""What goes to stdout, what to stderr, and how."""

from __future__ import annotations

import json
import os
import pty
import re
import subprocess
import sys
import time

import pytest

from seedcli.console import Console, Reporter, wrapped
from seedcli.errors import DataError
from seedcli.progress import duration


def run_on_a_terminal(code: str) -> str:
    """What a person sees: stdout and stderr of a fresh interpreter on one pseudo-terminal."""
    main, side = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-c", code],
        stdin=side,
        stdout=side,
        stderr=side,
        env={**os.environ, "TERM": "xterm", "COLUMNS": "100"},
    )
    os.close(side)
    shown = b""
    while True:
        try:
            piece = os.read(main, 4096)
        except OSError:  # Linux's way to say that the other side is closed
            break
        if not piece:
            break
        shown += piece
    assert process.wait(30) == 0, shown
    os.close(main)
    return shown.decode()


def test_results_are_json_lines_in_a_pipe(capsys: pytest.CaptureFixture[str]) -> None:
    console = Console()
    console.result({"a": 1, "word": "é"}, human=lambda obj: "for people")
    console.result([1, 2])
    out = capsys.readouterr().out
    assert [json.loads(line) for line in out.splitlines()] == [{"a": 1, "word": "é"}, [1, 2]]


def test_results_are_for_people_on_a_terminal_unless_json_is_asked_for() -> None:
    shown = run_on_a_terminal(
        "from seedcli.console import console\n"
        "console.result({'a': 1}, human=lambda obj: f'a is {obj[\"a\"]} [not markup]')\n"
        "console.result({'loss': 0.123456, 'inner': {'b': 'x'}})\n"
        "console.configure(json=True)\n"
        "console.result({'a': 2})\n"
    )
    assert shown.splitlines() == [
        "a is 1 [not markup]",
        "loss   0.1235",
        "inner",
        "  b  x",
        '{"a": 2}',
    ]


def test_progress_bar_on_a_terminal() -> None:
    shown = run_on_a_terminal(
        "from seedcli.console import console\nwith console.progress('images', 3) as bar:\n"
        "    for _ in range(3): bar.advance(loss=0.5)\n"
    )
    assert "images" in shown
    assert "3/3" in shown
    assert "loss=0.5" in shown


def test_units_of_an_earlier_run_are_no_part_of_the_rate(
    capsys: pytest.CaptureFixture[str],
) -> None:
    with Console().progress("images", 10**9) as lines:
        lines.resume(10**8)
        time.sleep(0.01)
        lines.advance()
    count, rate, left = capsys.readouterr().err.splitlines()[-1].split(", ")
    assert count == f"images: {10**8 + 1}/{10**9}" and float(rate.removesuffix("/s")) <= 100
    assert left.endswith(" h left") and left.split()[1] == "d"
    assert "100000001/1000000000" in run_on_a_terminal(
        "from seedcli.console import console\nwith console.progress('images', 10**9) as bar:\n"
        "    bar.resume(10**8)\n    bar.advance()\n"
    )


def test_notes_and_warnings_go_to_stderr_and_quiet_silences_them(
    capsys: pytest.CaptureFixture[str],
) -> None:
    console = Console()
    console.note("model: seed-nano")
    console.warn("slow")
    with console.progress("images", 2) as progress:
        progress.advance(2, loss=1.5)
    captured = capsys.readouterr()
    assert captured.out == ""
    note, warning, bar = captured.err.splitlines()
    assert (note, warning) == ("model: seed-nano", "warning: slow")
    assert bar.startswith("images: 2/2, ")
    assert bar.endswith("/s  loss=1.5")

    console.configure(quiet=True)
    console.note("model")
    console.warn("slow")
    with console.progress("images", 2) as progress:
        progress.advance(2)
    assert capsys.readouterr().err == ""
    assert progress.done == 2


def test_one_thing_or_a_step_that_is_quickly_done_is_no_progress(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    with Console().progress("encode", 1) as progress:
        progress.advance()
    assert capsys.readouterr().err == ""
    with (console := Console()).progress("pictures", 16) as pictures:
        for _ in range(2):
            with console.progress("encode", 8) as progress:
                progress.advance(8)
            pictures.advance(8)
    assert [line.split(",")[0] for line in capsys.readouterr().err.splitlines()] == [
        "pictures: 16/16"
    ]
    monkeypatch.setattr("seedcli.progress.LOG_EVERY_S", 0)
    with Console().progress("drawing", 1) as progress:
        progress.advance()
    assert "drawing: 1/1" in capsys.readouterr().err


def test_errors_are_never_silenced_and_carry_the_remedy(capsys: pytest.CaptureFixture[str]) -> None:
    console = Console()
    console.configure(quiet=True)
    console.error(DataError("no such file: a.jpg", remedy="ls"))
    assert capsys.readouterr().err == "error: no such file: a.jpg\n  -> ls\n"
    console.configure(debug=True)
    try:
        raise DataError("again")
    except DataError as error:
        console.error(error)
    err = capsys.readouterr().err
    assert "Traceback" in err
    assert err.endswith("error: again\n")


def test_stdout_holds_results_only_even_against_native_code_and_children() -> None:
    code = (
        "import os, sys\n"
        "from seedcli.console import console\n"
        "with console.results_only():\n"
        "    print('printed')\n"
        "    os.write(1, b'native\\n')\n"
        "    os.system('echo child')\n"
        "    console.result({'a': 1})\n"
        "print('afterwards')\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == '{"a": 1}\nafterwards\n'
    assert sorted(done.stderr.split()) == ["child", "native", "printed"]


def test_reporter_is_silent(capfd: pytest.CaptureFixture[str]) -> None:
    reporter = Reporter()
    reporter.note("a")
    reporter.warn("b")
    with reporter.progress("c", 3) as progress:
        progress.advance(2, loss=1.0)
    assert (progress.done, progress.figures) == (2, {"loss": 1.0})
    assert capfd.readouterr() == ("", "")


def screen(shown: str, width: int = 100) -> list[str]:
    """Lines that a terminal shows after these characters; colours are left out."""
    lines, row, column = [""], 0, 0
    for code, key, char in re.findall(r"\x1b\[([?\d;]*)([A-Za-z])|(.|\n)", shown):
        if key == "A":
            row = max(0, row - int(code or 1))
        elif key == "K":
            lines[row] = "" if code == "2" else lines[row][:column]
        elif char == "\n":
            row += 1
            lines += [""] * (row + 1 - len(lines))
        elif char == "\r":
            column = 0
        elif char:
            lines[row] = lines[row][:column].ljust(column) + char + lines[row][column + 1 :]
            column += 1
    return [line.rstrip() for line in lines]


def test_nothing_is_glued_to_the_bars() -> None:
    shown = run_on_a_terminal(
        "import logging, sys, time, warnings\n"
        "logging.getLogger('library').addHandler(logging.StreamHandler(sys.stderr))\n"
        "from seedcli.console import console\n"
        "with console.results_only(), console.progress('outer', 2) as outer:\n"
        "    for number in range(2):\n"
        "        with console.progress('inner', 1) as inner:\n"
        "            inner.advance()\n"
        "            time.sleep(0.3)\n"
        "            console.stream(f'beside two bars {number}\\n')\n"
        "        outer.advance()\n"
        "        late = logging.getLogger(f'late{number}')\n"
        "        late.addHandler(logging.StreamHandler(sys.stdout))\n"
        "        late.warning('of a late library %d', number)\n"
        "        console.result({}, human=lambda _: f'result {number}')\n"
        "        logging.getLogger('library').warning('of a library %d', number)\n"
        "        console.stream(f'streamed {number}\\n')\n"
    )
    lines = [line for line in screen(shown) if line]
    wanted = [
        f"{word} {number}"
        for number in (0, 1)
        for word in ("beside two bars", "of a late library", "result", "of a library", "streamed")
    ]
    assert lines[:-1] == wanted
    assert lines[-1].startswith("outer") and "2/2" in lines[-1]


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (4, "4 s"),
        (99, "99 s"),
        (720, "12 min"),
        (7500, "2 h 05 min"),
        (86_400 * 3 + 3600 * 4, "3 d 04 h"),
    ],
)
def test_durations_are_words(seconds: float, words: str) -> None:
    assert duration(seconds) == words


def test_long_lines_end_between_words_and_go_on_below_the_second_column() -> None:
    line = "recipe  " + " ".join(["word"] * 20)
    shown = wrapped(f"{line}\n{'x' * 50}\n  short", 40).split("\n")
    assert all(len(each) <= 40 for each in shown if "x" not in each)
    assert shown[0].startswith("recipe  word") and shown[1].startswith(" " * 8 + "word")
    assert "".join(shown[:-2]).replace(" ", "") == line.replace(" ", "")
    assert shown[-2:] == ["x" * 50, "  short"]  # a path can be copied


def test_results_hold_no_python_for_people() -> None:
    shown = run_on_a_terminal(
        "from seedcli.console import console\nconsole.result("
        "{'a': None, 'b': [1, 'x'], 'c': {}, 'd': True, 'e': [{'f': None}], 'g': []})"
    )
    assert shown.split() == [
        "a",
        "none",
        "b",
        "1,",
        "x",
        "c",
        "none",
        "d",
        "yes",
        "e",
        "f",
        "none",
        "g",
        "none",
    ]
