"""Token by token: the language model's forward pass with its KV cache, one choice a row and step.
On the path: prompt ids -> written ids.

Rows join and leave at any step: what is new is read in a pass of its own, and goes on in one batch
with those that are under way. Under code guidance a row inside an image has a twin in that batch,
which reads the same image behind the wordless prompt. Beam search is Hugging Face's `generate`;
without beams this loop does the same faster (`make bench` prints the ratio): it leaves out the
preparation of every step, and a BOI or EOI that must come costs no forward pass.
"""

from __future__ import annotations

import inspect
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor
from transformers import DynamicCache, PreTrainedModel

from seedcli.models.language.choice import Chooser
from seedcli.models.language.code_vocabulary import CodeVocabulary
from seedcli.models.language.rows import Row, pad_left


class TokenLoop:
    """Rows that are written together.

    Attributes:
        waiting: Read with the next step that can take them.
    """

    def __init__(self, model: PreTrainedModel, vocabulary: CodeVocabulary, chooser: Chooser):
        """Nothing is written yet.

        Args:
            model: The causal language model.
            vocabulary: Ids of codes and markers.
            chooser: Chooses the next tokens.
        """
        self._model, self._vocabulary, self._chooser = model, vocabulary, chooser
        self._cache_name = name_of_cache(model)
        self._batch: list[Row] = []  # rows of the cache, twins among them
        self.waiting: list[Row] = []
        self._cache: DynamicCache | None = None
        self._padding: list[int] = []  # columns of padding before each row in the cache
        self._unseen = 1  # tokens of each row that are not in the cache; 2 after an EOI for nothing

    @property
    def rows(self) -> list[Row]:
        """Under way."""
        return [row for row in self._batch if row.leader is None]

    def join(self, rows: Sequence[Row]) -> None:
        """Rows that are written with those that are under way."""
        self.waiting += rows

    def leave(self, rows: Sequence[Row]) -> None:
        """Rows that nobody waits for any more; their places are free at once."""
        for row in rows:
            row.end()
        self._drop_done()

    @torch.inference_mode()
    def step(self) -> None:
        """One token more for each row: of those that join where some can, else of those that are
        under way. Rows that are done leave.
        """
        if self.waiting and (not self._batch or (self._unseen == 1 and self._can_merge())):
            self._read()
        elif self._batch:
            self._write()
        self._drop_done()
        if self._batch and all(row.image_is_full for row in self._batch):
            for row in self._batch:
                row.take_forced(self._vocabulary.eoi)
            self._unseen += 1
            self._drop_done()

    def _read(self) -> None:
        """The prompts of those that wait."""
        new, self.waiting = self.waiting, []
        if opening := [row for row in new if row.opens_with_image]:
            # The grammar alone decides; noise is drawn all the same, so that a seed stands for the
            # same picture as if the model were asked.
            width = self._model.config.vocab_size
            scores = torch.zeros(len(opening), width, device=self._model.device)
            self._chooser.choose(opening, scores)
        if new := [row for row in new if not row.done]:
            new += self._twins(new)
            self._chooser.choose(new, self._admit(new))

    def _write(self) -> None:
        """The next token of those that are under way."""
        if twins := self._twins(self._batch):
            if not self._can_merge():  # what cannot be padded is read once more
                everyone, self._batch, self._cache = [*self._batch, *twins], [], None
                self._chooser.choose(everyone, self._admit(everyone))
                return
            self._admit(twins, but_last=True)
        lengths = [len(row.ids) for row in self._batch]
        tails = [row.ids[-self._unseen :] for row in self._batch]
        positions = [list(range(length - self._unseen, length)) for length in lengths]
        device = self._model.device
        mask = None
        if any(self._padding):
            width = lengths[0] + self._padding[0]
            columns = torch.arange(width, device=device)
            mask = (columns >= torch.tensor(self._padding, device=device)[:, None]).long()
        logits = self._forward(
            torch.tensor(tails, device=device),
            torch.tensor(positions, device=device),
            mask,
            self._cache,
        )
        self._unseen = 1
        self._chooser.choose(self._batch, logits)

    def _twins(self, rows: Sequence[Row]) -> list[Row]:
        """Twins for guided rows inside an image that have none."""
        led = {id(row.leader) for row in rows}
        return [row.twin() for row in rows if row.wants_guidance and id(row) not in led]

    def _admit(self, new: list[Row], *, but_last: bool = False) -> Tensor:
        """Reads the ids of rows, or all but the last of them, into the cache -> logits [B,V]."""
        prompts = [row.ids[:-1] if but_last else row.ids for row in new]
        ids, mask = (
            each.to(self._model.device) for each in pad_left(prompts, self._vocabulary.pad)
        )
        padding = [ids.shape[1] - len(prompt) for prompt in prompts]
        cache = DynamicCache(config=self._model.config)
        positions = (mask.cumsum(1) - 1).clamp(min=0)
        logits = self._forward(ids, positions, mask if any(padding) else None, cache)
        if self._cache is None:
            self._batch, self._cache, self._padding, self._unseen = new, cache, padding, 1
        else:
            self._merge(new, cache, padding)
        return logits

    def _forward(
        self, ids: Tensor, positions: Tensor, mask: Tensor | None, cache: DynamicCache
    ) -> Tensor:
        """Ids [B,n] behind what the cache holds -> logits float32 [B,V] of what follows."""
        output = self._model(
            input_ids=ids,
            attention_mask=mask,
            position_ids=positions,
            use_cache=True,
            logits_to_keep=1,
            **{self._cache_name: cache},
        )
        # in half precision top-p would add up rounded probabilities
        return output.logits[:, -1].float()

    def _can_merge(self) -> bool:
        """Whether rows can join a cache that is in use: one with a sliding window or a state that
        sums up what was read cannot be padded, and what waits is read when its rows are done.
        """
        return all(type(layer).__name__ == "DynamicLayer" for layer in self._cache.layers)

    def _merge(self, new: list[Row], cache: DynamicCache, padding: list[int]) -> None:
        """Two caches -> one, with padding before the shorter rows."""
        mine, theirs = self._cache.get_seq_length(), cache.get_seq_length()
        more, fewer = max(theirs - mine, 0), max(mine - theirs, 0)
        for layer, other in zip(self._cache.layers, cache.layers, strict=True):
            layer.keys = _stacked(layer.keys, more, other.keys, fewer)
            layer.values = _stacked(layer.values, more, other.values, fewer)
        self._padding = [each + more for each in self._padding] + [each + fewer for each in padding]
        self._batch = self._batch + new

    def _drop_done(self) -> None:
        self.waiting = [row for row in self.waiting if not row.done]
        kept = [number for number, row in enumerate(self._batch) if not row.done]
        if len(kept) == len(self._batch):
            return
        self._batch = [self._batch[number] for number in kept]
        if not kept:
            self._cache, self._padding, self._unseen = None, [], 1
            return
        self._padding = [self._padding[number] for number in kept]
        if not self._can_merge():
            self._cache.batch_select_indices(torch.tensor(kept, device=self._model.device))
            return
        spare = min(self._padding)  # columns that were the longest row's, which has left
        self._padding = [each - spare for each in self._padding]
        for layer in self._cache.layers:
            layer.keys, layer.values = layer.keys[kept, :, spare:], layer.values[kept, :, spare:]


def _stacked(mine: Tensor, more: int, theirs: Tensor, fewer: int) -> Tensor:
    """Keys or values [B,H,N,D] of two batches -> one batch, padded before the shorter ones."""
    return torch.cat([F.pad(mine, (0, 0, more, 0)), F.pad(theirs, (0, 0, fewer, 0))])


def name_of_cache(model: PreTrainedModel) -> str:
    """What this release of transformers calls the KV cache; the later ones
    warn of the earlier name.
    """
    return "cache" if "cache" in inspect.signature(model.forward).parameters else "past_key_values"
