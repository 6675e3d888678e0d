"""Samples of a benchmark on disk: nothing is computed twice, nothing is lost, nothing is mixed."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import textwrap

import pytest

from seedcli.benchmarks.intervals import as_printed, bootstrap_interval, mean_metrics
from seedcli.cli.eval_tables import show_result
from seedcli.engine.engines import EngineChoice, Slice
from seedcli.errors import DataError, Interrupted, NumericalError, PartialFailure
from seedcli.models.weights.digest import weights_digest
from seedcli.workflows.evaluate.samples import (
    EVAL_RUNS,
    first,
    open_samples,
    sample_seed,
)

SAMPLES = {f"{number:03d}": number for number in range(10)}
SETTINGS = {"model": "tiny", "decoding": {"beams": 4, "temperature": 0.0}, "order": ("a", "b")}


class Machine:
    """Squares numbers, and remembers what it was asked."""

    def __init__(self, stop_at: int | None = None):
        self.batches, self.stop_at = [], stop_at

    def ask(self, batch):
        self.batches.append(list(batch))
        if self.stop_at in batch.values():
            raise KeyboardInterrupt
        return [{"square": number * number, "pair": (number, number)} for number in batch.values()]


def opened(folder, **changes):
    return open_samples("squares", "numbers", "test", settings=SETTINGS | changes, output=folder)


def run(folder, machine, samples=SAMPLES, **changes):
    with opened(folder, **changes) as run:
        lines = run.answer(samples, machine.ask, batch_size=4)
        scores = mean_metrics({"square": [line["square"] for line in lines]})
        return lines, run.finish(
            num={"num_numbers": len(lines)},
            model="tiny",
            fingerprint=None,
            **scores,
            chance={"square": 1.0},
        )


def test_answers_are_kept_and_come_back_as_json_has_them(tmp_path):
    machine = Machine()
    lines, result = run(tmp_path / "run", machine)
    assert machine.batches == [
        ["000", "001", "002", "003"],
        ["004", "005", "006", "007"],
        ["008", "009"],
    ]
    assert lines[3] == {"key": "003", "square": 9, "pair": [3, 3]}
    again, second = run(tmp_path / "run", Machine(stop_at=0))
    assert again == lines
    assert (result["num_reused"], second["num_reused"]) == (0, 10)
    assert json.loads((tmp_path / "run" / "result.json").read_text()) == second


def test_the_envelope(tmp_path):
    _, result = run(tmp_path / "run", Machine())
    assert list(result)[:7] == [
        "benchmark",
        "dataset",
        "split",
        "num_numbers",
        "model",
        "fingerprint",
        "metrics",
    ]
    assert result["metrics"] == {"square": 28.5}
    assert result["intervals"]["square"] == [
        round(end, 4) for end in bootstrap_interval([n * n for n in range(10)])
    ]
    assert result["settings"] == {
        "model": "tiny",
        "decoding": {"beams": 4, "temperature": 0.0},
        "order": ["a", "b"],
    }
    assert {"seedcli", "python", "torch"} <= set(result["versions"])
    shown = show_result(result)
    assert "10 numbers" in shown and "28.50" in shown and "1.00" in shown
    assert "none" in show_result(
        result | {"metrics": {"square": None}, "intervals": {"square": None}}
    )


def test_a_limit_takes_the_first_and_a_later_run_goes_on(tmp_path):
    assert list(first(SAMPLES, 3)) == ["000", "001", "002"] and first(SAMPLES, None) == SAMPLES
    run(tmp_path / "run", Machine(), first(SAMPLES, 3))
    machine = Machine()
    lines, result = run(tmp_path / "run", machine)
    assert machine.batches == [["003"], ["004", "005", "006", "007"], ["008", "009"]]
    assert result["num_reused"] == 3 and [line["key"] for line in lines] == list(SAMPLES)


def test_an_interrupted_run_says_what_is_kept(tmp_path):
    with pytest.raises(
        Interrupted, match=r"4 of 10 samples are answered and kept in .*run"
    ) as caught:
        run(tmp_path / "run", Machine(stop_at=6))
    assert "same command" in caught.value.remedy
    machine = Machine()
    lines, _ = run(tmp_path / "run", machine)
    assert machine.batches[0] == ["004", "005", "006", "007"]
    assert lines == run(tmp_path / "undisturbed", Machine())[0]


@pytest.mark.parametrize(
    "torn", [b'{"key": "009", "squ', b'{"key": "009", "square"', b"\xff\xfe\n", b"{}\n"]
)
def test_a_torn_last_line_is_computed_anew(tmp_path, torn):
    lines, _ = run(tmp_path / "run", Machine())
    path = tmp_path / "run" / "samples.jsonl"
    whole = path.read_bytes()
    path.write_bytes(b"".join(whole.splitlines(keepends=True)[:9]) + torn)
    machine = Machine()
    assert run(tmp_path / "run", machine)[0] == lines
    assert machine.batches == [["009"]]
    assert path.read_bytes() == whole


def test_damage_that_no_kill_does_is_named(tmp_path):
    run(tmp_path / "run", Machine())
    path = tmp_path / "run" / "samples.jsonl"
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join([*lines[:4], b"edited by hand\n", *lines[4:]]))
    with pytest.raises(DataError, match="line 5 is damaged"), opened(tmp_path / "run"):
        pass
    assert len(path.read_bytes().splitlines()) == 11


def test_a_killed_process_loses_its_batch_at_most(tmp_path):
    script = f"""
        import os, signal
        from pathlib import Path
        from seedcli.workflows.evaluate.samples import open_samples
        from tests.workflows.evaluate.test_samples import SAMPLES, SETTINGS, Machine
        machine = Machine()
        def ask(batch):
            if "008" in batch:
                os.kill(os.getpid(), signal.SIGKILL)
            return machine.ask(batch)
        with open_samples("squares", "numbers", "test", settings=SETTINGS, output=Path({str(tmp_path / "run")!r})) as run:
            run.answer(SAMPLES, ask, batch_size=4)
    """  # noqa: E501
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(script)],
        env={**os.environ, "PYTHONPATH": os.getcwd()},
        check=False,
    )
    assert done.returncode == -signal.SIGKILL
    machine = Machine()
    lines, _ = run(tmp_path / "run", machine)
    assert machine.batches == [["008", "009"]]
    assert lines == run(tmp_path / "undisturbed", Machine())[0]


def test_other_settings_are_refused_by_name(tmp_path):
    run(tmp_path / "run", Machine())
    before = (tmp_path / "run" / "samples.jsonl").read_bytes()
    with pytest.raises(
        DataError, match=r"decoding\.beams was 4, is 5; new was None, is 1"
    ) as caught:
        run(tmp_path / "run", Machine(), decoding={"beams": 5, "temperature": 0.0}, new=1)
    assert "-o" in caught.value.remedy
    assert (tmp_path / "run" / "samples.jsonl").read_bytes() == before


def test_by_default_each_setting_has_its_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    folders = []
    for changes in ({}, {"model": "other"}, {}):
        with open_samples("squares", "my numbers/1", "test", settings=SETTINGS | changes) as held:
            folders.append(held.folder)
    assert folders[0] == folders[2] != folders[1]
    assert folders[0].parent == EVAL_RUNS and folders[0].name.startswith(
        "squares-my_numbers_1-test-"
    )


def test_a_folder_is_held_by_one_process(tmp_path):
    run(tmp_path / "run", Machine())
    script = (
        "from tests.workflows.evaluate.test_samples import *\nfrom pathlib import Path\n"
        f"run(Path({str(tmp_path / 'run')!r}), Machine())"
    )
    with opened(tmp_path / "run"):
        done = subprocess.run(
            [sys.executable, "-c", script],
            capture_output=True,
            text=True,
            check=False,
            env=os.environ | {"PYTHONPATH": "."},
        )
    assert done.returncode == 1 and "is held by process" in done.stderr


def test_folders_of_other_things_are_left_alone(tmp_path):
    (tmp_path / "thesis.tex").write_text("words")
    with pytest.raises(DataError, match=r"other things: thesis\.tex"), opened(tmp_path):
        pass
    with pytest.raises(DataError, match="no folder"), opened(tmp_path / "thesis.tex"):
        pass
    with opened(tmp_path / "run"):
        pass
    (tmp_path / "run" / "settings.json").write_text("[]")
    with pytest.raises(DataError, match=r"settings\.json is damaged"), opened(tmp_path / "run"):
        pass


def test_other_versions_are_warned_of(tmp_path):
    run(tmp_path / "run", Machine())
    path = tmp_path / "run" / "settings.json"
    content = json.loads(path.read_text())
    content["versions"]["torch"] = "1.0"
    path.write_text(json.dumps(content))

    class Hearing:
        heard = ()

        def warn(self, text):
            self.heard = (*self.heard, text)

    reporter = Hearing()
    with open_samples(
        "squares", "numbers", "test", settings=SETTINGS, output=tmp_path / "run", reporter=reporter
    ):
        pass
    assert "torch 1.0 -> " in reporter.heard[0]


def test_figures_that_are_none_are_refused(tmp_path):
    with pytest.raises(NumericalError, match="sample 000"), opened(tmp_path / "run") as held:
        held.answer(SAMPLES, lambda batch: [{"score": float("nan")} for _ in batch], batch_size=4)
    with pytest.raises(ValueError), opened(tmp_path / "run") as held:
        held.answer(SAMPLES, lambda batch: [{}], batch_size=4)
    assert (tmp_path / "run" / "samples.jsonl").read_bytes() == b""


def test_a_metric_without_scores_is_none_and_groups_widen_intervals():
    assert mean_metrics({"clip_i": []}) == {
        "metrics": {"clip_i": None},
        "intervals": {"clip_i": None},
    }
    scores = [0.0, 0.0, 0.0, 1.0, 1.0, 1.0] * 20
    alone = mean_metrics({"a": scores})["intervals"]["a"]
    together = mean_metrics({"a": scores}, groups=[number // 3 for number in range(120)])[
        "intervals"
    ]["a"]
    assert together[0] < alone[0] < 0.5 < alone[1] < together[1]


def test_seeds_differ_by_sample_and_stay():
    assert sample_seed(0, "a") == 1740032305
    assert len({sample_seed(seed, key) for seed in range(3) for key in SAMPLES}) == 30


def test_a_model_is_known_by_its_bytes(tmp_path):
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "model.safetensors").write_bytes(bytes(300_000))
    (tmp_path / "b" / ".cache" / "download").mkdir(parents=True)
    (tmp_path / "b" / ".cache" / "download" / "config.json").write_text("today")
    (tmp_path / "b" / "README.md").write_text("words")
    assert weights_digest(tmp_path / "a") == weights_digest(tmp_path / "b")
    content = bytearray(300_000)
    content[-1] = 1
    (tmp_path / "b" / "model.safetensors").write_bytes(content)
    assert weights_digest(tmp_path / "a") != weights_digest(tmp_path / "b")


def test_figures_are_written_as_they_are_meant():
    figures = {"a": 100 * 0.55, "b": [99.94118, None, 3], "c": {"d": (1e-7 / 3, "x", True)}}
    assert as_printed(figures) == {
        "a": 55.0,
        "b": [99.94118, None, 3],
        "c": {"d": [3.3333333e-8, "x", True]},
    }


class Squares:
    """Squares numbers in whatever process; `deadly` ends the one that comes to it."""

    def __init__(self, deadly: int | None = None):
        self.deadly = deadly

    def ask(self, batch):
        if self.deadly in batch.values():
            os._exit(9)
        return [{"square": number * number, "process": os.getpid()} for number in batch.values()]


def answer(folder, work, **choice):
    engine = EngineChoice(**choice)
    with open_samples(
        "squares", "numbers", "test", settings={}, output=folder, engine=engine, device="cpu"
    ) as run:
        lines = run.answer(SAMPLES, work.ask, batch_size=2)
        if run.is_part:
            return run.part_result()
        return lines


def test_processes_answer_the_same_and_a_deadly_batch_costs_itself(tmp_path):
    with pytest.raises(PartialFailure, match=r"2 of 10 samples ended the processes .*first 004"):
        answer(tmp_path / "run", Squares(deadly=5), nproc=2)
    assert len((tmp_path / "run" / "samples.jsonl").read_text().splitlines()) == 8
    lines = answer(tmp_path / "run", Squares(), nproc=2)
    assert [line["square"] for line in lines] == [n * n for n in range(10)]
    assert os.getpid() not in {line["process"] for line in lines}


def test_tasks_of_an_array_job_share_batches_and_the_last_call_takes_them_in(tmp_path):
    parts = [answer(tmp_path / "run", Squares(), part=Slice(index, 3)) for index in range(3)]
    assert [part["num_answered"] for part in parts] == [4, 4, 2]
    assert parts[2]["part"] == "2/3" and "metrics" not in parts[2]
    assert answer(tmp_path / "run", Squares(), part=Slice(0, 3))["num_reused"] == 4
    assert not (tmp_path / "run" / "samples.jsonl").read_bytes()
    (tmp_path / "run" / "samples.part-1-of-3.jsonl").unlink()  # that task never came
    lines = answer(tmp_path / "run", Squares())
    assert [line["square"] for line in lines] == [n * n for n in range(10)]
    kept = (tmp_path / "run" / "samples.jsonl").read_text().splitlines()
    assert len(kept) == 10 and not list((tmp_path / "run").glob("samples.part-*"))
