"""Answers to questions -> scores. Pure functions: questions of published sets and what was answered
in, shares (0..1) out.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from typing import Any, Literal

from seedcli.benchmarks.answers import AnswerCut, cut_answer
from seedcli.benchmarks.vqa import exact_match, pick_choice, stem_words, vqa_accuracy
from seedcli.data.published_sets.questions import Question

ChoiceScore = Literal["mean", "sum"]


def score_answer(row: Question, answer: str) -> float | None:
    """Question and the words that were answered -> 0..1; None where the set keeps its answers.

    VQA accuracy with the answers of several annotators, else whether it is the one right answer,
    after the official normalisation; of word stems on both sides where the set has stems.
    """
    if not row.answers:
        return None
    return (
        vqa_accuracy(answer, row.answers, then=stem_words if row.stemmed else str)
        if row.scoring == "vqa"
        else exact_match(answer, row.answers[0])
    )


def chosen(line: Mapping[str, Any], by: ChoiceScore) -> int:
    """Line with the log-likelihood and number of tokens of each choice -> number of the chosen one:
    highest `mean` a token, or `sum`.
    """
    counts = line["num_tokens"] if by == "mean" else [1] * len(line["num_tokens"])
    return pick_choice(line["log_likelihoods"], counts)


def score_line(
    row: Question, line: Mapping[str, Any], *, cut: AnswerCut, by: ChoiceScore
) -> float | None:
    """Question and its line of `samples.jsonl` -> score: of the choice that was likeliest, or of
    the words, cut as `cut` says.
    """
    if "log_likelihoods" in line:
        return float(row.choices[chosen(line, by)] == row.answers[0])
    return score_answer(row, cut_answer(line["answer"], cut))


def majority_scores(rows: Sequence[Question], *, by_choice: bool) -> list[float | None]:
    """Questions -> score of always giving the answer of its kind that is most often right, or with
    choices the place that most often is.

    What a model reaches that knows questions and answers and does not look at pictures.
    """
    counts: dict[str, Counter[Any]] = defaultdict(Counter)
    for row in rows:
        if by_choice:
            counts[row.kind][row.choices.index(row.answers[0])] += 1
        elif row.answers:
            counts[row.kind][Counter(row.answers).most_common(1)[0][0]] += 1
    best = {kind: counter.most_common(1)[0][0] for kind, counter in counts.items()}
    if by_choice:
        return [float(row.choices.index(row.answers[0]) == best[row.kind]) for row in rows]
    return [score_answer(row, best[row.kind]) if row.answers else None for row in rows]
