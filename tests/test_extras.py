"""Packages that one command needs, and what is said where they are missing."""

from __future__ import annotations

import importlib.util

import pytest

from seedcli.benchmarks.caption import check_scorer
from seedcli.errors import UsageError, require_package


def test_a_missing_package_is_told_with_the_line_to_type():
    with pytest.raises(UsageError, match="drawing needs the package no_such_package") as refused:
        require_package("no_such_package", extra="eval", needed_by="drawing")
    assert refused.value.remedy == "pip install 'seedcli[eval]'"
    require_package("json", extra="eval", needed_by="drawing")


def test_captions_are_not_made_where_they_cannot_be_scored(monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(UsageError, match="pycocoevalcap") as refused:
        check_scorer("words")
    assert refused.value.remedy == "pip install 'seedcli[eval]'"
