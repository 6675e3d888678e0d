"""`seed chat`: a conversation that reads and draws images."""

from __future__ import annotations

import contextlib
import functools
import io
import os
import shlex
import stat
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from seedcli.cli.options import DeviceOption, DtypeOption
from seedcli.cli.terminal import ShowHow, ShowOption, read_line, shown_by
from seedcli.console import console
from seedcli.errors import SeedError, UsageError

if TYPE_CHECKING:
    from seedcli.workflows.chat.conversation import SeedChat
    from seedcli.workflows.chat.turns import Turn

COMMANDS = {
    "/image PATH": "attach an image to what you say next; <image> in your words says "
    "where it stands",
    "/draw [TEXT]": "the next answer must hold an image",
    "/again": "another answer to what you said last, with the next seed",
    "/save FILE": "add the conversation to a file of JSON lines, which seed tokens build "
    "messages reads",
    "/reset": "forget everything",
    "/seed N": "draw what follows with seed N",
    "/help": "this list",
    "/quit": "leave",
}

ChatModelOption = Annotated[
    str,
    typer.Option(
        "--model",
        "-m",
        metavar="MODEL",
        help="Language model: a preset (seed-nano, seed-llama-8b-sft), a folder, a hub id.",
    ),
]
TokenizerOption = Annotated[
    str | None,
    typer.Option(
        "--tokenizer",
        metavar="MODEL",
        help="Visual tokenizer; by default the one that the language model names.",
    ),
]
TemplateOption = Annotated[
    Literal["vicuna", "llama-2", "own"] | None,
    typer.Option(
        "--template",
        help="How the conversation is written; by default as the model was taught. own: its "
        "chat template.",
    ),
]
OnceOption = Annotated[
    str | None, typer.Option("--once", metavar="TEXT", help="Answer this one turn, and end.")
]
ImagesOption = Annotated[
    list[Path] | None,
    typer.Option(
        "--image",
        "-i",
        metavar="PATH",
        help="Image that goes with the first turn; may be repeated.",
    ),
]
DrawOption = Annotated[bool, typer.Option("--draw", help="The first answer must hold an image.")]
WordsOption = Annotated[
    bool,
    typer.Option("--words-first", help="An answer that must hold an image may begin with words."),
]
PicturesOption = Annotated[
    Path,
    typer.Option(
        "--output",
        "-o",
        metavar="DIR",
        help="Folder of drawn pictures: 0.png, 1.png, ...; none is replaced.",
    ),
]
CodesOption = Annotated[
    bool,
    typer.Option("--codes", help="Leave the images of answers as codes; needs no picture decoder."),
]
SeedOfChat = Annotated[
    int | None,
    typer.Option(
        "--seed", min=0, help="Seed of the first answer and its first picture; then counting up."
    ),
]
TemperatureOption = Annotated[
    float | None,
    typer.Option("--temperature", min=0.0, help="0: the likeliest token. Default: the model's."),
]
TopKOption = Annotated[
    int | None,
    typer.Option(
        "--top-k", min=0, help="Only so many likeliest tokens; 0: all. Default: the model's."
    ),
]
TopPOption = Annotated[
    float | None,
    typer.Option(
        "--top-p", min=0.0, max=1.0, help="Likeliest tokens of this probability together."
    ),
]
BeamsOption = Annotated[
    int | None,
    typer.Option("--beams", min=1, help="Beams of beam search; words then come all at once."),
]
MaxTokensOption = Annotated[
    int | None,
    typer.Option(
        "--max-new-tokens",
        min=1,
        help="Longest answer; an image is 34 tokens for 32 codes, and never cut.",
    ),
]
GuidanceOption = Annotated[
    float | None,
    typer.Option(
        "--guidance",
        min=1.0,
        help="Classifier-free guidance of the language model's codes; 1 is none.",
    ),
]
PictureStepsOption = Annotated[
    int | None,
    typer.Option("--picture-steps", min=1, max=1000, help="Denoising steps of a picture."),
]
PictureGuidanceOption = Annotated[
    float | None,
    typer.Option(
        "--picture-guidance", min=1.0, help="How closely the picture decoder follows the codes."
    ),
]
NegativeOption = Annotated[
    str | None,
    typer.Option(
        "--negative",
        metavar="FILE",
        help="Codes that pictures move away from; `unconditional`: what the model draws unasked.",
    ),
]
UnconstrainedOption = Annotated[
    bool, typer.Option("--unconstrained", help="Without the image grammar, for the ablation.")
]
QuantizeOption = Annotated[
    Literal["8bit", "4bit"] | None,
    typer.Option("--quantize", help="Smaller weights, by bitsandbytes on a GPU."),
]
OffloadOption = Annotated[
    bool,
    typer.Option("--offload", help="Keep tokenizer and picture decoder off the GPU between turns."),
]
WebOption = Annotated[
    bool,
    typer.Option(
        "--web", help="The same conversation in a browser on this machine; needs seedcli[web]."
    ),
]
PortOption = Annotated[
    int | None,
    typer.Option(
        "--port",
        metavar="N",
        min=1,
        max=65535,
        help="Port of --web; by default the first free from 7860.",
    ),
]


