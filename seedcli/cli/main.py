"""The `seed` command: one table of subcommands, and the way from exceptions to exit codes."""

from __future__ import annotations

import contextlib
import functools
import importlib
import inspect
import os
import signal
import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn

import typer
from typer.core import TyperGroup

from seedcli import __version__
from seedcli.cli.options import DebugOption, JsonOption, QuietOption
from seedcli.console import console, stdout_named
from seedcli.errors import DataError, NoSpaceError, SeedError
from seedcli.files import raise_if_full

EXIT_BUG = 1
EXIT_INTERRUPTED = 130
EXIT_PIPE_CLOSED = 141  # what a shell reports for a program that SIGPIPE ended

# Subcommand -> "module:function" or "module:app", in the order of the help. The function's
# signature and docstring are the command's.
COMMANDS = {
    "tokenize": "seedcli.cli.tokenize:tokenize",
    "detokenize": "seedcli.cli.detokenize:detokenize",
    "train-tokenizer": "seedcli.cli.train_tokenizer:train_tokenizer",
    "pretrain": "seedcli.cli.pretrain:pretrain",
    "instruct": "seedcli.cli.instruct:instruct",
    "eval": "seedcli.cli.eval:app",
    "chat": "seedcli.cli.chat:chat",
    "tokens": "seedcli.cli.tokens:app",
    "models": "seedcli.cli.models:app",
    "recipes": "seedcli.cli.recipes:app",
    "plan": "seedcli.cli.plan:plan",
    "doctor": "seedcli.cli.doctor:doctor",
}

HABITS = {"json": JsonOption, "quiet": QuietOption, "debug": DebugOption}


class _TableOrder(TyperGroup):
    """Lists the commands in the order of the table."""

    def list_commands(self, ctx: Any) -> list[str]:
        return [name for name in COMMANDS if name in self.commands]


def build_app() -> typer.Typer:
    """The Typer application with every command of the table."""
    app = typer.Typer(
        name="seed",
        cls=_TableOrder,
        help="Images as 32 discrete codes that a language model reads and writes like words.",
        no_args_is_help=True,
        pretty_exceptions_enable=False,
        rich_markup_mode=None,  # plain help: loading rich would double the time of `seed --help`
        context_settings={"help_option_names": ["--help", "-h"]},
    )
    app.callback()(_root)
    for name, target in COMMANDS.items():
        module, _, attribute = target.partition(":")
        command = getattr(importlib.import_module(module), attribute)
        if isinstance(command, typer.Typer):
            for info in command.registered_commands:
                info.callback = as_command(info.callback)
            app.add_typer(command, name=name, no_args_is_help=True)
        else:
            app.command(name)(as_command(command))
    return app


def _show_version(value: bool) -> None:
    if value:
        console.text(f"seed {__version__}")
        raise typer.Exit


def _root(
    version: bool = typer.Option(
        False, "--version", callback=_show_version, is_eager=True, help="Show the version."
    ),
) -> None:
    """Images as 32 discrete codes that a language model reads and writes like words."""


def as_command(function: Callable[..., None]) -> Callable[..., None]:
    """`function` with `--json`, `--quiet` and `--debug`, with stdout kept for results, and with
    errors turned into exit codes.
    """
    signature = inspect.signature(function, eval_str=True)
    own = list(signature.parameters.values())
    added = {name: option for name, option in HABITS.items() if name not in signature.parameters}
    extra = [
        inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=False, annotation=option)
        for name, option in added.items()
    ]

    @functools.wraps(function)
    def command(**arguments: Any) -> None:
        for name in added:
            del arguments[name]
        try:
            with console.results_only():
                function(**arguments)
        except (typer.Exit, typer.BadParameter, typer.Abort):
            raise
        except BaseException as error:
            continues = "resume" in signature.parameters
            raise typer.Exit(report(error, continues=continues)) from None

    del command.__wrapped__  # Typer would read the signature through it
    typed: Any = command
    typed.__signature__ = inspect.Signature([*own, *extra])
    command.__annotations__ = {parameter.name: parameter.annotation for parameter in [*own, *extra]}
    return command


