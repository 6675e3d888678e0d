"""The trials themselves: damaged files, faults at every file-system call, odd surroundings."""

from __future__ import annotations

import contextlib
import hashlib
import itertools
import json
import os
import random
import shutil
import signal
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from hypothesis import HealthCheck, Phase, given, seed, settings

from seedcli.models.weights.description import read_model_facts
from tests.torture.forked import Ended, Fault, in_child
from tests.torture.forked import seed as run_seed
from tests.torture.subject import NANO, Subject
from tests.workflows.tiny_runs import write_recipes, write_rows

Broken = tuple[str, list[str], list[str], str]


@dataclass
class Report:
    """What was tried and what broke the rule."""

    tried: Counter[str] = field(default_factory=Counter)
    codes: dict[str, Counter[int]] = field(default_factory=dict)
    broken: list[Broken] = field(default_factory=list)

    def add(self, kind: str, ended: Ended, faults: list[str], damage: object = "") -> None:
        """One command that ended."""
        self.tried[kind] += 1
        self.codes.setdefault(kind, Counter())[ended.code] += 1
        if faults:
            self.broken.append((kind, ended.arguments, faults, repr(damage)[:300]))

    def table(self) -> str:
        """A line a kind: commands, how many broke the rule, exit codes."""
        lines = [f"{'kind':<26}{'commands':>9}{'broken':>8}  exit codes"]
        for kind, number in self.tried.items():
            broken = sum(1 for one in self.broken if one[0] == kind)
            codes = ", ".join(
                f"{code}: {count}" for code, count in sorted(self.codes[kind].items())
            )
            lines.append(f"{kind:<26}{number:>9}{broken:>8}  {codes}")
        broken = len(self.broken)
        lines.append(f"{'all':<26}{sum(self.tried.values()):>9}{broken:>8}")
        return "\n".join(lines)


def left_over(folder: Path) -> list[str]:
    """Half-written files below a folder, but for the deepest levels of deep ones."""
    found = []
    for place, folders, files in os.walk(folder):
        if place.count("/") > 60:
            folders.clear()
        found += [f"left {name}" for name in folders + files if "partial" in name]
    return found


class _TimeIsUpError(Exception):
    """Ends the drawing of damages, which would go on to the last of them."""


def file_trials(
    report: Report, root: Path, subject: Subject, trials: int, until: float, number: int
) -> None:
    """Damages of one kind of file, and every command that reads it."""

    @seed(number)
    @settings(
        max_examples=trials,
        deadline=None,
        database=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
        report_multiple_bugs=False,  # the end of the time is the only one
    )
    @given(subject.damages)
    def try_one(damage: Any) -> None:
        if time.monotonic() > until:
            raise _TimeIsUpError
        folder = root / "trial"
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir()
        in_child(lambda: subject.write(damage, folder), root)
        for command in subject.commands(damage):
            ended = run_seed(folder, *command)
            faults = ended.faults() + left_over(folder)
            if ended.code == 0 and subject.must_fail(damage, command):
                faults.append("called right")
            report.add(subject.name, ended, faults, damage)

    with contextlib.suppress(_TimeIsUpError):
        try_one()


@dataclass(frozen=True)
class Work:
    """A command that writes, what it reads, how it is continued after a fault, and what then must
    be as without one.
    """

    name: str
    command: list[str]
    resume: list[str]
    prepare: Callable[[Path], None] = lambda folder: None
    results: Callable[[Path], dict[str, str]] = lambda folder: _contents(folder)


def _pictures(folder: Path) -> None:
    (folder / "in").mkdir()
    for ending in ("png", "jpg", "gif", "bmp"):
        shutil.copy(folder.parent / "whole" / f"picture.{ending}", folder / "in")
    (folder / "in" / "broken.png").write_bytes(b"no picture")


def _talks(folder: Path) -> None:
    for name in ("talks.json", "picture.png"):
        shutil.copy(folder.parent / "whole" / name, folder)


def _training(folder: Path) -> None:
    fingerprint = read_model_facts(NANO)[1]["fingerprint"]
    write_rows(folder, fingerprint)
    write_recipes(folder, Path("seed-nano"))


def _questions(folder: Path) -> None:
    _talks(folder)
    asked = {"image": "picture.png", "answer": "a dog"}
    rows = [asked | {"question": question} for question in ("what?", "who?")]
    (folder / "questions.json").write_text(json.dumps(rows))


