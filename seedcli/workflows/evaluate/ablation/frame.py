"""What the ablations share: a run that asks both sides about one set of pictures, and a judge's
word on what they drew.
"""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from seedcli.benchmarks.ablation import paired_differences, score_groups
from seedcli.benchmarks.clip_similarity import (
    pair_similarity,
    shuffled_similarity,
    unpack_features,
)
from seedcli.benchmarks.retrieval_sets import ImageRef, RetrievalSet, is_published_split
from seedcli.console import Reporter
from seedcli.data.images.page import SheetSample
from seedcli.models.language.generate import SamplingSettings
from seedcli.workflows.evaluate.ablation.request import AblationRequest
from seedcli.workflows.evaluate.ablation.sides import Side
from seedcli.workflows.evaluate.judge import Exhibit, Judge, find_judge, judge_pictures
from seedcli.workflows.evaluate.pictures import Pair, caption_pairs
from seedcli.workflows.evaluate.result_page import (
    answer_html,
    sample_pictures,
    write_result_page,
)
from seedcli.workflows.evaluate.samples import Answer, SampleRun, first, open_samples

MADE_BY = "seed eval ablation"
Line = dict[str, Any]
Seeded = tuple[int, str]  # seed and key of a picture
Scores = dict[str, dict[tuple[Any, ...], float]]  # metric -> score by (seed, picture) or (picture,)


@contextlib.contextmanager
def open_ablation(
    part: str,
    sides: Sequence[Side],
    request: AblationRequest,
    found: RetrievalSet,
    *,
    reporter: Reporter,
    **decided: Any,
) -> Iterator[Ablation]:
    """Loads the judge, and opens the folder of the run.

    Args:
        part: Name of the ablation.
        sides: Both models; the first one's decoder draws for both.
        request: What the ablations share.
        found: The data.
        reporter: Hears of progress.
        decided: What decides answers beside data and models, for the settings of the run.

    Raises:
        DataError: As `find_judge` and `open_samples`.
    """
    pairs = first(caption_pairs(found), request.limit)
    judge = find_judge(  # loaded before anything is drawn for it
        request.judge,
        sides[0].pictures,
        emoji=request.dataset == "emoji",
        device=request.device,
        reporter=reporter,
    )
    with open_samples(
        "ablation",
        found.name,
        found.split,
        settings={
            "part": part,
            "data": found.digest,
            **decided,
            **{side.name: side.settings() for side in sides},
        },
        output=request.output,
        engine=request.engine,
        device=request.device,
        reporter=reporter,
    ) as run:
        reporter.note(f"answers and pictures in {run.folder}")
        yield Ablation(run, sides, request, found, pairs, judge, reporter)