def chat(
    once: OnceOption = None,
    image: ImagesOption = None,
    draw: DrawOption = False,
    model: ChatModelOption = "seed-nano",
    tokenizer: TokenizerOption = None,
    template: TemplateOption = None,
    output: PicturesOption = Path("out"),
    codes: CodesOption = False,
    show: ShowOption = "auto",
    seed: SeedOfChat = None,
    temperature: TemperatureOption = None,
    top_k: TopKOption = None,
    top_p: TopPOption = None,
    beams: BeamsOption = None,
    max_new_tokens: MaxTokensOption = None,
    guidance: GuidanceOption = None,
    words_first: WordsOption = False,
    picture_steps: PictureStepsOption = None,
    picture_guidance: PictureGuidanceOption = None,
    negative: NegativeOption = None,
    unconstrained: UnconstrainedOption = False,
    device: DeviceOption = "auto",
    dtype: DtypeOption = "auto",
    quantize: QuantizeOption = None,
    offload: OffloadOption = False,
    web: WebOption = False,
    port: PortOption = None,
) -> None:
    """Talk with a language model that reads and draws images.

    On a terminal /help lists the commands. Lines that are piped in are turns and commands too;
    answers are then JSON lines.

    \b
    Examples:
      seed chat
      seed chat --once "What is in this picture?" --image examples/face.png
      seed chat --once "Draw a red heart." --draw --json
      seed chat --model seed-llama-8b-sft --quantize 8bit --offload
      seed chat --web
    """
    if draw and unconstrained:
        raise UsageError("--draw needs the image grammar, which --unconstrained turns off")
    if port is not None and not web:
        raise UsageError(
            f"--port {port} is the port of --web, which is not there",
            remedy=f"seed chat --web --port {port}",
        )
    if web:
        _check_web(
            port,
            {
                "--once": once is not None,
                "--image": bool(image),
                "--draw": draw,
                "--show": show != "auto",
            },
        )
    from seedcli.data.images.images import open_image
    from seedcli.workflows.chat.conversation import open_conversation
    from seedcli.workflows.chat.pictures import PictureSettings
    from seedcli.workflows.chat.turns import ChatSettings

    given = {
        "seed": seed,
        "temperature": temperature,
        "top_k": top_k,
        "top_p": top_p,
        "num_beams": beams,
        "max_new_tokens": max_new_tokens,
        "guidance": guidance,
    }
    settings = ChatSettings(
        model=model,
        tokenizer=tokenizer,
        template=template,
        sampling={name: value for name, value in given.items() if value is not None},
        constrained=not unconstrained,
        words_first=words_first,
        pictures=PictureSettings(
            output=output,
            steps=picture_steps,
            guidance=picture_guidance,
            device=device,
            dtype="auto",
            offload=offload,
        ),
        draws=not codes,
        negative=negative,
        device=device,
        dtype=dtype,
        quantize=quantize,
    )
    for path in image or ():
        open_image(path.expanduser())  # what is no picture is refused before the model is loaded
    conversation = open_conversation(settings, reporter=console)
    facts = conversation.model.facts
    advice = (
        "; it knows emoji, --model seed-llama-8b-sft is the one for photographs"
        if facts.visual_tokenizer == "seed-nano"
        else ""
    )
    console.note(f"answers by {facts.name}, codes of {Path(facts.visual_tokenizer).name}{advice}")
    if web:
        _serve(conversation, port, constrained=not unconstrained)
        return
    talk = _Talk(conversation, show, constrained=not unconstrained)
    for path in image or ():
        conversation.attach(path)
    talk.draw = draw
    if once is not None:
        talk.say(once)
    elif sys.stdin.isatty():
        talk.with_person()
    else:
        if isinstance(sys.stdin, io.TextIOWrapper):
            # bytes that are no text are refused with their turn
            sys.stdin.reconfigure(errors="surrogateescape")
        for line in sys.stdin:
            if line.strip() and not talk.take(line.strip()):
                break


