"""`seed eval paper`: every published number beside what was measured here, with the
command for what was not.

Results of the other benchmarks are read, never computed anew. `--run` starts the commands of
those that are missing and could run here, each in a process of its own, so that one model is gone
before the next is loaded.
"""

from __future__ import annotations

import contextlib
import dataclasses
import shlex
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from seedcli.benchmarks.paper_numbers import Measurement, PaperNumbers, flatten, read_paper_numbers
from seedcli.benchmarks.scorecard import (
    NANO,
    Missing,
    ScoreRow,
    belongs,
    missing_row,
    models_of,
    score_all,
)
from seedcli.console import Reporter
from seedcli.errors import DataError, Interrupted, SeedError, UsageError, did_you_mean
from seedcli.files import parse_json, publish_json, published
from seedcli.models.visual.config import PRESETS
from seedcli.models.weights.digest import weights_digest
from seedcli.models.weights.download import find_local
from seedcli.models.weights.load import describe
from seedcli.models.weights.locate import locate
from seedcli.models.weights.locate_llm import LLM_PRESETS, locate_llm
from seedcli.models.weights.published import ROLES
from seedcli.storage import is_folder
from seedcli.workflows.evaluate.paper_request import PaperRequest
from seedcli.workflows.evaluate.samples import EVAL_RUNS, RESULT_FILE
from seedcli.workflows.evaluate.scorecard_page import (
    plot_scorecard,
    write_card_page,
    write_markdown,
)

BUNDLED_SET = "emoji"
CARD_FILE, MARKDOWN_FILE, PLOT_FILE = "paper.json", "paper.md", "paper.png"


@dataclass(frozen=True)
class _Job:
    """A measurement of a model; `own` where nothing was published of it."""

    measurement: Measurement
    model: str
    own: bool

    def is_done_by(self, result: Mapping[str, Any], names: frozenset[str]) -> bool:
        """Whether a result is the job's, of all its samples.

        Published answers of some splits are kept by a server, or the split is not stated: any
        split's result will do.
        """
        wanted = {"split": self.measurement.split} if self.own else {}
        wanted |= {
            key: value for key, value in self.measurement.conditions.items() if key == "num_images"
        }
        whole = all(result.get(key) == value for key, value in wanted.items())
        return (
            whole
            and belongs(self.measurement, result)
            and not models_of(result).keys().isdisjoint(names or {self.model})
        )


@dataclass(frozen=True)
class _Scope:
    """What the scorecard is of.

    Attributes:
        names: What results call the model; empty for all models.
        fingerprint: Of the visual tokenizer, where it is known.
        llm_weights: Digest of the language model's weights, where it is known.
        datasets: Only these; empty for all.
        numbers: What is shown.
        own_model: Whose measurements the numbers' own ones are; None where numbers were
            published of the model.
    """

    names: frozenset[str]
    fingerprint: str | None
    llm_weights: str | None
    datasets: tuple[str, ...]
    numbers: PaperNumbers
    own_model: str | None

    def results(self, folder: Path, reporter: Reporter) -> list[dict[str, Any]]:
        """Those of the folder that belong here, the newest first."""
        return [
            result
            for result in read_results(folder, reporter)
            if (not self.names or not self.names.isdisjoint(models_of(result)))
            and (not self.datasets or result["dataset"] in self.datasets)
            and self._is_of_these_weights(result, reporter)
        ]

    def jobs(self, results: Sequence[Mapping[str, Any]]) -> list[_Job]:
        """What has no result, each once."""
        theirs = [(number.measurement, number.weights) for number in self.numbers.published]
        jobs = [
            _Job(each, weights, own=False)
            for each, weights in theirs
            if weights and (not self.names or weights in self.names)
        ]
        if self.own_model is not None:
            jobs += [_Job(each, self.own_model, own=True) for each in self.numbers.own]
        unique = {(job.model, job.measurement.name): job for job in jobs}
        return [
            job
            for job in unique.values()
            if not any(job.is_done_by(result, self._names_of(job)) for result in results)
        ]

    def _names_of(self, job: _Job) -> frozenset[str]:
        return self.names if job.model == self.own_model else frozenset()

    def _is_of_these_weights(self, result: Mapping[str, Any], reporter: Reporter) -> bool:
        llm_weights = flatten(result).get("settings.language_model.weights")
        for name, fingerprint in models_of(result).items():
            for found, now in ((fingerprint, self.fingerprint), (llm_weights, self.llm_weights)):
                if name in self.names and None not in (found, now) and found != now:
                    reporter.warn(
                        f"{result['folder']} is of other weights of {name} ({found}, now "
                        f"{now}); left out"
                    )
                    return False
        return True


