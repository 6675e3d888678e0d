"""Many at once: queue, deadlines, clients that leave, drawings beside words, the end."""

from __future__ import annotations

import http.client
import json
import re
import threading
import time
from collections.abc import Callable
from urllib.parse import urlsplit

import pytest

from seedcli.console import Remembering
from seedcli.workflows.serve.answer import (
    Asked,
    Drawn,
    Ended,
    Failed,
    HeldBack,
    OutOfTimeError,
    Words,
)
from seedcli.workflows.serve.engine import BusyError, Engine, Sketch
from seedcli.workflows.serve.metrics import Metrics
from seedcli.workflows.serve.server import serving
from seedcli.workflows.serve.settings import ServeSettings
from tests.workflows.serve.conftest import ask, said


def count(engine: Engine, name: str) -> float:
    """A counter of a server without labels."""
    return float(re.search(rf"^seed_{name} (\S+)$", engine.metrics.text().decode(), re.M)[1])


def wait_for(condition: Callable[[], object]) -> None:
    """Until it is so, at most a minute."""
    until = time.monotonic() + 60
    while not condition() and time.monotonic() < until:
        time.sleep(0.001)


class Ear:
    """Hears one answer."""

    def __init__(self) -> None:
        self.events = []
        self.ended = threading.Event()

    def __call__(self, event) -> None:
        self.events.append(event)
        if isinstance(event, (Ended, Failed)):
            self.ended.set()

    @property
    def text(self) -> str:
        return "".join(event.text for event in self.events if isinstance(event, Words))


@pytest.fixture
def engine(chat_model):
    engine = Engine(chat_model, batch_size=2, max_waiting=3, metrics=Metrics())
    yield engine
    engine.close()


def asked(chat_model, seed: int = 0, *, seconds: float = 100.0, **changes) -> Asked:
    from seedcli.data.documents.documents import Message

    given = {"image": "never"} | changes
    return Asked(
        chat_model.encode([Message("user", ("a dog",))]),
        chat_model.sampling,
        seed=seed,
        deadline=time.monotonic() + seconds,
        **given,
    )


def test_all_or_none_of_a_request_wait_and_too_many_are_refused(engine, chat_model) -> None:
    hold = threading.Event()
    later = [Ear() for _ in range(3)]

    def slow(event) -> None:
        hold.wait(60)

    engine.ask([asked(chat_model)] * 2, [slow, slow])
    wait_for(lambda: not count(engine, "answers_waiting"))
    engine.ask([asked(chat_model, seed) for seed in range(3)], later)
    with pytest.raises(BusyError):
        engine.ask([asked(chat_model)], [Ear()])
    hold.set()
    assert all(ear.ended.wait(60) for ear in later)
    assert [isinstance(ear.events[-1], Ended) for ear in later] == [True] * 3


def test_a_deadline_refuses_what_waits_and_ends_what_is_written(engine, chat_model) -> None:
    late, cut = Ear(), Ear()
    slow = chat_model.llm.model.register_forward_hook(lambda *_: time.sleep(0.05))
    try:
        engine.ask([asked(chat_model, seconds=-1), asked(chat_model, seconds=2)], [late, cut])
        assert late.ended.wait(60) and cut.ended.wait(60)
    finally:
        slow.remove()
    assert isinstance(late.events[0].error, OutOfTimeError)
    assert cut.events[-1].finish == "length" and 0 < cut.events[-1].num_tokens < 60


def test_words_do_not_wait_for_a_drawing(engine, chat_model, monkeypatch) -> None:
    hold, drawing = threading.Event(), threading.Event()
    draw = chat_model.draw

    def slow(*rest, **options):
        drawing.set()
        assert hold.wait(60)
        return draw(*rest, **options)

    monkeypatch.setattr(chat_model, "draw", slow)
    pictured, worded = Ear(), Ear()
    engine.ask([asked(chat_model, image="first", last_image=1)], [pictured])
    assert drawing.wait(60)
    engine.ask([asked(chat_model)], [worded])
    assert worded.ended.wait(60) and worded.text
    assert not any(isinstance(event, Drawn) for event in pictured.events)
    hold.set()
    wait_for(lambda: isinstance(pictured.events[-1], Drawn))
    assert isinstance(pictured.events[-1], Drawn)


