"""A lock on an open file: held by one process at a time, with and without `fcntl`."""

from __future__ import annotations

import multiprocessing

import pytest

from seedcli import file_lock


def _locks(path, posix: bool) -> None:
    if not posix:
        file_lock.fcntl = None
    with open(path, "ab") as file:
        raise SystemExit(0 if file_lock.lock_file(file) else 7)


@pytest.mark.parametrize("posix", [True, False])
def test_one_process_holds_a_file_until_it_closes_it(tmp_path, monkeypatch, posix):
    if not posix:
        monkeypatch.setattr(file_lock, "fcntl", None)

    def another_gets_it() -> bool:
        process = multiprocessing.get_context("spawn").Process(
            target=_locks, args=(tmp_path / "journal", posix)
        )
        process.start()
        process.join(60)
        return {0: True, 7: False}[process.exitcode]

    file = open(tmp_path / "journal", "ab")  # noqa: SIM115 - closed below
    assert file_lock.lock_file(file)
    assert not another_gets_it()
    file.close()
    del file
    assert another_gets_it()
