"""`seed chat`: a conversation that reads and draws images."""

from __future__ import annotations

import contextlib
import io
import os
import stat
import sys
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from seedcli.cli import completion
from seedcli.cli.options import DeviceOption, DtypeOption
from seedcli.cli.talk import Talk
from seedcli.cli.terminal import ShowOption
from seedcli.console import console
from seedcli.errors import UsageError

if TYPE_CHECKING:
    from seedcli.workflows.chat.conversation import SeedChat

ChatModelOption = Annotated[
    str,
    typer.Option(
        "--model",
        "-m",
        metavar="MODEL",
        autocompletion=completion.models,
        help="Language model: a preset (seed-nano, seed-llama-8b-sft), a folder, a hub id.",
    ),
]
TokenizerOption = Annotated[
    str | None,
    typer.Option(
        "--tokenizer",
        metavar="MODEL",
        autocompletion=completion.models,
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
        help="Image, or video as four frames, that goes with the first turn; may be repeated.",
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
CodeGuidanceOption = Annotated[
    float | None,
    typer.Option(
        "--code-guidance",
        min=1.0,
        help="How closely image codes follow the words of the request (classifier-free "
        "guidance); 1: no more than by themselves. Default: the model's.",
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
    code_guidance: CodeGuidanceOption = None,
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
    from seedcli.data.images.endings import VIDEO_FRAMES
    from seedcli.data.images.video import read_pictures
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
        "code_guidance": code_guidance,
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
        # what is no picture is refused before the model is loaded
        _ = list(read_pictures(path, VIDEO_FRAMES))
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
    talk = Talk(conversation, show, constrained=not unconstrained, folder=output)
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
