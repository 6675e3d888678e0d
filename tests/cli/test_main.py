"""From exceptions to exit codes, in real processes where signals and pipes matter."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Annotated

import pytest
import typer
from typer.testing import CliRunner

from seedcli import __version__, errors
from seedcli.cli.help import _for_list
from seedcli.cli.main import COMMANDS, app, as_command, load_command, report
from seedcli.options import Option

ROOT = Path(__file__).resolve().parents[2]

APP_WITH = """
import sys, time
import typer
from seedcli.cli import main
def probe():
{body}
main.app.command("probe")(main.as_command(probe))
sys.argv = ["seed", "probe", *sys.argv[1:]]
main.main()
"""


def program(body: str) -> list[str]:
    """A `seed` with one more command, `probe`, whose body is given."""
    return [
        sys.executable,
        "-c",
        APP_WITH.format(body="\n".join(f"    {line}" for line in body.splitlines())),
    ]


def invoke(function: object, *arguments: str) -> object:
    probe = typer.Typer()
    probe.command()(as_command(function))
    return CliRunner().invoke(probe, list(arguments))


@pytest.mark.parametrize(
    ("kind", "code"),
    [
        (errors.SeedError, 1),
        (errors.UsageError, 2),
        (errors.RecipeError, 2),
        (errors.DataError, 3),
        (errors.PartialFailure, 4),
        (errors.NumericalError, 5),
        (errors.Interrupted, 130),
    ],
)
def test_each_error_has_its_exit_code_and_no_traceback(
    kind: type[errors.SeedError], code: int
) -> None:
    def fail() -> None:
        raise kind("found a, expected b", remedy="type c")

    result = invoke(fail)
    assert result.exit_code == code
    assert result.stdout == ""
    assert result.stderr == "error: found a, expected b\n  -> type c\n"
    assert "Traceback (most recent call last)" in invoke(fail, "--debug").stderr


def test_a_missing_file_is_the_users_affair() -> None:
    def fail() -> None:
        Path("/no/such/file").read_text()

    result = invoke(fail)
    assert result.exit_code == 3
    assert result.stderr == "error: /no/such/file: No such file or directory\n"


def test_our_bug_shows_a_traceback_and_how_to_report_it() -> None:
    def fail() -> None:
        raise ZeroDivisionError("oops")

    result = invoke(fail)
    assert result.exit_code == 1
    assert "ZeroDivisionError: oops" in result.stderr
    assert "seed doctor --json" in result.stderr


def test_habits_work_on_any_command_and_do_not_stick() -> None:
    def command(name: Annotated[str, Option("A name.")] = "x") -> None:
        from seedcli.console import console

        console.note("noted")
        console.result({"name": name, "json": console.json})
        print("not a result")

    loud = invoke(command, "--name", "y")
    assert loud.stdout == '{"name": "y", "json": false}\n'
    assert loud.stderr == "noted\nnot a result\n"
    assert invoke(command, "--json", "--quiet").stdout == '{"name": "x", "json": true}\n'
    assert "noted" not in invoke(command, "--quiet").stderr
    assert "noted" in invoke(command).stderr


def _heed_interrupts() -> None:
    """Jobs that a shell starts in the background are born deaf to Ctrl-C."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_interrupted_by_signal(number: signal.Signals) -> None:
    code = program("print('ready', flush=True)\ntime.sleep(60)")
    process = subprocess.Popen(code, stderr=subprocess.PIPE, text=True, preexec_fn=_heed_interrupts)
    assert process.stderr.readline() == "ready\n"
    process.send_signal(number)
    _, err = process.communicate(timeout=30)
    assert process.returncode == 130
    assert "error: interrupted" in err
    assert "Traceback" not in err


@pytest.mark.parametrize(("continues", "said"), [(True, "--resume goes on"), (False, "")])
def test_only_commands_that_have_resume_name_it_when_interrupted(continues, said, capsys) -> None:
    assert report(KeyboardInterrupt(), continues=continues) == 130
    err = capsys.readouterr().err
    assert err.startswith("error: interrupted\n") and said in err
    assert ("--resume" in err) == continues


