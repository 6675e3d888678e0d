"""The `seed` command: one table of subcommands, and the way from exceptions to exit codes."""

from __future__ import annotations

import atexit
import contextlib
import functools
import gc
import importlib
import inspect
import os
import signal
import sys
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, NoReturn

import typer

from seedcli import __version__
from seedcli.cli.help import HelpedCommand, HelpedGroup
from seedcli.cli.signature import Signature
from seedcli.console import console, stdout_named
from seedcli.errors import DataError, NoSpaceError, SeedError
from seedcli.files import raise_if_full
from seedcli.options import Option
from seedcli.training.ranks import is_first_to_say

EXIT_BUG = 1
EXIT_INTERRUPTED = 130
EXIT_PIPE_CLOSED = 141  # what a shell reports for a program that SIGPIPE ended

# Subcommand -> what the list of commands says of it, and "module:function" or "module:app", in the
# order of the list. A module is imported when its command is asked for.
COMMANDS = {
    "tokenize": ("Turn images into 32 codes each.", "tokenize:tokenize"),
    "detokenize": ("Draw pictures from codes.", "detokenize:detokenize"),
    "train-tokenizer": ("Train one stage of the visual tokenizer.", "train:train_tokenizer"),
    "pretrain": ("Teach a language model to read and write codes.", "train:pretrain"),
    "instruct": ("Teach it to follow instructions with pictures.", "train:instruct"),
    "eval": ("Measure a model as the paper does.", "eval:app"),
    "chat": ("Talk with a model that reads and draws images.", "chat:chat"),
    "serve": ("Answer programs that speak OpenAI's protocol.", "serve:serve"),
    "tokens": ("Build token shards, look into them, join them.", "tokens:app"),
    "models": ("List, download and verify published weights.", "models:app"),
    "recipes": ("List, show, copy and compare recipes.", "recipes:app"),
    "bench": ("Measure this machine's rates.", "bench:app"),
    "plan": ("Say what a training needs: memory, hours.", "plan:plan"),
    "doctor": ("Report versions, hardware and folders.", "doctor:doctor"),
}

EVERYWHERE = "In every command"


@dataclass(frozen=True)
class Habits:
    """What every command can be told of its output."""

    json: Annotated[bool, Option("JSON Lines on stdout, also on a terminal.", panel=EVERYWHERE)] = (
        False
    )
    quiet: Annotated[bool, Option("Nothing on stderr but errors.", "-q", panel=EVERYWHERE)] = False
    debug: Annotated[bool, Option("Show the traceback of an error.", panel=EVERYWHERE)] = False


class _Table(HelpedGroup):
    """Lists the commands of the table, and imports the one that is asked for."""

    def __init__(self, **settings: Any):
        listed = {
            name: HelpedCommand(name=name, help=about) for name, (about, _) in COMMANDS.items()
        }
        super().__init__(**settings | {"commands": listed | settings.get("commands", {})})

    def list_commands(self, ctx: Any) -> list[str]:
        return list(self.commands)

    def resolve_command(self, ctx: Any, args: list[str]) -> tuple[Any, Any, list[str]]:
        name, listed, rest = super().resolve_command(ctx, args)
        return name, load_command(name) if name in COMMANDS else listed, rest


@functools.cache
def load_command(name: str) -> Any:
    """A command, or a group of commands, of the table, ready to be parsed and run."""
    module, _, attribute = COMMANDS[name][1].partition(":")
    command = getattr(importlib.import_module(f"seedcli.cli.{module}"), attribute)
    holder = typer.Typer(rich_markup_mode=None, add_completion=False)
    holder.callback()(lambda: None)
    if isinstance(command, typer.Typer):
        command.info.cls = HelpedGroup
        for info in command.registered_commands:
            info.cls, info.callback = HelpedCommand, as_command(info.callback)
        holder.add_typer(command, name=name, no_args_is_help=True)
    else:
        holder.command(name, cls=HelpedCommand)(as_command(command))
    return typer.main.get_group(holder).commands[name]


def build_app() -> typer.Typer:
    """The Typer application with every command of the table."""
    app = typer.Typer(
        name="seed",
        cls=_Table,
        help="Images as 32 discrete codes that a language model reads and writes like words.",
        no_args_is_help=True,
        pretty_exceptions_enable=False,
        rich_markup_mode=None,  # panels are for people: see `cli/help.py`
        context_settings={"help_option_names": ["--help", "-h"]},
    )
    app.callback()(_root)
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
    own, shared = Signature(function), Signature(_set_habits)
    parameters = [*own.parameters, *shared.parameters]

    @functools.wraps(function)
    def command(**given: Any) -> None:
        _set_habits(**shared.arguments(given))
        arguments: dict[str, Any] = {}
        try:
            with console.results_only():
                arguments = own.arguments(given)
                function(**arguments)
        except (typer.Exit, typer.BadParameter, typer.Abort):
            raise
        except BaseException as error:
            raise typer.Exit(report(error, continues=_continues(arguments))) from None

    del command.__wrapped__  # Typer would read the signature through it
    typed: Any = command
    typed.__signature__ = inspect.Signature(parameters)
    typed.fields = own.fields | shared.fields  # Typer hands them on to the command, see `cli/help`
    command.__annotations__ = {each.name: each.annotation for each in parameters}
    return command


def _continues(arguments: dict[str, Any]) -> bool:
    """Whether what was asked for leaves something behind that --resume goes on with."""
    return not arguments.get("dry_run") and any(
        hasattr(request, "resume") and getattr(request, "output", None) is not None
        for request in arguments.values()
    )


def _set_habits(habits: Habits) -> None:
    console.configure(json=habits.json, quiet=habits.quiet, debug=habits.debug)


def report(error: BaseException, *, continues: bool = False) -> int:
    """Show an exception to the user and return the exit code for it.

    Args:
        error: What ended the command.
        continues: The same command with `--resume` goes on where this one stopped.
    """
    match error:
        case SeedError():
            _say(error)
            return error.exit_code
        case KeyboardInterrupt():
            _say(
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
        case RuntimeError() if _lost_a_rank(error):
            return report(
                SeedError(
                    "another rank of this run ended, or cannot be reached "
                    f"({str(error).partition(chr(10))[0]})",
                    remedy="look at what that rank said, on its machine; the same command with "
                    "--resume goes on",
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


def _say(error: SeedError) -> None:
    if is_first_to_say(str(error)):
        console.error(error)


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


def _lost_a_rank(error: BaseException) -> bool:
    """Whether a rank of ours was left alone, by what torch's backends of several ranks say."""
    told = type(error).__name__ in ("DistBackendError", "DistNetworkError", "DistStoreError")
    return "RANK" in os.environ and (told or "gloo/transport" in str(error))


def _terminate(signum: int, frame: object) -> NoReturn:
    raise KeyboardInterrupt


def main() -> None:
    """Entry point of `seed` and of `python -m seedcli`."""
    signal.signal(signal.SIGTERM, _terminate)
    # else Python looks for cycles among all objects when it ends: of torch's a second of a core,
    # while a server that has drained, or a command that is done, is still there
    atexit.register(gc.freeze)
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
