"""A client of the server: what `seed chat --url` and `seed bench serve` speak to it with. No
package but Python's own.
"""

from __future__ import annotations

import base64
import http.client
import json
import re
from collections.abc import Generator, Sequence
from typing import Any
from urllib.parse import urlsplit

from seedcli.errors import DataError, SeedError, UsageError

_METRIC = re.compile(r"^(?P<name>\w+(?:\{[^}]*\})?) (?P<value>\S+)$", re.MULTILINE)

_SILENCE_S = 600.0  # the longest of a server that still counts as there


class ServerError(SeedError):
    """A server's answer that is an error.

    Attributes:
        status: Of HTTP; 0 where a stream told of it.
        code: The word for programs.
    """

    def __init__(self, message: str, status: int, code: str | None = None):
        super().__init__(message)
        self.status, self.code = status, code
        self.exit_code = 2 if status == 400 else 3


class ServerClient:
    """Speaks to one server."""

    def __init__(self, url: str, *, key: str | None = None):
        """Asks nothing yet.

        Args:
            url: As `seed serve` says it: http://127.0.0.1:8000/v1.
            key: That the server wants.

        Raises:
            UsageError: It is no address of http or https.
        """
        try:
            parts = urlsplit(url.rstrip("/"))
            self._host, self._port = parts.hostname, parts.port
        except ValueError:
            parts, self._host = urlsplit(""), None
        if parts.scheme not in ("http", "https") or not self._host:
            raise UsageError(
                f"{url} is no address of a server", remedy="--url http://127.0.0.1:8000/v1"
            )
        self.url, self._secure = url, parts.scheme == "https"
        self._path = parts.path
        self._headers = {"Content-Type": "application/json"}
        if key:
            self._headers["Authorization"] = f"Bearer {key}"

    def models(self) -> list[dict[str, Any]]:
        """The models that answer, as the server describes them.

        Raises:
            DataError, ServerError: There is no server, or it refuses.
        """
        response = self._ask("GET", f"{self._path}/models")
        try:
            return [each | {"id": str(each["id"])} for each in json.loads(response.read())["data"]]
        except (ValueError, LookupError, TypeError):
            raise DataError(f"{self.url} does not speak OpenAI's protocol") from None
        finally:
            response.close()

    def chat(self, body: dict[str, Any]) -> Generator[dict[str, Any]]:
        """A request -> the chunks of its streamed answer, as they come. Whoever closes the iterator
        leaves.

        Raises:
            DataError, ServerError: There is no server, it refuses, or it fails on the way.
        """
        content = json.dumps(body | {"stream": True}).encode()
        response = self._ask("POST", f"{self._path}/chat/completions", content)
        try:
            for line in response:
                if line.startswith(b"data: ") and line.strip() != b"data: [DONE]":
                    chunk = json.loads(line.removeprefix(b"data: "))
                    if "error" in chunk:
                        raise ServerError(str(chunk["error"].get("message")), 0)
                    yield chunk
        except (OSError, http.client.HTTPException) as error:
            raise DataError(f"{self.url} went away ({type(error).__name__})") from None
        finally:
            response.close()

    def codes(self, images: Sequence[bytes]) -> list[list[int]]:
        """Pictures -> their codes.

        Raises:
            DataError, ServerError: There is no server, or it refuses.
        """
        body = {"images": [base64.b64encode(image).decode() for image in images]}
        response = self._ask("POST", f"{self._path}/tokenize", json.dumps(body).encode())
        try:
            return [each["codes"] for each in json.loads(response.read())["data"]]
        finally:
            response.close()

    def metrics(self) -> dict[str, float]:
        """The server's counters by their names with labels.

        Raises:
            DataError, ServerError: There is no server, or it refuses.
        """
        response = self._ask("GET", f"{self._path.removesuffix('/v1')}/metrics")
        text = response.read().decode()
        response.close()
        return {found["name"]: float(found["value"]) for found in _METRIC.finditer(text)}

    def _ask(self, method: str, path: str, body: bytes | None = None) -> Any:
        """A response whose connection closes with it."""
        kind = http.client.HTTPSConnection if self._secure else http.client.HTTPConnection
        connection = kind(self._host, self._port, timeout=_SILENCE_S)
        try:
            connection.request(method, path, body, self._headers | {"Connection": "close"})
            response = connection.getresponse()
        except (OSError, http.client.HTTPException, ValueError) as error:
            connection.close()
            raise DataError(
                f"{self.url} does not answer ({error})", remedy="seed serve starts a server"
            ) from None
        if response.status != 200:
            said = response.read()
            response.close()
            raise ServerError(*_told(said, response.status))
        return response


def _told(said: bytes, status: int) -> tuple[str, int, str | None]:
    """The body of an error -> what it says, its status, its code."""
    try:
        error = json.loads(said)["error"]
        return str(error["message"]), status, error.get("code")
    except (ValueError, LookupError, TypeError):
        return f"the server answered {status}", status, None
