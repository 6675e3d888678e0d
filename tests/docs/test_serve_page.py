"""The `curl` lines and the Python block of docs/serve.md, against a server of the bundled model."""

from __future__ import annotations

import json
import re
import shutil
import subprocess

import pytest

from seedcli.workflows.chat.model import ChatModel
from seedcli.workflows.chat.settings import ChatSettings, PictureSettings
from seedcli.workflows.serve.server import serving
from seedcli.workflows.serve.settings import ServeSettings
from tests.contracts.source_tree import ROOT

PAGE = (ROOT / "docs" / "serve.md").read_text(encoding="utf-8")
ADDRESS = "http://127.0.0.1:8000/v1"


@pytest.fixture(scope="module")
def url():
    settings = ChatSettings(device="cpu", pictures=PictureSettings(steps=2))
    model = ChatModel(settings).load()
    with serving(ServeSettings(port=0), model) as (url, _):
        yield url


def calls() -> list[str]:
    blocks = re.findall(r"^```sh\n(.*?)^```", PAGE, flags=re.MULTILINE | re.DOTALL)
    lines = "".join(blocks).replace("\\\n", " ").splitlines()
    return [line for line in lines if line.startswith("curl ")]


def test_every_curl_line_of_the_page_is_answered(url) -> None:
    if shutil.which("curl") is None:
        pytest.skip("curl is not installed")
    assert len(calls()) >= 8
    for line in calls():
        line = line.replace(ADDRESS, url).replace(ADDRESS[:-3], url[:-3])
        done = subprocess.run(
            ["bash", "-c", f"{line} -w '\\n%{{http_code}}'"],
            cwd=ROOT,
            capture_output=True,
            text=True,
            timeout=300,
            check=True,
        )
        answer, _, status = done.stdout.rpartition("\n")
        assert status == "200" and answer, (line, done.stdout[-300:], done.stderr)
        if "stream" in line:
            assert answer.rstrip().endswith("data: [DONE]")
        elif "/metrics" not in line:
            json.loads(answer)


def test_the_python_block_of_the_page_runs(url) -> None:
    block = re.search(r"^```python\n(.*?)^```", PAGE, flags=re.MULTILINE | re.DOTALL)[1]
    names: dict[str, object] = {"print": lambda *_: None}
    exec(compile(block.replace(ADDRESS, url), "docs/serve.md", "exec"), names)
    assert names["message"].role == "assistant"
