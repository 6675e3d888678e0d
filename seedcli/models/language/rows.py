"""A row of a batch: one prompt, and what is written behind it. On the path: prompt ids -> written
ids.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, NamedTuple, Protocol

import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from seedcli.errors import NumericalError
from seedcli.models.language.answer import open_image
from seedcli.models.language.code_vocabulary import CodeVocabulary

if TYPE_CHECKING:
    from seedcli.models.language.generate import SamplingSettings
    from seedcli.models.language.image_grammar import ImageNeed


def pad_left(prompts: Sequence[Sequence[int]], pad: int) -> tuple[Tensor, Tensor]:
    """Rows of ids of any lengths -> ids [B,N] with padding before them, and the mask [B,N]
    of what is no padding.
    """
    rows = [torch.tensor(prompt, dtype=torch.long) for prompt in prompts]
    input_ids = pad_sequence(rows, True, pad, padding_side="left")
    mask = pad_sequence([torch.ones_like(row) for row in rows], True, padding_side="left")
    return input_ids, mask


class Listener(Protocol):
    """Hears a row grow."""

    def hear(self, token: int) -> None:
        """One more token."""

    def end(self) -> None:
        """No token follows."""


class Likelihood(NamedTuple):
    """Natural log-probabilities of one choice, under the grammar and before temperature, top-k and
    top-p.

    Attributes:
        chosen: Of the token that was written.
        likeliest: Tokens and theirs, the likeliest first.
    """

    chosen: float
    likeliest: list[tuple[int, float]]


class Row:
    """One prompt, how its answer is chosen, and what is written so far.

    Attributes:
        prompt: Ids; may end in an open image.
        settings: How tokens are chosen.
        budget: Most tokens that are written.
        need: Whether an image may, must or must not come.
        constrained: Under the image grammar.
        wordless: What code guidance moves away from, as a prompt: BOS alone, or the same request
            without its words.
        num_likeliest: Tokens whose log-probabilities are kept at every place, beside the chosen
            one's; None keeps none.
        last_image: The row ends with its image of this number, counted from 1; None: with EOS or
            the budget.
        noise: The row's own source of chance; None where the likeliest token is taken.
        listener: Hears each token.
        leader: The row whose twin this is: its codes are chosen there, and taken here.
        written: Ids so far, EOS and EOI with them.
        likelihoods: One for each of them, where they are kept.
        position: Codes written since BOI, -1 outside an image.
        images: Images that are complete.
        failure: Why nothing more can be written.
    """

    def __init__(
        self,
        prompt: Sequence[int],
        settings: SamplingSettings,
        vocabulary: CodeVocabulary,
        *,
        budget: int,
        need: ImageNeed = "allowed",
        constrained: bool = True,
        seed: int = 0,
        wordless: Sequence[int] | None = None,
        num_likeliest: int | None = None,
        last_image: int | None = None,
        listener: Listener | None = None,
        leader: Row | None = None,
    ):
        self.prompt, self.settings, self._vocabulary = list(prompt), settings, vocabulary
        self.budget, self.need, self.constrained = budget, need, constrained
        self.num_likeliest, self.last_image, self.listener = num_likeliest, last_image, listener
        self.noise = torch.Generator().manual_seed(seed) if settings.temperature > 0 else None
        self.wordless = [vocabulary.bos] if wordless is None else list(wordless)
        self.written: list[int] = []
        self.likelihoods: list[Likelihood] = []
        self.begun = len(open_image(prompt, vocabulary))
        self.position = self.begun - 1
        self.images = 0
        self.leader = leader
        self._done = False
        self.failure: NumericalError | None = None

    @property
    def done(self) -> bool:
        """Nothing more is written; of a twin: nor to be compared with."""
        led = self.leader is not None and (self.leader.done or self.position < 0)
        return self._done or led

    @property
    def ids(self) -> list[int]:
        """Prompt and what is written."""
        return self.prompt + self.written

    @property
    def remaining(self) -> int:
        """Tokens that may still be written."""
        return self.budget - len(self.written)

    @property
    def owes(self) -> bool:
        """The answer must hold an image and holds none yet."""
        return self.need in ("required", "first") and not self.images

    @property
    def image_is_full(self) -> bool:
        """Q codes are written, so that the grammar leaves nothing but EOI."""
        return self.constrained and self.position == self._vocabulary.num_queries

    @property
    def opens_with_image(self) -> bool:
        """Nothing is written, and the grammar leaves nothing but BOI."""
        return self.need == "first" and not self.begun and not self.written

    @property
    def wants_guidance(self) -> bool:
        """The next code is chosen under guidance, by what a twin says."""
        inside = 0 <= self.position < self._vocabulary.num_queries
        return inside and self.settings.code_guidance > 1 and self.leader is None

    def twin(self) -> Row:
        """The image so far behind the wordless prompt; done with its last code."""
        return Row(
            self.wordless + self.ids[-self.position - 1 :],
            replace(self.settings, temperature=0.0),
            self._vocabulary,
            budget=self._vocabulary.num_queries - self.position,
            leader=self,
        )

    def take(self, token: int) -> None:
        """One more token."""
        vocabulary = self._vocabulary
        self.written.append(token)
        if token == vocabulary.boi:
            self.position = 0
        elif self.position >= 0:
            goes_on = vocabulary.is_code(token) and self.position < vocabulary.num_queries
            self.position = self.position + 1 if goes_on else -1
        self.images += token == vocabulary.eoi
        self._done = (
            token == vocabulary.eos
            or self.remaining <= 0
            or (self.last_image is not None and self.images >= self.last_image)
        )
        if self.listener is not None:
            self.listener.hear(token)

    def take_forced(self, token: int) -> None:
        """The one token that the grammar leaves."""
        if self.num_likeliest is not None:
            self.likelihoods.append(Likelihood(0.0, [(token, 0.0)]))
        self.take(token)

    def end(self) -> None:
        """Nobody waits for more."""
        self._done = True

    def fail(self, failure: NumericalError) -> None:
        """Nothing more can be written."""
        self.failure = failure
        self.end()
