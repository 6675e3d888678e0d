"""`seed chat --web`: the page of a real server, driven as a browser drives it; and what
`--web` does not go with.
"""

from __future__ import annotations

import http.client
import importlib.util
import json
import os
import re
import signal
import socket
import subprocess
import sys
import urllib.request
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from PIL import Image
from typer.testing import CliRunner

from seedcli.cli.main import app
from seedcli.data.images.facts import read_picture_facts
from tests.contracts.source_tree import ROOT

needs_gradio = pytest.mark.skipif(
    importlib.util.find_spec("gradio") is None, reason="gradio is not installed: make test-web"
)
WATCHED = """
import sys
def watch(event, arguments):
    if event == "socket.getaddrinfo" and arguments[0] not in ("127.0.0.1", "localhost", None):
        print("OUTSIDE", arguments, file=sys.stderr)
    if event == "socket.connect" and isinstance(arguments[1], tuple) and arguments[1][0] not in ("127.0.0.1", "::1"):
        print("OUTSIDE", arguments[1], file=sys.stderr)
sys.addaudithook(watch)
from seedcli.cli.main import main
main()
"""  # noqa: E501


class Server(NamedTuple):
    process: subprocess.Popen
    url: str
    folder: Path

    @property
    def port(self) -> int:
        return int(self.url.rpartition(":")[2])

    @property
    def stderr(self) -> str:
        return (self.folder / "stderr").read_text()


def start(folder: Path, llm: Path, *words: str) -> Server:
    environment = {key: value for key, value in os.environ.items() if not key.startswith("GRADIO_")}
    environment |= {
        "HF_HUB_OFFLINE": "1",
        "OMP_NUM_THREADS": "1",
        "PYTHONPATH": str(ROOT),
        "TMPDIR": str(folder),
    }
    command = [
        sys.executable,
        "-c",
        WATCHED,
        "chat",
        "--web",
        "--model",
        str(llm),
        "-o",
        str(folder / "out"),
        "--device",
        "cpu",
    ]
    command += ["--temperature", "1.5", "--top-p", "1", "--max-new-tokens", "40", *words]
    with open(folder / "stderr", "w") as stderr:
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=stderr,
            env=environment,
            cwd=folder,
        )
    line = process.stdout.readline()
    assert line, (folder / "stderr").read_text()
    return Server(process, json.loads(line)["url"], folder)


def end(server: Server) -> int:
    if server.process.poll() is None:
        # as Ctrl-C, which processes in the background ignore
        server.process.send_signal(signal.SIGTERM)
    try:
        return server.process.wait(timeout=30)
    finally:
        server.process.kill()
        server.process.stdout.close()


@pytest.fixture(scope="module")
def server(tmp_path_factory, tiny_llm_folder):
    server = start(tmp_path_factory.mktemp("web"), tiny_llm_folder, "--picture-steps", "2")
    yield server
    end(server)


@pytest.fixture
def picture(tmp_path) -> Path:
    path = tmp_path / "picture.png"
    Image.new("RGB", (40, 30), (200, 30, 60)).save(path)
    return path


class Tab:
    """A page as a browser has it open: a session of its own, what it uploads, the
    buttons that it presses.
    """

    def __init__(self, server: Server):
        self.url, self._session = f"{server.url}/gradio_api", uuid.uuid4().hex

    def upload(self, path: Path) -> dict[str, Any]:
        edge = uuid.uuid4().hex
        head = (
            f'--{edge}\r\nContent-Disposition: form-data; name="files"; '
            f'filename="{path.name}"\r\n\r\n'
        )
        body = head.encode() + path.read_bytes() + f"\r\n--{edge}--\r\n".encode()
        (place,) = json.loads(self._ask("/upload", body, f"multipart/form-data; boundary={edge}"))
        return {"path": place, "orig_name": path.name, "meta": {"_type": "gradio.FileData"}}

    def say(self, text: str, *pictures: Path, draw: bool = False, seed: int | None = None) -> Page:
        return self.press(
            "say", {"text": text, "files": [self.upload(path) for path in pictures]}, draw, seed
        )

    def press(self, button: str, *values: Any) -> Page:
        *_, last = self.watch(self.begin(button, *values))
        return last

    def begin(self, button: str, *values: Any) -> str:
        body = json.dumps({"data": [None, *values], "session_hash": self._session})
        return f"/call/{button}/{json.loads(self._ask(f'/call/{button}', body.encode(), 'application/json'))['event_id']}"  # noqa: E501

    def watch(self, place: str) -> Iterator[Page]:
        """What the page shows while it grows."""
        with urllib.request.urlopen(self.url + place, timeout=90) as response:
            event = ""
            for line in response:
                kind, _, rest = line.decode().rstrip("\n").partition(": ")
                if kind == "event":
                    event = rest
                elif kind == "data":
                    assert event != "error", rest
                    if event in ("generating", "complete") and (values := json.loads(rest)):
                        yield Page(*values[1:], url=self.url)

    def _ask(self, place: str, body: bytes, kind: str) -> bytes:
        request = urllib.request.Request(self.url + place, body, {"Content-Type": kind})
        with urllib.request.urlopen(request, timeout=60) as response:
            return response.read()


