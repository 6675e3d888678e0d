"""Packed rows: nothing leaks between documents, every sample comes once, for any number of ranks
and after any interruption.
"""

from __future__ import annotations

import contextlib
import itertools
import json
import random
from collections import Counter
from dataclasses import dataclass

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import LlamaConfig, LlamaForCausalLM

from seedcli.data.documents.left_out import CUT, LeftOutError, add_tallies
from seedcli.data.documents.packing import LOOK_AHEAD, PackedRow, PackedStream
from seedcli.data.documents.sequences import IGNORED, TokenSequence
from seedcli.errors import DataError

VOCABULARY = 97


@dataclass(frozen=True)
class Samples:
    """Sequence n is a pure function of (seed, n); some numbers have none."""

    seed: int
    longest: int
    none: float = 0.1

    def sample(self, n: int) -> TokenSequence:
        rng = random.Random(f"{self.seed} {n}")
        if rng.random() < self.none:
            raise LeftOutError("nothing in it")
        ids = np.array(
            [1, *(rng.randrange(3, VOCABULARY) for _ in range(rng.randint(1, self.longest - 1)))],
            np.int32,
        )
        labels = np.where([False, *(rng.random() < 0.7 for _ in ids[1:])], ids, IGNORED).astype(
            np.int32
        )
        return TokenSequence(
            ids, labels, image_tokens=n % 3, dropped_images=n % 2, truncated=n % 5 == 0
        )

    def of(self, numbers: range) -> dict[int, TokenSequence]:
        """Those that there are."""
        found = {}
        for n in numbers:
            with contextlib.suppress(LeftOutError):
                found[n] = self.sample(n)
        return found


def take(stream: PackedStream, rows: int) -> list[PackedRow]:
    return list(itertools.islice(stream, rows))


def documents(row: PackedRow) -> list[tuple[list[int], list[int]]]:
    """Ids and labels of each document of a row, without padding."""
    starts = np.flatnonzero(row.position_ids == 0)
    spans = list(zip(starts, [*starts[1:], len(row.input_ids)], strict=True))
    spans = spans[: row.counts["documents"]]
    return [(row.input_ids[a:b].tolist(), row.labels[a:b].tolist()) for a, b in spans]


def same(ours: list[PackedRow], other: list[PackedRow]) -> bool:
    def plain(row: PackedRow) -> tuple:
        return (
            row.lane,
            row.lane_state,
            row.counts,
            row.input_ids.tolist(),
            row.labels.tolist(),
            row.position_ids.tolist(),
        )

    return [plain(row) for row in ours] == [plain(row) for row in other]


@pytest.mark.parametrize("attention", ["sdpa", "eager"])
@pytest.mark.parametrize("seed", range(4))
def test_packed_logits_equal_unpacked_ones(attention, seed):
    """Called as the trainer calls it: positions, no mask, no cache; two rows at once. Worst case
    1.5e-7; a mask of ones leaks 0.23.
    """
    torch.manual_seed(seed)
    config = LlamaConfig(
        vocab_size=VOCABULARY,
        hidden_size=32,
        intermediate_size=48,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
    )
    model = LlamaForCausalLM._from_config(config, attn_implementation=attention).eval()
    rows = take(PackedStream(Samples(seed, longest=30), context_length=64, lanes=2), 4)
    for pair in (rows[:2], rows[2:], rows[1:2]):
        ids, positions = (
            torch.tensor(np.stack([getattr(row, name) for row in pair])).long()
            for name in ("input_ids", "position_ids")
        )
        with torch.no_grad():
            packed = model(input_ids=ids, position_ids=positions, use_cache=False).logits
            for number, row in enumerate(pair):
                assert row.counts["documents"] > 1
                start = 0
                for document, _ in documents(row):
                    alone = model(input_ids=torch.tensor([document]), use_cache=False).logits[0]
                    torch.testing.assert_close(
                        packed[number, start : start + len(document)], alone, atol=1e-5, rtol=0
                    )
                    start += len(document)


def test_loss_of_a_row_is_the_loss_of_its_documents():
    """No label reaches over a seam: the shifted loss of a row sums the documents' own."""
    torch.manual_seed(0)
    model = LlamaForCausalLM(
        LlamaConfig(
            vocab_size=VOCABULARY,
            hidden_size=16,
            intermediate_size=16,
            num_hidden_layers=1,
            num_attention_heads=2,
        )
    )
    (row,) = take(PackedStream(Samples(7, longest=12), context_length=64, lanes=1), 1)

    def loss_sum(ids: list[int], labels: list[int], positions: list[int]) -> float:
        with torch.no_grad():
            logits = model(
                input_ids=torch.tensor([ids]),
                position_ids=torch.tensor([positions]),
                use_cache=False,
            ).logits[0, :-1]
        return float(
            torch.nn.functional.cross_entropy(
                logits, torch.tensor(labels[1:]), ignore_index=IGNORED, reduction="sum"
            )
        )

    whole = loss_sum(row.input_ids.tolist(), row.labels.tolist(), row.position_ids.tolist())
    parts = sum(loss_sum(ids, labels, list(range(len(ids)))) for ids, labels in documents(row))
    assert row.counts["documents"] > 4 and whole == pytest.approx(parts, rel=1e-5)


