"""The page of `seed chat --web`: two tabs, what they hold, and what their controls do."""

from __future__ import annotations

import json
import re
import tomllib
from collections.abc import Iterator
from functools import cached_property
from html import escape
from pathlib import Path
from typing import Any, NamedTuple

from seedcli.data.emoji import read_emoji
from seedcli.data.images.images import ImageError, open_image
from seedcli.workflows.chat.seed_chat import SeedChat
from seedcli.workflows.chat.web.board import board_html
from seedcli.workflows.chat.web.desk import Asked, Desk, Tab
from seedcli.workflows.chat.web.messages import messages_html
from seedcli.workflows.chat.web.tokens import Board, TokenTable

HERE = Path(__file__).parent


class Example(NamedTuple):
    """Something to try: what is said, and the pictures that go with it."""

    words: str
    pictures: list[Path]


SENTENCE = "A picture becomes {number} codes, which a language model reads and writes like words."
CLOSING_S = 20.0  # most that a picture that is being drawn is waited for
_TAB = re.compile(r"[0-9a-f]{32}")


class Page:
    """What the page's controls do."""

    def __init__(self, conversation: SeedChat, folder: Path):
        """Loads nothing.

        Args:
            conversation: Its model, pictures and settings answer all tabs.
            folder: Of all that the page shows and is sent.
        """
        self._facts = conversation.model.facts
        self._conversation, self._folder = conversation, folder.resolve()
        self.desk = Desk(conversation, self._folder)
        self.table = TokenTable(self.desk)
        self._constrained = conversation.model.settings.constrained

    def build(self) -> Any:
        """The page as gradio's blocks."""
        import gradio as gr

        shared = (HERE / "shared.js").read_text(encoding="utf-8")

        def check(path: str) -> str | None:
            return self.check(path)  # gradio marks the function, which a method does not let it

        def part(name: str) -> Any:
            return gr.HTML(
                html_template=(HERE / f"{name}.html").read_text(encoding="utf-8"),
                js_on_load=shared + (HERE / f"{name}.js").read_text(encoding="utf-8"),
                server_functions=[check],
                apply_default_css=False,
                elem_id=name,
            )

        habits = {"show_progress": "hidden", "concurrency_limit": None, "trigger_mode": "multiple"}
        with gr.Blocks(title="seed chat", analytics_enabled=False, fill_height=True) as blocks:
            gr.HTML(self._header(), apply_default_css=False, elem_id="header")
            with gr.Tabs():
                with gr.Tab("Chat"):
                    messages = gr.HTML(
                        self._log(None), apply_default_css=False, elem_id="conversation"
                    )
                    chat = part("chat")
                    with gr.Accordion("Advanced", open=False, elem_id="advanced"):
                        gr.Markdown("How the next answers are written.")
                        sampling = self._sampling(gr)
                with gr.Tab("Tokens"):
                    tokens = part("tokens")
                    board = gr.HTML(self._board(None), apply_default_css=False, elem_id="board")
            chat.submit(
                self.chat, [chat, *sampling], [chat, messages, sampling[0]], api_name="chat",
                **habits,
            )  # fmt: skip
            tokens.submit(self.tokens, [tokens], [tokens, board], api_name="tokens", **habits)
        return blocks

    def close(self) -> None:
        """Ends all that is being done, and waits until the model is at rest: a thread that still
        computes when Python ends takes it down with a fault.
        """
        self.desk.tabs.drop_all()
        self.table.boards.drop_all()
        if self.desk.working.acquire(timeout=CLOSING_S):
            self.desk.working.release()

    def check(self, path: str) -> str | None:
        """An uploaded file -> why it is no picture, in words; None if it is one."""
        uploaded = self._uploaded(path)
        if uploaded is None:
            return "That is no uploaded file."
        try:
            open_image(uploaded)
        except ImageError as error:
            uploaded.unlink(missing_ok=True)
            return f"{uploaded.name} is not sent: it {error.reason}."
        return None

    def chat(self, said: str, *sampling: float | None) -> Iterator[tuple[str, str, int]]:
        """What the Chat tab's controls say -> its state, messages and the next seed, until nothing
        more changes.
        """
        action = _action(said)
        if action is None:
            return
        tab = self.desk.tabs[action["tab"]]
        chosen = {
            name: int(value) if kind == "Number" else float(value)
            for (name, kind, *_), value in zip(_SAMPLING, sampling, strict=True)
            if value is not None
        }
        draw = bool(action.get("draw")) and self._constrained
        match action["do"]:
            case "say":
                pictures = [self._uploaded(path) for path in action.get("pictures", ())]
                asked = Asked(
                    words=str(action.get("words", "")),
                    pictures=tuple(path for path in pictures if path is not None),
                    draw=draw,
                )
                self.desk.say(tab, asked, chosen)
            case "example":
                example = self._examples["chat"][action["number"]]
                asked = Asked(words=example.words, pictures=tuple(example.pictures))
                self.desk.say(tab, asked, chosen)
            case "edit":
                self.desk.say_instead(tab, action["turn"], str(action["words"]), draw, chosen)
            case "again":
                self.desk.say_instead(tab, action["turn"], None, draw, chosen)
            case "undo":
                self.desk.undo(tab)
            case "forget":
                self.desk.forget(tab)
            case "stop":
                tab.stop.set()
        for _ in tab.watch():
            yield json.dumps(self._state(tab)), self._log(tab), tab.conversation.next_seed

    def tokens(self, said: str) -> Iterator[tuple[str, str]]:
        """What the Tokens tab's controls say -> its state and what it shows, until nothing more
        changes.
        """
        action = _action(said)
        if action is None:
            return
        board = self.table.boards[action["tab"]]
        second = action.get("slot") == "second"
        match action["do"]:
            case "look":
                if (path := self._uploaded(action["path"])) is not None:
                    self.table.look(board, path, second=second)
            case "example":
                [picture] = self._examples["tokens"][action["number"]].pictures
                self.table.look(board, picture)
            case "leave":
                self.table.leave(board, second=second)
            case "keep":
                self.table.keep_first(board, int(action["number"]))
            case "change":
                self.table.change(board, int(action["place"]), action["code"])
        for _ in board.watch():
            state = {
                "busy": board.busy,
                "status": board.status,
                "first": board.first is not None,
                "version": board.version,
            }
            yield json.dumps(state), self._board(board)

    def _state(self, tab: Tab) -> dict[str, Any]:
        back = tab.given_back
        return {
            "busy": tab.busy,
            "status": tab.status,
            "said": bool(tab.messages),
            "transcript": tab.transcript and self.desk.address(tab.transcript),
            "constrained": self._constrained,
            "version": tab.version,
            "back": back
            and {
                "number": tab.version,
                "words": back.words,
                "draw": back.draw,
                "pictures": [
                    {"path": str(path), "name": path.name, "url": self.desk.address(path)}
                    for path in back.pictures
                ],
            },
        }

    def _log(self, tab: Tab | None) -> str:
        shown = tab.shown if tab else ()
        body = (
            messages_html(shown, model=self._facts.name, busy=tab.busy) if shown else self._empty()
        )
        return (
            '<div class="log" role="log" aria-label="Conversation" tabindex="0">' + body + "</div>"
        )

    def _empty(self) -> str:
        examples = self._example_buttons("chat")
        try_them = f"<p>Or try one of these:</p>{examples}" if examples else ""
        return (
            '<div class="empty"><h2>Say something, add a picture, or ask for one</h2>'
            '<p class="with-mouse">Drop or paste pictures anywhere on the page. Enter sends, '
            f"Shift and Enter begins a new line.</p>{try_them}</div>"
        )

    def _board(self, board: Board | None) -> str:
        if board is not None and board.first is not None:
            return board_html(board, self.table)
        if board is not None and board.busy:
            return ""
        examples = self._example_buttons("tokens")
        try_them = f"<p>Or look at one of these:</p>{examples}" if examples else ""
        return (
            '<div class="empty"><h2>See a picture as the language model does</h2><p>Its '
            f"{self.table.num_queries} codes, the picture that is drawn from the first 1, 4, 8, "
            "... of them, what another code changes, and which codes a second picture has in "
            f"common with it.</p>{try_them}</div>"
        )

    def _example_buttons(self, tab: str) -> str:
        buttons = [
            f'<button type="button" data-do="example" data-number="{number}">'
            + "".join(
                f'<img src="{self.desk.address(picture)}" alt="{escape(picture.stem)}">'
                for picture in example.pictures
            )
            + f"<span>{escape(example.words)}</span></button>"
            for number, example in enumerate(self._examples[tab])
        ]
        return f'<div class="examples">{"".join(buttons)}</div>' if buttons else ""

    def _header(self) -> str:
        visual = Path(self._facts.visual_tokenizer).name
        knows = f"{escape(self._facts.name)} answers, with codes of {escape(visual)}."
        if visual == "seed-nano":
            knows = (
                f"<strong>{escape(self._facts.name)}</strong> answers. It knows emoji alone and is "
                "often wrong even there. For photographs: <code>--model seed-llama-8b-sft</code>"
            )
        number = self._facts.num_queries
        return f"<h1>seed</h1><p>{SENTENCE.format(number=number)}</p><p>{knows}</p>"

    def _sampling(self, gr: Any) -> list[Any]:
        with gr.Row():
            return [
                getattr(gr, kind)(
                    value=self._conversation.next_seed
                    if name == "seed"
                    else getattr(self._conversation.sampling, name),
                    label=label,
                    info=info,
                    min_width=280,
                    **bounds,
                )
                for name, kind, label, info, bounds in _SAMPLING
            ]

    @cached_property
    def _examples(self) -> dict[str, list[Example]]:
        """Of both tabs; a model whose answers nobody looked at has none."""
        found = tomllib.loads((HERE / "examples.toml").read_text(encoding="utf-8"))
        own = found.get(self._facts.name, {"chat": [], "tokens": {"pictures": []}})
        keys = {key for each in own["chat"] for key in each.get("pictures", ())}
        files = self._bundled(keys | set(own["tokens"]["pictures"]))
        return {
            "chat": [
                Example(each["words"], [files[key] for key in each.get("pictures", ())])
                for each in own["chat"]
            ],
            "tokens": [Example(files[key].stem, [files[key]]) for key in own["tokens"]["pictures"]],
        }

    def _bundled(self, keys: set[str]) -> dict[str, Path]:
        """Keys of the bundled emoji set -> files of the pictures, named for people."""
        folder = self._folder / "examples"
        folder.mkdir(exist_ok=True)
        files = {}
        for picture in read_emoji("train") if keys else ():
            if picture.key in keys:
                files[picture.key] = folder / f"{picture.label}.png"
                files[picture.key].write_bytes(picture.image)
        return files

    def _uploaded(self, path: Any) -> Path | None:
        """The file, if it is one that the page was sent."""
        found = Path(str(path)).resolve()
        return found if found.is_relative_to(self._folder) and found.is_file() else None