def test_reader_that_stops_reading() -> None:
    code = program(
        "from seedcli.console import console\nfor k in range(100000): console.result({'k': k})"
    )
    process = subprocess.Popen(code, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert process.stdout.readline() == '{"k": 0}\n'
    process.stdout.close()
    assert process.wait(30) == 141
    assert process.stderr.read() == ""
    process.stderr.close()


def test_mistyped_command_and_option_get_a_suggestion() -> None:
    result = CliRunner().invoke(app, ["recipe"])
    assert result.exit_code == 2
    assert "Did you mean 'recipes'?" in result.stderr
    result = CliRunner().invoke(app, ["recipes", "show", "x", "--resolvd"])
    assert result.exit_code == 2
    assert "--resolved" in result.stderr


def test_version_and_help() -> None:
    result = CliRunner().invoke(app, ["--version"])
    assert (result.exit_code, result.stdout) == (0, f"seed {__version__}\n")
    shown = CliRunner().invoke(app, ["--help"]).stdout
    listed = [
        line.split()[0]
        for line in shown.partition("Commands:")[2].splitlines()
        if line.startswith("  ") and line[2] != " "
    ]
    assert listed == list(COMMANDS)


def test_package_runs_as_a_module() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "seedcli", "--version"], capture_output=True, text=True, check=True
    )
    assert done.stdout == f"seed {__version__}\n"


def test_the_end_looks_for_no_cycles_among_all_objects() -> None:
    """With torch that is most of the time from a server's last answer to its end."""
    body = "import atexit, gc; atexit.register(lambda: print(gc.get_freeze_count() > 10_000))"
    code = program("pass")
    code[-1] = body + code[-1]
    done = subprocess.run(code, capture_output=True, text=True, timeout=120)
    assert (done.stdout, done.returncode) == ("True\n", 0), done.stderr


def shell(line: str, folder: Path) -> subprocess.CompletedProcess:
    """A line of bash in a folder, with `$seed` for the command."""
    return subprocess.run(
        ["bash", "-c", line],
        cwd=folder,
        env={**os.environ, "seed": f"{sys.executable} -m seedcli", "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=100,
    )


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="a device that is always full")
@pytest.mark.parametrize(
    ("line", "code", "said"),
    [
        ("$seed --help | true; exit ${PIPESTATUS[0]}", 141, ""),
        ("$seed recipes ls | true; exit ${PIPESTATUS[0]}", 141, ""),
        ("$seed --help > /dev/full", 3, "stdout cannot be written: No space left on device"),
        ("$seed recipes ls > /dev/full", 3, "stdout cannot be written: No space left on device"),
        ("$seed recipes ls >&-", 3, "stdout cannot be written"),
        ("$seed recipes show nope 2>&-", 2, ""),
        ("$seed recipes show nope 2>/dev/full", 2, ""),
        ("$seed detokenize -o a.png <&-", 2, "stdin holds no codes"),
        ("mkdir gone && cd gone && rmdir ../gone && $seed recipes show a", 2, "no recipe"),
    ],
)
def test_streams_that_are_full_or_closed(line: str, code: int, said: str, tmp_path: Path) -> None:
    done = shell(line, tmp_path)
    assert done.returncode == code, done.stderr
    assert said in done.stderr
    assert "Traceback" not in done.stderr and "Exception ignored" not in done.stderr
    assert list(tmp_path.iterdir()) == []  # the number of a closed stream went to no file


@pytest.mark.parametrize(
    "error",
    [
        MemoryError(),
        RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried ..."),
        ImportError("libtorch.so: failed to map segment from shared object"),
        OSError(errno.ENOMEM, "Cannot allocate memory"),
        OSError(errno.EMFILE, "Too many open files", "a.tar"),
        OSError(errno.EIO, "Input/output error"),
    ],
)
def test_what_the_system_refuses_is_no_bug(error: Exception) -> None:
    def fail() -> None:
        raise error

    result = invoke(fail)
    assert result.exit_code == 3
    assert result.stderr.startswith("error: ") and "bug" not in result.stderr


def test_a_list_of_commands_is_broken_by_the_terminal_alone() -> None:
    pull = load_command("models").commands["pull"]
    assert "\n" in pull.help and "\n" not in _for_list(pull).help
