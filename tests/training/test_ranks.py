"""What the environment says of this process's siblings."""

from __future__ import annotations

import pytest

from seedcli.errors import UsageError
from seedcli.training.ranks import Ranks


def environment(monkeypatch: pytest.MonkeyPatch, rank: str | None, world: str | None) -> None:
    for name, value in (("RANK", rank), ("WORLD_SIZE", world)):
        monkeypatch.delenv(name, raising=False)
        if value is not None:
            monkeypatch.setenv(name, value)


@pytest.mark.parametrize(
    ("rank", "world", "expected"),
    [(None, None, Ranks(0, 1)), ("0", "1", Ranks(0, 1)), ("3", "4", Ranks(3, 4))],
)
def test_a_launchers_ranks(monkeypatch, rank, world, expected) -> None:
    environment(monkeypatch, rank, world)
    assert Ranks.from_environment() == expected


@pytest.mark.parametrize(
    ("rank", "world"), [("1", None), ("4", "4"), ("-1", "2"), ("one", "2"), ("0", "0"), ("", "")]
)
def test_a_stray_rank_is_refused_and_does_not_wait_for_ever(monkeypatch, rank, world) -> None:
    environment(monkeypatch, rank, world)
    with pytest.raises(UsageError, match="which no launcher sets") as caught:
        Ranks.from_environment()
    assert "unset RANK" in caught.value.remedy
