"""`seed chat --web`: a real server, and what `--web` does not go with; test_web_page.py looks at
the page with a browser.
"""

from __future__ import annotations

import http.client
import importlib.util
import re
import socket
import subprocess
import sys
import urllib.request

import pytest
from typer.testing import CliRunner

from seedcli.cli.main import app
from tests.contracts.source_tree import ROOT
from tests.web_server import end, say, start

needs_gradio = pytest.mark.skipif(
    importlib.util.find_spec("gradio") is None, reason="gradio is not installed: make test-web"
)


@pytest.fixture(scope="module")
def server(tmp_path_factory, tiny_llm_folder):
    server = start(tmp_path_factory.mktemp("web"), tiny_llm_folder, "--picture-steps", "2")
    yield server
    end(server)


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
def test_the_server_ends_cleanly_while_it_answers(tiny_llm_folder, tmp_path) -> None:
    server = start(tmp_path, tiny_llm_folder, "--picture-steps", "50")
    try:
        place = say(server, "0" * 32, "a dog")
        with urllib.request.urlopen(
            f"{server.url}/gradio_api/call/chat/{place}", timeout=60
        ) as response:
            assert response.readline().startswith(b"event: generating")
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
        (["--web", "--port", "70000"], "expected a whole number from 1 to 65,535"),
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
