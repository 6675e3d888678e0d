"""`seed eval ablation`: causal against bilateral codes, as two language models
write and predict them.

Without the grammar a model must know by itself when an image is whole: how many answers to
captions hold exactly Q codes? And how well does it predict held-out codes, position by position,
with the caption and without?
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from seedcli.benchmarks.ablation import (
    WrittenSpan,
    mean_curve,
    span_histogram,
    written_span,
)
from seedcli.benchmarks.retrieval_sets import RetrievalSet
from seedcli.console import Reporter
from seedcli.models.language.generate import SamplingSettings
from seedcli.models.language.likelihood import token_log_likelihoods
from seedcli.workflows.evaluate.ablation.frame import (
    MADE_BY,
    Line,
    Scores,
    Seeded,
    compare_sides,
    open_ablation,
    without_seed,
)
from seedcli.workflows.evaluate.ablation.plots import write_curves
from seedcli.workflows.evaluate.ablation.request import AblationRequest
from seedcli.workflows.evaluate.ablation.sides import Side, check_twins
from seedcli.workflows.evaluate.caption_codes import caption_prompt
from seedcli.workflows.evaluate.pictures import Pair
from seedcli.workflows.evaluate.samples import sample_seed

CONDITIONS = ("conditional", "unconditional")
LOSSES = "losses"


def run_masks(request: AblationRequest, found: RetrievalSet, reporter: Reporter) -> dict[str, Any]:
    """Two language models of twin tokenizers -> how often each writes an image, how alike it is,
    and how well it predicts codes.

    Each picture's first caption is answered once with each seed, from `<s>{caption}<img>` and
    without the grammar. Losses are in nats a token over the whole vocabulary; position Q is the
    closing marker. Codes of two tokenizers are two languages: a lower loss means codes that are
    easier to predict, not better pictures.

    Returns:
        The envelope of every benchmark. `metrics`, each with the side's name before it: `valid`,
        percent of answers of exactly Q codes (paper: 99.94 and 42.68 on 5,000 COCO captions),
        `clip_i` of those, `conditional_loss` and `unconditional_loss`, means over the Q codes,
        `end_loss`, of the closing marker; `difference_*`, causal minus bilateral, of samples that
        both have. `histograms`, `curves` and `by_seed` hold what the means are of; `chance` of
        `clip_i` is that of pictures that do not belong together.

    Raises:
        UsageError: A tokenizer has another mask than said, or sampling that knows no seed.
        DataError: No twins, or data or weights are missing or refused.
        Interrupted: Ctrl-C; what is answered is kept.
    """
    sampling = request.choice()
    first = Side("causal", request.causal, request, reporter=reporter)
    second = Side("bilateral", request.bilateral, request, like=first, reporter=reporter)
    check_twins(first, second, reporter)
    with open_ablation(
        "masks",
        [first, second],
        request,
        found,
        reporter=reporter,
        caption="first",
        prompt="<s>{caption}<img>",
        constrained=False,
        decoding=without_seed(sampling),
    ) as run:
        answers: dict[str, dict[Seeded, Line]] = {}
        losses: dict[str, dict[str, Line]] = {}
        for side in run.sides():
            writer = _Writer(side, sampling, run.folder)
            answers[side.name] = run.answer_seeds(side, writer, "answers")
            losses[side.name] = run.answer_pairs(side, LOSSES, _Predictor(side), "losses")
        judgement = run.judge_seeds(answers)
        curves = _curves(losses, run.num_queries)
        plots = write_curves(
            run.folder / "losses",
            title=f"{run.title}: loss of the next code",
            x="position of the code",
            y="nats",
            curves={
                f"{side}, {name}": (range(run.num_queries), curve)
                for side, each in curves.items()
                for name, curve in each.items()
            },
        )
        return run.finish(
            _scores(answers, losses, judgement.similarity, run.num_queries),
            counts={"num_answers": sum(map(len, answers.values()))},
            chance=run.chance_of_seeds(answers, judgement),
            by_seed={
                str(seed): _valid_of_seed(answers, seed, run.num_queries)
                for seed in request.all_seeds
            },
            histograms={
                side: span_histogram([_span(line) for line in lines.values()])
                for side, lines in answers.items()
            },
            curves=curves,
            samples=run.samples(answers),
            plots=[str(path) for path in plots],
        )


class _Writer:
    """Captions -> what a side writes after BOI, and the pictures of what is an image."""

    def __init__(self, side: Side, sampling: SamplingSettings, folder: Path):
        self.side, self.sampling, self.folder = side, sampling, folder

    def __call__(self, batch: Mapping[str, tuple[int, str, Pair]]) -> list[dict[str, Any]]:
        llm = self.side.speaker.llm
        prompts = [caption_prompt(llm, pair.caption) for _, _, pair in batch.values()]
        seeds = [sample_seed(seed, key) for seed, key, _ in batch.values()]
        answers = llm.generate(prompts, self.sampling, constrained=False, seeds=seeds)
        spans = [written_span(answer.ids, llm.vocabulary, ended=answer.ended) for answer in answers]
        num_queries = llm.vocabulary.num_queries
        codes = {
            key: tuple(llm.vocabulary.ids_to_codes(answer.ids[:num_queries]))
            if span.is_valid(num_queries)
            else None
            for key, answer, span in zip(batch, answers, spans, strict=True)
        }
        paths = self.side.pictures.paint(codes, seeds, self.folder, made_by=MADE_BY)
        return [
            {
                "caption": pair.caption,
                "num_codes": span.num_codes,
                "end": span.end,
                "codes": each and list(each),
                "picture": path,
            }
            for (_, _, pair), span, each, path in zip(
                batch.values(), spans, codes.values(), paths, strict=True
            )
        ]


class _Predictor:
    """Pictures with captions -> the loss of each of their codes and of EOI, with
    the caption and without.
    """

    def __init__(self, side: Side):
        self.side = side

    def __call__(self, batch: Mapping[str, Pair]) -> list[dict[str, Any]]:
        llm = self.side.speaker.llm
        codes = self.side.pictures.read([pair.image for pair in batch.values()])
        spans = [llm.vocabulary.codes_to_ids(each)[1:] for each in codes]  # BOI is the prompt's
        prompts = {
            "conditional": [caption_prompt(llm, pair.caption) for pair in batch.values()],
            "unconditional": [[llm.vocabulary.bos, llm.vocabulary.boi]] * len(batch),
        }
        found = {
            name: [
                [round(-each, 5) for each in row]
                for row in token_log_likelihoods(llm, prompts[name], spans)
            ]
            for name in CONDITIONS
        }
        return [{name: found[name][place] for name in CONDITIONS} for place in range(len(batch))]


def _span(line: Mapping[str, Any]) -> WrittenSpan:
    return WrittenSpan(line["num_codes"], line["end"])


def _scores(
    answers: Mapping[str, Mapping[Seeded, Line]],
    losses: Mapping[str, Mapping[str, Line]],
    similarity: Mapping[str, float],
    num_queries: int,
) -> Scores:
    """Lines of both sides -> scores of each, and causal minus bilateral."""
    parts: dict[str, Scores] = {}
    for side, lines in answers.items():
        rows = losses[side]
        parts[side] = {
            "valid": {
                sample: 100.0 * _span(line).is_valid(num_queries) for sample, line in lines.items()
            },
            "clip_i": {
                sample: similarity[line["key"]]
                for sample, line in lines.items()
                if line["key"] in similarity
            },
            **{
                f"{name}_loss": {
                    (key,): _mean(row[name][:num_queries]) for key, row in rows.items()
                }
                for name in CONDITIONS
            },
            "end_loss": {(key,): row["conditional"][num_queries] for key, row in rows.items()},
        }
    return compare_sides(parts, *parts)


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)


def _curves(
    losses: Mapping[str, Mapping[str, Line]], num_queries: int
) -> dict[str, dict[str, Any]]:
    return {
        side: {
            name: mean_curve([line[name][:num_queries] for line in lines.values()])
            for name in CONDITIONS
        }
        for side, lines in losses.items()
    }


def _valid_of_seed(
    answers: Mapping[str, Mapping[Seeded, Line]], seed: int, num_queries: int
) -> dict[str, dict[str, int]]:
    """How many answers with one seed are images, of how many, as the paper counts them."""
    found = {}
    for side, lines in answers.items():
        spans = [_span(line) for (of, _), line in lines.items() if of == seed]
        found[side] = {"valid": sum(span.is_valid(num_queries) for span in spans), "of": len(spans)}
    return found
