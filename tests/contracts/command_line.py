"""Walk the command line without running it."""

from __future__ import annotations

import shlex
from collections.abc import Iterator
from typing import Any

import typer

from seedcli.cli.main import COMMANDS, app, load_command


def leaf_commands() -> Iterator[tuple[str, Any]]:
    """(words after `seed`, command) of every command that does something."""

    def walk(group: Any, words: tuple[str, ...]) -> Iterator[tuple[str, Any]]:
        for name, command in group.commands.items():
            if hasattr(command, "commands"):
                yield from walk(command, (*words, name))
            else:
                yield " ".join((*words, name)), command

    for name in COMMANDS:
        command = load_command(name)
        if hasattr(command, "commands"):
            yield from walk(command, (name,))
        else:
            yield name, command


def parse(line: str) -> None:
    """Parse `seed ...` as the command line would, and stop before the command runs.

    Raises:
        Exception: Typer's usage error where the line does not parse.
    """
    words = shlex.split(line, comments=True)
    assert words[0] == "seed", line
    command: Any = typer.main.get_command(app)
    arguments = words[1:]
    name = "seed"
    while hasattr(command, "commands"):
        with command.make_context(name, arguments) as context:
            name, command, arguments = command.resolve_command(
                context, [*context._protected_args, *context.args]
            )
    with command.make_context(name, arguments):
        pass


def seed_calls(shell_line: str) -> list[str]:
    """The `seed ...` parts of a shell line: split at pipes, `&&` and `;`, redirections and
    variables before the command removed.
    """
    calls: list[list[str]] = [[]]
    words = shlex.shlex(shell_line, posix=True, punctuation_chars="|&;<>")
    words.whitespace_split = True
    words.commenters = "#"
    skip = False
    for word in words:
        if set(word) <= set("|&;"):
            calls.append([])
        elif set(word) <= set("<>"):
            skip = True
        elif skip:
            skip = False
        else:
            calls[-1].append(word)
    commands = [
        call[next((i for i, word in enumerate(call) if "=" not in word), 0) :] for call in calls
    ]
    return [shlex.join(call) for call in commands if call[:1] == ["seed"]]