class Page(NamedTuple):
    shown: list
    words: dict
    draw: bool
    seed: int
    status: str
    stop: dict
    again: dict
    reset: dict
    transcript: dict
    url: str

    @property
    def parts(self) -> list:
        """Role, then words or the bytes of a picture, of each part of each message."""
        return [
            (message["role"], part.get("text") or self.read(part["file"]))
            for message in self.shown
            for part in message["content"]
        ]

    @property
    def saved(self) -> dict:
        (row,) = self.read(self.transcript["value"]).decode().splitlines()
        return json.loads(row)

    def read(self, file: dict) -> bytes:
        with urllib.request.urlopen(f"{self.url}/file={file['path']}", timeout=60) as response:
            return response.read()


@needs_gradio
@pytest.mark.slow
def test_a_conversation_in_a_browser(server, tmp_path, picture) -> None:
    tab = Tab(server)
    page = tab.say("this <image> and <b>that</b> <image>", picture, picture, draw=True, seed=5)
    roles, parts = zip(*page.parts, strict=True)
    assert roles[:5] == ("user", "user", "user", "user", "assistant")
    assert parts[0] == "this" and parts[2] == "and &lt;b&gt;that&lt;/b&gt;"
    assert (parts[1], parts[3]) == (picture.read_bytes(),) * 2
    (tmp_path / "drawn.png").write_bytes(parts[4])
    facts = read_picture_facts(tmp_path / "drawn.png")
    assert facts["seed"] == 5 and page.saved["images"][2] == facts["codes"]
    assert (page.draw, page.seed, page.words["value"]) == (False, 6, {"text": "", "files": []})
    assert "cut" in page.status

    once = page.saved
    assert once["messages"][0]["content"] == "this <image> and <b>that</b> <image>"
    again = tab.press("again", False, None)
    assert again.parts[:4] == page.parts[:4] and again.seed == 7
    assert len(again.saved["messages"]) == 2 and again.saved["key"] == once["key"]
    assert (
        again.saved["images"][:2] == once["images"][:2]
        and again.saved["images"][2] != once["images"][2]
    )
    assert tab.press("again", False, 5).saved["images"] == once["images"]

    empty = tab.press("reset")
    assert empty.shown == [] and not empty.transcript["interactive"]
    assert (
        tab.say("this <image> and <b>that</b> <image>", picture, picture, draw=True, seed=5).saved[
            "messages"
        ]
        == once["messages"]
    )


@needs_gradio
def test_tabs_do_not_hear_each_other(server) -> None:
    tabs = [Tab(server) for _ in range(3)]
    alone = [tab.say("a dog", seed=number) for number, tab in enumerate(tabs)]
    for tab in tabs:
        tab.press("reset")
    running = [
        tab.begin("say", {"text": f"bus {number}", "files": []}, False, None)
        for number, tab in enumerate(tabs)
    ]
    pages = [list(tab.watch(place))[-1] for tab, place in zip(tabs, running, strict=True)]
    for number, page in enumerate(pages):
        assert page.parts[0] == ("user", f"bus {number}")
        assert [message["role"] for message in page.saved["messages"]] == ["user", "assistant"]
    assert len({page.saved["key"] for page in pages}) == 3
    assert len({page.shown[1]["content"][0]["text"] for page in alone}) == 3


