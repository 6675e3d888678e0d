"""Answers to questions -> scores: VQA accuracy as the VQA challenge counts it, exact match, and
choices by likelihood. Pure functions: questions of published sets and what was answered in, shares
(0..1) out.

The official program compares strings after two steps: punctuation, then digits, articles and
contractions. Predictions take both; the annotators' answers take the first only, and only where
they disagree. So "two" is never right where all ten annotators wrote "two". We do the same, since
published numbers did.
"""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from typing import Any, Literal

from seedcli.benchmarks.answers import AnswerCut, cut_answer
from seedcli.data.published_sets.questions import Question

ChoiceScore = Literal["mean", "sum"]

# The tables are those of the VQA challenge's evaluation (GT-Vision-Lab/VQA, vqaEval.py), as
# AILab-CVC/SEED@93b3cf4:LV/common/vqa_tools has them. Each contraction is mapped from its spelling
# without one of its apostrophes; the program's words are lower case by then, so that its entries
# for I'm, I've and I'd've never match, and are left out.
_CONTRACTIONS = (
    "ain't aren't can't could've couldn't couldn't've didn't doesn't don't hadn't hadn't've hasn't "
    "haven't he'd he'd've he's how'd how'll how's isn't it'd it'd've it'll ma'am mightn't "
    "mightn't've might've mustn't must've needn't not've o'clock oughtn't 'ow's'at shan't she'd've "
    "should've shouldn't shouldn't've somebody'd've somebody'll somebody's someone'd someone'd've "
    "someone'll someone's something'd something'd've something'll that's there'd there'd've "
    "there're there's they'd they'd've they'll they're they've 'twas wasn't we'd've we've weren't "
    "what'll what're what's what've when's where'd where's where've who'd who'd've who'll who's "
    "who've why'll why're why's won't would've wouldn't wouldn't've y'all y'all'll y'all'd've "
    "you'd you'd've you'll you're you've"
)
# the one entry of the program that takes an apostrophe away
_CONTRACTION_BACKWARDS = {"somebody'd": "somebodyd"}
_NUMBERS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten")
_NUMBER_OF = {"none": "0"} | {word: str(number) for number, word in enumerate(_NUMBERS)}
_ARTICLES = {"a", "an", "the"}
_PUNCTUATION = ';/[]"{}()=+\\_-><@`,?!'
_COMMA_IN_NUMBER = re.compile(r"\d,\d")
_PERIOD = re.compile(r"\.(?!\d)")
# the program hands its flags over where `re.sub` takes a count, so it removes 32 periods at most
_MOST_PERIODS = int(re.UNICODE)


@cache
def _contractions() -> dict[str, str]:
    found = dict(_CONTRACTION_BACKWARDS)
    for right in _CONTRACTIONS.split():
        found |= {
            right[:place] + right[place + 1 :]: right
            for place, letter in enumerate(right)
            if letter == "'"
        }
    return found


def strip_punctuation(text: str) -> str:
    """First step: a mark beside a space goes, as do all marks of a text with a number like 1,000;
    else it becomes a space. Then periods.

    Periods before a digit stay. Case and spaces are kept.
    """
    together = _COMMA_IN_NUMBER.search(text) is not None
    stripped = text
    for mark in _PUNCTUATION:
        beside_space = f"{mark} " in text or f" {mark}" in text
        stripped = stripped.replace(mark, "" if together or beside_space else " ")
    return _PERIOD.sub("", stripped, count=_MOST_PERIODS)


def normalize_words(text: str) -> str:
    """Second step: lower case, number words up to ten as digits, no articles, contractions with
    their apostrophes, single spaces.
    """
    numbered = (_NUMBER_OF.get(word, word) for word in text.lower().split())
    return " ".join(_contractions().get(word, word) for word in numbered if word not in _ARTICLES)


def normalize_prediction(text: str) -> str:
    """What a model said -> what is compared."""
    return normalize_words(strip_punctuation(text.replace("\n", " ").replace("\t", " ").strip()))


def compared_answers(answers: Sequence[str]) -> list[str]:
    """Annotators' answers to one question -> what predictions are compared with:
    unchanged where all agree.
    """
    return (
        [strip_punctuation(answer) for answer in answers]
        if len(set(answers)) > 1
        else list(answers)
    )


def stem_words(text: str) -> str:
    """Words -> their stems by Porter's rules: `racing cars` -> `race car`.

    OK-VQA's `answer` stands for all words of one stem (Marino et al. 2019, section 3), but need not
    be the stem itself, so that both sides are stemmed.
    """
    from snowballstemmer import stemmer

    return " ".join(stemmer("porter").stemWords(text.lower().split()))


def vqa_accuracy(
    prediction: str, answers: Sequence[str], *, then: Callable[[str], str] = str
) -> float:
    """A raw prediction and the annotators' raw answers to its question -> accuracy, 0..1.

    The mean, over leaving each annotator out, of min(1, matches among the others / 3).

    Args:
        prediction: What a model said.
        answers: Of the annotators.
        then: A further step that both sides take after the normalisation.

    Raises:
        ValueError: No answers.

    Source: Antol et al. 2015, section 3; the program named above.
    """
    if not answers:
        raise ValueError("a question without answers cannot be scored")
    said = then(normalize_prediction(prediction))
    right = [then(answer) == said for answer in compared_answers(answers)]
    matches = sum(right)
    return sum(min(1.0, (matches - own) / 3) for own in right) / len(right)


def exact_match(prediction: str, answer: str) -> float:
    """Prediction and the one right answer -> 1 if they are the same after both steps of the
    normalisation, else 0.

    Video sets (MSVD-QA, MSRVTT-QA) and sets with one answer a question are scored so; both
    sides are normalised alike.
    """
    return float(normalize_prediction(prediction) == normalize_prediction(answer))


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


def pick_choice(line: Mapping[str, Any], by: ChoiceScore) -> int:
    """Line with the log-likelihood (nats, summed over its tokens) and the number of tokens of each
    choice -> number of the chosen one: highest `mean` a token, or `sum`.

    The mean keeps long choices from losing by their length. Ties go to the first choice.

    Source: SEED-Bench (Li et al. 2023), which ranks choices by the language model's mean loss.
    """
    scores = line["log_likelihoods"]
    if by == "mean":
        scores = [total / count for total, count in zip(scores, line["num_tokens"], strict=True)]
    return max(range(len(scores)), key=scores.__getitem__)


def score_line(
    row: Question, line: Mapping[str, Any], *, cut: AnswerCut, by: ChoiceScore
) -> float | None:
    """Question and its line of `samples.jsonl` -> score: of the choice that was likeliest, or of
    the words, cut as `cut` says.
    """
    if "log_likelihoods" in line:
        return float(row.choices[pick_choice(line, by)] == row.answers[0])
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
