"""A cache that cannot be written is named, with what moves it."""

from __future__ import annotations

from pathlib import Path

import pytest

from seedcli.errors import DataError
from seedcli.models.weights.cache import cache_folder, writable_cache
from seedcli.models.weights.download import as_data_error
from seedcli.models.weights.published import VIT_G


def test_read_only_cache(monkeypatch, tmp_path):
    monkeypatch.setenv("HF_HOME", str(tmp_path / "cache"))
    assert writable_cache() == cache_folder() == tmp_path / "cache" / "seedcli"
    monkeypatch.setenv("HF_HOME", "/proc/nohf")
    assert writable_cache(tmp_path / "run") == tmp_path / "run"
    with pytest.raises(DataError, match="/proc/nohf/seedcli cannot be written") as refused:
        writable_cache()
    assert refused.value.remedy == "HF_HOME=FOLDER moves it"


def test_download_into_a_read_only_cache():
    with pytest.raises(OSError, match="nohf") as raised:
        Path("/proc/nohf/blob").write_text("")
    error = as_data_error(raised.value, VIT_G.sources[1])
    assert "/proc/nohf/blob cannot be written" in error.message
    assert "HF_HOME" in error.remedy
