"""Hostile bodies for every route, by one seed: whatever comes, the server answers, in OpenAI's
shape, and never with 500.

    python -m tests.workflows.serve.fuzz --bodies 2000

starts a server of seed-nano; --url names one that runs.
"""

from __future__ import annotations

import argparse
import copy
import json
import random
from collections import Counter
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlsplit

from seedcli.workflows.serve.load import LoadRequest, server
from tests.workflows.serve.conftest import ask

PNG = (
    "data:image/png;base64,iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR4nGP4z8DwHwAF"
    "AAH/iZk9HQAAAABJRU5ErkJggg=="
)
NASTY: tuple[Any, ...] = (
    None, True, False, 0, -1, 1, 2**31, 2**63, 2**200, -(2**70), 1e308, -0.0, 0.5, "", " ", "a",
    "\x00", "\ud800", "<img>", "</s>", "<img_00001>", "🐈" * 50, "x" * 5000, "../../etc/passwd",
    "http://169.254.169.254/", "file:///etc/passwd", "data:image/png;base64,", PNG[:60], PNG,
    "data:;base64,AAAA", "data:image/svg+xml;base64,PHN2Zy8+", [], [[]], {}, [None], [1] * 32,
    [-1] * 32, [10**9] * 32, ["text"], {"type": "text"}, {"type": "image_url"}, {"url": PNG},
    {"type": "text", "text": "a"}, {"role": "user", "content": "a"}, float("nan"), float("inf"),
)  # fmt: skip


def valid(model: str) -> dict[str, dict[str, Any]]:
    """A good body of every route."""
    parts = [
        {"type": "text", "text": "a dog"},
        {"type": "image_url", "image_url": {"url": PNG, "detail": "low"}},
    ]
    chat = {
        "model": model,
        "messages": [
            {"role": "system", "content": "be brief"},
            {"role": "user", "content": parts},
            {"role": "assistant", "content": "yes", "images": [], "segments": [{"text": "yes"}]},
            {"role": "user", "content": "and now"},
        ],
        "max_tokens": 2,
        "modalities": ["text"],
        "n": 1,
        "seed": 1,
        "stop": ["x"],
        "stream": False,
        "stream_options": {"include_usage": True},
        "temperature": 1.0,
        "top_p": 0.9,
        "top_k": 3,
        "logprobs": True,
        "top_logprobs": 2,
        "code_guidance": 1.0,
        "draw": False,
        "image_format": "data",
        "content_format": "string",
        "tools": [],
        "logit_bias": {},
        "response_format": {"type": "text"},
        "user": "me",
    }
    return {
        "chat/completions": chat,
        "images/generations": {
            "model": model,
            "prompt": "a dog",
            "n": 1,
            "size": "auto",
            "seed": 2,
        },
        "tokenize": {"images": [PNG]},
        "detokenize": {"codes": [list(range(32))], "seed": 1, "steps": 1, "guidance": 2.0},
    }


def places(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Paths to every value inside."""
    yield path
    if isinstance(value, (dict, list)):
        for key, inner in value.items() if isinstance(value, dict) else enumerate(value):
            yield from places(inner, (*path, key))


def spoilt(body: Any, source: random.Random) -> Any:
    """A body with one to three values replaced, left out, doubled or added."""
    body = copy.deepcopy(body)
    for _ in range(source.randint(1, 3)):
        found = [path for path in places(body) if path]
        if not found:
            return body
        path = source.choice(found)
        holder = body
        for key in path[:-1]:
            holder = holder[key]
        match source.randrange(5):
            case 0:
                del holder[path[-1]]
            case 1 if isinstance(holder, list):
                holder.extend(copy.deepcopy(holder) * source.randint(1, 4))
            case 2 if isinstance(holder, dict):
                holder[str(source.choice(NASTY))[:40]] = source.choice(NASTY)
            case _:
                holder[path[-1]] = copy.deepcopy(source.choice(NASTY))
    return body


def bodies(model: str, count: int, seed: int) -> Iterator[tuple[str, bytes]]:
    """Routes and bodies; every tenth is broken as bytes."""
    source = random.Random(seed)
    good = valid(model)
    for number in range(count):
        route = source.choice(list(good))
        content = json.dumps(spoilt(good[route], source)).encode()
        if number % 10 == 9:
            broken = bytearray(content)
            for _ in range(source.randint(1, 8)):
                broken[source.randrange(len(broken))] = source.randrange(256)
            content = bytes(broken[: source.randint(0, len(broken))])
        yield route, content


def fuzz(url: str, model: str, *, count: int, seed: int) -> Counter[int]:
    """Sends them -> how often each status came.

    Raises:
        AssertionError: The server failed, or said so in another shape.
    """
    found: Counter[int] = Counter()
    root = urlsplit(url).path
    for route, content in bodies(model, count, seed):
        answer = ask(url, "POST", f"{root}/{route}", content, content_type="application/json")
        found[answer.status] += 1
        assert answer.status in (200, 400, 404, 408, 413, 422, 429), (answer, route, content)
        if answer.status != 200:
            assert answer.error["message"] and "Traceback" not in answer.error["message"]
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--url")
    parser.add_argument("--bodies", type=int, default=2000)
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    with server(LoadRequest(url=given.url)) as client:
        model = client.models()[0]["id"]
        found = fuzz(client.url, model, count=given.bodies, seed=given.seed)
    print(f"{sum(found.values())} bodies, no 500: {dict(sorted(found.items()))}")


if __name__ == "__main__":
    main()
