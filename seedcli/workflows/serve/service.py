"""What the routes have in common: the engine, the reader of messages, the pictures' addresses."""

from __future__ import annotations

import asyncio
import secrets
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from starlette.requests import Request

from seedcli.errors import UsageError, did_you_mean
from seedcli.models.language.generate import SamplingSettings
from seedcli.workflows.chat.pictures import Drawing
from seedcli.workflows.serve.answer import Asked, OutOfTimeError
from seedcli.workflows.serve.answers import Show
from seedcli.workflows.serve.engine import Engine, Sketch
from seedcli.workflows.serve.errors import ApiError
from seedcli.workflows.serve.images import ImageStore
from seedcli.workflows.serve.messages import MessageReader
from seedcli.workflows.serve.settings import ServeSettings

if TYPE_CHECKING:
    from seedcli.models.language.image_grammar import ImageNeed

T = TypeVar("T")


@dataclass(frozen=True)
class Service:
    """What every route works with.

    Attributes:
        engine: Answers.
        settings: What the server was started with.
        store: Pictures with an address.
        reader: Reads messages, in the engine's reader thread.
        started: When, in seconds of the epoch.
    """

    engine: Engine
    settings: ServeSettings
    store: ImageStore
    reader: MessageReader
    started: float = field(default_factory=time.time)

    @classmethod
    def open(cls, engine: Engine, settings: ServeSettings) -> Service:
        """A service of an engine."""
        store = ImageStore()
        reader = MessageReader(engine.model, store, settings.allow_urls, settings.max_body_bytes)
        return cls(engine, settings, store, reader)

    @property
    def model_name(self) -> str:
        """What requests call the model; never a path of this machine."""
        return Path(self.engine.model.facts.name).name

    @property
    def fingerprint(self) -> str:
        """What codes mean."""
        return self.engine.model.tokenizer.fingerprint

    @property
    def codes_facts(self) -> dict[str, Any]:
        """What one must know of codes to speak them."""
        facts = self.engine.model.facts
        return {
            "visual_tokenizer": Path(facts.visual_tokenizer).name,
            "fingerprint": self.fingerprint,
            "num_codes": facts.num_codes,
            "num_queries": facts.num_queries,
        }

    @property
    def picture_size(self) -> str | None:
        """Of drawn pictures, as `256x256`; None where nothing is drawn."""
        if not self.engine.model.settings.draws:
            return None
        side = self.engine.model.tokenizer.decoder.image_size_px
        return f"{side}x{side}"

    def deadline(self) -> float:
        """Of a request that arrives now."""
        return time.monotonic() + self.settings.timeout_s

    def check_model(self, name: str | None) -> None:
        """Whether a request asks for the model that is here.

        Raises:
            ApiError: It asks for another.
        """
        known = {self.model_name, self.engine.model.tokenizer.name}
        if name is not None and name not in known:
            raise ApiError(
                404,
                f"there is no model of that name here{did_you_mean(name, known)}; "
                f"{self.model_name} answers",
                param="model",
                code="model_not_found",
            )

    def check_draws(self) -> None:
        """Whether pictures are drawn.

        Raises:
            ApiError: They stay codes here.
        """
        if not self.engine.model.settings.draws:
            raise ApiError(400, "this server draws no pictures: it was started with --codes")

    def sampling(self, **given: Any) -> SamplingSettings:
        """The model's settings with those of a request that are not None.

        Raises:
            ApiError: One is out of range.
        """
        known = {name: value for name, value in given.items() if value is not None}
        try:
            return replace(self.engine.model.sampling, num_beams=1, **known)
        except UsageError as error:
            raise ApiError(400, error.message) from None

    def ask(
        self,
        prompt: Sequence[int],
        sampling: SamplingSettings,
        *,
        deadline: float,
        image: ImageNeed,
        seed: int | None,
        n: int | None,
        wordless: Sequence[int] | None = None,
        stop: Sequence[str] = (),
        num_likeliest: int | None = None,
        last_image: int | None = None,
    ) -> list[Asked]:
        """One request -> `n` answers to ask for, with seeds that count up by more than the pictures
        that an answer can hold.

        Raises:
            ApiError: The context has no room for what is asked.
        """
        first = secrets.randbelow(2**31) if seed is None else seed
        llm = self.engine.model.llm
        asked = Asked(
            prompt,
            sampling,
            image,
            first,
            deadline,
            wordless=wordless,
            stop=tuple(stop),
            num_likeliest=num_likeliest,
            last_image=last_image,
        )
        room = min(sampling.max_new_tokens, llm.max_positions - len(prompt))
        needed = llm.vocabulary.span_length if image in ("required", "first") else 1
        if room < needed:
            raise ApiError(
                400,
                f"a picture takes {needed} tokens, there is room for {room}: the prompt has "
                f"{len(prompt)} of the context's {llm.max_positions} tokens, and at most "
                f"{sampling.max_new_tokens} were asked for",
                param="messages",
                code="context_length_exceeded",
            )
        return [replace(asked, seed=first + number) for number in range(n or 1)]

    async def read(self, work: Callable[..., T], *given: Any) -> T:
        """Runs in the reader's thread what reads pictures and prompts."""
        began = time.monotonic()
        found = await asyncio.get_running_loop().run_in_executor(self.engine.reader, work, *given)
        self.engine.metrics.stage("read", time.monotonic() - began)
        return found

    async def draw(
        self,
        rows: Sequence[tuple[tuple[int, ...], int]],
        *,
        deadline: float,
        how: tuple[int | None, float | None] = (None, None),
    ) -> list[Drawing]:
        """Codes and a seed of each of B images -> drawings.

        Raises:
            OutOfTimeError: The deadline came.
            Exception: What the picture decoder failed of.
        """
        sketches = [Sketch(codes, seed, how) for codes, seed in rows]
        self.engine.sketch(*sketches)
        drawings = asyncio.gather(*(asyncio.wrap_future(each.drawing) for each in sketches))
        try:
            return await asyncio.wait_for(drawings, max(deadline - time.monotonic(), 0.001))
        except TimeoutError:
            raise OutOfTimeError from None
        finally:
            for sketch in sketches:
                sketch.drawing.cancel()

    def show(self, request: Request, image_format: str | None) -> Show:
        """How a request wants its pictures told."""
        base = str(request.base_url).rstrip("/") if image_format == "url" else None
        return Show(self.store, base, self.engine.model.llm.text_tokenizer)


def note(request: Request, **figures: Any) -> None:
    """Figures of a request for its line in the log; never contents."""
    request.scope.setdefault("seed_log", {}).update(figures)
