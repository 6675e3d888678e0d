"""A server of Google Cloud Storage on loopback (gcp-storage-emulator's), for the real gcsfs client;
and the environment that leads to it.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest


@pytest.fixture
def gs_bucket(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """Address of an empty bucket."""
    gcsfs = pytest.importorskip("gcsfs")
    emulator = pytest.importorskip("gcp_storage_emulator.server")
    server = emulator.create_server("127.0.0.1", 0, in_memory=True, default_bucket="bucket")
    server.start()
    port = server._api._httpd.server_port
    monkeypatch.setenv("STORAGE_EMULATOR_HOST", f"http://127.0.0.1:{port}")
    monkeypatch.setenv("NO_GCE_CHECK", "true")  # else it looks for the machine's own credentials
    gcsfs.GCSFileSystem.clear_instance_cache()
    try:
        yield "gs://bucket"
    finally:
        gcsfs.GCSFileSystem.clear_instance_cache()
        server.stop()
