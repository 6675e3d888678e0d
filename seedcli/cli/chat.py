"""`seed chat`: a conversation that reads and draws images."""

from __future__ import annotations

import contextlib
import dataclasses
import getpass
import io
import os
import stat
import sys
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from seedcli.cli.talk import Talk
from seedcli.cli.terminal import ShowOption
from seedcli.console import console
from seedcli.errors import DataError, UsageError
from seedcli.options import Option
from seedcli.workflows.chat.settings import ChatSettings, PictureSettings

if TYPE_CHECKING:
    from seedcli.workflows.chat.conversation import Conversation
    from seedcli.workflows.chat.seed_chat import SeedChat


ONE_TURN = "One turn, for scripts"
BROWSER = "In a browser"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Opening:
    """How a conversation begins, and where it is held."""

    once: Annotated[
        str | None, Option("Answer this one turn, and end.", metavar="TEXT", panel=ONE_TURN)
    ] = None
    images: Annotated[
        tuple[Path, ...],
        Option(
            "Image, or video as four frames, that goes with the first turn; may be repeated.",
            "--image -i",
            metavar="PATH",
            panel=ONE_TURN,
        ),
    ] = ()
    draw: Annotated[bool, Option("The first answer must hold an image.", panel=ONE_TURN)] = False
    show: ShowOption = "auto"
    url: Annotated[
        str | None,
        Option(
            "Talk to a server (seed serve) in place of a model of this machine; its key is "
            "SEED_API_KEY.",
            metavar="URL",
        ),
    ] = None
    web: Annotated[
        bool,
        Option(
            "The same conversation in a browser on this machine; needs seedcli[web].",
            panel=BROWSER,
        ),
    ] = False
    port: Annotated[
        int | None,
        Option(
            "Port of --web; by default the first free from 7860.",
            metavar="N",
            min=1,
            max=65535,
            panel=BROWSER,
        ),
    ] = None

    def check(self, settings: ChatSettings) -> None:
        """Refuses what does not go together, before anything is loaded.

        Raises:
            UsageError: Such options.
        """
        if self.draw and not settings.constrained:
            raise UsageError("--draw needs the image grammar, which --unconstrained turns off")
        if self.port is not None and not self.web:
            raise UsageError(
                f"--port {self.port} is the port of --web, which is not there",
                remedy=f"seed chat --web --port {self.port}",
            )
        if self.url is not None:
            self._check_url(settings)
        if self.web and self.url is not None:
            raise UsageError(
                "--web and --url do not go together: the page looks into the model itself",
                remedy="leave out --url; seed chat --url talks on the terminal",
            )
        if self.web:
            self._check_web()

    def _check_url(self, settings: ChatSettings) -> None:
        """The server was started with a model and settings of its own."""
        flags = {
            "tokenizer": "--tokenizer",
            "template": "--template",
            "constrained": "--unconstrained",
            "words_first": "--words-first" if settings.words_first else "--picture-first",
            "draws": "--codes",
            "negative": "--negative",
            "device": "--device",
            "dtype": "--dtype",
            "quantize": "--quantize",
        }
        pictures = {"steps": "--picture-steps", "guidance": "--picture-guidance"}
        given = [
            flag
            for name, flag in flags.items()
            if getattr(settings, name) != getattr(ChatSettings(), name)
        ]
        given += [
            flag for name, flag in pictures.items() if getattr(settings.pictures, name) is not None
        ]
        given += ["--offload"] * settings.pictures.offload
        given += ["--beams"] * (settings.sampling.num_beams is not None)
        if given:
            raise UsageError(
                f"--url and {given[0]} do not go together: the server was started with its own",
                remedy=f"leave out {given[0]}, or give it to seed serve",
            )

    def _check_web(self) -> None:
        from seedcli.workflows.chat.web.server import require_gradio, require_port

        others = {
            "--once": self.once is not None,
            "--image": bool(self.images),
            "--draw": self.draw,
            "--show": self.show != "auto",
        }
        if given := [name for name, is_given in others.items() if is_given]:
            raise UsageError(
                f"--web and {given[0]} do not go together: the browser says the turns",
                remedy=f"leave out --web or {given[0]}",
            )
        if _input_is_piped():
            raise UsageError(
                "--web and piped input do not go together: the browser says the turns",
                remedy="leave out --web; without a terminal, and with nothing piped: seed chat "
                "--web </dev/null",
            )
        require_gradio()
        if self.port is not None:
            require_port(self.port)


