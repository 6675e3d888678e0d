"""`seed chat` in a browser: one page on this machine, a conversation of its own for every tab, one
model that answers one tab at a time.

Nothing leaves the machine: gradio's analytics, sharing and run history are off, and a content
policy forbids the page every request to elsewhere, whatever an answer holds. What tabs upload and
what they are shown lies in a folder that goes when the server ends.
"""

from __future__ import annotations

import contextlib
import os
import socket
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from seedcli.errors import UsageError, require_package

if TYPE_CHECKING:
    from seedcli.workflows.chat.seed_chat import SeedChat

ADDRESS = "127.0.0.1"
FIRST_PORT = 7860
POLICY = (
    "default-src 'self' 'unsafe-inline' 'unsafe-eval' data: blob:; base-uri 'self'; form-action "
    "'self'; frame-ancestors 'none'"
)
TEMPORARY_FOLDER = "GRADIO_TEMP_DIR"  # gradio takes it from the environment only


def require_gradio() -> None:
    """Checks for the extra before anything is loaded.

    Raises:
        UsageError: gradio is not installed.
    """
    require_package("gradio", extra="web", needed_by="--web")


def require_port(port: int) -> None:
    """Checks that the port can be had, before anything is loaded.

    Raises:
        UsageError: It is taken, or kept for the administrator.
    """
    try:
        with socket.create_server((ADDRESS, port)):
            pass
    except OSError as error:
        raise UsageError(
            f"port {port} of {ADDRESS} cannot be had ({error.strerror})",
            remedy=f"another --port N, or none: the first free from {FIRST_PORT}",
        ) from None


@contextlib.contextmanager
def serve_chat(conversation: SeedChat, *, port: int | None = None) -> Iterator[str]:
    """Serves conversations like the given one, each tab its own, on 127.0.0.1
    while the context lasts.

    Args:
        conversation: Its model, pictures and settings answer all tabs; it says nothing itself.
        port: Of the server; None takes the first free one from 7860.

    Yields:
        Address of the page.

    Raises:
        UsageError: gradio is not installed, or the port cannot be had.
    """
    from seedcli.workflows.chat.web.page import Page

    require_gradio()
    with (
        tempfile.TemporaryDirectory(prefix="seed-chat-") as folder,
        _environment(TEMPORARY_FOLDER, folder),
    ):
        page = Page(conversation, Path(folder))
        blocks = page.build()
        try:
            _, url, _ = blocks.launch(
                server_name=ADDRESS, server_port=port, **_launch_options(folder)
            )
        except OSError as error:
            raise UsageError(
                f"no page can be served on {ADDRESS}: {error}",
                remedy="--port N with a free N over 1023",
            ) from None
        try:
            yield url.rstrip("/")
        finally:
            page.close()
            blocks.close(verbose=False)


@contextlib.contextmanager
def _environment(name: str, value: str) -> Iterator[None]:
    before = os.environ.get(name)
    os.environ[name] = value
    try:
        yield
    finally:
        if before is None:
            del os.environ[name]
        else:
            os.environ[name] = before


def _launch_options(folder: str) -> dict[str, Any]:
    import gradio as gr
    from starlette.middleware import Middleware
    from starlette.middleware.trustedhost import TrustedHostMiddleware
    from starlette.routing import Mount
    from starlette.staticfiles import StaticFiles

    from seedcli.workflows.chat.web.desk import PICTURES

    return {
        "share": False,
        "inbrowser": False,
        "prevent_thread_lock": True,
        "quiet": True,
        "ssr_mode": False,
        "pwa": False,
        "mcp_server": False,
        "enable_monitoring": False,
        "run_history": False,
        "footer_links": [],
        "css": (Path(__file__).parent / "page.css").read_text(encoding="utf-8"),
        # none to be fetched
        "theme": gr.themes.Default(
            font=["system-ui", "sans-serif"], font_mono=["ui-monospace", "monospace"]
        ),
        "app_kwargs": {
            "routes": [Mount(PICTURES, StaticFiles(directory=folder))],
            "middleware": [
                # another name that leads here is refused
                Middleware(TrustedHostMiddleware, allowed_hosts=[ADDRESS, "localhost"]),
                Middleware(_ContentPolicy),
            ],
        },
    }


class _ContentPolicy:
    """Tells browsers that this page may talk to this server only."""

    def __init__(self, app: Any):
        self._app = app

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        async def send_with_policy(message: Any) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [
                    *message["headers"],
                    (b"content-security-policy", POLICY.encode()),
                ]
            await send(message)

        await self._app(scope, receive, send_with_policy)