class Ablation:
    """An ablation whose run is open.

    Attributes:
        folder: Of the run.
        title: Name and split of the data.
        found: The data.
        pairs: Its pictures with their first captions, by key.
        num_queries: Codes of a picture.
    """

    def __init__(
        self,
        run: SampleRun,
        sides: Sequence[Side],
        request: AblationRequest,
        found: RetrievalSet,
        pairs: Mapping[str, Pair],
        judge: Judge,
        reporter: Reporter,
    ):
        self.folder, self.found, self.pairs = run.folder, found, pairs
        self.title = f"{found.name} {found.split}"
        self.num_queries = sides[0].pictures.num_queries
        self._run, self._sides, self._request = run, sides, request
        self._judge, self._reporter, self._num_reused = judge, reporter, 0

    def sides(self) -> Iterator[Side]:
        """One after the other; a language model's memory is given back before the next."""
        for side in self._sides:
            yield side
            if side.speaks:
                side.speaker.rest()

    def answer(self, asked: Mapping[str, Any], ask: Answer, what: str) -> list[Line]:
        """Samples -> their lines; see `SampleRun.answer`."""
        lines = self._run.answer(asked, ask, batch_size=self._request.batch_size, what=what)
        self._num_reused += self._run.num_reused
        return lines

    def answer_pairs(self, side: Side, label: str, ask: Answer, what: str) -> dict[str, Line]:
        """A side's lines about each picture, by its key."""
        asked = {f"{side.name}-{label}-{key}": pair for key, pair in self.pairs.items()}
        lines = self.answer(asked, ask, f"{side.name} {what}")
        return dict(zip(self.pairs, lines, strict=True))

    def answer_seeds(self, side: Side, ask: Answer, what: str) -> dict[Seeded, Line]:
        """A side's lines about each picture with each seed; a sample is (seed, key, pair)."""
        asked = {
            f"{side.name}-s{seed}-{key}": (seed, key, pair)
            for seed in self._request.all_seeds
            for key, pair in self.pairs.items()
        }
        lines = self.answer(asked, ask, f"{side.name} {what}")
        return {
            (seed, key): line for (seed, key, _), line in zip(asked.values(), lines, strict=True)
        }

    def judge_seeds(self, answers: Mapping[str, Mapping[Seeded, Line]]) -> Judgement:
        """Lines of each side, some with a `picture` -> how alike those are to the true ones."""
        drawn, truths = {}, {}
        for lines in answers.values():
            for (_, key), line in lines.items():
                if line["picture"]:
                    drawn[line["key"]] = self.folder / line["picture"]
                    truths[line["key"]] = self.pairs[key].image
        return self.judge(drawn, truths)

    def judge(self, drawn: Mapping[str, Path], truths: Mapping[str, ImageRef]) -> Judgement:
        """Drawn pictures and the true one of each, by key -> how alike they are; a run inside
        the run for each judge.

        Many pictures have one true picture here: side by side, they have its features computed
        once.
        """
        order = sorted(drawn, key=lambda key: truths[key].stamp)
        exhibits = {key: Exhibit(drawn[key], truths[key]) for key in order}
        size = 4 * self._request.batch_size
        found = judge_pictures(self._run, exhibits, self._judge, size, self._reporter)
        by_key = dict(zip(order, found, strict=True))
        lines = [by_key[key] for key in drawn]
        empty = np.zeros((0, 0))
        ours, true = (
            unpack_features([line[name] for line in lines]) if lines else empty
            for name in ("drawn", "truth")
        )
        return Judgement(list(drawn), ours, true)

    def chance_of_seeds(
        self, answers: Mapping[str, Mapping[Seeded, Line]], judgement: Judgement
    ) -> dict[str, float | None]:
        """`SIDE_clip_i` of pictures that do not belong together: those of one seed, so that no two
        are of one true picture.
        """
        one = self._request.all_seeds[0]
        return {
            f"{side}_clip_i": judgement.chance(
                line["key"] for (seed, _), line in lines.items() if seed == one
            )
            for side, lines in answers.items()
        }

    def samples(
        self,
        answers: Mapping[str, Mapping[Seeded, Line]],
        said: Mapping[str, Mapping[str, Line]] | None = None,
    ) -> Iterator[SheetSample]:
        """Each picture, and for a page what both sides drew with the first seed; `said` are lines
        with a `caption` of theirs.
        """
        seed = self._request.all_seeds[0]
        for key, pair in self.pairs.items():
            drawn = {side: lines[seed, key]["picture"] for side, lines in answers.items()}
            words = [(f"{side}:", lines[key]["caption"]) for side, lines in (said or {}).items()]
            yield SheetSample(
                key=key,
                pictures=sample_pictures([pair.image])
                | {side: path and self.folder / path for side, path in drawn.items()},
                caption=pair.caption,
                html=answer_html(None, words),
            )

    def finish(
        self,
        scores: Mapping[str, Mapping[Any, float]],
        *,
        counts: Mapping[str, int],
        samples: Iterable[SheetSample] = (),
        **more: Any,
    ) -> dict[str, Any]:
        """Scores -> the envelope; `counts` are beside `num_images`, `samples` are for the page."""
        self._run.num_reused = self._num_reused
        published, pairs = is_published_split(self.found), self.pairs
        facts: dict[str, Any] = _describe(self._sides) | score_groups(scores)
        result = self._run.finish(
            num={"num_images": len(pairs), **counts},
            **facts,
            seeds=list(self._request.all_seeds),
            judge=self._judge.facts,
            published_split=published and len(pairs) == len(self.found.images),
            **more,
        )
        write_result_page(self._request.page, result, samples, number=len(pairs))
        return result


def compare_sides(parts: Mapping[str, Scores], one: str, other: str) -> Scores:
    """Scores of both sides by metric -> the same with the side's name before the metric, and
    `difference_METRIC`, `one` minus `other`, of samples that both have.
    """
    scores = {
        f"{side}_{name}": each for side, metrics in parts.items() for name, each in metrics.items()
    }
    for name in parts[one]:
        values, samples = paired_differences(parts[one][name], parts[other][name])
        scores[f"difference_{name}"] = dict(zip(samples, values, strict=True))
    return scores


class Judgement:
    """What a judge found of drawn pictures and the true one of each.

    Attributes:
        similarity: Cosine of both, x100, by key.
    """

    def __init__(self, keys: Sequence[str], drawn: np.ndarray, truth: np.ndarray):
        self._places = {key: place for place, key in enumerate(keys)}
        self._drawn, self._truth = drawn, truth
        self.similarity: dict[str, float] = (
            dict(zip(keys, pair_similarity(drawn, truth).tolist(), strict=True))
            if len(keys)
            else {}
        )

    def chance(self, keys: Iterable[str]) -> float | None:
        """Keys, no two of one true picture -> mean similarity of what does not belong together;
        None of fewer than two.
        """
        places = [self._places[key] for key in keys if key in self._places]
        level = (
            shuffled_similarity(self._drawn[places], self._truth[places])
            if len(places) > 1
            else None
        )
        return None if level is None else round(level, 4)


def _describe(sides: Sequence[Side]) -> dict[str, Any]:
    """`model` and `fingerprint` of an envelope about two models, and `models` with both."""
    both = {
        side.name: {
            "name": side.title,
            "tokenizer": side.pictures.name,
            "fingerprint": side.pictures.fingerprint,
        }
        for side in sides
    }
    return {
        "model": " and ".join(f"{name}: {facts['name']}" for name, facts in both.items()),
        "fingerprint": ", ".join(dict.fromkeys(facts["fingerprint"] for facts in both.values())),
        "models": both,
    }


def without_seed(sampling: SamplingSettings) -> dict[str, Any]:
    """How tokens are chosen, for the settings of a run; seeds are in the keys of its samples, so
    that more of them can be added.
    """
    return {name: value for name, value in dataclasses.asdict(sampling).items() if name != "seed"}
