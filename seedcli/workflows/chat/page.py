"""The page of `seed chat --web`: its controls and what they do. Every tab has its own conversation;
the model answers one at a time.
"""

from __future__ import annotations

import html
import queue
import shutil
import tempfile
import threading
import weakref
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from seedcli.console import Reporter
from seedcli.data.documents.documents import Codes
from seedcli.errors import SeedError, UsageError
from seedcli.workflows.chat.conversation import SeedChat
from seedcli.workflows.chat.turns import Turn, interleave

Shown = list[dict[str, Any]]


class _Stopped(Exception):
    """The person does not want the rest of this answer."""


class _Notes(Reporter):
    """What a conversation remarks, for the line under it."""

    def __init__(self) -> None:
        self.heard: list[str] = []

    def note(self, text: str) -> None:
        self.heard.append(text)

    warn = note


@dataclass(eq=False)
class _Tab:
    """One tab's conversation.

    Attributes:
        conversation: Its own; model and pictures are everybody's.
        notes: What the conversation remarks.
        folder: Pictures that the tab is shown, and its transcript.
        shown: Messages as the page shows them.
        stop: Ends the answer that is being written.
    """

    conversation: SeedChat
    notes: _Notes
    folder: Path
    shown: Shown = field(default_factory=list)
    stop: threading.Event = field(default_factory=threading.Event)


