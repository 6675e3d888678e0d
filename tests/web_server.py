"""A real `seed chat --web`, which tests start and end; it says when it asks for another machine."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import urllib.request
from pathlib import Path
from typing import NamedTuple

from tests.contracts.source_tree import ROOT

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


def say(server: Server, tab: str, words: str) -> str:
    """Has a tab that no browser shows ask for a picture -> where its answer is heard."""
    action = {"do": "say", "tab": tab, "words": words, "draw": True}
    body = json.dumps({"data": [json.dumps(action), 0, 1.5, 1, 0, 40, 1]}).encode()
    request = urllib.request.Request(
        f"{server.url}/gradio_api/call/chat", body, {"Content-Type": "application/json"}
    )
    with urllib.request.urlopen(request, timeout=60) as response:
        return json.load(response)["event_id"]


def end(server: Server) -> int:
    if server.process.poll() is None:
        # as Ctrl-C, which processes in the background ignore
        server.process.send_signal(signal.SIGTERM)
    try:
        return server.process.wait(timeout=30)
    finally:
        server.process.kill()
        server.process.stdout.close()
