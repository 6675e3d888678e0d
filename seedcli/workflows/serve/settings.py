"""What a server is started with."""

from __future__ import annotations

import dataclasses
import ipaddress
from dataclasses import dataclass, field
from typing import Annotated

from seedcli.errors import UsageError
from seedcli.options import Option, Without
from seedcli.workflows.chat.settings import ChatSettings, PictureSettings
from seedcli.workflows.sampling import SamplingOptions

KEY_VARIABLE = "SEED_API_KEY"
LOOPBACK = "127.0.0.1"
REACHED = "Who reaches it"
BOUNDS = "Bounds"


@dataclass(frozen=True, kw_only=True)
class ServeSettings:
    """What a server is started with; what a request says goes before `sampling`."""

    chat: Annotated[ChatSettings, Without("constrained negative sampling pictures")] = field(
        default_factory=ChatSettings
    )
    sampling: Annotated[SamplingOptions, Without("num_beams seed")] = field(
        default_factory=SamplingOptions
    )
    pictures: Annotated[PictureSettings, Without("output device dtype")] = field(
        default_factory=PictureSettings
    )
    host: Annotated[
        str,
        Option(
            "Address to listen on; any but this machine's own needs a key.",
            metavar="ADDRESS",
            panel=REACHED,
        ),
    ] = LOOPBACK
    port: Annotated[
        int, Option("0 takes a free one.", metavar="N", min=0, max=65535, panel=REACHED)
    ] = 8000
    api_key: Annotated[
        str | None,
        Option(
            "Key that requests must bear; better in SEED_API_KEY, as others see a command line.",
            metavar="KEY",
            panel=REACHED,
        ),
    ] = field(default=None, repr=False)
    hosts: Annotated[
        tuple[str, ...],
        Option(
            "Name that clients reach it by; may be repeated.",
            "--allow-host",
            metavar="NAME",
            panel=REACHED,
        ),
    ] = ()
    origins: Annotated[
        tuple[str, ...],
        Option(
            "Web page that may use it from a browser; may be repeated.",
            "--allow-origin",
            metavar="URL",
            panel=REACHED,
        ),
    ] = ()
    allow_urls: Annotated[
        bool,
        Option("Fetch pictures from public addresses that requests name.", panel=REACHED),
    ] = False
    batch_size: Annotated[
        int, Option("Answers written together.", "-b", min=1, max=1024, panel=BOUNDS)
    ] = 16
    max_waiting: Annotated[
        int, Option("Requests that may wait beside; more get 429.", min=1, panel=BOUNDS)
    ] = 1000
    timeout_s: Annotated[
        float,
        Option(
            "Longest time of a request in seconds; then its words end.",
            "--timeout",
            min=1.0,
            panel=BOUNDS,
        ),
    ] = 300.0
    max_body_mb: Annotated[
        float,
        Option("Largest request in MB; more get 413.", "--max-body", min=0.001, panel=BOUNDS),
    ] = 20.0
    drain_s: Annotated[
        float,
        Option(
            "Seconds that answers under way may take after SIGTERM.",
            "--drain",
            min=0.0,
            panel=BOUNDS,
        ),
    ] = 300.0

    def check(self) -> None:
        """Refuses what would be open to all.

        Raises:
            UsageError: Such settings.
        """
        if self.api_key is not None and (
            len(self.api_key) < 8 or not self.api_key.isascii() or not self.api_key.isprintable()
        ):
            raise UsageError(
                f"the API key has {len(self.api_key)} characters; at least 8 of printable ASCII "
                "are expected",
                remedy='python -c "import secrets; print(secrets.token_urlsafe(24))" makes one',
            )
        if self.api_key is None and not is_loopback(self.host):
            raise UsageError(
                f"--host {self.host} can be reached from other machines, and no key is set",
                remedy=f"export {KEY_VARIABLE}=... before it, or leave out --host",
            )
        for origin in self.origins:
            scheme, _, rest = origin.partition("://")
            if scheme not in ("http", "https") or not rest or "/" in rest or "*" in rest:
                raise UsageError(
                    f"--allow-origin {origin} is no origin", remedy="https://chat.example.org"
                )

    @property
    def opened(self) -> ChatSettings:
        """The model, and how it answers where a request does not say."""
        return dataclasses.replace(self.chat, sampling=self.sampling, pictures=self.pictures)

    @property
    def max_body_bytes(self) -> int:
        """Largest body of a request."""
        return int(self.max_body_mb * 1_000_000)


def is_loopback(host: str) -> bool:
    """Whether an address is reached from this machine only."""
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return host == "localhost"
