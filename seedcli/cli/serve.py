"""`seed serve`: the conversation of `seed chat` for programs."""

from __future__ import annotations

import contextlib
import dataclasses
import os
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from seedcli.console import console
from seedcli.errors import require_package
from seedcli.workflows.serve.settings import KEY_VARIABLE, ServeSettings

if TYPE_CHECKING:
    from seedcli.workflows.chat.model import ChatModel


def serve(settings: ServeSettings) -> None:
    """Answer programs that speak OpenAI's protocol: words and pictures in, words and pictures out.

    It listens on this machine only, unless --host says otherwise, which needs SEED_API_KEY. Ctrl-C
    ends it; after SIGTERM answers under way end first.

    \b
    Examples:
      seed serve
      seed serve --model seed-llama-8b-sft --quantize 8bit
      seed serve --host 0.0.0.0 --allow-host models.example.org
    """
    for package in ("fastapi", "uvicorn", "prometheus_client", "python_multipart"):
        require_package(package, extra="serve", needed_by="seed serve")
    from seedcli.workflows.serve.server import serve as run_server

    key = settings.api_key or os.environ.get(KEY_VARIABLE) or None
    settings = dataclasses.replace(settings, api_key=key)
    with contextlib.suppress(KeyboardInterrupt):
        run_server(settings, reporter=console, on_ready=_tell(has_key=key is not None))


def _tell(*, has_key: bool) -> Callable[[str, ChatModel], None]:
    """Says where the server is, in a line that a shell takes."""
    key = f"${KEY_VARIABLE}" if has_key else "none"

    def tell(url: str, model: ChatModel) -> None:
        name = Path(model.facts.name).name
        console.result(
            {"base_url": url, "model": name},
            human=lambda row: (
                f"export OPENAI_BASE_URL={row['base_url']} OPENAI_API_KEY={key}  "
                f"# model {row['model']}"
            ),
        )
        console.note("Ctrl-C ends it")

    return tell