def test_who_leaves_ends_words_and_drawings(engine, chat_model) -> None:
    steps, left = [], threading.Event()

    def on_step(*_rest):
        steps.append(1)
        left.wait(60)

    ear = Ear()
    (writing,) = engine.ask([asked(chat_model)], [ear])
    engine.leave(writing)
    hook = chat_model.tokenizer.decoder.pipeline.unet.register_forward_hook(on_step)
    unwanted, again = Sketch(tuple(range(32)), 0, (40, None)), Sketch(tuple(range(32)), 0)
    try:
        engine.sketch(unwanted)
        wait_for(lambda: steps)
        unwanted.drawing.cancel()
        left.set()
        engine.sketch(again)
        assert again.drawing.result(60).image is not None
    finally:
        hook.remove()
    assert len(steps) < 40
    assert count(engine, "answers_left_total") <= 1 and not ear.ended.is_set()


def test_a_fault_ends_the_answers_that_it_meets_and_no_later_one(engine, chat_model) -> None:
    def fail(*_rest):
        raise RuntimeError("the machine is on fire")

    bad, good = Ear(), Ear()
    hook = chat_model.llm.model.register_forward_hook(fail)
    engine.ask([asked(chat_model)], [bad])
    assert bad.ended.wait(60)
    hook.remove()
    engine.ask([asked(chat_model)], [good])
    assert good.ended.wait(60) and good.text
    assert isinstance(bad.events[-1], Failed)


def test_stop_words_may_come_in_pieces() -> None:
    held = HeldBack(["END", "stop it"])
    given = [held.add(piece) for piece in ("a s", "top", " E", "N", "D b")]
    assert "".join(given) == "a stop " and held.found
    held = HeldBack(["END"])
    assert held.add("the E") + held.add("N") + held.end() == "the EN"


def test_a_client_that_leaves_frees_its_place(running) -> None:
    parts = urlsplit(running.url)
    before = count(running.engine, "answers_left_total")
    hook = running.engine.model.llm.model.register_forward_hook(lambda *_: time.sleep(0.05))
    body = json.dumps({"model": "tiny-llm", "messages": said("a dog"), "modalities": ["text"]})
    try:
        for stream in ("true", "false"):
            connection = http.client.HTTPConnection(parts.hostname, parts.port, timeout=60)
            connection.request(
                "POST",
                "/v1/chat/completions",
                body[:-1] + f', "stream": {stream}}}',
                {"content-type": "application/json"},
            )
            wait_for(lambda: count(running.engine, "answers_writing"))
            connection.close()
            wait_for(lambda: not count(running.engine, "answers_writing"))
    finally:
        hook.remove()
    assert count(running.engine, "answers_left_total") == before + 2
    assert running.post("chat/completions", json.loads(body)).status == 200


def test_sigterm_lets_answers_end_and_refuses_new_ones(chat_model) -> None:
    import signal

    log = Remembering()
    with serving(ServeSettings(port=0), chat_model, reporter=log) as (url, server):
        slow = chat_model.llm.model.register_forward_hook(lambda *_: time.sleep(0.02))
        body = json.dumps(
            {"model": "tiny-llm", "messages": said("a dog"), "modalities": ["text"]}
        ).encode()
        headers = {"content_type": "application/json"}
        found = []
        under_way = threading.Thread(
            target=lambda: found.append(ask(url, "POST", "/v1/chat/completions", body, **headers))
        )
        under_way.start()
        try:
            wait_for(lambda: count(server.engine, "answers_writing"))
            server.handle_exit(signal.SIGTERM, None)
            refused = ask(url, "POST", "/v1/chat/completions", body, **headers)
            assert refused.status == 503 and refused.headers["retry-after"]
            assert ask(url, "GET", "/health").status == 503
            under_way.join(60)
        finally:
            slow.remove()
        assert [answer.status for answer in found] == [200]
        wait_for(lambda: server.should_exit)
        assert server.should_exit