def _models(folder: Path) -> dict[str, str]:
    """Finished models; logs, and what `seed.json` repeats of them, say how long it took."""
    return {
        name: found
        for name, found in _contents(folder).items()
        if "/model/" in name and not name.endswith("/seed.json")
    }


def _answers(folder: Path) -> dict[str, str]:
    """Answers and scores, but for how long they took and in how many goes."""
    found = folder / "out" / "result.json"
    if not found.is_file():
        return {}
    scores = json.loads(found.read_bytes())
    del scores["elapsed_s"], scores["num_reused"]
    return {"result": json.dumps(scores), "samples": (folder / "out/samples.jsonl").read_text()}


_TOKENIZE = ["tokenize", "in", "--shard-size", "2", "-o"]
_BUILD = ["tokens", "build", "llava", "talks.json", "--images", ".", "-o", "out"]
_DRAW = ["detokenize", "../whole/codes.jsonl", "-o", "out/{index}.png", "--steps", "1"]
_MERGE = ["tokens", "merge", "../whole/images.parquet", "-o"]
_ASK = ["eval", "vqa", "--dataset", "questions.json", "--beams", "1", "--max-new-tokens", "3"]
_ASK += ["--batch-size", "1", "--device", "cpu", "-o", "out"]
_PRETRAIN = ["pretrain", "pretrain.toml", "-o", "out", "run.checkpoint_every_steps=1"]
_PRETRAIN += [
    f"{phase}.optimization.{name}"
    for phase in ("text", "lora", "full")
    for name in ("steps=1", "warmup_steps=0")
]
_CODEBOOK = ["train-tokenizer", "nano-codebook", "-o", "out", "tokenizer=seed-nano"]
_CODEBOOK += ["target=seed-nano", "features.views=1", "features.batch_size=2"]
_CODEBOOK += ['data.sources=[{kind = "pictures", path = "in", weight = 1.0}]']
_CODEBOOK += ["codebook.start=uniform", "optimization.steps=2", "optimization.batch_size=2"]
_CODEBOOK += ["optimization.warmup_steps=0", "run.checkpoint_every_steps=1", "parallel.device=cpu"]
WORKS = [
    Work("tokenize to shards", [*_TOKENIZE, "out"], ["--resume"], _pictures),
    Work("tokenize to a file", [*_TOKENIZE[:2], "-o", "out.jsonl"], ["--resume"], _pictures),
    Work("tokenize a part", [*_TOKENIZE, "out", "--part", "2/2"], ["--resume"], _pictures),
    Work("tokenize with a page", [*_TOKENIZE, "out", "--page", "a.html"], ["--resume"], _pictures),
    Work("tokens build", _BUILD, ["--resume"], _talks),
    Work("tokens merge", [*_MERGE, "out.parquet"], []),
    Work("tokens merge to a folder", [*_MERGE, "out", "--shard-size", "2"], []),
    Work("detokenize", _DRAW, ["--resume"]),
    Work("eval vqa", _ASK, [], _questions, _answers),
    Work("pretrain", _PRETRAIN, ["--resume"], _training, _models),
    Work("train-tokenizer", _CODEBOOK, ["--resume"], _pictures, _models),
    Work("recipes cp", ["recipes", "cp", "nano-pretrain", "out.toml"], []),
]
# what happens, and the exit code that it has
_FAULTS: dict[Fault, int] = {"kill": -signal.SIGKILL, "interrupt": 130, "full": 3}