def run_paper(request: PaperRequest, *, reporter: Reporter | None = None) -> dict[str, Any]:
    """Results of benchmarks -> the scorecard.

    Without a model they are those of all models, and seed-nano's own measurements. Results of the
    same model with another fingerprint are left out: they are of other weights. With `run` what is
    missing is started where its weights and its data are on this machine.

    Returns:
        `rows`, one for each published number and each figure of ours, how often each of the
        `verdicts` was given, the commands that `failed`, and the `files` that were written.

    Raises:
        UsageError: No such model or set.
        DataError: There is no such folder of results.
        Interrupted: Ctrl-C while a measurement ran; what it has is kept.
    """
    reporter, folder = reporter or Reporter(), request.results or EVAL_RUNS
    scope = _scope(request.model, request.dataset)
    if request.results is not None and not folder.is_dir() and not request.run:
        raise DataError(
            f"no folder at {folder}",
            remedy="--results names the folder of `seed eval ... -o`; --run fills it",
        )
    found, failed = scope.results(folder, reporter), {}
    if request.run:
        failed = _run_missing(scope.jobs(found), folder, request.data_root, reporter)
        found = scope.results(folder, reporter)

    def missing(measurement: Measurement, weights: str | None) -> Missing:
        lack = _missing(measurement, weights or "", request.data_root)
        return Missing(lack.command, (failed[lack.command],)) if lack.command in failed else lack

    rows = score_all(
        scope.numbers, found, lambda number: missing(number.measurement, number.weights)
    )
    rows += [
        missing_row(job.measurement, job.model, missing(job.measurement, job.model))
        for job in scope.jobs(found)
        if job.own
    ]
    card = {
        "benchmark": "paper",
        "model": request.model,
        "results": str(folder),
        "num_results": len(found),
        "verdicts": dict(Counter(row.verdict for row in rows)),
        "rows": [dataclasses.asdict(row) for row in rows],
        "failed": [{"command": command, "reason": reason} for command, reason in failed.items()],
        "files": [],
    }
    if request.output is not None or request.page is not None:
        card["files"] = _write(card, rows, request.output, request.page)
    return card


def read_results(folder: Path, reporter: Reporter) -> Iterator[dict[str, Any]]:
    """Folder -> every result of a benchmark under it, the newest first; `folder` is where it lies.
    What is none is named and left out.
    """
    files = sorted(folder.rglob(RESULT_FILE), key=lambda path: (-path.stat().st_mtime, str(path)))
    for path in files:
        try:
            result = parse_json(path.read_bytes())
            if not isinstance(result["metrics"], dict):
                raise TypeError("`metrics` is no object")
            known = {name: result[name] for name in ("benchmark", "dataset", "split", "model")}
            models_of(result)
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            reporter.warn(
                f"{path} is no result of a benchmark ({type(error).__name__}: {error}); left out"
            )
            continue
        yield {**result, **known, "folder": str(path.parent)}


def _scope(model: str | None, datasets: Sequence[str]) -> _Scope:
    """What the user asked for -> what is shown.

    Raises:
        UsageError: No such model or set.
    """
    numbers = read_paper_numbers()
    known = dict.fromkeys(
        [number.measurement.dataset for number in numbers.published]
        + [each.dataset for each in numbers.own]
    )
    for dataset in datasets:
        if dataset not in known:
            raise UsageError(
                f"no number was published on {dataset!r}{did_you_mean(dataset, known)}",
                remedy=f"--dataset takes {', '.join(known)}",
            )
    names, fingerprint, llm_weights = _known_as(model)
    wanted = tuple(datasets) or tuple(known)
    has_numbers = model is not None and model in {number.weights for number in numbers.published}
    return _Scope(
        names=names,
        fingerprint=fingerprint,
        llm_weights=llm_weights,
        datasets=tuple(datasets),
        numbers=PaperNumbers(
            tuple(number for number in numbers.published if number.measurement.dataset in wanted),
            tuple(each for each in numbers.own if each.dataset in wanted),
        ),
        own_model=None if has_numbers else model or NANO,
    )


def _known_as(model: str | None) -> tuple[frozenset[str], str | None, str | None]:
    """What results call a model, its fingerprint and its language model's digest where that costs
    no download; nothing for no model.
    """
    if model is None:
        return frozenset(), None, None
    path = Path(model).expanduser()
    if model in PRESETS or path.is_dir():
        llm, weights = None, None
        with contextlib.suppress(SeedError):  # a visual tokenizer alone
            llm = locate_llm(model)
            weights = weights_digest(*llm.folders)
        try:
            facts = describe(locate(model))
        except SeedError:
            if llm is None:
                raise
            return frozenset({model, llm.facts.name}), llm.facts.visual_fingerprint, weights
        return frozenset({model, facts.config.name}), facts.fingerprint, weights
    if model in LLM_PRESETS or (model.count("/") == 1 and not model.startswith((".", "/", "~"))):
        return frozenset({model, path.name}), None, None
    presets = dict.fromkeys([*PRESETS, *LLM_PRESETS])
    raise UsageError(
        f"no model is called {model!r}{did_you_mean(model, presets)}",
        remedy=f"--model takes a preset ({', '.join(presets)}), a folder or a hub id",
    )