def report(error: BaseException, *, continues: bool = False) -> int:
    """Show an exception to the user and return the exit code for it.

    Args:
        error: What ended the command.
        continues: The command has `--resume`.
    """
    match error:
        case SeedError():
            console.error(error)
            return error.exit_code
        case KeyboardInterrupt():
            console.error(
                SeedError(
                    "interrupted",
                    remedy="what was reported as done is kept; the same command with --resume "
                    "goes on"
                    if continues
                    else None,
                )
            )
            return EXIT_INTERRUPTED
        case BrokenPipeError():
            return EXIT_PIPE_CLOSED
        case OSError() if error.errno is not None:
            return report(_of_the_system(error).with_traceback(error.__traceback__))
        case ValueError() if str(error).startswith("embedded null"):
            return report(
                DataError(
                    "a path holds a NUL character, which no file name can",
                    remedy="look for \\u0000 in the recipe or the rows",
                ).with_traceback(error.__traceback__)
            )
        case MemoryError() | RuntimeError() | ImportError() if _tells_of_memory(error):
            return report(
                DataError(
                    f"there is not enough memory ({str(error).partition(chr(10))[0] or 'Python'})",
                    remedy="close other programs, or work in smaller pieces; seed plan says "
                    "what a training needs",
                ).with_traceback(error.__traceback__)
            )
        case SystemExit():
            return error.code if isinstance(error.code, int) else EXIT_BUG
        case _:
            with contextlib.suppress(OSError):
                sys.stderr.write("".join(traceback.format_exception(error)))
            console.error(
                SeedError(
                    f"this is a bug in seed {__version__}, not in what you typed",
                    remedy="please report it with the traceback above, the command line, and what "
                    "`seed doctor --json` prints",
                )
            )
            return EXIT_BUG


def _of_the_system(error: OSError) -> DataError:
    """What the system refused, with the file that it was about where that is known."""
    try:
        os.getcwd()
    except FileNotFoundError:
        return DataError("the folder that you are in was deleted", remedy="cd to another one")
    if error.filename is not None:
        try:
            raise_if_full(error, Path(os.fsdecode(error.filename)), 0)
        except NoSpaceError as full:
            return full
    of = f"{os.fsdecode(error.filename)}: " if isinstance(error.filename, str | bytes) else ""
    return DataError(f"{of}{error.strerror or error}")


def _tells_of_memory(error: BaseException) -> bool:
    """Whether memory ran out: of Python, of the loader of libraries, of torch on either device."""
    said = (
        "failed to map segment",
        "allocate memory",
        "out of memory",
        "bad_alloc",
    )
    return isinstance(error, MemoryError) or any(word in str(error) for word in said)


def _terminate(signum: int, frame: object) -> NoReturn:
    raise KeyboardInterrupt


def main() -> None:
    """Entry point of `seed` and of `python -m seedcli`."""
    signal.signal(signal.SIGTERM, _terminate)
    _open_closed_streams()
    try:
        try:
            with stdout_named(sys.stdout):  # help is written by Click, and buffered
                try:
                    app(prog_name="seed")
                finally:
                    sys.stdout.flush()
        except SystemExit as end:
            # Click's answer to a reader that has gone is 1
            if isinstance(end.__context__, BrokenPipeError):
                end.code = EXIT_PIPE_CLOSED
            raise
        except (OSError, DataError) as error:
            raise SystemExit(report(error)) from None
    except SystemExit as end:
        if "RANK" not in os.environ:
            raise
        from seedcli.training.ranks import end_rank

        end_rank(int(end.code or 0))


def _open_closed_streams() -> None:
    """A shell's `<&-`, `>&-` and `2>&-` leave numbers free, which the next file to be opened would
    take: what is said would end up in it.
    """
    for number, (name, mode) in enumerate((("stdin", "r"), ("stdout", "w"), ("stderr", "w"))):
        try:
            os.fstat(number)
        except OSError:
            # for reading only, so that results that nobody gets are an error; stderr may go nowhere
            os.open(os.devnull, os.O_RDWR if name == "stderr" else os.O_RDONLY)
            stream = open(number, mode, encoding="utf-8", closefd=False)  # noqa: SIM115
            setattr(sys, name, stream)


app = build_app()
