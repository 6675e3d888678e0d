"""`seed serve`: the server from its start to its end. SIGTERM drains it: answers under way end,
new requests get 503; a second one, or Ctrl-C, ends it at once.
"""

from __future__ import annotations

import asyncio
import contextlib
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import uvicorn

from seedcli.console import Reporter
from seedcli.errors import DataError, UsageError
from seedcli.progress import Progress
from seedcli.workflows.chat.model import ChatModel
from seedcli.workflows.serve.app import build_app
from seedcli.workflows.serve.engine import Engine
from seedcli.workflows.serve.guard import Guard
from seedcli.workflows.serve.metrics import Metrics
from seedcli.workflows.serve.service import Service
from seedcli.workflows.serve.settings import ServeSettings

_LOOK_S = 0.1  # how often a server that drains looks whether it is empty
_KEEP_ALIVE_S = 30


def serve(
    settings: ServeSettings,
    *,
    reporter: Reporter | None = None,
    on_ready: Callable[[str, ChatModel], None] = lambda url, model: None,
) -> None:
    """Serves until a signal ends it.

    Args:
        settings: What it is started with.
        reporter: Hears of downloads, and a line for each request.
        on_ready: Told the base URL and the model when requests are taken.

    Raises:
        UsageError: The address cannot be had, or options do not go together.
        DataError: Weights are missing or do not fit together.
    """
    settings.check()
    reporter = _Log(reporter or Reporter())
    with listen(settings) as listener:
        model = open_model(settings, reporter)
        reporter.is_ready = True
        url = base_url(settings.host, listener.getsockname()[1])
        with _built(settings, model, reporter, lambda: on_ready(url, model)) as server:
            server.run([listener])


@contextlib.contextmanager
def serving(
    settings: ServeSettings, model: ChatModel, *, reporter: Reporter | None = None
) -> Iterator[tuple[str, Server]]:
    """Serves a loaded model from a thread of this process while the context lasts.

    Args:
        settings: As for `serve`.
        model: Loaded.
        reporter: Hears a line for each request.

    Yields:
        The base URL, and the server.

    Raises:
        UsageError: The address cannot be had.
    """
    ready = threading.Event()
    with (
        listen(settings) as listener,
        _built(settings, model, reporter or Reporter(), ready.set) as server,
    ):
        thread = threading.Thread(target=server.run, args=([listener],), name="seed-serve")
        thread.start()
        try:
            ready.wait()
            yield base_url(settings.host, listener.getsockname()[1]), server
        finally:
            server.should_exit = True
            thread.join()


@contextlib.contextmanager
def _built(
    settings: ServeSettings, model: ChatModel, reporter: Reporter, on_ready: Callable[[], None]
) -> Iterator[Server]:
    """A server over an engine of its own, which ends with the context."""
    engine = Engine(
        model,
        batch_size=settings.batch_size,
        max_waiting=settings.max_waiting,
        metrics=Metrics(),
    )
    service = Service.open(engine, settings)
    try:
        app, guard = build_app(service, reporter)
        yield Server(app, guard, engine, settings, reporter, on_ready)
    finally:
        engine.close()
        service.store.close()


class _Log(Reporter):
    """Hands on what is said; bars only until the model is loaded, as many answers draw at once."""

    def __init__(self, reporter: Reporter):
        self._reporter = reporter
        self.note, self.warn = reporter.note, reporter.warn  # type: ignore[method-assign]
        self.is_ready = False

    def progress(  # type: ignore[override]  # of another reporter's contexts
        self, description: str, total: int | None = None
    ) -> contextlib.AbstractContextManager[Progress]:
        if self.is_ready:
            return super().progress(description, total)
        return self._reporter.progress(description, total)


def open_model(settings: ServeSettings, reporter: Reporter) -> ChatModel:
    """The model with all of its parts loaded, so that the first request waits for none of them.

    Raises:
        UsageError, DataError: As `ChatModel`.
    """
    model = ChatModel(settings.opened, reporter=reporter).load()
    model.tokenizer.load()
    if settings.chat.draws:
        try:
            _ = model.tokenizer.decoder
        except DataError as error:
            raise DataError(
                error.message,
                remedy=f"{error.remedy + '; or ' if error.remedy else ''}--codes serves without "
                "drawing",
            ) from error
    return model


def listen(settings: ServeSettings) -> socket.socket:
    """The socket that requests come to; taken before anything is loaded.

    Raises:
        UsageError: It cannot be had.
    """
    family = socket.AF_INET6 if ":" in settings.host else socket.AF_INET
    try:
        return socket.create_server(
            (settings.host.strip("[]"), settings.port), family=family, backlog=2048
        )
    except (OSError, UnicodeError, OverflowError) as error:
        raise UsageError(
            f"port {settings.port} of {settings.host} cannot be had "
            f"({getattr(error, 'strerror', None) or error})",
            remedy="another --port N; 0 takes a free one",
        ) from None


def base_url(host: str, port: int) -> str:
    """What a client is given."""
    reached = {"0.0.0.0": "127.0.0.1", "::": "[::1]"}.get(host, host)
    if ":" in reached and not reached.startswith("["):
        reached = f"[{reached}]"
    return f"http://{reached}:{port}/v1"


class Server(uvicorn.Server):
    """uvicorn, with a drain that answers.

    Attributes:
        engine: Behind the routes.
    """

    def __init__(
        self,
        app: Any,
        guard: Guard,
        engine: Engine,
        settings: ServeSettings,
        reporter: Reporter,
        on_ready: Callable[[], None],
    ):
        super().__init__(
            uvicorn.Config(
                app,
                log_config=None,
                access_log=False,
                server_header=False,
                date_header=False,
                proxy_headers=False,
                lifespan="off",
                ws="none",
                timeout_keep_alive=_KEEP_ALIVE_S,
                timeout_graceful_shutdown=5,
                h11_max_incomplete_event_size=65_536,
            )
        )
        self._guard, self._settings, self._reporter = guard, settings, reporter
        self.engine = engine
        self._on_ready = on_ready
        self._draining: asyncio.Task[None] | None = None

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self._loop = asyncio.get_running_loop()
        self._on_ready()

    def handle_exit(self, sig: int, frame: Any) -> None:
        """A signal: the first SIGTERM drains, everything else ends at once."""
        if sig == signal.SIGTERM and not self._guard.draining:
            self._guard.draining = True
            self._reporter.note("answers under way end; new requests get 503")
            self._loop.call_soon_threadsafe(self._begin_to_drain)
            return
        self.should_exit = self.force_exit = True

    def _begin_to_drain(self) -> None:
        self._draining = asyncio.ensure_future(self._drain())

    async def _drain(self) -> None:
        until = time.monotonic() + self._settings.drain_s
        while self._guard.inside and time.monotonic() < until:
            await asyncio.sleep(_LOOK_S)
        self.should_exit = True