@needs_gradio
def test_what_goes_wrong_is_said_and_the_turn_is_given_back(server, tmp_path, picture) -> None:
    tab = Tab(server)
    assert "nothing was said yet" in tab.press("again", False, None).status
    text = tmp_path / "letter.png"
    text.write_text("dear model")
    for words, pictures, message in (
        ("look", [picture, text], "letter.png"),
        ("<image> <image> <image>", [picture], "says <image> 3 times, 1 images are attached"),
        ("  ", [], "nothing is said"),
        ("<img_00001>", [], "words hold image tokens"),
        ("the red bus waits near the bridge " * 30, [], "there is room for"),
    ):
        page = tab.say(words, *pictures, draw=True)
        assert message in page.status
        assert page.words["value"]["text"] == words and len(page.words["value"]["files"]) == len(
            pictures
        )
        assert page.draw and page.shown == [] and page.seed == 0
    good = tab.say("a <image>", picture, draw=True)
    assert len(good.saved["images"]) >= 2 and "Traceback" not in server.stderr


@needs_gradio
def test_the_page_is_for_this_machine_and_asks_nothing_elsewhere(server) -> None:
    def get(path: str, **headers: str) -> tuple[http.client.HTTPResponse, str]:
        connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=30)
        connection.request("GET", path, headers=headers)
        response = connection.getresponse()
        text = response.read().decode("utf-8", "replace")
        connection.close()
        return response, text

    response, text = get("/")
    assert response.status == 200
    policy = response.headers["content-security-policy"]
    assert "default-src 'self'" in policy and "http" not in policy
    assert not re.findall(
        r"""<(?:script|link)[^>]+(?:src|href)=["']?(?:https?:)?//(?!127\.0\.0\.1)[^>]*>""", text
    )
    assert "fonts.g" not in get("/theme.css")[1]
    assert get("/", Host="elsewhere.example")[0].status == 400
    with (
        pytest.raises(OSError),
        socket.create_connection((_other_address(), server.port), timeout=2),
    ):
        pass
    assert "OUTSIDE" not in server.stderr
    result = CliRunner().invoke(app, ["chat", "--web", "--port", str(server.port)])
    assert (
        result.exit_code == 2 and f"port {server.port} of 127.0.0.1 cannot be had" in result.stderr
    )


def _other_address() -> str:
    """Another address of this machine, by which other machines would reach it."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(("192.0.2.1", 9))  # sends nothing
            return probe.getsockname()[0]
        except OSError:
            return "127.0.0.2"


@needs_gradio
@pytest.mark.slow
def test_an_answer_is_stopped_and_the_server_ends_cleanly(
    tiny_llm_folder, tmp_path, picture
) -> None:
    server = start(tmp_path, tiny_llm_folder, "--picture-steps", "150")
    try:
        tab = Tab(server)
        pages = tab.watch(tab.begin("say", {"text": "a dog", "files": []}, True, None))
        assert next(pages).stop["interactive"]
        tab.begin("stop")
        *_, page = pages
        assert (
            "Stopped" in page.status
            and page.shown == []
            and page.draw
            and page.words["value"]["text"] == "a dog"
        )
        assert len(tab.say("a dog", seed=0).saved["messages"]) == 2
    finally:
        code = end(server)
    assert code == 0, server.stderr
    assert "Traceback" not in server.stderr
    assert not list(tmp_path.glob("seed-chat-*"))


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--web", "--once", "hi"], "--web and --once do not go together"),
        (["--web", "--image", "a.png"], "--web and --image do not go together"),
        (["--web", "--draw"], "--web and --draw do not go together"),
        (["--web", "--show", "kitty"], "--web and --show do not go together"),
        (["--port", "7860"], "--port 7860 is the port of --web"),
        (["--web", "--port", "70000"], "less than or equal to 65535"),
    ],
)
def test_what_web_does_not_go_with(words, message) -> None:
    result = CliRunner().invoke(app, ["chat", *words])
    assert result.exit_code == 2
    assert message in result.stderr


def test_piped_turns_and_web_do_not_go_together(tmp_path) -> None:
    (tmp_path / "turns").write_text("hello\n")
    with open(tmp_path / "turns") as turns:
        for options in ({"input": "hello\n"}, {"stdin": turns}):
            command = [sys.executable, "-m", "seedcli", "chat", "--web"]
            done = subprocess.run(
                command, capture_output=True, text=True, cwd=ROOT, timeout=60, **options
            )
            assert (
                done.returncode == 2 and "--web and piped input do not go together" in done.stderr
            )


def test_without_gradio_the_error_names_the_extra(monkeypatch) -> None:
    monkeypatch.setitem(sys.modules, "gradio", None)
    result = CliRunner().invoke(app, ["chat", "--web"])
    assert result.exit_code == 2
    assert (
        "gradio, which is not installed" in result.stderr
        and "pip install 'seedcli[web]'" in result.stderr
    )