# fmt: off
_SAMPLING: tuple[tuple[str, str, str, str, dict[str, Any]], ...] = (
    ("seed", "Number", "Seed of the next answer", "The same seed and words: the same answer",
     {"minimum": 0, "precision": 0}),
    ("temperature", "Slider", "Temperature", "0: always the likeliest word",
     {"minimum": 0, "maximum": 2, "step": 0.05}),
    ("top_p", "Slider", "Top-p", "Only the likeliest words that together have this probability",
     {"minimum": 0.05, "maximum": 1, "step": 0.05}),
    ("top_k", "Number", "Top-k", "Only so many likeliest words; 0: all",
     {"minimum": 0, "precision": 0}),
    ("max_new_tokens", "Number", "Longest answer", "Tokens; a picture takes 34",
     {"minimum": 1, "precision": 0}),
    ("code_guidance", "Slider", "Guidance of pictures",
     "How closely a picture's codes follow the words; 1: none",
     {"minimum": 1, "maximum": 10, "step": 0.1}),
)
# fmt: on


def _action(said: str) -> dict[str, Any] | None:
    """What a control says; None if that was none of the page's."""
    try:
        action = json.loads(said)
        return action if _TAB.fullmatch(action["tab"]) and "do" in action else None
    except (ValueError, TypeError, LookupError):
        return None
