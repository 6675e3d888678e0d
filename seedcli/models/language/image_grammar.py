"""The image grammar and what else steers the choice of the next token: logits
processors for `generate`.

All of them read their state from the ids alone, so that beams may be reordered freely and rows of a
batch may be at different places. On the path: between the language model's logits and its codes.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor
from transformers import LogitsProcessor

from seedcli.models.language.code_vocabulary import CodeVocabulary
from seedcli.models.language.rows import pad_left

ImageNeed = Literal["allowed", "required", "first", "never"]


def image_position(input_ids: Tensor, vocabulary: CodeVocabulary) -> list[int]:
    """Ids [B,N] -> codes written since BOI in each of B rows, 0..Q; -1 where the
    row is outside an image.
    """
    return [
        _position(row, vocabulary) for row in input_ids[:, -(vocabulary.num_queries + 1) :].tolist()
    ]


def _position(window: list[int], vocabulary: CodeVocabulary) -> int:
    if vocabulary.boi not in window:
        return -1
    position = window[::-1].index(vocabulary.boi)
    since = window[len(window) - position :]
    only_codes = not since or (
        min(since) >= vocabulary.first_code
        and max(since) < vocabulary.first_code + vocabulary.num_codes
    )
    return position if only_codes else -1


class RowBudget(LogitsProcessor):
    """Lets each row write its own number of tokens, then only EOS: rows of a batch stop where
    they would stop alone.

    Args:
        budgets: Tokens that each of B rows may write; with beams, rows of one
            prompt follow each other.
        prompt_length: Width of the padded prompts.
        eos: Id of `</s>`.
    """

    def __init__(self, budgets: Sequence[int], prompt_length: int, eos: int):
        self.budgets, self.prompt_length, self.eos = list(budgets), prompt_length, eos

    def remaining(self, input_ids: Tensor) -> list[int]:
        """Ids [B*beams,N] -> tokens that each row may still write."""
        rows, length = input_ids.shape
        beams, written = rows // len(self.budgets), length - self.prompt_length
        return [budget - written for budget in self.budgets for _ in range(beams)]

    def __call__(self, input_ids: Tensor, scores: Tensor) -> Tensor:
        """Scores [B,V] -> scores with everything but EOS forbidden in rows
        that are at their end.
        """
        spent = [left <= 0 for left in self.remaining(input_ids)]
        if not any(spent):
            return scores
        other = torch.ones(scores.shape[1], dtype=torch.bool, device=scores.device)
        other[self.eos] = False
        return scores.masked_fill(
            torch.tensor(spent, device=scores.device)[:, None] & other, -torch.inf
        )


class GrammarTable:
    """What may follow in each state of the grammar: an image is BOI, exactly Q codes, EOI; codes
    and EOI stand nowhere else, and no image begins that would not fit into the budget.

    Args:
        vocabulary: Ids of codes and markers.
        num_tokens: Size of the text tokenizer's vocabulary; rows of the model
            beyond it are never chosen.

    Source: ours; the official code does not constrain
    (AILab-CVC/SEED@93b3cf4:scripts/seed_llama_inference_8B.py fails on other lengths).
    """

    def __init__(self, vocabulary: CodeVocabulary, *, num_tokens: int):
        self.vocabulary, self.num_tokens = vocabulary, num_tokens
        self._forbidden: Tensor | None = None

    def state(self, position: int, remaining: int, owes: bool, need: ImageNeed) -> int:
        """Where the grammar stands in one row.

        Args:
            position: Codes written since BOI, -1 outside an image.
            remaining: Tokens that the row may still write.
            owes: The answer must hold an image and holds none yet.
            need: `allowed`: as many images as the model likes; `required`: the answer may begin
                with words, but holds an image before it ends; `first`: it begins with one;
                `never`: words alone.
        """
        if position >= 0:
            return _CODES if position < self.vocabulary.num_queries else _EOI
        if owes:
            return (
                _BOI
                if need == "first" or remaining <= self.vocabulary.span_length
                else _TEXT_WITHOUT_END
            )
        fits = need != "never" and remaining >= self.vocabulary.span_length
        return _TEXT if fits else _TEXT_WITHOUT_IMAGE

    def forbid(self, states: Sequence[int], scores: Tensor) -> Tensor:
        """Scores [B,V] and the state of each row -> scores with every token that the grammar does
        not allow at -inf.
        """
        if self._forbidden is None or self._forbidden.device != scores.device:
            self._forbidden = self._build_table(scores)
        if len(set(states)) == 1:
            return scores.masked_fill(self._forbidden[states[0]], -torch.inf)
        return scores.masked_fill(
            self._forbidden[torch.tensor(states, device=scores.device)], -torch.inf
        )

    def _build_table(self, scores: Tensor) -> Tensor:
        """Scores [B,V] -> forbidden tokens of each state [S,V]."""
        vocabulary = self.vocabulary
        forbidden = torch.ones(_NUM_STATES, scores.shape[1], dtype=torch.bool, device=scores.device)
        codes = slice(vocabulary.first_code, vocabulary.first_code + vocabulary.num_codes)
        for state in (_TEXT, _TEXT_WITHOUT_IMAGE, _TEXT_WITHOUT_END):
            forbidden[state, : self.num_tokens] = False
            forbidden[state, codes] = True
            forbidden[state, [vocabulary.eoi, vocabulary.bos]] = True
        forbidden[_TEXT_WITHOUT_IMAGE, vocabulary.boi] = True
        forbidden[_TEXT_WITHOUT_END, vocabulary.eos] = True
        forbidden[_BOI, vocabulary.boi] = False
        forbidden[_CODES, codes] = False
        forbidden[_EOI, vocabulary.eoi] = False
        return forbidden


_TEXT, _TEXT_WITHOUT_IMAGE, _TEXT_WITHOUT_END, _BOI, _CODES, _EOI, _NUM_STATES = range(7)


class ImageGrammar(LogitsProcessor):
    """The grammar for beam search, where the ids alone tell the state.

    Args:
        table: What may follow in each state.
        budget: Tokens that each row may write; apply it before this.
        need: See `GrammarTable.state`.
    """

    def __init__(self, table: GrammarTable, budget: RowBudget, *, need: ImageNeed = "allowed"):
        self.table, self.budget, self.need = table, budget, need

    def __call__(self, input_ids: Tensor, scores: Tensor) -> Tensor:
        """Scores [B,V] -> scores with every token that the grammar does not allow at -inf."""
        return self.table.forbid(self._states(input_ids), scores)

    def _states(self, input_ids: Tensor) -> list[int]:
        """Ids [B,N] -> where the grammar stands in each row."""
        vocabulary = self.table.vocabulary
        owes = [False] * len(input_ids)
        if self.need in ("required", "first"):
            owes = (~(input_ids[:, self.budget.prompt_length :] == vocabulary.eoi).any(1)).tolist()
        positions = image_position(input_ids, vocabulary)
        return [
            self.table.state(*row, self.need)
            for row in zip(positions, self.budget.remaining(input_ids), owes, strict=True)
        ]


class ImageGuidance(LogitsProcessor):
    """Classifier-free guidance of the codes: away from what the model draws when the same is asked
    without words.

    For beam search; `TokenLoop` has twins. The unguided row is the wordless prompt, BOI and the
    codes so far, computed anew for each code: no second cache to keep in step with beams.

    Args:
        model: The causal language model.
        vocabulary: Ids of codes and markers.
        scale: 1 is none; logits become unguided + scale * (guided - unguided).
        wordless: Ids before the unguided BOI, of each prompt; with beams, rows of one prompt
            follow each other.
    """

    def __init__(
        self,
        model: torch.nn.Module,
        vocabulary: CodeVocabulary,
        *,
        scale: float,
        wordless: Sequence[Sequence[int]],
    ):
        self.model, self.vocabulary, self.scale, self.wordless = model, vocabulary, scale, wordless

    @torch.no_grad()
    def __call__(self, input_ids: Tensor, scores: Tensor) -> Tensor:
        """Scores [B,V] -> scores whose codes are guided in rows inside an image."""
        beams, length = len(input_ids) // len(self.wordless), input_ids.shape[1]
        unguided = {
            row: [*self.wordless[row // beams], *input_ids[row, length - position - 1 :].tolist()]
            for row, position in enumerate(image_position(input_ids, self.vocabulary))
            if 0 <= position < self.vocabulary.num_queries
        }
        if not unguided:
            return scores
        ids, mask = (
            each.to(scores.device)
            for each in pad_left(list(unguided.values()), self.vocabulary.pad)
        )
        free = self.model(
            input_ids=ids,
            attention_mask=mask,
            position_ids=(mask.cumsum(1) - 1).clamp(min=0),
            use_cache=False,
            logits_to_keep=1,
        ).logits[:, -1]
        rows, scores = list(unguided), scores.clone()
        scores[rows] = guided(scores[rows], free, [self.scale] * len(rows), self.vocabulary)
        return scores


def guided(
    scores: Tensor, free: Tensor, scales: Sequence[float], vocabulary: CodeVocabulary
) -> Tensor:
    """Classifier-free guidance: codes away from what the model draws without words.

    Args:
        scores: Logits [B,V] of rows inside an image.
        free: Logits [B,V] of the same images behind the wordless prompts.
        scales: Of each row; 1 is none.
        vocabulary: Ids of codes and markers.

    Returns:
        `scores` whose log-probabilities among codes are `free + scale * (scores - free)`; words
        keep theirs, and the probability of all codes together stays.
    """
    codes = slice(vocabulary.first_code, vocabulary.first_code + vocabulary.num_codes)
    wanted, scores = scores[:, codes].float(), scores.clone()
    known, free = wanted.log_softmax(-1), free[:, codes].float().log_softmax(-1)
    scale = torch.tensor(scales, device=scores.device)[:, None]
    mixed = (free + scale * (known - free)).log_softmax(-1) + wanted.logsumexp(-1, keepdim=True)
    scores[:, codes] = mixed.to(scores.dtype)
    return scores


def with_noise(scores: Tensor, sources: Sequence[torch.Generator]) -> Tensor:
    """Scores [B,V] and a source of chance for each row -> noisy scores; what is forbidden stays so.

    Turns greedy choice into sampling: the largest of log-probabilities with Gumbel noise is a
    sample of them. A row's noise comes from its own source, so an answer does not depend on what
    else is in the batch, nor on the device. It comes last, after temperature, top-k and top-p.
    """
    noise = torch.stack(
        [torch.empty(scores.shape[1]).exponential_(generator=one) for one in sources]
    )
    return scores.float() - noise.to(scores.device).log()