@settings(max_examples=40, deadline=None)
@given(
    seed=st.integers(0, 10_000),
    lanes=st.sampled_from([1, 2, 6]),
    context=st.integers(8, 80),
    none=st.sampled_from([0.0, 0.5]),
)
def test_every_sample_once(seed, lanes, context, none):
    source = Samples(seed, longest=context, none=none)
    rows = take(PackedStream(source, context_length=context, lanes=lanes), 8 * lanes)
    for lane in range(lanes):
        own = [row for row in rows if row.lane == lane]
        state = own[-1].lane_state
        drawn = range(lane, state["next"], lanes)
        read = source.of(drawn)
        cut = sum(sequence.truncated for sequence in read.values())
        tally = {"rows": len(drawn), "nothing in it": len(drawn) - len(read), CUT: cut}
        assert add_tallies([state["tally"]]) == {
            0: Counter({why: number for why, number in tally.items() if number})
        }
        packed = sorted(document for row in own for document in documents(row))
        left = [read.pop(n) for n in state["held"]]
        assert packed == sorted(
            (sequence.ids.tolist(), sequence.labels.tolist()) for sequence in read.values()
        )
        assert len(left) <= LOOK_AHEAD and state["held"] == sorted(state["held"])
        skipped = len(range(lane, state["next"], lanes)) - len(read) - len(left)
        assert sum(row.counts["skipped_samples"] for row in own) == skipped
        assert sum(row.counts["dropped_images"] for row in own) == sum(
            sequence.dropped_images for sequence in read.values()
        )
    for row in rows:
        assert (
            len(row.input_ids)
            == len(row.labels)
            == len(row.position_ids)
            == row.counts["row_tokens"]
            == context
        )
        assert row.counts["real_tokens"] == sum(len(ids) for ids, _ in documents(row)) > 0
        padding = context - row.counts["real_tokens"]
        assert row.position_ids[context - padding :].tolist() == list(range(padding))
        assert (row.labels[context - padding :] == IGNORED).all() and (
            row.labels[row.position_ids == 0] == IGNORED
        ).all()
        assert row.counts["learned_tokens"] == int((row.labels != IGNORED).sum())


@settings(max_examples=15, deadline=None)
@given(
    seed=st.integers(0, 10_000),
    world=st.sampled_from([1, 2, 3, 6]),
    killed_after=st.integers(1, 5),
    new_world=st.sampled_from([1, 2, 3, 6]),
)
def test_any_number_of_ranks_and_any_interruption(seed, world, killed_after, new_world):
    """Six lanes; after `killed_after` updates another number of ranks takes over from the states
    that went through JSON.
    """
    source, lanes, updates = Samples(seed, longest=40), 6, 8

    def update_rows(ranks: int, count: int, state: dict | None) -> list[list[PackedRow]]:
        streams = [
            iter(
                PackedStream(
                    source, context_length=48, lanes=lanes, rank=rank, world=ranks, state=state
                )
            )
            for rank in range(ranks)
        ]
        return [
            [next(stream) for stream in streams for _ in range(lanes // ranks)]
            for _ in range(count)
        ]

    expected = update_rows(1, updates, None)
    before = update_rows(world, killed_after, None)
    state = {row.lane: json.loads(json.dumps(row.lane_state)) for row in before[-1]}
    found = before + update_rows(new_world, updates - killed_after, state)
    assert all(same(ours, other) for ours, other in zip(found, expected, strict=True))


def test_rows_are_nearly_full():
    """Lengths of a pretraining mixture: captions of 45 tokens and documents of up to a row."""

    class Mixed:
        def sample(self, n: int) -> TokenSequence:
            length = (
                random.Random(n).randint(300, 1024)
                if n % 10 == 0
                else random.Random(n).randint(40, 60)
            )
            ids = np.ones(length, np.int32)
            return TokenSequence(ids, ids, 0, 0, False)

    rows = take(PackedStream(Mixed(), context_length=1024, lanes=4), 80)
    share = sum(row.counts["real_tokens"] for row in rows) / (80 * 1024)
    assert share > 0.97  # measured 0.983


def test_refusals():
    source = Samples(0, longest=20)
    with pytest.raises(DataError, match="6 rows does not split over 4"):
        PackedStream(source, context_length=32, lanes=6, world=4)
    with pytest.raises(DataError, match=r"lanes \[1\] is unknown"):
        PackedStream(source, context_length=32, lanes=2, state={0: {"next": 4, "held": []}})
    with pytest.raises(DataError, match="tokens, a row 8"):
        take(PackedStream(source, context_length=8, lanes=1), 4)
    with pytest.raises(
        DataError, match=r"nothing to learn from \(10,000 of source 0: nothing in it\)"
    ):
        take(PackedStream(Samples(0, longest=9, none=1.0), context_length=16, lanes=1), 1)
    with pytest.raises(DataError, match="have changed since"):
        PackedStream(
            Samples(0, longest=9, none=1.0),
            context_length=16,
            lanes=1,
            state={0: {"next": 4, "held": [3]}},
        )
