"""What the ablations count: codes of an image that nobody constrained, losses by position,
differences of twins. Pure functions.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypeVar

from seedcli.benchmarks.intervals import mean_metrics
from seedcli.models.language.code_vocabulary import CodeVocabulary

Sample = TypeVar("Sample", bound=Hashable)
SpanEnd = Literal["closed", "interrupted", "unfinished"]


@dataclass(frozen=True)
class WrittenSpan:
    """An image that a language model wrote without the grammar.

    Attributes:
        num_codes: Codes before anything else came.
        end: `closed`: EOI followed; `interrupted`: a word, another marker or the answer's end did;
            `unfinished`: the tokens ran out.
    """

    num_codes: int
    end: SpanEnd

    def is_valid(self, num_queries: int) -> bool:
        """Whether it is an image: exactly Q codes, then EOI."""
        return self.end == "closed" and self.num_codes == num_queries


def written_span(ids: Sequence[int], vocabulary: CodeVocabulary, *, ended: bool) -> WrittenSpan:
    """Ids that followed BOI, without EOS -> the span that they begin with.

    Args:
        ids: An answer to a prompt that ends in BOI.
        vocabulary: Ids of codes and markers.
        ended: The model ended the answer itself, so that EOS followed the last id.

    Source: AILab-CVC/SEED@93b3cf4:MultiModalLLM/eval/eval_caption_to_images.py takes what is before
    the first EOI for the image. Differs from source: a span with words in it is none.
    """
    num_codes = 0
    for token in ids:
        if not vocabulary.is_code(token):
            return WrittenSpan(num_codes, "closed" if token == vocabulary.eoi else "interrupted")
        num_codes += 1
    return WrittenSpan(num_codes, "interrupted" if ended else "unfinished")


def span_histogram(spans: Sequence[WrittenSpan]) -> dict[str, dict[str, int]]:
    """Spans -> how they end, and how many closed ones hold how many codes, by length."""
    lengths = Counter(span.num_codes for span in spans if span.end == "closed")
    ends = Counter(span.end for span in spans)
    return {
        "ends": {end: ends.get(end, 0) for end in ("closed", "interrupted", "unfinished")},
        "lengths_of_closed": {str(length): lengths[length] for length in sorted(lengths)},
    }


def mean_curve(rows: Sequence[Sequence[float]]) -> dict[str, list[Any]]:
    """Scores [N][Q] -> `mean` [Q] and `interval` [Q][2], the 95 % bootstrap interval of each
    position over the N samples.

    Raises:
        ValueError: No rows, or rows of different lengths.
    """
    if not rows or len({len(row) for row in rows}) != 1:
        raise ValueError(f"a curve of {len(rows)} rows, which must have one length")
    columns = {str(place): column for place, column in enumerate(zip(*rows, strict=True))}
    found = mean_metrics(columns)
    return {
        "mean": list(found["metrics"].values()),
        "interval": list(found["intervals"].values()),
    }


def paired_differences(
    one: Mapping[Sample, float], other: Mapping[Sample, float]
) -> tuple[list[float], list[Sample]]:
    """Scores of two models by sample -> `one` minus `other` where both have a
    score, and the samples.

    Two means whose intervals overlap may still differ beyond doubt: the same pictures are hard for
    both. The difference's interval says it.
    """
    shared = [sample for sample in one if sample in other]
    return [one[sample] - other[sample] for sample in shared], shared


def score_groups(
    scores: Mapping[str, Mapping[tuple[Any, ...], float]],
) -> dict[str, dict[str, Any]]:
    """Metric -> scores by sample, a tuple that ends in its picture -> `metrics` and `intervals` as
    an envelope has them.

    Answers to one caption with several seeds are not independent, so the bootstrap draws captions,
    with all of their answers.
    """
    found: dict[str, dict[str, Any]] = {"metrics": {}, "intervals": {}}
    for name, by_sample in scores.items():
        groups = [sample[-1] for sample in by_sample]
        for kind, figures in mean_metrics({name: list(by_sample.values())}, groups).items():
            found[kind] |= figures
    return found
