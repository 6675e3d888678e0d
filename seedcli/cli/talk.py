"""A conversation as it is typed and shown: lines of a person or of a pipe -> turns and commands."""

from __future__ import annotations

import contextlib
import functools
import os
import shlex
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from seedcli.cli.terminal import ShowHow, WordWrap, read_line, shown_by
from seedcli.console import console
from seedcli.errors import SeedError, UsageError

if TYPE_CHECKING:
    from seedcli.workflows.chat.conversation import Conversation
    from seedcli.workflows.chat.turns import Turn

COMMANDS = {
    "/image PATH": "attach an image (or a video, as four frames) to what you say next; <image> in "
    "your words says "
    "where it stands",
    "/draw [TEXT]": "the next answer must hold an image",
    "/again": "another answer to what you said last, with the next seed",
    "/undo": "take back the last turn, yours and the answer",
    "/codes": "the codes of all images of this conversation",
    "/save FILE": "add the conversation to a file of JSON lines, which seed tokens build "
    "messages reads",
    "/load FILE": "go on with the last conversation of such a file",
    "/reset": "forget everything",
    "/seed N": "draw what follows with seed N",
    "/help": "this list",
    "/quit": "leave",
}
OF_PATHS = ("/image", "/save", "/load")
KEPT = "conversation.jsonl"  # in the folder of pictures, where Ctrl-C left
EXIT_INTERRUPTED = 130


class Talk:
    """A conversation as it is typed and shown.

    Attributes:
        draw: The next answer must hold an image.
    """

    def __init__(
        self, conversation: Conversation, show: ShowHow, *, constrained: bool, folder: Path
    ):
        """Says nothing yet.

        Args:
            conversation: Answers.
            show: How a terminal shows pictures.
            constrained: Answers can be made to hold an image.
            folder: Where a conversation is kept that Ctrl-C ends.
        """
        self._conversation, self._show, self._constrained = conversation, show, constrained
        self._folder = folder
        self.draw = False
        self._words = WordWrap(console.stream)

    def with_person(self) -> None:
        """Turns and commands from the terminal, until /quit or the end of input; what goes wrong
        ends a turn, not the conversation. Ctrl-C leaves when it is pressed twice, and the
        conversation is kept.

        Raises:
            Exit: Ctrl-C ended it.
        """
        console.note("/help lists the commands, /quit leaves")
        asked_to_leave = False
        while True:
            try:
                line = read_line("> ", complete).strip()
            except EOFError:
                return
            except KeyboardInterrupt:
                if asked_to_leave:
                    self._keep()
                    raise typer.Exit(EXIT_INTERRUPTED) from None
                asked_to_leave = True
                console.note("\nCtrl-C once more leaves; the conversation is kept")
                continue
            asked_to_leave = False
            try:
                if line and not self.take(line):
                    return
            except SeedError as error:
                console.error(error)
            except KeyboardInterrupt:
                console.note("\nstopped; this turn was never said")

    def _keep(self) -> None:
        """What was said goes to a file, so that it can be gone on with."""
        if self._conversation.messages:
            path = self._folder / KEPT
            self._conversation.save(path)
            console.note(f"\nto go on with it: seed chat, and then /load {path}")

    def take(self, line: str) -> bool:
        """One line: a command, or words for the model. False after /quit.

        Raises:
            UsageError: No such command, or one without what it needs.
        """
        if not line.startswith("/"):
            self.say(line)
            return True
        command, _, rest = line.partition(" ")
        rest = rest.strip()
        match command:
            case "/image":
                self._conversation.attach(_path(command, rest))
                console.note(f"{rest} goes with your next words")
            case "/draw":
                if not self._constrained:
                    raise UsageError(
                        "/draw needs the image grammar, which --unconstrained turned off"
                    )
                self._draw(rest)
            case "/again":
                self._answer(self._conversation.again)
            case "/undo":
                console.note(f"taken back: {self._conversation.undo() or 'images alone'}")
            case "/codes":
                self._show_codes()
            case "/save":
                path = _path(command, rest)
                console.note(f"{self._conversation.save(path)} messages in {path}")
            case "/load":
                path = _path(command, rest)
                console.note(f"{self._conversation.load(path)} messages of {path}; go on")
            case "/reset":
                self._conversation.reset()
                self.draw = False
                console.note("everything that was said is forgotten")
            case "/seed":
                if not rest.isdecimal():
                    raise UsageError(f"/seed {rest}: expected a number from 0", remedy="/seed 7")
                self._conversation.reseed(int(rest))
                console.note(f"the next answer is made with seed {int(rest)}")
            case "/help":
                width = max(map(len, COMMANDS))
                console.note(
                    "\n".join(f"{name:<{width}}  {about}" for name, about in COMMANDS.items())
                )
            case "/quit":
                return False
            case _:
                raise UsageError(
                    f"no command is called {command}",
                    remedy=f"expected {', '.join(name.split()[0] for name in COMMANDS)}",
                )
        return True

    def _draw(self, text: str) -> None:
        """The next answer must hold an image; where the words come with the command, the
        two are undone together.
        """
        before, self.draw = self.draw, True
        if not text:
            console.note("the next answer will hold an image")
            return
        try:
            self.say(text)
        except BaseException:
            self.draw = before
            raise

    def _show_codes(self) -> None:
        found = self._conversation.codes
        if not found:
            console.note("no image was said so far")
        for role, codes in found:
            console.result(
                {"role": role, "codes": list(codes)},
                human=lambda row: f"{row['role']}: {' '.join(map(str, row['codes']))}",
            )

    def say(self, text: str) -> None:
        """Words for the model; its answer is shown as it comes, or is one JSON line."""
        self._answer(functools.partial(self._conversation.say, text))

    def _answer(self, speak: Callable[..., Turn]) -> None:
        if console.results_are_json:
            turn = speak(draw=self.draw)
            console.result(_record(turn))
        else:
            self._words = WordWrap(console.stream)
            turn = speak(draw=self.draw, on_text=self._words.add, on_picture=self._show_picture)
            self._words.end_line()
        self.draw = False
        if not turn.ended:
            console.note("(the answer was cut: --max-new-tokens, or the end of the context)")
        if turn.malformed:
            console.warn(f"{turn.malformed} image spans were malformed and are left out")

    def _show_picture(self, path: Path | None, codes: tuple[int, ...]) -> None:
        self._words.end_line()
        if path is None:
            console.stream(" ".join(map(str, codes)) + "\n")
            return
        self._show = protocol = shown_by(self._show) or "no"
        if protocol != "no":
            from seedcli.data.images.terminal import terminal_picture

            console.stream(terminal_picture(path, protocol))
        console.stream(f"{path}\n")


