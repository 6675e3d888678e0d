"""What a benchmark asked and what was answered, on disk: once computed, never again, whatever
interrupts. Torch-free.

The folder of a run, `-o DIR` or `runs/eval/BENCHMARK-DATASET-SPLIT-XXXXXXXX` where the X are a
digest of the settings, holds
    settings.json   what decides the answers (model, prompt, decoding, preprocessing, seeds, data),
      and the versions of the first start
    samples.jsonl   a line a sample, `{"key": ..., ...}`, appended and flushed a batch at a time, in
      the order in which they were computed
    result.json     the envelope of the result; it is replaced by every run that comes to its end
and whatever the benchmark puts beside them, such as pictures.

Of a benchmark only `ask` needs a model, {key: sample} -> one JSON-ready mapping for each:

    samples = first({"000042": ..., ...}, limit)  # in an order that does not depend on the limit
    with open_samples("vqa", "vqav2", "val", settings=settings, output=output) as run:
        lines = run.answer(samples, ask, batch_size=32)
        return run.finish(num=..., model=..., fingerprint=..., **mean_metrics(score(lines)))

* `ask` is called for what is missing only, so load models in it at first use. What it returns
  comes back as JSON has it (lists, no tuples). It may write files beside the lines; they must be
  there before it returns. On the engines of other processes it travels (a function of a module, or
  an object whose models stay behind and are found anew where it arrives), and so do samples.
* Whatever changes an answer belongs into `settings`; what changes a score only (a way of counting)
  does not. Never in it: paths, batch size, limit, device. A folder with other settings is refused;
  the default folder is another one then, and so never is.
* A run with `--limit` computes the first samples; a later one without it the others. A kill -9
  loses the batches that are computed at most. A batch is the same samples in every run and on every
  engine.
* A task of an array job (`--part I/N`) answers its share of the batches into
  `samples.part-I-of-N.jsonl` and scores nothing: `if run.is_part: return run.part_result()` after
  `answer`. The next call without a part takes those lines into `samples.jsonl`.
* Random draws take `sample_seed(seed, key)`: they depend neither on order nor on batches.
  With it, lines of an interrupted run are those of an undisturbed one, up to rounding where a
  batch had other members.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import itertools
import json
import re
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

from seedcli.benchmarks.intervals import as_printed
from seedcli.console import Reporter
from seedcli.engine.engines import EngineChoice, Place, use_threads
from seedcli.engine.hold import hold_part
from seedcli.engine.workers import open_workers
from seedcli.errors import DataError, Interrupted, NumericalError, PartialFailure
from seedcli.files import publish_json
from seedcli.journal import Journal
from seedcli.workflows.evaluate.begun import claim_folder, find_versions, settings_digest

EVAL_RUNS = Path("runs") / "eval"
SAMPLES_FILE, RESULT_FILE = "samples.jsonl", "result.json"
PART_FILE = "samples.part-{}-of-{}.jsonl"  # of a task of an array job
_NAMES = ("benchmark", "dataset", "split")

Sample = TypeVar("Sample")
Answer = Callable[[dict[str, Sample]], Sequence[Mapping[str, Any]]]


@contextlib.contextmanager
def _open_ask(ask: Answer[Any], place: Place, reporter: Reporter) -> Iterator[Any]:
    """Opens a worker that answers batches; travels to other processes."""
    use_threads(place)
    yield lambda batch: (ask(batch),)


def first(samples: Mapping[str, Sample], limit: int | None) -> dict[str, Sample]:
    """The first `limit` samples; all of them for None."""
    return dict(itertools.islice(samples.items(), limit))


def sample_seed(seed: int, key: str) -> int:
    """Seed of a run and key of a sample -> seed of the sample, 0..2^31-1."""
    return int.from_bytes(hashlib.sha256(f"{seed} {key}".encode()).digest()[:4]) >> 1


@contextlib.contextmanager
def open_samples(
    benchmark: str,
    dataset: str,
    split: str,
    *,
    settings: Mapping[str, Any],
    output: Path | None = None,
    engine: EngineChoice = EngineChoice(),
    device: str = "auto",
    reporter: Reporter | None = None,
) -> Iterator[SampleRun]:
    """Opens the folder of a run, new or begun, and holds it: alone, or beside the other tasks of an
    array job.

    Args:
        benchmark: As the command is called, e.g. `clip-similarity`.
        dataset: Name of the set.
        split: Its split.
        settings: Everything that decides the answers; JSON-ready, may be nested.
        output: The folder; by default one under `runs/eval` that the settings name.
        engine: Where batches are answered, and which of them.
        device: As the user asked; decides whether workers want a GPU each.
        reporter: Hears of progress and of what was found.

    Raises:
        UsageError: Two engines at once.
        DataError: The folder holds a run with other settings, or other things; another process is
            at it; it cannot be written.
    """
    decided: dict[str, Any] = json.loads(
        json.dumps(
            {"benchmark": benchmark, "dataset": dataset, "split": split, **settings},
            allow_nan=False,
        )
    )
    name = re.sub(r"[^\w.-]+", "_", f"{benchmark}-{dataset}-{split}")
    folder = output or EVAL_RUNS / f"{name}-{settings_digest(decided)}"
    reporter = reporter or Reporter()
    try:
        claim_folder(folder, decided, reporter)
    except (FileExistsError, NotADirectoryError):
        raise DataError(f"{folder} is no folder", remedy="choose another folder with -o") from None
    engine.check()
    part = engine.part
    name = SAMPLES_FILE if part.is_whole else PART_FILE.format(part.index, part.count)
    with hold_part(folder, part), Journal(folder / name) as journal:
        yield SampleRun(folder, decided, journal, engine, device, reporter)


class SampleRun:
    """A folder of answered samples that is open.

    Attributes:
        folder: Where it is; a benchmark may keep pictures in it.
        settings: What decides the answers, as JSON has them.
        num_reused: Samples that an earlier run had answered.
        engine: Where batches are answered; what looks at the answers computes there, too.
        device: As the user asked.
    """

    def __init__(
        self,
        folder: Path,
        settings: dict[str, Any],
        journal: Journal,
        engine: EngineChoice,
        device: str,
        reporter: Reporter,
    ):
        self.folder, self.settings, self.num_reused = folder, settings, 0
        self.engine, self.device, self._journal = engine, device, journal
        self._reporter, self._started = reporter, time.monotonic()
        self._lines: dict[str, dict[str, Any]] = {}
        self._recover(journal)
        if self.is_part:
            with Journal(folder / SAMPLES_FILE) as whole:
                self._recover(whole)
            return
        for path in sorted(folder.glob(PART_FILE.format("*", "*"))):
            with Journal(path) as answered:
                before = set(self._lines)
                self._recover(answered)
            journal.append(*(line for key, line in self._lines.items() if key not in before))
            path.unlink()

    def _recover(self, journal: Journal) -> None:
        journal.recover(lambda line: self._lines.setdefault(line["key"], line), ordered=False)

    @property
    def is_part(self) -> bool:
        """Whether this is a task of an array job, which answers its part and scores nothing."""
        return not self.engine.part.is_whole

    def part_result(self) -> dict[str, Any]:
        """What a task of an array job has to say."""
        return {
            **{name: self.settings[name] for name in _NAMES},
            "part": str(self.engine.part),
            "num_answered": len(self._lines),
            "num_reused": self.num_reused,
            "folder": str(self.folder),
            "elapsed_s": round(time.monotonic() - self._started, 2),
        }

    @property
    def digest(self) -> str:
        """Of the settings; what is computed from the answers names it in its own."""
        return settings_digest(self.settings)

    def answer(
        self,
        samples: Mapping[str, Sample],
        ask: Answer[Sample],
        *,
        batch_size: int,
        what: str = "samples",
    ) -> list[dict[str, Any]]:
        """Samples -> their lines in their order, from disk where they are there; for a task of an
        array job those that are its own.

        Args:
            samples: By key, which is unique and the same in every run.
            ask: Answers a batch: one mapping for each sample, in their order; `key` is added.
            batch_size: Samples that are asked together, written together, and
                lost together at most.
            what: Word of the progress.

        Raises:
            Interrupted: Ctrl-C or SIGTERM; says what is kept and how to go on.
            NumericalError: An answer holds NaN or infinity.
            PartialFailure: Batches ended the processes that answered them; the others are kept.
        """
        keys = list(samples)
        batches = [keys[start : start + batch_size] for start in range(0, len(keys), batch_size)]
        own = self.engine.part.of(batches)
        wanted = [key for batch in own for key in batch]
        missing = [
            {key: samples[key] for key in batch if key not in self._lines}
            for batch in own
            if not self._lines.keys() >= set(batch)
        ]
        self.num_reused = len(wanted) - sum(map(len, missing))
        if self.num_reused:
            self._reporter.note(
                f"{self.num_reused} of {len(wanted)} {what} were answered before: {self.folder}"
            )
        try:
            self._answer(missing, ask, what, len(wanted))
        except KeyboardInterrupt:
            kept = sum(key in self._lines for key in wanted)
            raise Interrupted(
                f"{kept} of {len(wanted)} {what} are answered and kept in {self.folder}",
                remedy="the same command computes the others",
            ) from None
        return [self._lines[key] for key in wanted]

    def _answer(
        self, batches: Sequence[dict[str, Sample]], ask: Answer[Sample], what: str, total: int
    ) -> None:
        """Batches -> lines, on the engine."""
        if not batches:
            return
        lost: list[str] = []
        with (
            open_workers(
                self.engine,
                functools.partial(_open_ask, ask),
                device=self.device,
                reporter=self._reporter,
            ) as workers,
            self._reporter.progress(what, total) as progress,
        ):
            progress.resume(self.num_reused)
            for report in workers.run(batches):
                if report.state == "running":
                    self._append(report.part, report.said)
                    progress.advance(len(report.part))
                elif report.state == "lost":
                    lost += report.part
                    self._reporter.warn(f"{', '.join(report.part)}: {report.said}")
        if lost:
            raise PartialFailure(
                f"{len(lost)} of {total} {what} ended the processes that answered them, first "
                f"{lost[0]}; the others are kept in {self.folder}",
                remedy="the same command tries them again; --batch-size 1 finds the one",
            )

    def _append(self, keys: Iterable[str], answers: Sequence[Mapping[str, Any]]) -> None:
        lines = []
        for key, answer in zip(keys, answers, strict=True):
            if "failed" in answer:
                self._reporter.warn(f"{key}: {answer['failed']}")
            try:
                # as JSON has it: a resumed run reads the same
                lines.append(json.loads(json.dumps({"key": key, **answer}, allow_nan=False)))
            except ValueError:
                raise NumericalError(
                    f"the answer to sample {key} holds NaN or infinity: {dict(answer)}",
                    remedy="--dtype float32; some weights overflow",
                ) from None
        self._journal.append(*lines)
        self._lines |= {line["key"]: line for line in lines}

    def finish(
        self,
        *,
        num: Mapping[str, int],
        model: str,
        fingerprint: str | None,
        metrics: Mapping[str, float | None],
        intervals: Mapping[str, Sequence[float] | None],
        **more: Any,
    ) -> dict[str, Any]:
        """Scores -> the envelope, which is also written to `result.json`.

        Args:
            num: Counts by name, `num_images` and the like.
            model: What answered.
            fingerprint: Of the visual tokenizer; None where the weights state none.
            metrics: By name, percent or x100 as tables print them.
            intervals: By name of the metric, the ends of its 95 % bootstrap interval; a metric
                without one is left out.
            more: What only this benchmark has to say: `chance`, `published_split`, `subsets`.
        """
        result = {
            **{name: self.settings[name] for name in _NAMES},
            **num,
            "model": model,
            "fingerprint": fingerprint,
            "metrics": as_printed(metrics),
            "intervals": as_printed(intervals),
            **as_printed(more),
            "settings": {
                name: value for name, value in self.settings.items() if name not in _NAMES
            },
            "settings_digest": self.digest,
            "versions": find_versions(),
            "folder": str(self.folder),
            "num_reused": self.num_reused,
            "elapsed_s": round(time.monotonic() - self._started, 2),
        }
        publish_json(self.folder / RESULT_FILE, result)
        return result
