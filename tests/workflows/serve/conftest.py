"""One server of a tiny model for all tests of the module, with pictures of 2 steps."""

from __future__ import annotations

import base64
import http.client
import io
import json
from collections.abc import Iterator
from typing import Any, NamedTuple
from urllib.parse import urlsplit

import numpy as np
import pytest
from PIL import Image

from seedcli.console import Remembering
from seedcli.data.images.facts import PNG_KEY
from seedcli.workflows.chat.model import ChatModel
from seedcli.workflows.chat.settings import ChatSettings, PictureSettings
from seedcli.workflows.sampling import SamplingOptions
from seedcli.workflows.serve.server import Server, serving
from seedcli.workflows.serve.settings import ServeSettings

SAMPLING = SamplingOptions(temperature=1.5, top_p=1.0, max_new_tokens=60)


class Answer(NamedTuple):
    """What a server answered."""

    status: int
    headers: dict[str, str]
    content: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.content)

    @property
    def error(self) -> dict[str, Any]:
        return self.json["error"]

    @property
    def chunks(self) -> list[dict[str, Any]]:
        """Of a streamed answer, without the last line."""
        lines = [line for line in self.content.decode().split("\n\n") if line.startswith("data: ")]
        assert lines.pop() == "data: [DONE]"
        return [json.loads(line.removeprefix("data: ")) for line in lines]


def ask(url: str, method: str, path: str, body: bytes | None = None, **headers: str) -> Answer:
    """One request to a server, on a connection of its own."""
    parts = urlsplit(url)
    connection = http.client.HTTPConnection(parts.hostname, parts.port, timeout=120)
    try:
        connection.request(
            method, path, body, {name.replace("_", "-"): value for name, value in headers.items()}
        )
        response = connection.getresponse()
        names = {name.lower(): value for name, value in response.getheaders()}
        return Answer(response.status, names, response.read())
    finally:
        connection.close()


class Running(NamedTuple):
    """A server that is reached."""

    url: str
    server: Server
    log: Remembering

    def post(self, route: str, body: Any, **headers: str) -> Answer:
        """A JSON body to a route below /v1."""
        content = body if isinstance(body, bytes) else json.dumps(body).encode()
        return ask(
            self.url,
            "POST",
            f"/v1/{route}",
            content,
            **{"content_type": "application/json"} | headers,
        )

    def get(self, path: str, **headers: str) -> Answer:
        """A path of the server, from the root."""
        return ask(self.url, "GET", path, **headers)

    @property
    def engine(self):
        """Behind the routes."""
        return self.server.engine


@pytest.fixture(scope="session")
def chat_model(tiny_llm, tiny_decoder_folder) -> ChatModel:
    settings = ChatSettings(
        sampling=SAMPLING, pictures=PictureSettings(steps=2, device="cpu"), device="cpu"
    )
    return ChatModel(settings, llm=tiny_llm).load()


@pytest.fixture(scope="session")
def running(chat_model) -> Iterator[Running]:
    log = Remembering()
    settings = ServeSettings(port=0, batch_size=8, max_waiting=16, max_body_mb=1.0, timeout_s=100)
    with serving(settings, chat_model, reporter=log) as (url, server):
        yield Running(url, server, log)


@pytest.fixture(scope="session")
def data_url() -> str:
    file = io.BytesIO()
    Image.new("RGB", (40, 30), "orange").save(file, "PNG")
    return "data:image/png;base64," + base64.b64encode(file.getvalue()).decode()


def said(text: str, *urls: str) -> list[dict[str, Any]]:
    """A conversation of one turn."""
    if not urls:
        return [{"role": "user", "content": text}]
    parts = [{"type": "image_url", "image_url": {"url": url}} for url in urls]
    return [{"role": "user", "content": [*parts, {"type": "text", "text": text}]}]


def opened(content: str | bytes) -> Image.Image:
    """A PNG, as bytes, base64 or data URL -> the picture."""
    if isinstance(content, str):
        content = base64.b64decode(content.rpartition(",")[2])
    image = Image.open(io.BytesIO(content))
    image.load()
    return image


def check_same_picture(one: Image.Image, other: Image.Image) -> None:
    """Whether two drawings of one picture are alike: drawn from the same, with the same colours.

    What else is drawn in the batch changes the rounding: of 30 times 8 pictures drawn alone and in
    batches of 2, 3 and 8 no value of a pixel differed by more than 1, and at most 2 in a picture.
    """
    assert one.size == other.size
    if PNG_KEY in one.info and PNG_KEY in other.info:
        assert one.info[PNG_KEY] == other.info[PNG_KEY]
    apart = np.abs(np.asarray(one, dtype=int) - np.asarray(other, dtype=int))
    assert apart.max() <= 1
