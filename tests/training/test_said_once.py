"""What stops all ranks of a machine is told by one of them."""

from __future__ import annotations

import pytest

from seedcli.cli.main import report
from seedcli.errors import DataError, UsageError
from seedcli.training.ranks import OVER, SAID


def test_ranks_say_a_thing_once(tmp_path, monkeypatch, capsys) -> None:
    monkeypatch.setenv(SAID, str(tmp_path))
    codes = [report(DataError("no folder at x")) for _ in range(3)]
    assert codes == [3, 3, 3]
    assert capsys.readouterr().err == "error: no folder at x\n"
    assert report(UsageError("another")) == 2
    assert capsys.readouterr().err == "error: another\n"
    (tmp_path / OVER).touch()
    assert report(KeyboardInterrupt()) == 130  # what the launcher asked for is no news
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize("folder", [None, "gone"])
def test_without_a_folder_everything_is_said(folder, tmp_path, monkeypatch, capsys) -> None:
    monkeypatch.delenv(SAID, raising=False)
    if folder is not None:
        monkeypatch.setenv(SAID, str(tmp_path / folder))
    for _ in range(2):
        report(DataError("no folder at x"))
    assert capsys.readouterr().err.count("no folder at x") == 2


def test_a_rank_that_lost_another_is_no_bug(monkeypatch, capsys) -> None:
    alone = RuntimeError(
        "[gloo/transport/tcp/pair.cc:561] Connection closed by peer [127.0.0.1]:9897"
    )
    monkeypatch.setenv("RANK", "1")
    assert report(alone) == 1
    err = capsys.readouterr().err
    assert err.startswith("error: another rank of this run ended") and "--resume" in err
    monkeypatch.delenv("RANK")
    assert report(alone) == 1 and "bug" in capsys.readouterr().err