def _check_web(port: int | None, others: dict[str, bool]) -> None:
    """Refuses what `--web` does not go with, before anything is loaded."""
    from seedcli.workflows.chat.web import require_gradio, require_port

    if given := [name for name, is_given in others.items() if is_given]:
        raise UsageError(
            f"--web and {given[0]} do not go together: the browser says the turns",
            remedy=f"leave out --web or {given[0]}",
        )
    if _input_is_piped():
        raise UsageError(
            "--web and piped input do not go together: the browser says the turns",
            remedy="leave out --web; where there is no terminal and nothing is piped: seed chat "
            "--web </dev/null",
        )
    require_gradio()
    if port is not None:
        require_port(port)


def _input_is_piped() -> bool:
    """True where standard input is a pipe or a file; False for a terminal, /dev/null or none."""
    try:
        mode = os.fstat(sys.stdin.fileno()).st_mode
    except (AttributeError, OSError, ValueError):
        return False
    return stat.S_ISFIFO(mode) or stat.S_ISREG(mode)


def _serve(conversation: SeedChat, port: int | None, *, constrained: bool) -> None:
    """The conversation in a browser until Ctrl-C, which is how a server ends and no failure."""
    from seedcli.workflows.chat.web import serve_chat

    with (
        contextlib.suppress(KeyboardInterrupt),
        serve_chat(conversation, port=port, constrained=constrained) as url,
    ):
        console.result({"url": url}, human=lambda result: f"open {result['url']} in a browser")
        console.note("Ctrl-C ends it")
        threading.Event().wait()


class _Talk:
    """A conversation as it is typed and shown.

    Attributes:
        draw: The next answer must hold an image.
    """

    def __init__(self, conversation: SeedChat, show: ShowHow, *, constrained: bool):
        self._conversation, self._show, self._constrained = conversation, show, constrained
        self.draw = False
        self._column = 0

    def with_person(self) -> None:
        """Turns and commands from the terminal, until /quit or the end of input; what goes wrong
        ends a turn, not the conversation.
        """
        console.note("/help lists the commands, /quit leaves")
        while True:
            try:
                line = read_line("> ").strip()
            except EOFError:
                return
            try:
                if line and not self.take(line):
                    return
            except SeedError as error:
                console.error(error)
            except KeyboardInterrupt:
                console.note("\nstopped; this turn was never said")

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
            case "/save":
                path = _path(command, rest)
                console.note(f"{self._conversation.save(path)} messages in {path}")
            case "/reset":
                self._conversation.reset()
                self.draw = False
                console.note("everything that was said is forgotten")
            case "/seed":
                if not rest.isdecimal():
                    raise UsageError(f"/seed {rest}: expected a number from 0", remedy="/seed 7")
                self._conversation.reseed(int(rest))
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

    def say(self, text: str) -> None:
        """Words for the model; its answer is shown as it comes, or is one JSON line."""
        self._answer(functools.partial(self._conversation.say, text))

    def _answer(self, speak: Callable[..., Turn]) -> None:
        if console.results_are_json:
            turn = speak(draw=self.draw)
            console.result(_record(turn))
        else:
            self._column = 0
            turn = speak(draw=self.draw, on_text=self._show_text, on_picture=self._show_picture)
            if self._column:
                console.stream("\n")
        self.draw = False
        if not turn.ended:
            console.note("(the answer was cut: --max-new-tokens, or the end of the context)")
        if turn.malformed:
            console.warn(f"{turn.malformed} image spans were malformed and are left out")

    def _show_text(self, text: str) -> None:
        text = text if self._column else text.lstrip()
        console.stream(text)
        self._column += len(text)

    def _show_picture(self, path: Path | None, codes: tuple[int, ...]) -> None:
        console.stream("\n" if self._column else "")
        self._column = 0
        if path is None:
            console.stream(" ".join(map(str, codes)) + "\n")
            return
        self._show = protocol = shown_by(self._show) or "no"
        if protocol != "no":
            from seedcli.data.images.terminal import terminal_picture

            console.stream(terminal_picture(path, protocol))
        console.stream(f"{path}\n")


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
            remedy=f"{command} {'FILE' if command == '/save' else 'picture.png'}",
        )
    return Path(words[0]).expanduser()
