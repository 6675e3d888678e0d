"""How much a server bears: one by one against many at once, arrivals at a rate, clients that
leave, and what memory does meanwhile. All in one run, so that rates are compared as ratios.
"""

from __future__ import annotations

import contextlib
import itertools
import json
import math
import os
import random
import re
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Annotated, Any

from seedcli.console import Reporter
from seedcli.errors import DataError, SeedError
from seedcli.options import LanguageModelOption, Option
from seedcli.workflows.serve.client import ServerClient, ServerError
from seedcli.workflows.serve.settings import KEY_VARIABLE

_WORDS = ("red", "green", "blue", "small", "large", "happy", "sad", "old")
_THINGS = ("dog", "cat", "heart", "star", "house", "tree", "car", "fish")
_BUCKET = re.compile(r'seed_stage_seconds_bucket\{le="([^"]+)",stage="queue"\}')


@dataclass(frozen=True, kw_only=True)
class LoadRequest:
    """What is measured, part by part: one by one and many at once, arrivals at a rate, many short
    requests, clients that leave.
    """

    url: Annotated[
        str | None,
        Option(
            "A running server; its key is SEED_API_KEY. Without it one is started.",
            metavar="URL",
        ),
    ] = None
    model: LanguageModelOption = "seed-nano"
    requests: Annotated[
        int, Option("Answers in words, one by one and then many at once.", min=1)
    ] = 32
    in_flight: Annotated[int, Option("Requests at once.", min=1)] = 8
    max_tokens: Annotated[int, Option("Of an answer in words.", min=1)] = 60
    rate: Annotated[
        float | None,
        Option(
            "Requests a second that come whether others are answered or not. Default: half of "
            "what the server does with --in-flight.",
            min=0.001,
        ),
    ] = None
    arrivals: Annotated[int, Option("Requests at that rate.", min=1)] = 40
    draw_every: Annotated[int, Option("Every N-th of them asks for a picture; 0: none.", min=0)] = 5
    soak: Annotated[
        int, Option("Requests of 8 tokens, after which memory is looked at.", min=0)
    ] = 100
    leave: Annotated[
        int, Option("Clients that leave in the middle, of words and of drawings.", min=0)
    ] = 20
    seed: Annotated[int, Option("Of arrivals and prompts.", min=0)] = 0


@dataclass
class Heard:
    """What one client heard.

    Attributes:
        first_s: Until the first word.
        last_s: Until the answer was complete.
        picture_s: Until the first picture.
        tokens: Written.
        failure: Why there is no answer.
    """

    first_s: float | None = None
    last_s: float | None = None
    picture_s: float | None = None
    tokens: int = 0
    failure: str | None = None


def measure_load(
    request: LoadRequest, *, key: str | None = None, reporter: Reporter | None = None
) -> dict[str, Any]:
    """Measures a server.

    Args:
        request: What is measured.
        key: That a running server wants.
        reporter: Hears which server it is.

    Returns:
        Rates in tokens a second and their ratio, latencies in seconds as p50, p95 and p99,
        memory in 10^6 bytes before and after, failures by what was answered.

    Raises:
        DataError: There is no server, or it cannot be started.
    """
    reporter = reporter or Reporter()
    with server(request, key) as client:
        model = client.models()[0]["id"]
        ask = _Asking(client, model, random.Random(request.seed))
        reporter.note(f"{client.url}: {model} is measured")
        for draws in (False, True):
            ask.one(request.max_tokens, draws)  # what is slow the first time
        memory = [_memory_mb(client)]
        alone, alone_s = _closed(ask, request.requests, 1, request.max_tokens)
        many, many_s = _closed(ask, request.requests, request.in_flight, request.max_tokens)
        rates = [
            sum(each.tokens for each in heard) / seconds
            for heard, seconds in ((alone, alone_s), (many, many_s))
        ]
        memory.append(_memory_mb(client))
        rate = request.rate or len(many) / many_s / 2
        open_heard = _open(ask, rate, request)
        memory.append(_memory_mb(client))
        soaked, soak_s = _closed(ask, request.soak, request.in_flight, 8)
        memory.append(_memory_mb(client))
        left = _leave(ask, request)
        memory.append(_memory_mb(client))
        after = ask.one(request.max_tokens, False)
        everybody = [*alone, *many, *open_heard, *soaked, after]
        return {
            "server": {"model": model, "cores": len(os.sched_getaffinity(0))},
            "one_by_one": {"tokens_per_s": rates[0], "requests": len(alone)},
            "in_flight": {
                "at_once": request.in_flight,
                "tokens_per_s": rates[1],
                "requests": len(many),
                "ratio": rates[1] / rates[0],
            },
            "open_loop": {
                "rate_per_s": rate,
                "requests": len(open_heard),
                "first_word_s": _percentiles(each.first_s for each in open_heard),
                "last_word_s": _percentiles(
                    each.last_s for each in open_heard if each.picture_s is None
                ),
                "picture_s": _percentiles(each.picture_s for each in open_heard),
            },
            "queue_p99_at_most_s": _queue_p99(client.metrics()),
            "soak": {"requests": len(soaked), "seconds": soak_s},
            "left": left,
            "memory_mb": dict(
                zip(("start", "in_flight", "open_loop", "soak", "left"), memory, strict=True)
            ),
            "failures": dict(Counter(each.failure for each in everybody if each.failure)),
        }


