"""The conversations of `seed chat --web`: each tab of a browser has its own, and keeps it when it
is loaded anew; the model answers one at a time.

An answer is written in a thread of its own. Whoever looks at the tab sees it grow, whether the page
was loaded before or while it is written.
"""

from __future__ import annotations

import dataclasses
import shutil
import tempfile
import threading
import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import quote

from seedcli.console import Remembering
from seedcli.data.documents.documents import Codes
from seedcli.data.images.images import ImageError, open_image
from seedcli.errors import SeedError
from seedcli.workflows.chat.seed_chat import SeedChat
from seedcli.workflows.chat.turns import Turn, interleave
from seedcli.workflows.chat.web.messages import (
    ShownMessage,
    ShownPicture,
    capital,
    join_words,
    sentence,
)
from seedcli.workflows.chat.web.watched import Tabs, Watched

PICTURES = "/pictures"  # what the page says before a path in the desk's folder
SHOWN_PX = 768  # longest side of the copy of an uploaded picture that the page shows
ANSWERING = "Answering"
STOPPED = "Stopped. Your words are in the box again."


class _Stopped(Exception):
    """The person does not want the rest of this answer."""


@dataclass(frozen=True, kw_only=True)
class Asked:
    """What a person says.

    Attributes:
        words: With `<image>` where a picture stands, else pictures stand first.
        pictures: Files.
        draw: The answer must hold an image.
    """

    words: str
    pictures: tuple[Path, ...] = ()
    draw: bool = False


@dataclass(eq=False, kw_only=True)
class Tab(Watched):
    """One tab's conversation, and what its page shows.

    Attributes:
        conversation: Its own; model and pictures are everybody's.
        notes: What the conversation remarks.
        folder: Pictures that the tab shows, and its transcript.
        messages: What was said.
        growing: All messages while an answer is being written, with what there is of it.
        given_back: What was asked and is not answered, for the box.
        stop: Ends the answer that is being written.
    """

    conversation: SeedChat
    notes: Remembering
    folder: Path
    messages: list[ShownMessage] = field(default_factory=list)
    growing: list[ShownMessage] = field(default_factory=list)
    given_back: Asked | None = None
    stop: threading.Event = field(default_factory=threading.Event)

    @property
    def shown(self) -> list[ShownMessage]:
        """Messages as they are now."""
        return self.growing if self.busy else self.messages

    @property
    def transcript(self) -> Path | None:
        """File of all that was said."""
        path = self.folder / "conversation.jsonl"
        return path if path.exists() else None


