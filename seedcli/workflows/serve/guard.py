"""What stands before every route: who may ask, how much, how many at once; and what is logged of
it: never contents, never keys.
"""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import ipaddress
import json
import secrets
import time
import traceback
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from seedcli.console import Reporter
from seedcli.workflows.serve.errors import ApiError, busy
from seedcli.workflows.serve.metrics import Metrics
from seedcli.workflows.serve.settings import ServeSettings, is_loopback

if TYPE_CHECKING:
    from fastapi import Response
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

OPEN = ("/health",)  # asked by those that start and stop servers, who hold no key
_BODY_TIMEOUT_S = 60.0
_HEADERS = (
    (b"cache-control", b"no-store"),
    (b"x-content-type-options", b"nosniff"),
    (b"content-security-policy", b"default-src 'none'; style-src 'unsafe-inline'"),
)
# Bodies that are held at once take no more than this many of the largest.
_BODIES = 16


class Guard:
    """Lets requests through, or answers them itself.

    Attributes:
        draining: No new request is taken.
        inside: Requests under way.
    """

    def __init__(self, app: ASGIApp, settings: ServeSettings, metrics: Metrics, reporter: Reporter):
        self._app, self._settings, self._metrics, self._reporter = app, settings, metrics, reporter
        self._places = settings.batch_size + settings.max_waiting
        self._held_bytes = 0
        self.draining = False
        self.inside = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """ASGI."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        began, status, request_id = time.monotonic(), 0, secrets.token_hex(8)
        held, whole = 0, False

        async def answer(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                message["headers"] = [
                    *message.get("headers", ()),
                    *_HEADERS,
                    (b"x-request-id", request_id.encode()),
                ]
            await send(message)

        async def body() -> Message:
            nonlocal held, whole
            if whole:  # what follows is that the client leaves
                return await receive()
            left = began + _BODY_TIMEOUT_S - time.monotonic()
            try:
                message = await asyncio.wait_for(receive(), max(left, 0.001))
            except TimeoutError:
                raise ApiError(
                    408, "the request does not come to its end", code="timeout"
                ) from None
            whole = not message.get("more_body", False)
            size = len(message.get("body", b""))
            held += size
            self._held_bytes += size
            if held > self._settings.max_body_bytes:
                raise self._too_large()
            if self._held_bytes > _BODIES * self._settings.max_body_bytes:
                raise busy()
            return message

        counted = scope["path"] not in OPEN
        self.inside += counted
        try:
            headers = {name.lower(): value for name, value in scope["headers"]}
            self._check(scope, headers)
            await self._app(scope, body, answer)
        except ApiError as error:
            if not status:
                await error.response()(scope, receive, answer)
        except Exception as error:
            self._reporter.warn(_where(error))
            if not status:
                await internal_error()(scope, receive, answer)
        finally:
            self.inside -= counted
            self._held_bytes -= held
            self._log(scope, request_id, status, time.monotonic() - began)

    def _check(self, scope: Scope, headers: dict[bytes, bytes]) -> None:
        """Whether the request may go on.

        Raises:
            ApiError: It may not.
        """
        settings = self._settings
        host = headers.get(b"host", b"").decode("latin-1")
        if not self._knows(host):
            raise ApiError(
                403,
                "this server is not known by that Host; --allow-host names one more",
                code="host_not_allowed",
            )
        origin = headers.get(b"origin")
        if origin is not None and not self._same_origin(origin.decode("latin-1"), host):
            raise ApiError(
                403,
                "pages of that Origin may not use this server; --allow-origin lets one",
                code="origin_not_allowed",
            )
        if scope["path"] in OPEN:
            return
        if settings.api_key is not None and not _same(
            headers.get(b"authorization", b""), f"Bearer {settings.api_key}".encode()
        ):
            raise ApiError(
                401,
                "the key is missing or wrong; Authorization: Bearer KEY is expected",
                code="invalid_api_key",
            )
        if self.draining:
            raise ApiError(503, "the server is about to end", code="shutting_down")
        if scope["method"] != "POST":
            return
        if self.inside > self._places:
            raise busy()
        length = headers.get(b"content-length", b"0")
        if length.isdigit() and int(length[:20]) > settings.max_body_bytes:
            raise self._too_large()

    def _knows(self, host: str) -> bool:
        """Whether a Host header names this server; another name that leads here is refused, as a
        page elsewhere could make its own name lead here.
        """
        name = _name(host)
        if name in {"localhost", *map(str.lower, self._settings.hosts)}:
            return True
        try:
            address = ipaddress.ip_address(name)
        except ValueError:
            return name == self._settings.host.lower()
        # an address cannot be made to lead elsewhere
        return address.is_loopback or not is_loopback(self._settings.host)

    def _same_origin(self, origin: str, host: str) -> bool:
        if origin in self._settings.origins:
            return True
        try:
            parts = urlsplit(origin)
        except ValueError:
            return False
        return parts.scheme in ("http", "https") and parts.netloc.lower() == host.lower()

    def _too_large(self) -> ApiError:
        return ApiError(
            413,
            f"the request has more than {self._settings.max_body_bytes:,} bytes",
            code="request_too_large",
        )

    def _log(self, scope: Scope, request_id: str, status: int, seconds: float) -> None:
        route = getattr(scope.get("route"), "path", "none")  # a path may hold what was typed
        self._metrics.requests.labels(route, str(status or "left")).inc()
        if route in OPEN or route == "/metrics":
            return
        line = {
            "at": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
            "request": request_id,
            "method": scope["method"],
            "route": route,
            "status": status or "left",
            "ms": round(seconds * 1000),
            **scope.get("seed_log", {}),
        }
        self._reporter.note(json.dumps(line))


def internal_error() -> Response:
    """What a client is told of a fault of ours."""
    return ApiError(500, "the server failed; its log says where", code="internal_error").response()


def _same(given: bytes, expected: bytes) -> bool:
    """Compares in a time that tells neither a first letter nor a length."""
    return hmac.compare_digest(
        hashlib.sha256(given.strip()).digest(), hashlib.sha256(expected).digest()
    )


def _name(host: str) -> str:
    """Host header -> name or address, without its port."""
    if host.startswith("["):
        return host[1:].partition("]")[0].lower()
    return host.rpartition(":")[0].lower() if host.count(":") == 1 else host.lower()


def _where(error: BaseException) -> str:
    """A fault of ours as the log has it: what and where; its words may hold what a client sent."""
    places = traceback.extract_tb(error.__traceback__)[-3:]
    trail = " < ".join(f"{Path(each.filename).name}:{each.lineno}" for each in reversed(places))
    return f"{type(error).__name__} at {trail}"
