"""Pictures between requests and files: data URLs, short addresses on this server."""

from __future__ import annotations

import base64
import binascii
import io
import json
import re
import secrets
import tempfile
from collections import OrderedDict
from pathlib import Path
from typing import TYPE_CHECKING

from PIL.PngImagePlugin import PngInfo

from seedcli.data.documents.documents import Codes
from seedcli.data.images.facts import PNG_KEY
from seedcli.workflows.serve.errors import ApiError
from seedcli.workflows.serve.fetch import fetch

if TYPE_CHECKING:
    from seedcli.workflows.chat.pictures import Drawing

ROUTE = "/v1/images/files/"
KEPT = 10_000  # pictures with an address; the oldest go first
_DATA_URL = re.compile(r"data:(?P<kind>[\w.+/-]*)(;[\w=.+-]+)*;base64,", re.IGNORECASE)
_NAME = re.compile(r"[0-9a-f]{32}\.png")


class ImageStore:
    """Pictures that have an address on this server, for as long as it runs.

    Attributes:
        folder: Where they lie; it goes with `close`.
    """

    def __init__(self) -> None:
        self._folder = tempfile.TemporaryDirectory(prefix="seed-serve-")
        self._codes: OrderedDict[str, Codes] = OrderedDict()

    @property
    def folder(self) -> Path:
        """Where they lie."""
        return Path(self._folder.name)

    def keep(self, png: bytes, codes: Codes) -> str:
        """A picture -> its path on this server, which nobody can guess."""
        name = f"{secrets.token_hex(16)}.png"
        (self.folder / name).write_bytes(png)
        self._codes[name] = codes
        while len(self._codes) > KEPT:
            oldest, _ = self._codes.popitem(last=False)
            (self.folder / oldest).unlink(missing_ok=True)
        return ROUTE + name

    def find(self, name: str) -> Path | None:
        """Name -> file, where there is one."""
        return self.folder / name if _NAME.fullmatch(name) and name in self._codes else None

    def codes(self, url: str) -> Codes | None:
        """Address of a picture of ours -> what it was drawn from."""
        _, found, name = url.rpartition(ROUTE)
        return self._codes.get(name) if found else None

    def close(self) -> None:
        """All of them go."""
        self._folder.cleanup()


def to_png(drawing: Drawing) -> bytes:
    """A drawn picture -> PNG that says what it was drawn from."""
    text = PngInfo()
    text.add_text(PNG_KEY, json.dumps(drawing.facts))
    text.add_text("Software", "seed serve")
    file = io.BytesIO()
    drawing.image.save(file, "PNG", pnginfo=text)
    return file.getvalue()


def to_base64(png: bytes) -> str:
    """Bytes -> base64."""
    return base64.b64encode(png).decode()


def read_url(url: str, *, allow_urls: bool, max_bytes: int, param: str) -> bytes:
    """Data URL, base64 alone, or an address of the web -> bytes of a picture.

    Raises:
        ApiError: It is none of them, or addresses are not allowed.
    """
    if url[:8].lower().startswith(("http://", "https://")):
        if not allow_urls:
            raise ApiError(
                400,
                "this server fetches no pictures; send a data URL: data:image/png;base64,...",
                param=param,
                code="invalid_image_url",
            )
        return fetch(url, max_bytes=max_bytes)
    found = _DATA_URL.match(url[:200])
    if found is None and (":" in url[:64] or not url):
        raise ApiError(
            400,
            "a picture is expected as a data URL: data:image/png;base64,...",
            param=param,
            code="invalid_image_url",
        )
    try:
        return base64.b64decode("".join(url[found.end() if found else 0 :].split()), validate=True)
    except (binascii.Error, ValueError):
        raise ApiError(
            400, "the picture is no base64", param=param, code="invalid_base64"
        ) from None
