"""The engines, with workers that need no model: the same files, errors, and deadly parts."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from seedcli.engine.engines import EngineChoice, Slice
from seedcli.engine.hold import hold, refuse_held
from seedcli.engine.workers import open_workers
from seedcli.errors import DataError, UsageError
from tests.engine.workers import Squares

PARTS = [tuple(range(start, start + 5)) for start in range(0, 40, 5)]
CHOICES = {"this process": EngineChoice(), "processes": EngineChoice(nproc=2)}


def contents(folder: Path) -> dict[str, str]:
    return {path.name: path.read_text() for path in sorted(folder.glob("*.txt"))}


EXPECTED = {f"{part[0]}.txt": " ".join(str(n * n) for n in part) for part in PARTS}


@pytest.mark.parametrize("choice", CHOICES.values(), ids=CHOICES.keys())
def test_every_part_is_computed_and_all_that_is_said_is_heard(tmp_path, choice):
    said: dict[tuple[int, ...], list[int]] = {part: [] for part in PARTS}
    finished = []
    with open_workers(choice, Squares(tmp_path), device="cpu") as workers:
        for report in workers.run(iter(PARTS)):
            if report.state == "running":
                assert report.part not in finished
                said[report.part].append(report.said)
            else:
                finished.append(report.part)
        assert [report.state for report in workers.run([(100,)])] == ["running", "finished"]
    assert sorted(finished) == PARTS
    assert said == {part: [n * n for n in part] for part in PARTS}
    assert contents(tmp_path) == EXPECTED | {"100.txt": "10000"}
    opened, closed = len(list(tmp_path.glob("opened-*"))), len(list(tmp_path.glob("closed-*")))
    assert opened == closed == choice.nproc


def test_a_part_that_kills_its_process_is_lost_after_three_tries(tmp_path):
    with open_workers(
        EngineChoice(nproc=2), Squares(tmp_path, deadly=frozenset({12})), device="cpu"
    ) as workers:
        reports = [report for report in workers.run(PARTS) if report.state != "running"]
    assert {report.part for report in reports if report.state == "lost"} == {PARTS[2]}
    assert len(reports) == len(PARTS)
    assert (tmp_path / "died-12").read_text() == "xxx"
    assert contents(tmp_path) == {name: text for name, text in EXPECTED.items() if name != "10.txt"}


def test_an_interrupted_run_lets_its_workers_close(tmp_path):
    work = Squares(tmp_path, pause_s=0.05)

    def interrupted() -> None:
        with open_workers(EngineChoice(nproc=2), work, device="cpu") as workers:
            for number, _ in enumerate(workers.run(PARTS)):
                if number == 3:
                    raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    opened, closed = (sorted(tmp_path.glob(f"{what}-*")) for what in ("opened", "closed"))
    assert 1 <= len(opened) == len(closed)
    assert len(contents(tmp_path)) < len(PARTS)


@pytest.mark.parametrize("choice", CHOICES.values(), ids=CHOICES.keys())
def test_what_a_part_raises_ends_the_run_and_keeps_its_remedy(tmp_path, choice):
    work = Squares(tmp_path, wrong=frozenset({12}))
    with open_workers(choice, work, device="cpu") as workers:
        with pytest.raises(DataError, match="12 is wrong") as raised:
            list(workers.run(PARTS))
    assert raised.value.remedy == "another number"


def test_slices_share_everything_out():
    slices = [Slice.parse(f"{index}/3") for index in range(3)]
    assert sorted(part for one in slices for part in one.of(PARTS)) == PARTS
    assert str(slices[1]) == "1/3"
    for text in ("3/3", "1", "a/b", "-1/3", "1/0", "/"):
        with pytest.raises(UsageError, match="expected I/N"):
            Slice.parse(text)


@pytest.mark.parametrize(
    ("choice", "message"),
    [
        (EngineChoice(nproc=2, ray=True), "two engines"),
        (EngineChoice(actors=2), "workers on a Ray cluster"),
    ],
)
def test_two_engines_at_once_are_refused(tmp_path, choice, message):
    with pytest.raises(UsageError, match=message):
        open_workers(choice, Squares(tmp_path))


def test_ray_that_is_not_installed_is_named(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(UsageError, match="not installed") as raised:
        with open_workers(EngineChoice(ray=True), Squares(tmp_path)):
            pass
    assert "seedcli[ray]" in raised.value.remedy


def test_a_folder_is_held_once_and_names_its_holder(tmp_path):
    with hold(tmp_path, name="whole"):
        with pytest.raises(DataError, match=f"held by process {os.getpid()} on "):
            with hold(tmp_path, name="whole"):
                pass
        with pytest.raises(DataError, match="held by"):
            refuse_held(tmp_path, "whole")
        with hold(tmp_path, name="part-1-of-2"), hold(tmp_path, name="part-0-of-2"):
            pass
    with hold(tmp_path, name="whole"):
        refuse_held(tmp_path, "part-*")
    (tmp_path / ".part-0-of-2.holder").write_text("{")  # left by a process that was killed
    refuse_held(tmp_path, "part-*")