class Page:
    """What the page's controls do."""

    def __init__(self, conversation: SeedChat, folder: Path):
        self._conversation, self._folder = conversation, folder
        self._tabs: weakref.WeakSet[_Tab] = weakref.WeakSet()
        # an answer whose tab was closed may still be ending when the next begins
        self._speaking = threading.Lock()

    def build(self, *, constrained: bool) -> Any:
        """The page as gradio's blocks; `constrained`: answers can be made to hold an image."""
        import gradio as gr

        facts = self._conversation.model.facts
        with gr.Blocks(title="seed chat", analytics_enabled=False, fill_height=True) as blocks:
            tab = gr.State(delete_callback=self._leave)
            gr.Markdown(
                f"**{facts.name}** reads and draws images as codes of "
                f"{Path(facts.visual_tokenizer).name}."
            )
            shown = gr.Chatbot(
                show_label=False,
                scale=1,
                height="60vh",
                buttons=[],
                feedback_options=None,
                render_markdown=False,
                elem_id="conversation",
            )
            status = gr.Markdown()
            words = gr.MultimodalTextbox(
                label="Your turn",
                show_label=False,
                file_count="multiple",
                sources=["upload"],
                max_lines=6,
                autofocus=True,
                placeholder="Words and pictures; <image> says where a picture stands among the "
                "words, else pictures stand first",
            )
            with gr.Row():
                draw = gr.Checkbox(
                    label="The next answer must hold an image",
                    interactive=constrained,
                    min_width=260,
                )
                seed = gr.Number(
                    value=self._conversation.next_seed,
                    label="Seed of the next answer",
                    precision=0,
                    minimum=0,
                    min_width=160,
                    elem_id="seed",
                )
                stop = gr.Button("Stop", variant="stop", interactive=False, min_width=80)
                again = gr.Button("Answer again", min_width=120)
                reset = gr.Button("Forget everything", min_width=120)
                transcript = gr.DownloadButton("Transcript", interactive=False, min_width=120)
            outputs = [tab, shown, words, draw, seed, status, stop, again, reset, transcript]
            habits = {"show_progress": "hidden", "concurrency_limit": 1, "concurrency_id": "model"}
            words.submit(self._say, [tab, words, draw, seed], outputs, api_name="say", **habits)
            again.click(self._again, [tab, draw, seed], outputs, api_name="again", **habits)
            reset.click(self._reset, [tab], outputs, api_name="reset", **habits)
            shown.clear(self._reset, [tab], outputs, api_name=False, **habits)
            stop.click(
                self._stop, [tab], None, api_name="stop", show_progress="hidden", queue=False
            )
        return blocks

    def stop_all(self) -> None:
        """Ends every answer that is being written."""
        for tab in list(self._tabs):
            tab.stop.set()

    def _say(
        self, tab: _Tab | None, words: dict[str, Any], draw: bool, seed: float | None
    ) -> Iterator[list[Any]]:
        """A turn of the person -> the page as the answer grows."""
        tab = tab or self._open()
        files, text = words.get("files") or [], words.get("text") or ""
        conversation = tab.conversation

        def speak(**listeners: Any) -> Turn:
            try:
                for path in files:
                    conversation.attach(path)
                return conversation.say(text, draw=draw, **listeners)
            finally:
                conversation.detach()

        try:
            asked = [_message("user", interleave(text, [[{"path": path}] for path in files]))]
        except UsageError as error:
            yield self._refused(tab, error, {"words": words, "draw": draw})
            return
        yield from self._follow(tab, speak, tab.shown + asked, seed, {"words": words, "draw": draw})

    def _again(self, tab: _Tab | None, draw: bool, seed: float | None) -> Iterator[list[Any]]:
        """Another answer to the last turn -> the page as it grows."""
        tab = tab or self._open()
        asked = tab.shown[:-1] if tab.shown and tab.shown[-1]["role"] == "assistant" else tab.shown
        yield from self._follow(
            tab, partial(tab.conversation.again, draw=draw), asked, seed, {"draw": draw}
        )

    def _follow(
        self,
        tab: _Tab,
        speak: Callable[..., Turn],
        asked: Shown,
        seed: float | None,
        given: dict[str, Any],
    ) -> Iterator[list[Any]]:
        """Has an answer written in a thread and shows it as it grows.

        Args:
            tab: Whose conversation it is.
            speak: Writes the answer; takes the listeners of `SeedChat.say`.
            asked: What is shown before the answer.
            seed: Of the answer, where the person chose one.
            given: The controls that are given back where there is no answer.
        """
        pieces: queue.SimpleQueue[Any] = queue.SimpleQueue()
        tab.stop.clear()
        tab.notes.heard.clear()

        def hear(piece: Any) -> None:
            if tab.stop.is_set():
                raise _Stopped
            pieces.put(piece)

        def picture(path: Path | None, codes: Codes) -> None:
            hear(
                " ".join(map(str, codes)) + "\n"
                if path is None
                else {"path": shutil.copy(path, tab.folder)}
            )

        def work() -> None:
            try:
                with self._speaking:
                    if seed is not None and seed != tab.conversation.next_seed:
                        tab.conversation.reseed(int(seed))
                    pieces.put(speak(on_text=hear, on_picture=picture))
            except BaseException as error:
                pieces.put(error)

        answer: list[Any] = []
        threading.Thread(target=work, daemon=True).start()
        try:
            yield self._show(tab, asked, "", busy=True)
            while True:
                piece = pieces.get()
                match piece:
                    case Turn():
                        break
                    case _Stopped():
                        yield self._show(
                            tab, tab.shown, "Stopped; this turn was never said.", **given
                        )
                        return
                    case SeedError():
                        yield self._refused(tab, piece, given)
                        return
                    case BaseException():
                        raise piece
                answer.append(piece)
                yield self._show(tab, [*asked, _message("assistant", answer)], "", busy=True)
        finally:
            tab.stop.set()  # where the tab was closed, nobody waits for the rest
        tab.shown = [*asked, _message("assistant", answer)] if answer else asked
        yield self._show(tab, tab.shown, "  \n".join([*tab.notes.heard, *_remarks(piece)]))

    def _reset(self, tab: _Tab | None) -> list[Any]:
        """Everything that was said in this tab is forgotten."""
        tab = tab or self._open()
        tab.conversation.reset()
        tab.shown = []
        return self._show(tab, [], "")

    def _stop(self, tab: _Tab | None) -> None:
        """The rest of the answer that is being written is not wanted."""
        if tab is not None:
            tab.stop.set()

    def _open(self) -> _Tab:
        notes = _Notes()
        tab = _Tab(
            self._conversation.another(notes), notes, Path(tempfile.mkdtemp(dir=self._folder))
        )
        self._tabs.add(tab)
        return tab

    def _leave(self, tab: _Tab | None) -> None:
        """The tab was closed a while ago."""
        if tab is not None:
            shutil.rmtree(tab.folder, ignore_errors=True)

    def _refused(self, tab: _Tab, error: SeedError, given: dict[str, Any]) -> list[Any]:
        import gradio as gr

        gr.Warning(str(error), title="")
        return self._show(
            tab, tab.shown, f"{error}  \n{error.remedy}" if error.remedy else str(error), **given
        )

    def _show(
        self,
        tab: _Tab,
        shown: Shown,
        status: str,
        *,
        busy: bool = False,
        words: Any = None,
        draw: bool = False,
    ) -> list[Any]:
        """A value for each output, in their order."""
        import gradio as gr

        transcript: Any = gr.skip()
        if not busy:
            said = tab.conversation.messages
            path = tab.folder / "conversation.jsonl"
            path.unlink(missing_ok=True)  # after a reset it would keep what is forgotten
            if said:
                tab.conversation.save(path)
            transcript = gr.DownloadButton(
                value=str(path) if said else None, interactive=bool(said)
            )
        return [
            tab,
            shown,
            gr.MultimodalTextbox(value=words, interactive=not busy),
            draw,
            tab.conversation.next_seed,
            status,
            gr.Button(interactive=busy),
            gr.Button(interactive=not busy),
            gr.Button(interactive=not busy),
            transcript,
        ]


def _message(role: str, parts: Any) -> dict[str, Any]:
    """Words and pictures -> a message of the page; words stand as they are, not as HTML, and in one
    stretch up to the next picture.
    """
    content: list[Any] = []
    for part in parts:
        if isinstance(part, str) and content and isinstance(content[-1], str):
            content[-1] += part
        elif part:
            content.append(part)
    return {
        "role": role,
        "content": [
            html.escape(part.strip(), quote=False) if isinstance(part, str) else part
            for part in content
        ],
    }


def _remarks(turn: Turn) -> Iterator[str]:
    """What the person should know of an answer."""
    if not turn.ended:
        yield "The answer was cut: --max-new-tokens, or the end of the context."
    if turn.malformed:
        yield f"{turn.malformed} image spans were malformed and are left out."
