"""How help texts look: panels at the terminal's width for people, plain lines for pipes. Rich is
loaded for people only.
"""

from __future__ import annotations

import copy
import inspect
import re
import sys
from typing import Any

import typer
from typer.core import TyperArgument, TyperCommand, TyperGroup, TyperOption


class HelpedCommand(TyperCommand):
    """A command whose help text comes in panels where a person reads it."""

    def __init__(self, name: str | None, **settings: Any):
        super().__init__(name, **settings)
        for parameter in self.params:
            if isinstance(parameter, TyperArgument):  # its name says it; `list[str]` says nothing
                parameter.display_type_rich = lambda ctx: None  # type: ignore[method-assign]

    def format_help(self, ctx: Any, formatter: Any) -> None:
        if sys.stdout.isatty():
            _show_panels(self, ctx)
        else:
            super().format_help(ctx, formatter)


class HelpedGroup(TyperGroup):
    """A group of commands whose help text comes in panels where a person reads it."""

    def format_help(self, ctx: Any, formatter: Any) -> None:
        if sys.stdout.isatty():
            _show_panels(self, ctx)
        else:
            super().format_help(ctx, formatter)


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
