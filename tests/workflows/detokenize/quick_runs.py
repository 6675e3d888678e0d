"""Codes, requests for them, and what was drawn."""

from __future__ import annotations

import dataclasses
import io
import json
from pathlib import Path
from typing import Any

from PIL import Image

from seedcli.console import Reporter
from seedcli.workflows.detokenize import run
from seedcli.workflows.detokenize.request import DetokenizeRequest


class Listener(Reporter):
    """Keeps what is said."""

    def __init__(self) -> None:
        self.said: list[str] = []

    def note(self, text: str) -> None:
        self.said.append(text)

    def warn(self, text: str) -> None:
        self.said.append(text)


def make_codes(index: int = 0) -> list[int]:
    """32 codes, others for each index."""
    return [(7 * index + 3 * position) % 64 for position in range(32)]


def plan(words: list[str], output: Path, request: DetokenizeRequest, **others: Any) -> Any:
    """The plan of a request with these inputs and this output."""
    return run.plan(dataclasses.replace(request, inputs=tuple(words), output=output), **others)


def as_lines(*images: dict[str, Any] | list[int]) -> io.BytesIO:
    """Records or codes -> standard input of JSON lines."""
    return io.BytesIO("\n".join(json.dumps(image) for image in images).encode())


def read_fingerprint(folder: Path) -> str:
    """What a model folder states."""
    return json.loads((folder / "seed_tokenizer.json").read_text())["fingerprint"]


def open_picture(path: Path) -> Image.Image:
    """A picture in memory, its file closed."""
    with Image.open(path) as image:
        return image.copy()
