"""A model hub on loopback: the few endpoints that huggingface_hub's client asks, with the faults
that real transfers have.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

COMMIT = "0123456789abcdef0123456789abcdef01234567"
_REPO = r"((?:datasets/)?[^/]+/[^/]+)"
LARGE = (".pt", ".pth", ".safetensors", ".bin")


@dataclass
class Hub:
    """What the server holds and how it misbehaves.

    Attributes:
        repos: Repository -> file name -> content; a data set is `datasets/OWNER/NAME`.
        plain: Path -> content, served outside the hub's layout.
        stated: File name -> content whose hash is stated in place of the served
            one's: a damaged file.
        cut: File name -> byte counts, one a request: the connection breaks after that many bytes.
        gated: Repositories whose files take a token that nobody here has.
        stall: File names that are served to the half, and then nothing more comes.
        log: Requests: method, path, Range header.
    """

    repos: dict[str, dict[str, bytes]] = field(default_factory=dict)
    plain: dict[str, bytes] = field(default_factory=dict)
    stated: dict[str, bytes] = field(default_factory=dict)
    cut: dict[str, list[int]] = field(default_factory=dict)
    gated: set[str] = field(default_factory=set)
    stall: set[str] = field(default_factory=set)
    log: list[tuple[str, str, str | None]] = field(default_factory=list)
    url: str = ""
    storage_url: str = ""

    def ranges(self, name: str) -> list[str | None]:
        """Range headers of the requests for the content of a file."""
        return [
            wanted
            for method, path, wanted in self.log
            if method == "GET" and path.endswith(name) and "/api/" not in path
        ]


def etag_of(name: str, content: bytes) -> str:
    """What the hub uses: sha256 of large files, git's hash of small ones."""
    if name.endswith(LARGE):
        return hashlib.sha256(content).hexdigest()
    return hashlib.sha1(f"blob {len(content)}\0".encode() + content).hexdigest()


def environment(hub: Hub, home: Path, **extra: str) -> dict[str, str]:
    """The hub's address, a cache of its own, and the hub as the proxy of everything that is not on
    loopback: it lets nothing out.
    """
    kept = {
        key: value
        for key, value in os.environ.items()
        if not key.startswith("HF_") and "proxy" not in key.lower()
    }
    proxies = dict.fromkeys(("HTTPS_PROXY", "https_proxy"), hub.url) | dict.fromkeys(
        ("NO_PROXY", "no_proxy"), "127.0.0.1,localhost"
    )
    return (
        kept
        | proxies
        | {"HF_ENDPOINT": hub.url, "HF_HOME": str(home), "HF_HUB_DISABLE_TELEMETRY": "1"}
        | extra
    )


def commit_for(revision: str | None) -> str:
    """A revision that is a commit is that commit."""
    return revision if revision and len(revision) == 40 else COMMIT