class _Asking:
    """Asks a server; every request has a prompt and a seed of its own."""

    def __init__(self, client: ServerClient, model: str, source: random.Random):
        self.client, self._model, self._source = client, model, source
        self._seeds = itertools.count()

    def body(self, max_tokens: int, draws: bool) -> dict[str, Any]:
        """One more request."""
        words = f"{self._source.choice(_WORDS)} {self._source.choice(_THINGS)}"
        return {
            "model": self._model,
            "messages": [
                {"role": "user", "content": f"{'Draw' if draws else 'Describe'} a {words}"}
            ],
            "modalities": ["image" if draws else "text"],
            "seed": next(self._seeds),
            "stream_options": {"include_usage": True},
            **({} if draws else {"max_tokens": max_tokens}),
        }

    def one(self, max_tokens: int, draws: bool) -> Heard:
        """One request, to its end."""
        return self.hear(self.body(max_tokens, draws))

    def hear(self, body: dict[str, Any]) -> Heard:
        """A request -> what is heard, and when."""
        heard, began = Heard(), time.monotonic()
        try:
            for chunk in self.client.chat(body):
                now = time.monotonic() - began
                if chunk.get("usage"):
                    heard.tokens = chunk["usage"]["completion_tokens"]
                for choice in chunk["choices"]:
                    delta = choice["delta"]
                    if heard.first_s is None and (delta.get("content") or delta.get("segments")):
                        heard.first_s = now
                    if heard.picture_s is None and delta.get("images"):
                        heard.picture_s = now
            heard.last_s = time.monotonic() - began
        except ServerError as error:
            heard.failure = f"{error.status}: {error.message}"
        except SeedError as error:
            heard.failure = error.message
        return heard


def _closed(
    ask: _Asking, requests: int, in_flight: int, max_tokens: int
) -> tuple[list[Heard], float]:
    """So many requests, so many at once: each client asks again when it is answered."""
    bodies = [ask.body(max_tokens, False) for _ in range(requests)]
    began = time.monotonic()
    with ThreadPoolExecutor(in_flight) as clients:
        heard = list(clients.map(ask.hear, bodies))
    return heard, time.monotonic() - began


def _open(ask: _Asking, rate: float, request: LoadRequest) -> list[Heard]:
    """Requests that come at a rate, whether those before are answered or not."""
    source = random.Random(request.seed + 1)
    heard: list[Future[Heard]] = []
    due = time.monotonic()
    with ThreadPoolExecutor(request.arrivals) as clients:
        for number in range(1, request.arrivals + 1):
            draws = request.draw_every > 0 and number % request.draw_every == 0
            body = ask.body(request.max_tokens, draws)
            time.sleep(max(due - time.monotonic(), 0))
            heard.append(clients.submit(ask.hear, body))
            due += source.expovariate(rate)
    return [each.result() for each in heard]


def _leave(ask: _Asking, request: LoadRequest) -> dict[str, int]:
    """Clients that leave, in turn in the middle of words and of drawings -> how many did."""

    def leave(body: dict[str, Any]) -> str | None:
        draws = body["modalities"] == ["image"]
        with contextlib.suppress(SeedError), contextlib.closing(ask.client.chat(body)) as chunks:
            for chunk in chunks:
                for choice in chunk["choices"]:
                    if choice["delta"].get("segments" if draws else "content"):
                        return "in_drawings" if draws else "in_words"
        return None

    bodies = [ask.body(200, bool(number % 2)) for number in range(request.leave)]
    with ThreadPoolExecutor(request.in_flight) as clients:
        return dict(Counter(place for place in clients.map(leave, bodies) if place))


def _percentiles(values: Iterator[float | None]) -> dict[str, float]:
    """Of those that are there; the least value that so many do not exceed."""
    found = sorted(value for value in values if value is not None)
    return {
        f"p{share}": found[max(math.ceil(len(found) * share / 100) - 1, 0)]
        for share in (50, 95, 99)
        if found
    }


def _queue_p99(metrics: dict[str, float]) -> float | None:
    """The bound of the histogram below which 99 % of all answers were begun."""
    buckets = sorted(
        (float(found[1]), value)
        for name, value in metrics.items()
        if (found := _BUCKET.fullmatch(name))
    )
    return next((bound for bound, value in buckets if value >= 0.99 * buckets[-1][1]), None)


def _memory_mb(client: ServerClient) -> float:
    """Of the server; 0 where its system does not tell."""
    return client.metrics().get("process_resident_memory_bytes", 0.0) / 1e6


@contextlib.contextmanager
def server(request: LoadRequest, key: str | None = None) -> Iterator[ServerClient]:
    """The server that is measured; one that is started ends with the context."""
    if request.url is not None:
        yield ServerClient(request.url, key=key)
        return
    command = [sys.executable, "-m", "seedcli", "serve", "--model", request.model, "--port", "0"]
    without_key = {name: value for name, value in os.environ.items() if name != KEY_VARIABLE}
    with subprocess.Popen(
        [*command, "--json", "--quiet"], stdout=subprocess.PIPE, env=without_key
    ) as process:
        try:
            line = process.stdout.readline()
            if not line:
                raise DataError("the server did not start", remedy="seed serve says why")
            yield ServerClient(json.loads(line)["base_url"])
        finally:
            process.terminate()