def complete(line: str) -> list[str]:
    """What a line that was begun may become: commands, and paths behind those that take one."""
    command, space, rest = line.partition(" ")
    if not line.startswith("/"):
        return []
    if not space:
        names = (name.split() for name in COMMANDS)
        return [
            name + " " * bool(operands) for name, *operands in names if name.startswith(command)
        ]
    if command not in OF_PATHS:
        return []
    folder, begun = os.path.split(rest)
    try:
        with os.scandir(os.path.expanduser(folder) or ".") as entries:
            found = sorted(
                entry.name + ("/" if entry.is_dir() else "")
                for entry in entries
                if entry.name.startswith(begun) and (begun or not entry.name.startswith("."))
            )
    except OSError:
        return []
    return [f"{command} {os.path.join(folder, name)}" for name in found]


def _record(turn: Turn) -> dict[str, Any]:
    """A turn as scripts read it."""
    record: dict[str, Any] = {"text": turn.text, "images": turn.files, "codes": turn.codes}
    return (
        record
        | ({} if turn.ended else {"cut": True})
        | ({"malformed": turn.malformed} if turn.malformed else {})
    )


def _path(command: str, rest: str) -> Path:
    """What stands behind a command -> path; `~`, quotes and, where no file has them in its name,
    backslashes work as in a shell.
    """
    words = [rest]
    if rest[:1] in ("'", '"') or (
        "\\" in rest and os.sep == "/" and not Path(rest).expanduser().exists()
    ):
        with contextlib.suppress(ValueError):
            words = shlex.split(rest)
    if len(words) > 1:
        raise UsageError(
            f"{command} takes one path, found {len(words)}", remedy=f"{command} once for each"
        )
    if not words[0]:
        raise UsageError(
            f"{command} needs a path",
            remedy=f"{command} {'picture.png' if command == '/image' else 'FILE'}",
        )
    return Path(words[0]).expanduser()
