"""How the next token of every row is chosen: guidance, grammar, temperature, top-k, top-p, chance.
Rows of one batch may each have settings of their own. On the path: between the language model's
logits and its codes.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Sequence

from torch import Tensor
from transformers import (
    LogitsProcessor,
    LogitsProcessorList,
    PreTrainedModel,
    TemperatureLogitsWarper,
    TopKLogitsWarper,
    TopPLogitsWarper,
)

from seedcli.errors import NumericalError
from seedcli.models.language.code_vocabulary import CodeVocabulary
from seedcli.models.language.image_grammar import GrammarTable, guided, with_noise
from seedcli.models.language.rows import Likelihood, Row


class Chooser:
    """Chooses the next token of every row; the largest processed score is taken, sampling is the
    noise that is added before.

    Args:
        model: The causal language model, for the message where its logits are not finite.
        vocabulary: Ids of codes and markers.
        num_tokens: Size of the text tokenizer's vocabulary.
    """

    def __init__(self, model: PreTrainedModel, vocabulary: CodeVocabulary, *, num_tokens: int):
        self._model, self._vocabulary = model, vocabulary
        self._table = GrammarTable(vocabulary, num_tokens=num_tokens)

    def choose(self, rows: Sequence[Row], scores: Tensor) -> None:
        """Gives each of B rows its next token; a row whose logits are not finite fails, and the
        others go on.

        Args:
            rows: None of them is done; a twin takes what its leader, which stands before it, takes.
            scores: Logits float32 [B,V].
        """
        if twins := [row for row in rows if row.leader is not None]:
            scores = self._guided(rows, scores)
            rows = [row for row in rows if row.leader is None]
        scores = self._under_grammar(rows, scores)
        allowed = scores
        scores = self._warped(rows, scores)
        # An EOI that must come takes no noise: it is not asked for where all
        # rows are at that place, and what follows must not depend on the others.
        noisy = [
            number
            for number, row in enumerate(rows)
            if row.noise is not None and not row.image_is_full
        ]
        sources = [rows[number].noise for number in noisy]
        if len(noisy) == len(rows):
            scores = with_noise(scores, sources)
        elif noisy:
            scores = scores.clone()
            scores[noisy] = with_noise(scores[noisy], sources)
        best = scores.max(1)
        tokens = best.indices.tolist()
        for number, (row, score) in enumerate(zip(rows, best.values.tolist(), strict=True)):
            if not math.isfinite(score):
                row.fail(
                    NumericalError(
                        f"the language model's logits are not finite in {self._model.dtype}",
                        remedy="--dtype bfloat16 or float32: float16 overflows in some models",
                    )
                )
                continue
            if row.num_likeliest is not None:
                row.likelihoods.append(
                    _likelihood(allowed[number], tokens[number], row.num_likeliest)
                )
            row.take(tokens[number])
        for twin in twins:
            if twin.leader.failure is None:
                twin.take(twin.leader.written[-1])

    def _guided(self, rows: Sequence[Row], scores: Tensor) -> Tensor:
        """Scores [B,V] -> those of the leaders, guided by their twins'."""
        places = {id(row): number for number, row in enumerate(rows)}
        twins = [number for number, row in enumerate(rows) if row.leader is not None]
        led = [places[id(rows[number].leader)] for number in twins]
        scales = [rows[number].settings.code_guidance for number in twins]
        scores = scores.clone()
        scores[led] = guided(scores[led], scores[twins], scales, self._vocabulary)
        return scores[[number for number, row in enumerate(rows) if row.leader is None]]

    def _under_grammar(self, rows: Sequence[Row], scores: Tensor) -> Tensor:
        bound = [number for number, row in enumerate(rows) if row.constrained]
        states = [
            self._table.state(
                rows[number].position, rows[number].remaining, rows[number].owes, rows[number].need
            )
            for number in bound
        ]
        if len(bound) == len(rows):
            return self._table.forbid(states, scores)
        if bound:
            scores = scores.clone()
            scores[bound] = self._table.forbid(states, scores[bound])
        return scores

    def _warped(self, rows: Sequence[Row], scores: Tensor) -> Tensor:
        """Rows of like settings go together."""
        alike: dict[tuple[float, int, float], list[int]] = defaultdict(list)
        for number, row in enumerate(rows):
            if row.noise is not None:
                settings = row.settings
                alike[settings.temperature, settings.top_k, settings.top_p].append(number)
        for how, numbers in alike.items():
            processors = warpers(*how)
            if not processors:
                continue
            if len(numbers) == len(rows):
                return _processed(processors, scores)
            scores = scores.clone()
            scores[numbers] = _processed(processors, scores[numbers])
        return scores


def warpers(temperature: float, top_k: int, top_p: float) -> LogitsProcessorList:
    """What sampling does to scores before chance; nothing where it would change nothing."""
    processors = LogitsProcessorList()
    if temperature != 1:
        processors.append(TemperatureLogitsWarper(temperature))
    if top_k > 0:
        processors.append(TopKLogitsWarper(top_k))
    if top_p < 1:
        processors.append(TopPLogitsWarper(top_p))
    return processors


def _processed(processors: Sequence[LogitsProcessor], scores: Tensor) -> Tensor:
    # one by one: Hugging Face's list inspects their signatures at every step
    for processor in processors:
        scores = processor(None, scores)
    return scores


def _likelihood(scores: Tensor, token: int, count: int) -> Likelihood:
    """Scores [V] of one row -> log-probabilities."""
    known = scores.log_softmax(0)
    best = known.topk(min(count, int(known.isfinite().sum())))
    return Likelihood(
        chosen=float(known[token]),
        likeliest=list(zip(best.indices.tolist(), best.values.tolist(), strict=True)),
    )
