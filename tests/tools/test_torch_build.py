"""Which torch an installation takes, against an index on loopback."""

from __future__ import annotations

import http.server
import threading

import pytest

from tools.torch_build import pip_arguments

PINNED = ["torch==2.14.1", "torchvision==0.29.1"]


@pytest.fixture
def index(tmp_path):
    """Address of a package index that has a page for torch."""
    (tmp_path / "whl" / "torch").mkdir(parents=True)

    class Handler(http.server.SimpleHTTPRequestHandler):
        def __init__(self, *words):
            super().__init__(*words, directory=str(tmp_path))

        def log_message(self, *words):
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}/whl"
        server.shutdown()
        thread.join()


def test_without_a_gpu_the_cpu_build_is_taken_where_its_index_answers(index, tmp_path) -> None:
    arguments, reason = pip_arguments(PINNED, system="linux", nvidia=tmp_path / "none", index=index)
    assert arguments == [
        "torch==2.14.1+cpu",
        "torchvision==0.29.1+cpu",
        "--extra-index-url",
        index,
    ]
    assert "no NVIDIA GPU is seen" in reason


def test_else_the_pinned_build_is_taken_and_it_is_said_why(index, tmp_path) -> None:
    none = tmp_path / "none"
    arguments, reason = pip_arguments(PINNED, system="linux", nvidia=none, index=index + "/no")
    assert arguments == PINNED and "does not answer" in reason
    arguments, reason = pip_arguments(PINNED, system="linux", nvidia=tmp_path, index=index)
    assert arguments == PINNED and "NVIDIA GPU of this machine" in reason
    assert pip_arguments(PINNED, system="darwin", nvidia=none, index=index)[0] == PINNED
    closed = "http://127.0.0.1:9/whl"
    assert "does not answer" in pip_arguments(PINNED, system="linux", nvidia=none, index=closed)[1]
