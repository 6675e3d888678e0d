"""How help texts look: panels at the terminal's width for people, plain lines for pipes; and how
what was typed wrong is told. Rich is loaded for people only.
"""

from __future__ import annotations

import copy
import inspect
import re
import sys
from typing import Any

import typer
from typer.core import TyperArgument, TyperCommand, TyperGroup, TyperOption

from seedcli.console import console
from seedcli.errors import UsageError

# of all that Typer finds wrong with a command line, which it does not name in public
_MISTYPED: Any = typer.BadParameter.__base__


class _Refused(typer.BadParameter):
    """What was typed wrong, told as every other error is."""

    def __init__(self, error: UsageError):
        super().__init__(error.message)
        self._error = error

    def show(self, file: Any = None) -> None:
        console.error(self._error)


class HelpedCommand(TyperCommand):
    """A command whose help text comes in panels where a person reads it."""

    def __init__(self, name: str | None, **settings: Any):
        super().__init__(name, **settings)
        for parameter in self.params:
            if isinstance(parameter, TyperArgument):  # its name says it; `list[str]` says nothing
                parameter.display_type_rich = lambda ctx: None  # type: ignore[method-assign]

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        typed = list(args)
        try:
            return super().parse_args(ctx, args)
        except _MISTYPED as error:
            raise self._refused(ctx, typed, error) from None

    def _refused(self, ctx: Any, typed: list[str], error: Any) -> _Refused:
        """The error in our words, where it is about the value of a field of ours."""
        name = getattr(getattr(error, "param", None), "name", "")
        field = getattr(self.callback, "fields", {}).get(name)
        if field is None:
            return _mistyped(ctx, error)
        given, *_ = self.make_parser(ctx).parse_args(typed)
        return _Refused(field.refusal(given.get(name), f"{ctx.command_path} --help"))

    def format_help(self, ctx: Any, formatter: Any) -> None:
        if sys.stdout.isatty():
            _show_panels(self, ctx)
        else:
            super().format_help(ctx, formatter)


class HelpedGroup(TyperGroup):
    """A group of commands whose help text comes in panels where a person reads it."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        if not args:  # gives the help text
            return super().parse_args(ctx, args)
        try:
            return super().parse_args(ctx, args)
        except _MISTYPED as error:
            raise _mistyped(ctx, error) from None

    def resolve_command(self, ctx: Any, args: list[str]) -> tuple[Any, Any, list[str]]:
        try:
            return super().resolve_command(ctx, args)
        except _MISTYPED as error:
            raise _mistyped(ctx, error) from None

    def format_help(self, ctx: Any, formatter: Any) -> None:
        if sys.stdout.isatty():
            _show_panels(self, ctx)
        else:
            super().format_help(ctx, formatter)


def _mistyped(ctx: Any, error: Any) -> _Refused:
    """What Typer says of a command line, and where to look."""
    said = error.format_message().rstrip(".")
    return _Refused(UsageError(said[:1].lower() + said[1:], remedy=f"{ctx.command_path} --help"))


def _show_panels(command: Any, ctx: typer.Context) -> None:
    from typer import rich_utils

    shown = copy.copy(command)
    shown.help = _as_markup(command.help)
    if isinstance(command, TyperGroup):
        shown.get_command = lambda ctx, name: _for_list(command.get_command(ctx, name))
    shown.get_params = lambda ctx: [_for_panels(each, ctx) for each in command.get_params(ctx)]
    rich_utils.rich_format_help(obj=shown, ctx=ctx, markup_mode="rich")


def _for_list(command: Any) -> Any:
    """A command of a group, whose first paragraph the terminal breaks at its own width."""
    shown = copy.copy(command)
    shown.help = _as_markup((command.help or "").split("\n\n")[0]).rstrip()
    return shown


def _for_panels(parameter: Any, ctx: typer.Context) -> Any:
    """A parameter whose choices can be broken between them, and without a type if it is a flag."""
    shown = copy.copy(parameter)
    shown.help = _escaped(parameter.help)
    if isinstance(parameter, TyperOption):
        choices = (parameter.display_type_rich(ctx) or "").strip("<>").replace("|", " | ")
        shown.metavar = "" if parameter.is_flag else choices
    return shown


def _as_markup(text: str | None) -> str:
    """A docstring -> paragraphs that a terminal breaks at its own width; the lines of those that
    begin with \\b, examples, stay as they are.
    """
    paragraphs = inspect.cleandoc(text or "").split("\n\n")
    # with a blank one before them, since Typer takes the indentation of the first one off all
    paragraphs[1:1] = [""]
    return _escaped(
        "\n\n".join(
            each.removeprefix("\b\n") if each.startswith("\b") else each.replace("\n", " ")
            for each in paragraphs
        )
    )


def _escaped(text: str | None) -> str:
    """Text in which Rich takes no bracket for markup."""
    return re.sub(r"(\\*)\[", r"\1\1\\[", text or "")
