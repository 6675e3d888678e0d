"""Who may ask: keys, hosts, origins, sizes, addresses of the web."""

from __future__ import annotations

import json
import socket
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import urlsplit

import pytest

from seedcli.console import Remembering
from seedcli.errors import UsageError
from seedcli.workflows.serve import fetch as fetching
from seedcli.workflows.serve.errors import ApiError
from seedcli.workflows.serve.fetch import fetch, is_public
from seedcli.workflows.serve.server import serving
from seedcli.workflows.serve.settings import ServeSettings
from tests.workflows.serve.conftest import Running, said

KEY = "a-key-of-tests"


@pytest.fixture(scope="module")
def guarded(chat_model):
    settings = ServeSettings(
        port=0,
        api_key=KEY,
        hosts=("models.example.org",),
        origins=("https://chat.example.org",),
        batch_size=2,
        max_waiting=1,
        max_body_mb=0.01,
    )
    log = Remembering()
    with serving(settings, chat_model, reporter=log) as (url, server):
        yield Running(url, server, log)


def test_a_key_is_needed_and_never_logged(guarded) -> None:
    for wrong in ({}, {"authorization": "Bearer nope"}, {"authorization": KEY}):
        for path in ("/v1/models", "/metrics", "/docs", "/openapi.json", "/v1/images/files/x.png"):
            answer = guarded.get(path, **wrong)
            assert answer.status == 401 and answer.error["code"] == "invalid_api_key"
    assert guarded.get("/v1/models", authorization=f"Bearer {KEY}").status == 200
    assert guarded.get("/health").status == 200
    assert KEY not in "".join(guarded.log.told) and KEY not in repr(guarded.server._settings)


def test_hosts_and_origins(guarded) -> None:
    key = {"authorization": f"Bearer {KEY}"}
    place = urlsplit(guarded.url).netloc
    for host, status in (
        (place, 200),
        ("localhost", 200),
        ("models.example.org:80", 200),
        ("[::1]:8000", 200),
        ("evil.example.org", 403),
        ("127.0.0.1.example.org", 403),
        ("10.0.0.1", 403),
        ("", 403),
    ):
        assert guarded.get("/v1/models", host=host, **key).status == status, host
    for origin, status in (
        (f"http://{place}", 200),
        ("https://chat.example.org", 200),
        ("https://evil.example.org", 403),
        ("null", 403),
    ):
        answer = guarded.get("/v1/models", origin=origin, **key)
        assert answer.status == status, origin
        allowed = answer.headers.get("access-control-allow-origin")
        assert allowed == (origin if "chat" in origin else None)


def test_bodies_are_bounded_however_they_come(guarded) -> None:
    parts = urlsplit(guarded.url)
    head = (
        f"POST /v1/tokenize HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {KEY}\r\n"
        "Content-Type: application/json\r\n"
    )
    with socket.create_connection((parts.hostname, parts.port), timeout=60) as chunked:
        chunked.sendall((head + "Transfer-Encoding: chunked\r\n\r\n").encode())
        chunked.sendall(b"4000\r\n" + b"x" * 0x4000 + b"\r\n")
        assert chunked.recv(100).startswith(b"HTTP/1.1 413")
    with socket.create_connection((parts.hostname, parts.port), timeout=60) as stated:
        stated.sendall((head + "Content-Length: 99999999\r\n\r\n").encode())
        assert stated.recv(100).startswith(b"HTTP/1.1 413")


def test_more_than_the_places_are_told_to_come_again(guarded) -> None:
    parts = urlsplit(guarded.url)
    head = (
        f"POST /v1/tokenize HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {KEY}\r\n"
        "Content-Type: application/json\r\nContent-Length: 10\r\n\r\n"
    ).encode()
    held = [socket.create_connection((parts.hostname, parts.port), timeout=60) for _ in range(3)]
    try:
        for each in held:
            each.sendall(head)
        until = time.monotonic() + 60
        while guarded.server._guard.inside < 3 and time.monotonic() < until:
            time.sleep(0.001)
        answer = guarded.post(
            "chat/completions",
            {"model": "tiny-llm", "messages": said("a dog")},
            authorization=f"Bearer {KEY}",
        )
        assert answer.status == 429 and answer.headers["retry-after"].isdigit()
        assert answer.error["type"] == "rate_limit_error"
    finally:
        for each in held:
            each.close()


def test_settings_that_would_be_open_to_all_are_refused() -> None:
    with pytest.raises(UsageError, match="can be reached from other machines"):
        ServeSettings(host="0.0.0.0").check()
    with pytest.raises(UsageError, match="has 3 characters"):
        ServeSettings(api_key="abc").check()
    with pytest.raises(UsageError, match="is no origin"):
        ServeSettings(origins=("*",)).check()
    assert KEY not in repr(ServeSettings(host="0.0.0.0", api_key=KEY))


