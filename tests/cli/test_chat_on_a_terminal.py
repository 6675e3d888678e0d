"""`seed chat` on a terminal: words stream, pictures are shown, Ctrl-C undoes a turn or leaves."""

from __future__ import annotations

import json
import os
import select
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.contracts.source_tree import ROOT
from tests.llm_fixture import QUICK_CHAT

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="a pseudo-terminal")


class TerminalChat:
    """`seed chat` on a pseudo-terminal that shows pictures as kitty does."""

    def __init__(self, *words: str):
        import pty

        self._main, terminal = pty.openpty()
        environment = {key: value for key, value in os.environ.items() if key != "TMUX"}
        environment |= {"TERM": "xterm-kitty", "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1"}
        command = [sys.executable, "-m", "seedcli", "chat", *QUICK_CHAT, *words]
        self.process = subprocess.Popen(
            command,
            stdin=terminal,
            stdout=terminal,
            stderr=terminal,
            cwd=ROOT,
            env=environment,
            start_new_session=True,
            preexec_fn=_own_terminal,
        )
        os.close(terminal)
        self._shown = b""

    def type(self, keys: bytes) -> None:
        os.write(self._main, keys)

    def interrupt(self) -> None:
        """Ctrl-C, once it waits for input: Python's readline overlooks a signal that comes between
        the prompt and its wait, until the next key.
        """
        state = Path(f"/proc/{self.process.pid}/stat")
        asleep, end = 0, time.monotonic() + 90
        while asleep < 5:
            assert time.monotonic() < end
            time.sleep(0.05)
            asleep = asleep + 1 if state.read_text().rpartition(")")[2].split()[0] == "S" else 0
        self.type(b"\x03")

    def until(self, wanted: bytes) -> None:
        end = time.monotonic() + 90
        while wanted not in self._shown:
            assert time.monotonic() < end, self._shown
            if select.select([self._main], [], [], 1)[0]:
                self._shown += os.read(self._main, 65536)
        self._shown = self._shown[self._shown.index(wanted) + len(wanted) :]

    def close(self) -> None:
        self.process.kill()
        self.process.wait()
        os.close(self._main)


def _own_terminal() -> None:
    """Makes standard input the terminal whose Ctrl-C reaches this process, also where the tests run
    in the background and ignore it.
    """
    import fcntl
    import termios

    fcntl.ioctl(0, termios.TIOCSCTTY, 0)
    signal.signal(signal.SIGINT, signal.SIG_DFL)


@pytest.fixture
def terminal_chat(tiny_llm_folder, tmp_path):
    chats: list[TerminalChat] = []

    def start(*words: str) -> TerminalChat:
        chats.append(
            TerminalChat("--model", str(tiny_llm_folder), "-o", str(tmp_path / "out"), *words)
        )
        return chats[-1]

    yield start
    for chat in chats:
        chat.close()


def test_on_a_terminal_words_stream_and_pictures_are_shown(terminal_chat, tmp_path) -> None:
    chat = terminal_chat()
    chat.until(b"/quit leaves")
    chat.until(b"> ")
    chat.type(b"/help\n")
    chat.until(b"/draw [TEXT]")
    chat.until(b"> ")
    chat.type(b"/nonsense\n")
    chat.until(b"no command is called /nonsense")
    chat.type(b"/draw a dog\n")
    chat.until(b"\x1b_Ga=T,f=100,m=1;")
    chat.until(b"0.png")
    chat.until(b"> ")
    chat.type(b"/quit\n")
    assert chat.process.wait(timeout=60) == 0
    assert (tmp_path / "out" / "0.png").is_file()


def test_ctrl_c_in_an_answer_undoes_the_turn(terminal_chat, tmp_path) -> None:
    chat = terminal_chat("--picture-steps", "400")
    chat.until(b"/quit leaves")
    chat.until(b"> ")
    chat.type(b"/draw a cat\n")
    chat.until(b"0.png")
    chat.until(b"> ")
    chat.type(b"/draw a dog\n")
    time.sleep(0.4)  # the picture takes longer
    chat.type(b"\x03")
    chat.until(b"this turn was never said")
    chat.until(b"> ")
    chat.type(f"/save {tmp_path / 'talk.jsonl'}\n".encode())
    chat.until(b"2 messages")
    chat.until(b"> ")  # a terminal that nobody reads from yet makes a zero of Ctrl-D
    chat.type(b"\x04")
    assert chat.process.wait(timeout=60) == 0
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["0.png"]


def test_ctrl_c_at_the_prompt_asks_once_more_and_keeps_the_conversation(
    terminal_chat, tmp_path
) -> None:
    chat = terminal_chat("--codes")
    chat.until(b"/quit leaves")
    chat.until(b"> ")
    chat.type(b"a dog\n")
    chat.until(b"> ")
    chat.type(b"/und\t\n")  # Tab
    chat.until(b"taken back: a dog")
    chat.until(b"> ")
    chat.type(b"a cat\n")
    chat.until(b"> ")
    chat.interrupt()
    chat.until(b"Ctrl-C once more leaves")
    chat.until(b"> ")
    chat.type(b"/seed 5\n")
    chat.until(b"the next answer is made with seed 5")
    chat.until(b"> ")
    chat.interrupt()
    chat.until(b"Ctrl-C once more leaves")
    chat.until(b"> ")
    chat.interrupt()
    chat.until(b"/load ")
    assert chat.process.wait(timeout=60) == 130
    (row,) = map(json.loads, (tmp_path / "out" / "conversation.jsonl").read_text().splitlines())
    assert row["messages"][0]["content"] == "a cat"