def chat(
    opening: Opening,
    settings: ChatSettings = ChatSettings(pictures=PictureSettings(output=Path("out"))),
) -> None:
    """Talk with a language model that reads and draws images.

    On a terminal /help lists the commands. Lines that are piped in are turns and commands too;
    answers are then JSON lines.

    \b
    Examples:
      seed chat
      seed chat --once "What is in this picture?" --image examples/face.png
      seed chat --once "Draw a heart." --draw --json
      seed chat --model seed-llama-8b-sft --quantize 8bit --offload
      seed chat --url http://127.0.0.1:8000/v1
      seed chat --web
    """
    opening.check(settings)
    from seedcli.data.images.endings import VIDEO_FRAMES
    from seedcli.data.images.images import ImageError
    from seedcli.data.images.video import read_pictures

    for path in opening.images:
        try:  # what is no picture is refused before torch is imported
            _ = list(read_pictures(path, VIDEO_FRAMES))
        except ImageError as error:
            raise DataError(
                f"--image {path}: {error.reason}", remedy="--image takes a picture or a video"
            ) from error
    from seedcli.workflows.chat.model import ChatModel
    from seedcli.workflows.chat.seed_chat import SeedChat

    conversation: Conversation = (
        SeedChat(ChatModel(settings, reporter=console).load(), reporter=console)
        if opening.url is None
        else _remote(opening.url, settings)
    )
    facts = conversation.model.facts
    advice = (
        "; it knows emoji, --model seed-llama-8b-sft is the one for photographs"
        if facts.visual_tokenizer == "seed-nano"
        else ""
    )
    console.note(f"answers by {facts.name}, codes of {Path(facts.visual_tokenizer).name}{advice}")
    if opening.web and isinstance(conversation, SeedChat):
        _serve(conversation, opening.port)
        return
    talk = Talk(
        conversation,
        opening.show,
        constrained=settings.constrained,
        folder=settings.pictures.output or Path("out"),
    )
    for path in opening.images:
        conversation.attach(path)
    talk.draw = opening.draw
    if opening.once is not None:
        talk.say(opening.once)
    elif sys.stdin.isatty():
        talk.with_person()
    else:
        if isinstance(sys.stdin, io.TextIOWrapper):
            # bytes that are no text are refused with their turn
            sys.stdin.reconfigure(errors="surrogateescape")
        for line in sys.stdin:
            if line.strip() and not talk.take(line.strip()):
                break


def _remote(url: str, settings: ChatSettings) -> Conversation:
    """A conversation with a server."""
    from seedcli.workflows.chat.remote import RemoteChat, RemoteModel

    model = RemoteModel.open(
        url,
        key=os.environ.get("SEED_API_KEY"),
        model=None if settings.model == ChatSettings().model else settings.model,
        sampling=settings.sampling.given(),
        output=settings.pictures.output,
    )
    return RemoteChat(model, reporter=console)


def _input_is_piped() -> bool:
    """True where standard input is a pipe or a file; False for a terminal, /dev/null or none."""
    try:
        mode = os.fstat(sys.stdin.fileno()).st_mode
    except (AttributeError, OSError, ValueError):
        return False
    return stat.S_ISFIFO(mode) or stat.S_ISREG(mode)


def _serve(conversation: SeedChat, port: int | None) -> None:
    """The conversation in a browser until Ctrl-C, which is how a server ends and no failure."""
    from seedcli.workflows.chat.web.server import serve_chat

    with (
        contextlib.suppress(KeyboardInterrupt),
        serve_chat(conversation, port=port) as url,
    ):
        console.result({"url": url}, human=lambda result: f"open {result['url']} in a browser")
        if server := os.environ.get("SSH_CONNECTION", "").split()[2:3]:
            bound = url.rpartition(":")[2]
            console.note(
                f"from your own machine: ssh -N -L {bound}:127.0.0.1:{bound} {getpass.getuser()}@"
                f"{server[0]}, then open {url} there"
            )
        console.note("Ctrl-C ends it")
        threading.Event().wait()