def _missing(measurement: Measurement, model: str, data_root: Path | None) -> Missing:
    """What keeps a measurement from being made here, and its command."""
    command, lacks = measurement.command(shlex.quote(model)), _missing_weights(measurement, model)
    if measurement.dataset == BUNDLED_SET:
        return Missing(command, lacks)
    if data_root is None:
        lacks = (*lacks, f"{measurement.dataset}: --data-root DIR says where it lies")
    elif not is_folder(str(data_root / measurement.dataset)):
        lacks = (*lacks, f"{measurement.dataset}: there is no {data_root / measurement.dataset}")
    return Missing(f"{command} --data-root {shlex.quote(str(data_root or 'DIR'))}", lacks)


def _missing_weights(measurement: Measurement, model: str) -> tuple[str, ...]:
    protocol = measurement.protocol
    if model == "seed-2" or (model in LLM_PRESETS and model != NANO):
        parts = {"retrieval": ("bert-vocabulary",), "clip-similarity": ("unclip",)}.get(
            protocol.benchmark, ()
        )
        absent = _absent_roles(
            ("vit-g", "quantizer", *parts, *(() if model == "seed-2" else (model,)))
        )
        return (f"weights {', '.join(absent)}: seed models pull {model}",) if absent else ()
    if protocol.language_model and (model == NANO or Path(model).is_dir()):
        try:
            locate_llm(model)
        except SeedError as error:
            return (error.message,)
    return ()


@cache
def _absent_roles(names: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(name for name in names if find_local(ROLES[name]) is None)


def _run_missing(
    jobs: Sequence[_Job], folder: Path, data_root: Path | None, reporter: Reporter
) -> dict[str, str]:
    """Runs what could run here -> commands that failed, and why."""
    failed = {}
    for job in jobs:
        lack = _missing(job.measurement, job.model, data_root)
        if lack.lacks:
            reporter.note(f"left out: {lack.command}: {'; '.join(lack.lacks)}")
        elif reason := _run(
            lack.command, folder / f"{Path(job.model).name}-{job.measurement.name}", reporter
        ):
            failed[lack.command] = reason
    return failed


def _run(command: str, folder: Path, reporter: Reporter) -> str | None:
    """Starts a command into a folder and waits -> why it failed, or None."""
    words = [*shlex.split(command)[1:], "-o", str(folder), "--json"]
    reporter.note(f"seed {shlex.join(words)}")
    said = ""
    process = subprocess.Popen(
        [sys.executable, "-m", "seedcli", *words],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        for line in process.stderr or ():
            reporter.note(f"  {line.rstrip()}")
            said = (
                line.rstrip()
                if line.startswith("error: ") or not said.startswith("error: ")
                else said
            )
        code = process.wait()
    except KeyboardInterrupt:
        process.send_signal(signal.SIGINT)
        process.wait()
        raise Interrupted(
            f"stopped during: {command}", remedy="the same command goes on where it was"
        ) from None
    finally:
        if process.stderr is not None:
            process.stderr.close()
    return None if code == 0 else f"exit code {code}: {said.removeprefix('error: ')}"


def _write(
    card: dict[str, Any], rows: Sequence[ScoreRow], output: Path | None, page: Path | None
) -> list[str]:
    """A folder of JSON, Markdown and plot, and a page of HTML, as asked -> the files' paths."""
    plot = plot_scorecard(rows)
    files = []
    if output is not None:
        try:
            output.mkdir(parents=True, exist_ok=True)
        except (FileExistsError, NotADirectoryError):
            raise DataError(
                f"{output} is no folder", remedy="choose another folder with -o"
            ) from None
        files = [output / CARD_FILE, output / MARKDOWN_FILE]
        if plot is not None:
            files.append(output / PLOT_FILE)
            with published(files[-1]) as partial:
                partial.write_bytes(plot)
        write_markdown(rows, output / MARKDOWN_FILE, plot=PLOT_FILE if plot else None)
    if page is not None:
        facts = f"{card['num_results']} results in {card['results']}"
        write_card_page(rows, page, facts=[facts], plot=plot)
        files.append(page)
    names = [str(path) for path in files]
    if output is not None:
        publish_json(output / CARD_FILE, {**card, "files": names})
    return names