@pytest.mark.parametrize(
    ("address", "public"),
    [
        ("93.184.216.34", True),
        ("2606:2800:220:1:248:1893:25c8:1946", True),
        ("127.0.0.1", False),
        ("10.1.2.3", False),
        ("172.16.0.1", False),
        ("192.168.1.1", False),
        ("169.254.169.254", False),
        ("100.64.0.1", False),
        ("0.0.0.0", False),
        ("224.0.0.1", False),
        ("255.255.255.255", False),
        ("::1", False),
        ("::", False),
        ("fe80::1%eth0", False),
        ("fd00::1", False),
        ("::ffff:127.0.0.1", False),
        ("::ffff:93.184.216.34", True),
        ("64:ff9b::7f00:1", False),
        ("2002:7f00:1::", False),
        ("localhost", False),
    ],
)
def test_public_addresses(address, public) -> None:
    assert is_public(address) is public


@pytest.mark.parametrize(
    ("url", "says"),
    [
        ("http://127.0.0.1/a.png", "no public address"),
        ("http://localhost/a.png", "no public address"),
        ("http://2130706433/a.png", "no public address"),
        ("http://0x7f.1/a.png", "no public address"),
        ("http://[::1]/a.png", "no public address"),
        ("http://127.0.0.1:22/a.png", "has the port 22"),
        ("http://user@127.0.0.1/", "no address of http"),
        ("http://[::1/", "is no address"),
        ("http:///a.png", "no address of http"),
        ("ftp://127.0.0.1/a.png", "no address of http"),
    ],
)
def test_addresses_that_lead_inside_are_not_fetched(url, says) -> None:
    with pytest.raises(ApiError, match=says):
        fetch(url, max_bytes=1000)


class _Web(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        port = self.server.server_address[1]
        if self.path == "/picture":
            self.send_response(200)
            self.end_headers()
            self.wfile.write(b"picture of " + self.headers["Host"].encode())
        elif self.path == "/large":
            self.send_response(200)
            self.end_headers()
            self.wfile.write(b"x" * 5000)
        else:
            to = {
                "/inside": f"http://127.0.0.2:{port}/picture",
                "/again": "/picture",
                "/file": "file:///etc/passwd",
                "/ring": "/ring",
            }[self.path]
            self.send_response(302)
            self.send_header("Location", to)
            self.end_headers()

    def log_message(self, *_rest) -> None:
        pass


def test_redirects_are_looked_at_anew_and_a_name_is_resolved_once(monkeypatch) -> None:
    """A web server on loopback whose address is let through; everything else of loopback is not."""
    web = ThreadingHTTPServer(("127.0.0.1", 0), _Web)
    thread = threading.Thread(target=web.serve_forever)
    thread.start()
    port = web.server_address[1]
    asked = []

    def resolve(host, _port, **_rest):
        asked.append(host)
        address = {"pictures.example.org": "127.0.0.1"}.get(host, host)
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, _port))]

    monkeypatch.setattr(socket, "getaddrinfo", _only_for(resolve, socket.getaddrinfo))
    monkeypatch.setattr(fetching, "is_public", lambda address: address == "127.0.0.1")
    monkeypatch.setattr(fetching, "_PORTS", {"http": port, "https": 443})
    place = f"http://pictures.example.org:{port}"
    try:
        assert fetch(f"{place}/picture", max_bytes=1000).startswith(b"picture of pictures.example")
        assert asked == ["pictures.example.org"]
        assert fetch(f"{place}/again", max_bytes=1000)
        for path, says in (
            ("/inside", "no public address"),
            ("/file", "no address of http"),
            ("/ring", "more than 3 times"),
            ("/large", "more than 1,000 bytes"),
        ):
            with pytest.raises(ApiError, match=says):
                fetch(place + path, max_bytes=1000)
    finally:
        web.shutdown()
        thread.join()
        web.server_close()


def _only_for(resolve, real):
    """Names of the test's web are resolved here; sockets that are opened by address as ever."""

    def getaddrinfo(host, port, *rest, **options):
        by_address = rest and host == "127.0.0.1"
        return real(host, port, *rest, **options) if by_address else resolve(host, port)

    return getaddrinfo


def test_no_answer_tells_of_the_machine(guarded, chat_model, monkeypatch) -> None:
    """A fault within, and weights that are missing."""
    from seedcli.errors import DataError

    key = {"authorization": f"Bearer {KEY}"}
    for error in (RuntimeError("/home/me/secret"), DataError("/models/x is missing")):

        def fail(*_rest, error=error, **_options):
            raise error

        monkeypatch.setattr(chat_model, "encode", fail)
        body = {"model": "tiny-llm", "messages": said("a dog")}
        for stream in (False, True):
            answer = guarded.post("chat/completions", body | {"stream": stream}, **key)
            assert answer.status == 500 and answer.error["code"] == "internal_error"
            assert "/" not in json.dumps(answer.json)