class Desk:
    """All conversations.

    Attributes:
        tabs: By the name that each tab gave itself.
        folder: Of pictures and transcripts.
        working: Held by whoever computes with the model.
        tokenizer: Reads and draws pictures.
        draws: There is a picture decoder.
    """

    def __init__(self, conversation: SeedChat, folder: Path):
        """Opens no tab.

        Args:
            conversation: Its model, pictures and settings answer all tabs; it says nothing itself.
            folder: Of pictures and transcripts, a folder a tab.
        """
        self._conversation, self.folder = conversation, folder
        self.tokenizer, self.draws = conversation.tokenizer, conversation.model.settings.draws
        self.tabs: Tabs[Tab] = Tabs(self._open, self._leave)
        self.working = threading.Lock()

    @property
    def model(self) -> str:
        """What answers."""
        return self._conversation.model.facts.name

    def _open(self) -> Tab:
        notes, folder = Remembering(), Path(tempfile.mkdtemp(dir=self.folder))
        return Tab(conversation=self._conversation.another(notes), notes=notes, folder=folder)

    def _leave(self, tab: Tab) -> None:
        tab.stop.set()
        shutil.rmtree(tab.folder, ignore_errors=True)

    def address(self, path: Path) -> str:
        """Of a file of the desk's folder."""
        return f"{PICTURES}/{quote(path.relative_to(self.folder).as_posix())}"

    def keep(self, folder: Path, picture: Path) -> ShownPicture:
        """A copy of an uploaded picture that any browser can show.

        Raises:
            ImageError: It is no usable image.
        """
        try:
            image = open_image(picture)
        except ImageError as error:
            raise ImageError(error.reason, picture.name) from None  # the folder is nobody's concern
        image.thumbnail((SHOWN_PX, SHOWN_PX))
        path = new_name(folder)
        image.save(path)
        return ShownPicture(
            address=self.address(path), name=f"{picture.stem}.png", words=f"Picture {picture.name}"
        )

    def say(self, tab: Tab, asked: Asked, sampling: Mapping[str, Any]) -> None:
        """Begins the answer to what a person says; `sampling` as for `begin`."""

        def speak(**listeners: Any) -> Turn:
            try:
                for path in asked.pictures:
                    tab.conversation.attach(path)
                return tab.conversation.say(asked.words, draw=asked.draw, **listeners)
            finally:
                tab.conversation.detach()

        try:
            shown = [self.keep(tab.folder, path) for path in asked.pictures]
            parts = join_words(interleave(asked.words, [[each] for each in shown]))
        except SeedError as error:
            tab.tell(status=sentence(error), given_back=asked)
            return
        message = ShownMessage(role="user", parts=parts, draw=asked.draw)
        self._begin(tab, speak, len(tab.messages), message, sampling, given_back=asked)

    def say_instead(
        self, tab: Tab, turn: int, words: str | None, draw: bool, sampling: Mapping[str, Any]
    ) -> None:
        """Begins the answer to other words of a turn, or another one to the same (None); what
        followed the turn is forgotten once there is an answer.
        """
        if not 0 <= turn < len(tab.messages) // 2:
            return
        asked = tab.messages[2 * turn]
        draw = draw or asked.draw
        if words is not None:
            try:
                parts = join_words(interleave(words, [[each] for each in asked.pictures]))
            except SeedError as error:
                tab.tell(status=sentence(error))
                return
            asked = ShownMessage(role="user", parts=parts, draw=draw)

        def speak(**listeners: Any) -> Turn:
            return tab.conversation.say_instead(turn, words, draw=draw, **listeners)

        self._begin(tab, speak, 2 * turn, asked, sampling)

    def undo(self, tab: Tab) -> None:
        """Takes back the last turn; its words are given back."""
        if tab.messages and not tab.busy:
            words = tab.messages[-2].words
            tab.conversation.undo()
            self._save(tab)
            tab.tell(
                messages=tab.messages[:-2], status="Taken back.", given_back=Asked(words=words)
            )

    def forget(self, tab: Tab) -> None:
        """Everything that was said in this tab is forgotten."""
        if not tab.busy:
            tab.conversation.reset()
            self._save(tab)
            for path in tab.folder.iterdir():
                path.unlink()
            tab.tell(messages=[], status="", given_back=None)

    def _begin(
        self,
        tab: Tab,
        speak: Callable[..., Turn],
        after: int,
        asked: ShownMessage,
        sampling: Mapping[str, Any],
        *,
        given_back: Asked | None = None,
    ) -> None:
        """Has an answer written in a thread.

        Args:
            tab: Whose conversation it is.
            speak: Writes the answer; takes the listeners of `SeedChat.say`.
            after: How many messages stay before it, once there is one.
            asked: What is answered.
            sampling: By the names of `SamplingSettings`; a `seed` that is not the next one begins
                its count anew.
            given_back: What the box gets where there is no answer.
        """
        before = tab.messages[:after]
        pieces: list[str | ShownPicture] = []

        def with_answer() -> list[ShownMessage]:
            return [*before, asked, ShownMessage(role="assistant", parts=join_words(pieces))]

        waits = self.working.locked()
        status = "Another tab is being answered; this one is next" if waits else ANSWERING
        if not tab.begin(growing=with_answer(), status=status, given_back=None):
            return
        tab.stop.clear()
        tab.notes.told.clear()

        def hear(piece: str | ShownPicture) -> None:
            if tab.stop.is_set():
                raise _Stopped
            pieces.append(piece)
            tab.tell(growing=with_answer())

        def picture(path: Path | None, codes: Codes) -> None:
            if tab.stop.is_set():  # then its folder may be gone already
                raise _Stopped
            hear(self._drawn(tab, path, codes) if path else " ".join(map(str, codes)) + "\n")

        def work() -> None:
            end: dict[str, Any] = {"given_back": given_back}
            try:
                with self.working:
                    if tab.stop.is_set():
                        raise _Stopped
                    tab.tell(status=ANSWERING)
                    _choose(tab.conversation, sampling)
                    turn = speak(on_text=hear, on_picture=picture)
                if join_words(pieces):
                    end = {"messages": with_answer(), "given_back": None}
                end["status"] = " ".join(map(capital, [*tab.notes.told, *_remarks(turn)]))
                self._save(tab)
            except _Stopped:
                end["status"] = STOPPED if given_back else "Stopped."
            except SeedError as error:
                end["status"] = sentence(error)
            except BaseException as error:
                end["status"] = f"A fault of seed ({type(error).__name__}): the terminal says more."
                raise
            finally:
                tab.tell(busy=False, growing=[], **end)

        threading.Thread(target=work, daemon=True).start()

    def _drawn(self, tab: Tab, path: Path, codes: Codes) -> ShownPicture:
        copy = new_name(tab.folder)
        shutil.copy(path, copy)
        return ShownPicture(
            address=self.address(copy),
            name=f"seed-{path.name}",
            words=f"Picture drawn by {self.model}",
            codes=codes,
        )

    def _save(self, tab: Tab) -> None:
        """The transcript as the conversation is now; none where nothing is said."""
        path = tab.folder / "conversation.jsonl"
        path.unlink(missing_ok=True)
        if tab.conversation.messages:
            tab.conversation.save(path)


def _choose(conversation: SeedChat, sampling: Mapping[str, Any]) -> None:
    settings = dict(sampling)
    seed = settings.pop("seed", None)
    conversation.sampling = dataclasses.replace(conversation.sampling, **settings)
    if seed is not None and seed != conversation.next_seed:
        conversation.reseed(seed)


def new_name(folder: Path) -> Path:
    """A file that was never there: browsers may keep what they got from an address."""
    return folder / f"{uuid.uuid4().hex}.png"


def _remarks(turn: Turn) -> Sequence[str]:
    """What the person should know of an answer."""
    said = []
    if not turn.ended:
        said.append("The answer was cut: see the longest answer under Advanced.")
    if turn.malformed:
        said.append(f"{turn.malformed} image spans were malformed and are left out.")
    return said