def fault_trials(report: Report, root: Path, trials: int, until: float, number: int) -> None:
    """Every fault at every call that writes, of every command; then the same again, to the same
    result. Commands take turns, so that an early end leaves out none, and a small number of trials
    takes as many commands.
    """
    folder = root / "trial"

    def fresh(work: Work) -> None:
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir()
        work.prepare(folder)

    plans = []
    for work in WORKS[:trials]:
        fresh(work)
        whole = run_seed(folder, *work.command)
        faults = whole.faults() + left_over(folder)
        report.add(f"{work.name}, whole", whole, faults)
        if not faults:
            plans.append((work, whole, work.results(folder)))
    turns = []
    for work, whole, expected in plans:
        each = [(fault, at) for fault in _FAULTS for at in range(1, whole.calls + 1)]
        random.Random(number).shuffle(each)
        turns.append([(work, whole, expected, fault, at) for fault, at in each])
    cases = [case for turn in itertools.zip_longest(*turns) for case in turn if case is not None]
    for work, whole, expected, fault, at in cases[:trials]:
        if time.monotonic() > until:
            break
        code = _FAULTS[fault]
        fresh(work)
        ended = run_seed(folder, *work.command, fault=fault, at=at)
        faults = ended.faults(killed=fault == "kill")
        if ended.code not in (code, whole.code):
            faults.append(f"exit code {ended.code}, expected {code}")
        if fault != "kill":
            faults += left_over(folder)
        kind = f"{work.name}, {fault}"
        report.add(kind, ended, faults, f"call {at} of {whole.calls}")
        if work.results(folder) == expected:
            continue  # it came after the result
        again = run_seed(folder, *work.command, *work.resume)
        if again.code in (2, 3) and "--resume" in work.resume:
            again = run_seed(folder, *work.command)  # it had not begun
        faults = again.faults() + left_over(folder)
        if again.code != whole.code or work.results(folder) != expected:
            faults.append(f"exit code {again.code}, other results than without a fault")
        report.add(f"{kind}, again", again, faults, f"call {at} of {whole.calls}")


def _contents(folder: Path) -> dict[str, str]:
    """What lies in a folder, by name: digests. The books of a finished job are not results."""
    return {
        path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and ".seed" not in path.relative_to(folder).parts
    }


def surrounding_trials(report: Report, root: Path, trials: int, until: float) -> None:
    """Deep folders, names of any kind, stray variables, a disk that is nearly full."""
    folder = root / "trial"

    def deep(levels: int) -> None:
        """By steps: a path of a thousand parts is longer than the system takes at once."""
        start = os.open(".", os.O_RDONLY)
        os.chdir(folder)
        for _ in range(levels):
            os.mkdir("d")
            os.chdir("d")
        shutil.copy(root / "whole" / "picture.png", "a.png")
        os.fchdir(start)
        os.close(start)

    def names() -> None:
        _pictures(folder)
        for name in (b"caf\xe9.png", "\u2028.png".encode(), b"a\nb.png", b"-x.png", b"[a]{b}.png"):
            shutil.copy(root / "whole" / "picture.png", os.fsencode(folder / "in") + b"/" + name)

    cases: list[tuple[Callable[[], None], list[str], dict[str, Any]]] = [
        (lambda: deep(400), ["tokenize", "."], {}),
        (lambda: deep(1000), ["tokenize", "."], {}),
        (lambda: deep(1000), ["tokenize", ".", "-o", "out"], {}),
        (names, ["tokenize", "in"], {}),
        (names, ["tokenize", "in", "-o", "out"], {}),
        (names, ["tokenize", "in"], {"environment": {"LC_ALL": "C"}}),
        (names, ["tokenize", "in"], {"environment": {"RANK": "1"}}),
        (names, ["tokenize", "in", "-o", "out"], {"environment": {"SLURM_PROCID": "1"}}),
        (names, ["tokenize", "in", "-o", "out"], {"file_bytes": 1000}),
        (names, ["tokenize", "in", "-o", "out"], {"file_bytes": 2000}),
        (names, ["tokens", "merge", "../whole/images.parquet", "-o", "b"], {"file_bytes": 1000}),
        (names, [*_DRAW], {"file_bytes": 1000}),
        (names, ["recipes", "cp", "nano-pretrain", "b.toml"], {"file_bytes": 1000}),
        (
            lambda: None,
            ["train-tokenizer", "nano-target", "-o", "run"],
            {"environment": {"RANK": "1"}},
        ),
        (lambda: None, ["pretrain", "nano-pretrain", "-o", "b"], {"environment": {"RANK": "1"}}),
    ]
    for prepare, command, how in cases[: max(trials, 1)]:
        if time.monotonic() > until:
            break
        remove_deep(folder)
        folder.mkdir()
        prepare()
        ended = run_seed(folder, *command, **how)
        report.add("surroundings", ended, ended.faults() + left_over(folder), how)
    remove_deep(folder)


def remove_deep(folder: Path) -> None:
    """Removes a folder, however deep: a level at a time, each moved up before the next."""
    while (folder / "d" / "d").is_dir():
        (folder / "d" / "d").rename(folder / "e")
        shutil.rmtree(folder / "d")
        (folder / "e").rename(folder / "d")
    shutil.rmtree(folder, ignore_errors=True)
