"""A model hub on loopback: the few endpoints that huggingface_hub's client asks, with the faults
that real transfers have.
"""

from __future__ import annotations

import hashlib
import json
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import urlsplit

COMMIT = "0123456789abcdef0123456789abcdef01234567"
LARGE = (".pt", ".pth", ".safetensors", ".bin")


@dataclass
class Hub:
    """What the server holds and how it misbehaves.

    Attributes:
        repos: Repository -> file name -> content.
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
            if match := re.fullmatch(r"/storage/([^/]+/[^/]+)/(.+)", path):
                return self.send_content(match[2], hub.repos[match[1]][match[2]], {})
            if match := re.fullmatch(
                r"/api/models/([^/]+/[^/]+)(?:/revision/([^/]+)|/tree/([^/]+).*)?", path
            ):
                repo = hub.repos.get(match[1])
                return (
                    self.missing("RepoNotFound")
                    if repo is None
                    else self.describe(
                        match[1], repo, commit=commit_for(match[2]), tree=match[3] is not None
                    )
                )
            if match := re.fullmatch(r"/([^/]+/[^/]+)/resolve/([^/]+)/(.+)", path):
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

        def describe(self, name: str, repo: dict[str, bytes], *, commit: str, tree: bool) -> None:
            if tree:
                rows = []
                for path, content in repo.items():
                    row = {
                        "type": "file",
                        "path": path,
                        "size": len(content),
                        "oid": hashlib.sha1(content).hexdigest(),
                    }
                    if path.endswith(LARGE):
                        row["lfs"] = {
                            "oid": etag_of(path, content),
                            "size": len(content),
                            "pointerSize": 135,
                        }
                    rows.append(row)
                return self.reply(
                    200, json.dumps(rows).encode(), {"Content-Type": "application/json"}
                )
            facts = {
                "id": name,
                "modelId": name,
                "sha": COMMIT,
                "siblings": [{"rfilename": path} for path in repo],
                "tags": [],
                "private": False,
            }
            return self.reply(200, json.dumps(facts).encode(), {"Content-Type": "application/json"})

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
            start = 0
            wanted = self.headers.get("Range")
            if wanted and self.command == "GET":
                start = int(wanted.removeprefix("bytes=").split("-")[0])
                headers = headers | {
                    "Content-Range": f"bytes {start}-{len(content) - 1}/{len(content)}"
                }
            body = content[start:]
            self.send_response(206 if start else 200)
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