@contextmanager
def serve(hub: Hub) -> Iterator[Hub]:
    """Runs the hub on a free port of 127.0.0.1."""
    stopped = threading.Event()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, *args: object) -> None:
            pass

        def do_HEAD(self) -> None:
            self.answer()

        def do_GET(self) -> None:
            self.answer()

        def do_POST(self) -> None:
            self.answer()

        def do_CONNECT(self) -> None:  # we are the proxy for https, and let nothing out
            hub.log.append(("CONNECT", self.path, None))
            self.reply(403, b"no way out")
            self.close_connection = True

        def answer(self) -> None:
            path = urlsplit(self.path).path
            hub.log.append((self.command, path, self.headers.get("Range")))
            if path in hub.plain:
                return self.send_content(
                    path, hub.plain[path], {"ETag": f'"{hashlib.md5(hub.plain[path]).hexdigest()}"'}
                )
            if match := re.fullmatch(rf"/storage/{_REPO}/(.+)", path):
                return self.send_content(match[2], hub.repos[match[1]][match[2]], {})
            if match := re.fullmatch(
                r"/api/(models/|(?=datasets/))((?:datasets/)?[^/]+/[^/]+)"
                r"(?:/revision/[^/]+|/(tree|paths-info)/[^/]+(?:/(.+))?)?",
                path,
            ):
                repo = hub.repos.get(match[2])
                if repo is None:
                    return self.missing("RepoNotFound")
                if match[3] is None:
                    return self.describe(match[2], repo)
                if match[3] == "tree":
                    return self.list_below(repo, match[4])
                size = int(self.headers["Content-Length"])
                wanted = parse_qs(self.rfile.read(size).decode())["paths"]
                return self.send_rows([self.row(repo, path) for path in wanted if path in repo])
            if match := re.fullmatch(rf"/{_REPO}/resolve/([^/]+)/(.+)", path):
                repo = hub.repos.get(match[1])
                if repo is None:
                    return self.missing("RepoNotFound")
                if match[3] not in repo:
                    return self.missing("EntryNotFound")
                if match[1] in hub.gated:
                    headers = {
                        "X-Error-Code": "GatedRepo",
                        "X-Error-Message": "Access is restricted",
                    }
                    return self.reply(401, b"{}", headers)
                return self.resolve(match[1], match[3], repo[match[3]], commit=commit_for(match[2]))
            return self.missing("EntryNotFound")

        def list_below(self, repo: dict[str, bytes], folder: str | None) -> None:
            start = f"{folder}/" if folder else ""
            inside = [path for path in repo if path.startswith(start)]
            if start and not inside:
                return self.missing("EntryNotFound")
            if parse_qs(urlsplit(self.path).query).get("recursive") in (["true"], ["True"]):
                return self.send_rows([self.row(repo, path) for path in inside])
            names = {start + path.removeprefix(start).partition("/")[0] for path in inside}
            return self.send_rows([self.row(repo, name) for name in sorted(names)])

        def row(self, repo: dict[str, bytes], path: str) -> dict[str, object]:
            if path not in repo:
                oid = hashlib.sha1(path.encode()).hexdigest()
                return {"type": "directory", "path": path, "oid": oid}
            content = repo[path]
            oid = hashlib.sha1(content).hexdigest()
            row = {"type": "file", "path": path, "size": len(content), "oid": oid}
            if path.endswith(LARGE):
                large = {"oid": etag_of(path, content), "size": len(content), "pointerSize": 135}
                return row | {"lfs": large}
            return row

        def describe(self, name: str, repo: dict[str, bytes]) -> None:
            facts = {
                "id": name.removeprefix("datasets/"),
                "modelId": name,
                "sha": COMMIT,
                "siblings": [{"rfilename": path} for path in repo],
                "tags": [],
                "private": False,
            }
            self.send_rows(facts)

        def send_rows(self, rows: object) -> None:
            self.reply(200, json.dumps(rows).encode(), {"Content-Type": "application/json"})

        def resolve(self, repo: str, name: str, content: bytes, *, commit: str) -> None:
            etag = etag_of(name, hub.stated.get(name, content))
            headers = {"X-Repo-Commit": commit, "ETag": f'"{etag}"'}
            if not name.endswith(LARGE):
                return self.send_content(name, content, headers)
            large = {
                "X-Linked-Etag": f'"{etag}"',
                "X-Linked-Size": str(len(content)),
                "Location": f"{hub.storage_url}/storage/{repo}/{name}",
            }
            return self.reply(302, b"", headers | large)

        def send_content(self, name: str, content: bytes, headers: dict[str, str]) -> None:
            first, end = 0, len(content)
            wanted = self.headers.get("Range")
            partial = bool(wanted) and self.command == "GET"
            if partial:
                start, _, last = wanted.removeprefix("bytes=").partition("-")
                first, end = int(start), min(int(last) + 1 if last else end, end)
                headers = headers | {"Content-Range": f"bytes {first}-{end - 1}/{len(content)}"}
            body = content[first:end]
            self.send_response(206 if partial else 200)
            for key, value in (
                headers | {"Content-Length": str(len(body)), "Accept-Ranges": "bytes"}
            ).items():
                self.send_header(key, value)
            self.end_headers()
            if self.command == "HEAD":
                return
            key = name.rpartition("/")[2]
            if hub.cut.get(key):
                self.wfile.write(body[: hub.cut[key].pop(0)])
                self.close_connection = True
            elif key in hub.stall:
                self.wfile.write(body[: len(body) // 2])
                self.wfile.flush()
                stopped.wait(60)
            else:
                self.wfile.write(body)

        def missing(self, code: str) -> None:
            self.reply(404, b"{}", {"X-Error-Code": code, "X-Error-Message": code})

        def reply(self, status: int, body: bytes, headers: dict[str, str] | None = None) -> None:
            self.send_response(status)
            for key, value in ((headers or {}) | {"Content-Length": str(len(body))}).items():
                self.send_header(key, value)
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(body)

    class Server(ThreadingHTTPServer):
        daemon_threads = True

        def handle_error(self, request: object, client_address: object) -> None:
            """A client that was killed, or a connection that we broke ourselves."""

    server = Server(("127.0.0.1", 0), Handler)
    hub.url = f"http://127.0.0.1:{server.server_port}"
    # another host than the hub's, as in life: the client stops there
    hub.storage_url = f"http://localhost:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield hub
    finally:
        stopped.set()
        server.shutdown()
        server.server_close()
        thread.join()
