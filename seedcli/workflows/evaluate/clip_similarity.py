"""`seed eval clip-similarity`: how alike drawn pictures are to the true ones, from pictures
(through codes) or from captions.

Two passes, each resumed sample by sample. The first draws, into `pictures/`; the second asks a
judge and keeps its features in a folder of its own, so that another judge costs no second drawing.
`index.html` shows all of it.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

from seedcli.benchmarks.clip_similarity import pair_similarity, similarity_scores, unpack_features
from seedcli.benchmarks.intervals import mean_metrics
from seedcli.benchmarks.retrieval_sets import RetrievalSet, is_published_split
from seedcli.console import Reporter
from seedcli.data.documents.documents import Codes
from seedcli.data.images.images import save_image
from seedcli.data.images.page import SheetSample, sheet, write_page
from seedcli.errors import UsageError
from seedcli.models.weights.locate import locate
from seedcli.workflows.evaluate.caption_codes import CaptionDrawer
from seedcli.workflows.evaluate.judge import TRUTH, Exhibit, Judge, find_judge, judge_pictures
from seedcli.workflows.evaluate.pictures import PICTURES, EvalPictures, Pair, caption_pairs
from seedcli.workflows.evaluate.requests import CaptionSettings, SimilaritySettings
from seedcli.workflows.evaluate.result_page import write_result_page
from seedcli.workflows.evaluate.samples import (
    SampleRun,
    first,
    open_samples,
    sample_seed,
)

CEILING, SHEET = "ceiling", "index.html"
_MADE_BY = "seed eval clip-similarity"


def run_clip_similarity(
    settings: SimilaritySettings, found: RetrievalSet, reporter: Reporter
) -> dict[str, Any]:
    """Draws, judges and scores.

    Returns:
        The envelope of every benchmark. `metrics`: `clip_i` (drawn to true picture), `clip_t`
        (drawn picture to caption), `truth_clip_t` (true picture to caption), x100 and means of the
        answers that hold a valid image; `valid`, percent of such answers; with a ceiling
        `ceiling_clip_i` and `ceiling_clip_t`. `chance`: means of pairs that do not belong together.

    Raises:
        UsageError: Settings that do not go together, no such set, split or model.
        DataError: Data or weights are missing or refused, or the folder holds another run.
        Interrupted: Ctrl-C; what is drawn and judged is kept.
    """
    every = caption_pairs(found)
    pairs = first(every, settings.limit)
    published = is_published_split(found)
    published = False if published and len(pairs) < len(found.images) else published
    artist = (_Copyist if settings.task == "image" else _Illustrator)(settings, reporter)
    judge = find_judge(
        settings.judge,
        artist.pictures,
        emoji=settings.dataset == "emoji",
        device=settings.captions.device,
        reporter=reporter,
    )
    with open_samples(
        "clip-similarity",
        found.name,
        found.split,
        settings={
            "task": settings.task,
            "data": found.digest,
            "caption": "first",
            "seed": settings.captions.seed,
            **artist.settings(),
        },
        output=settings.output,
        engine=settings.engine,
        device=settings.captions.device,
        reporter=reporter,
    ) as run:
        reporter.note(
            f"{artist.name} draws, {judge.facts['name']} judges; all pictures on one page: "
            f"{run.folder / SHEET}"
        )
        lines = run.answer(
            pairs,
            functools.partial(artist.draw, folder=run.folder),
            batch_size=settings.batch_size,
            what="pictures",
        )
        if run.is_part:
            return run.part_result()
        judged = judge_pictures(
            run,
            _exhibits(run, pairs, lines),
            judge,
            settings.batch_size,
            reporter,
            thumbnails=run.folder / TRUTH,
        )
        scores, chance = similarity_scores(judged)
        scores["valid"] = [100.0 * (line["codes"] is not None) for line in lines]
        above: list[dict[str, Any]] = []
        if settings.ceiling:
            above = _ceiling(run, pairs, artist.pictures, judge, settings, reporter)
            reached, _ = similarity_scores(above)
            scores |= {f"ceiling_{name}": reached[name] for name in ("clip_i", "clip_t")}
        result = run.finish(
            num={"num_images": len(pairs), "num_drawn": len(scores["clip_i"])},
            model=artist.name,
            fingerprint=artist.pictures.fingerprint,
            **mean_metrics(scores),
            chance=chance,
            task=settings.task,
            judge=judge.facts,
            published_split=published,
            subsets=_subsets(found, every, judged),
            sheet=str(run.folder / SHEET),
        )
        _write_sheet(run.folder, settings.page, result, pairs, lines, judged, above)
        return result


class _Copyist:
    """Picture -> codes -> picture."""

    def __init__(self, settings: SimilaritySettings, reporter: Reporter):
        captions = settings.captions
        only = CaptionSettings(
            model=captions.model, seed=captions.seed, device=captions.device, dtype=captions.dtype
        )
        if captions != only or settings.negative:
            raise UsageError(
                "options of the language model have no effect on --task image, where "
                "none takes part",
                remedy="--task text, or leave them out",
            )
        self.pictures = EvalPictures(
            locate(captions.model, reporter=reporter),
            steps=settings.steps,
            guidance=settings.guidance,
            device=captions.device,
            dtype=captions.dtype,
            reporter=reporter,
        )
        self.name, self._seed = self.pictures.name, captions.seed

    def settings(self) -> dict[str, Any]:
        return self.pictures.settings()

    def draw(self, batch: Mapping[str, Pair], folder: Path) -> list[dict[str, Any]]:
        codes = self.pictures.read([pair.image for pair in batch.values()])
        return _paint(
            self.pictures, batch, [{"codes": list(each)} for each in codes], self._seed, folder
        )


class _Illustrator:
    """Caption -> codes -> picture."""

    def __init__(self, settings: SimilaritySettings, reporter: Reporter):
        self._drawer = CaptionDrawer(
            settings.captions,
            emoji=settings.dataset == "emoji",
            steps=settings.steps,
            guidance=settings.guidance,
            reporter=reporter,
        )
        if settings.negative and self.pictures.guidance <= 1:
            raise UsageError(
                f"--negative has no effect with picture guidance {self.pictures.guidance:g}",
                remedy="--picture-guidance 5",
            )
        self.name, self._seed = self._drawer.facts.name, settings.captions.seed
        self._moves_away = settings.negative

    @property
    def pictures(self) -> EvalPictures:
        return self._drawer.pictures

    def settings(self) -> dict[str, Any]:
        settings = self._drawer.settings() | self.pictures.settings()
        return settings | ({"negative": "unconditional"} if self._moves_away else {})

    @cached_property
    def _negative(self) -> Codes | None:
        drawer = self._drawer
        return drawer.llm.draw_unasked(drawer.sampling) if self._moves_away else None

    def draw(self, batch: Mapping[str, Pair], folder: Path) -> list[dict[str, Any]]:
        answers = self._drawer.codes({key: pair.caption for key, pair in batch.items()})
        return _paint(self.pictures, batch, answers, self._seed, folder, self._negative)


def _paint(
    pictures: EvalPictures,
    batch: Mapping[str, Pair],
    answers: Sequence[dict[str, Any]],
    seed: int,
    folder: Path,
    negative: Codes | None = None,
) -> list[dict[str, Any]]:
    """Answers with `codes` -> picture files, and a line for each answer."""
    paths = pictures.paint(
        {key: answer["codes"] for key, answer in zip(batch, answers, strict=True)},
        [sample_seed(seed, key) for key in batch],
        folder,
        made_by=_MADE_BY,
        negative=negative,
    )
    return [
        {
            "source": Path(pair.image.name).name,
            "caption": pair.caption,
            **answer,
            "picture": path,
        }
        for pair, answer, path in zip(batch.values(), answers, paths, strict=True)
    ]


def _draw_true(
    batch: Mapping[str, Pair], *, pictures: EvalPictures, seed: int, folder: Path
) -> list[dict[str, Any]]:
    """Picture -> its true target embedding -> picture."""
    embeddings = pictures.target_embeddings([pair.image for pair in batch.values()])
    seeds = [sample_seed(seed, key) for key in batch]
    drawn = pictures.draw(embeddings, seeds, steps=pictures.steps, guidance=pictures.guidance)
    for key, image in zip(batch, drawn, strict=True):
        save_image(image, folder / PICTURES / f"{key}.png")
    return [
        {"caption": pair.caption, "picture": f"{PICTURES}/{key}.png"} for key, pair in batch.items()
    ]


def _ceiling(
    run: SampleRun,
    pairs: Mapping[str, Pair],
    pictures: EvalPictures,
    judge: Judge,
    settings: SimilaritySettings,
    reporter: Reporter,
) -> list[dict[str, Any]]:
    """The same pictures from their true target embeddings -> judged lines; a run of its
    own inside the folder.
    """
    seed, folder = settings.captions.seed, run.folder / CEILING
    draw = functools.partial(_draw_true, pictures=pictures, seed=seed, folder=folder)
    with open_samples(
        "clip-similarity",
        run.settings["dataset"],
        run.settings["split"],
        settings={
            "task": CEILING,
            "data": run.settings["data"],
            "seed": seed,
            **pictures.settings(),
        },
        output=folder,
        engine=settings.engine,
        device=settings.captions.device,
        reporter=reporter,
    ) as above:
        lines = above.answer(pairs, draw, batch_size=settings.batch_size, what="ceiling pictures")
        exhibits = _exhibits(above, pairs, lines)
        return judge_pictures(above, exhibits, judge, settings.batch_size, reporter)


def _exhibits(
    run: SampleRun, pairs: Mapping[str, Pair], lines: Sequence[Mapping[str, Any]]
) -> dict[str, Exhibit]:
    return {
        key: Exhibit(line["picture"] and run.folder / line["picture"], pair.image, pair.caption)
        for (key, pair), line in zip(pairs.items(), lines, strict=True)
    }


def _subsets(
    found: RetrievalSet, every: Mapping[str, Pair], judged: Sequence[dict[str, Any]]
) -> dict[str, Any]:
    """Means of the set's selections within what was judged; those of other vendors
    are empty and left out.
    """
    means = {}
    for name, flags in found.subsets.items():
        inside = [line for line in judged if line["key"] in every and flags[int(line["key"])]]
        if name != "main" and inside:
            metrics = mean_metrics(similarity_scores(inside)[0])
            means[name] = {"num_images": len(inside), **metrics}
    return means


def _write_sheet(
    folder: Path,
    page: Path | None,
    result: Mapping[str, Any],
    pairs: Mapping[str, Pair],
    lines: Sequence[dict[str, Any]],
    judged: Sequence[dict[str, Any]],
    above: Sequence[dict[str, Any]],
) -> None:
    def pictures(line: dict[str, Any]) -> dict[str, Path | None]:
        shown = {
            "true": folder / TRUTH / f"{line['key']}.png",
            "drawn": line["picture"] and folder / line["picture"],
        }
        return shown | (
            {CEILING: folder / CEILING / PICTURES / f"{line['key']}.png"} if above else {}
        )

    samples = [
        SheetSample(
            key=line["key"],
            pictures=pictures(line),
            caption=pairs[line["key"]].caption,
            scores=_scores_of(seen),
        )
        for line, seen in zip(lines, judged, strict=True)
    ]
    metrics = ", ".join(
        f"{name} {value:.2f}" for name, value in result["metrics"].items() if value is not None
    )
    facts = [
        (
            f"{result['dataset']} {result['split']}, {result['num_drawn']} of "
            f"{result['num_images']} drawn by {result['model']}"
        ),
        f"judge {result['judge']['name']}: {metrics}",
    ]
    title = f"clip-similarity, {result['task']} to image"
    write_page(folder / SHEET, title, facts, [sheet(samples, folder=folder)])
    write_result_page(page, result, samples, number=len(samples))


def _scores_of(line: Mapping[str, Any]) -> dict[str, float]:
    if line["drawn"] is None:
        return {}
    drawn, truth, caption = (
        unpack_features([line[name]]) for name in ("drawn", "truth", "caption")
    )
    return {
        "CLIP-I": float(pair_similarity(drawn, truth)[0]),
        "CLIP-T": float(pair_similarity(drawn, caption)[0]),
    }
