"""A phase on one process: its loss, exact resume, interruption, numerical guards,
what it logs and keeps.
"""

from __future__ import annotations

import os
import signal

import pytest
import torch
import torch.nn.functional as F
from torch.utils.flop_counter import FlopCounterMode

from seedcli.errors import Interrupted, NumericalError, UsageError
from seedcli.recipe.language import LlmParallelSection, LlmRunSection
from seedcli.training.checkpoints import newest_checkpoint, read_progress
from seedcli.training.llm_batches import PackedBatches
from seedcli.training.optimizer import build_phase_optimizer, learning_rate_at
from seedcli.training.ranks import rows_of_update
from seedcli.training.run_folder import read_metrics
from seedcli.training.speed import training_flops
from tests.training.tiny_llm import CONTEXT, FIRST_CODE, OPTIMIZATION, rows, tiny_llama, train_tiny

TIMES = ("tokens_per_s", "utilisation", "memory_mb", "eta_s")
with_muon = pytest.mark.skipif(not hasattr(torch.optim, "Muon"), reason="torch before 2.9")


def _timeless(folder):
    return [
        {name: value for name, value in line.items() if name not in TIMES}
        for line in read_metrics(folder)
    ]


def _assert_same_weights(one, two):
    first, second = one.state_dict(), two.state_dict()
    assert first.keys() == second.keys()
    assert [name for name in first if not torch.equal(first[name], second[name])] == []


def rows_that(do, *, at):
    """The tiny rows; `do` is called when row number `at` of lane 0 is read."""

    def source(**place):
        for row in rows(**place):
            if row.lane == 0 and row.lane_state["next"] == at:
                do()
            yield row

    return source


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """Six updates without a break, with dropout."""
    folder = tmp_path_factory.mktemp("whole")
    return folder, train_tiny(folder, dropout=0.2)


def test_loss_is_the_mean_over_learned_tokens_of_the_whole_update(tmp_path):
    reference = tiny_llama()
    batches = [next(rows(lanes=8, rank=lane, world=8, state=None)) for lane in range(8)]
    summed, counted = {"text": 0.0, "image": 0.0}, {"text": 0, "image": 0}
    with torch.no_grad():
        for row in batches:
            ids, positions = (
                torch.from_numpy(values).long()[None]
                for values in (row.input_ids, row.position_ids)
            )
            logits = reference(input_ids=ids, position_ids=positions, use_cache=False).logits[
                0, :-1
            ]
            wanted = torch.from_numpy(row.labels).long()[1:]
            losses = F.cross_entropy(logits, wanted, ignore_index=-100, reduction="none")
            for kind, mask in (
                ("image", wanted >= FIRST_CODE),
                ("text", (wanted < FIRST_CODE) & (wanted != -100)),
            ):
                summed[kind] += losses[mask].sum().item()
                counted[kind] += int(mask.sum())
    train_tiny(tmp_path, steps=1, warmup_steps=0)
    line = read_metrics(tmp_path)[0]
    assert line["loss"] == pytest.approx(sum(summed.values()) / sum(counted.values()), rel=1e-5)
    assert line["loss_text"] == pytest.approx(summed["text"] / counted["text"], rel=1e-5)
    assert line["loss_image"] == pytest.approx(summed["image"] / counted["image"], rel=1e-5)


def test_a_word_may_count_more_than_a_code(tmp_path):
    reference, learned = tiny_llama(), 0
    for lane in range(8):
        row = next(rows(lanes=8, rank=lane, world=8, state=None))
        ids, positions = (
            torch.from_numpy(values).long()[None] for values in (row.input_ids, row.position_ids)
        )
        logits = reference(input_ids=ids, position_ids=positions, use_cache=False).logits[0, :-1]
        wanted = torch.from_numpy(row.labels).long()[1:]
        losses = F.cross_entropy(logits, wanted, ignore_index=-100, reduction="none")
        (losses * torch.where(wanted < FIRST_CODE, 4.0, 1.0)).sum().backward()
        learned += int((wanted != -100).sum())
    gradients = [parameter.grad for parameter in reference.parameters()]
    norm = torch.nn.utils.get_total_norm([each for each in gradients if each is not None])
    train_tiny(tmp_path / "four", steps=1, warmup_steps=0, word_weight=4.0)
    train_tiny(tmp_path / "one", steps=1, warmup_steps=0)
    four, one = (read_metrics(tmp_path / name)[0] for name in ("four", "one"))
    assert four["gradient_norm"] == pytest.approx(norm.item() / learned, rel=1e-4)
    assert four["loss"] == one["loss"]  # what is told stays the mean of all


def test_output_layer_computes_learned_positions_alone(tmp_path):
    model, seen = tiny_llama(), []
    model.lm_head.register_forward_hook(lambda _, inputs, output: seen.append(output.shape))
    train_tiny(tmp_path, model=model, steps=1, warmup_steps=0)
    learned = sum(
        int((next(rows(lanes=8, rank=lane, world=8, state=None)).labels[1:] != -100).sum())
        for lane in range(8)
    )
    assert sum(shape[0] for shape in seen) == learned < 8 * CONTEXT
    # and a trained model all of them again
    assert model(torch.zeros(1, 3, dtype=torch.long)).logits.shape[:2] == (1, 3)


def test_operations_are_those_that_torch_counts():
    model = tiny_llama()
    head = model.lm_head.register_forward_pre_hook(lambda _, states: (states[0][:, :7],))
    embedded = (
        model.get_input_embeddings()(torch.zeros(1, CONTEXT, dtype=torch.long))
        .detach()
        .requires_grad_()
    )
    with FlopCounterMode(display=False) as counter:
        model(inputs_embeds=embedded, use_cache=False).logits.sum().backward()
    head.remove()
    products = sum(
        flops
        for kind, flops in counter.get_flop_counts()["Global"].items()
        if "attention" not in str(kind) and "bmm" not in str(kind)
    )
    assert training_flops(model).of(CONTEXT, learned=7) == products


# on a machine of one core
@pytest.mark.filterwarnings("ignore:This DataLoader will create:UserWarning")
def test_micro_batches_and_reading_processes_change_nothing_but_rounding(tmp_path, whole):
    train_tiny(tmp_path / "one")
    run = LlmRunSection(log_every_steps=1, checkpoint_every_steps=3, loader_workers=2)
    train_tiny(tmp_path / "two", parallel={"micro_batch_rows": 4}, run=run)
    losses = [[line["loss"] for line in read_metrics(tmp_path / name)] for name in ("one", "two")]
    assert losses[0] == pytest.approx(losses[1], rel=2e-5)  # lines are rounded to six digits


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_interrupted_run_continues_bit_for_bit(tmp_path, whole, number):
    source = rows_that(lambda: os.kill(os.getpid(), number), at=2)
    with pytest.raises(Interrupted, match="after update 2 of 6") as stopped:
        train_tiny(tmp_path, row_source=source, dropout=0.2)
    assert stopped.value.exit_code == 130
    assert "--resume" in stopped.value.remedy
    _, model = train_tiny(tmp_path, resume=True, dropout=0.2)
    _assert_same_weights(model, whole[1][1])
    assert _timeless(tmp_path) == _timeless(whole[0])


def test_crashed_run_continues_from_its_checkpoint_bit_for_bit(tmp_path, whole):
    def crash():
        raise RuntimeError("power failure")

    with pytest.raises(RuntimeError, match="power failure"):
        train_tiny(tmp_path, row_source=rows_that(crash, at=5), dropout=0.2)
    assert read_progress(newest_checkpoint(tmp_path / "checkpoints"))["lanes"] == [{"next": 3}] * 8
    _, model = train_tiny(tmp_path, resume=True, dropout=0.2)
    _assert_same_weights(model, whole[1][1])
    assert _timeless(tmp_path) == _timeless(whole[0])


@with_muon
def test_with_muon_a_run_that_crashed_continues_bit_for_bit(tmp_path):
    def crash():
        raise RuntimeError("power failure")

    _, unbroken = train_tiny(tmp_path / "unbroken", optimizer="muon")
    with pytest.raises(RuntimeError, match="power failure"):
        train_tiny(tmp_path / "broken", row_source=rows_that(crash, at=5), optimizer="muon")
    _, model = train_tiny(tmp_path / "broken", resume=True, optimizer="muon")
    _assert_same_weights(model, unbroken)
    losses = [line["loss"] for line in read_metrics(tmp_path / "unbroken")]
    assert losses[-1] < losses[0]


def test_finished_phase_does_not_train_again(tmp_path, whole):
    result, model = train_tiny(whole[0], resume=True, dropout=0.2)
    assert result.steps == OPTIMIZATION.steps
    _assert_same_weights(model, whole[1][1])


def test_log_and_checkpoints(whole):
    lines = read_metrics(whole[0])
    assert [line["step"] for line in lines] == [1, 2, 3, 4, 5, 6]
    assert lines[-1].keys() >= {
        "loss",
        "loss_text",
        "loss_image",
        "gradient_norm",
        "lr",
        "real_share",
        *TIMES,
    }
    assert [line["lr"] for line in lines] == pytest.approx(
        [learning_rate_at(step, OPTIMIZATION) for step in range(6)], rel=1e-5
    )
    assert lines[-1]["loss"] < lines[0]["loss"]
    assert lines[-1]["eta_s"] == 0
    assert sorted(path.name for path in (whole[0] / "checkpoints").iterdir()) == [
        "step-00000003",
        "step-00000006",
    ]


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_loss_that_is_not_finite_stops_the_run_and_names_the_last_good_checkpoint(
    tmp_path, value
):
    model = tiny_llama()

    def break_it():
        model.lm_head.weight.data[0, 0] = value

    with pytest.raises(
        NumericalError, match=r"phase tiny, update 5: loss .*step-00000003"
    ) as failed:
        train_tiny(tmp_path, model=model, row_source=rows_that(break_it, at=5))
    assert failed.value.exit_code == 5
    assert "it goes on at step-00000003" in failed.value.remedy
    assert newest_checkpoint(tmp_path / "checkpoints").name == "step-00000003"


def test_weight_decay_spares_norms_and_embeddings_unless_the_recipe_decays_all():
    model = tiny_llama()
    one = LlmParallelSection()
    decayed, spared = build_phase_optimizer(model, OPTIMIZATION, one).param_groups
    assert decayed["weight_decay"] == OPTIMIZATION.weight_decay
    assert {parameter.ndim for parameter in decayed["params"]} == {2}
    # seven kinds of linear layers in two blocks, and the head
    assert len(decayed["params"]) == 2 * 7 + 1
    assert len(spared["params"]) == 2 * 2 + 1 + 1  # two norms a block, the last norm, the embedding
    as_published = OPTIMIZATION.model_copy(update={"decay_norms": True})
    (everything,) = build_phase_optimizer(model, as_published, one).param_groups
    assert len(everything["params"]) == len(list(model.parameters()))


def test_a_torch_without_muon_is_told(monkeypatch):
    monkeypatch.delattr(torch.optim, "Muon", raising=False)
    section = OPTIMIZATION.model_copy(update={"optimizer": "muon"})
    with pytest.raises(UsageError, match="needs torch 2.9"):
        build_phase_optimizer(tiny_llama(), section, LlmParallelSection())


@with_muon
def test_muon_trains_the_matrices_of_the_layers_by_the_rate_of_all():
    model = tiny_llama()
    model.get_input_embeddings().requires_grad_(False)
    section = OPTIMIZATION.model_copy(update={"optimizer": "muon"})
    optimizer = build_phase_optimizer(model, section, LlmParallelSection())
    matrices, head, norms = optimizer.param_groups
    assert [len(group["params"]) for group in (matrices, head, norms)] == [2 * 7, 1, 2 * 2 + 1]
    assert [group["weight_decay"] for group in (matrices, head, norms)] == [0.1, 0.1, 0.0]
    layer = model.model.layers[0].self_attn.q_proj.weight
    before = layer.detach().clone()
    for group in optimizer.param_groups:
        group["lr"] = 0.5
    model(torch.arange(CONTEXT)[None]).logits.square().sum().backward()
    optimizer.step()
    # of the size of AdamW's first step, its sign times the rate, at a fifth: arXiv 2502.16982
    change = (layer.detach() - before * (1 - 0.5 * 0.1)).square().mean().sqrt()
    assert change.item() == pytest.approx(0.5 * 0.2, rel=0.4)  # the iteration is a coarse one
    for parameter in model.parameters():
        parameter.requires_grad_(parameter is layer)  # as adapters alone, without norms or head
    alone = build_phase_optimizer(model, section, LlmParallelSection())
    assert [group["params"] for group in alone.param_groups] == [[layer]]


def test_rows_split_over_processes_evenly_or_not_at_all(whole):
    parallel = LlmParallelSection(micro_batch_rows=2)
    assert rows_of_update(OPTIMIZATION, parallel, context_length=CONTEXT, world=2) == (8, 2)
    with pytest.raises(UsageError, match="8 rows .* over 3 processes with micro_batch_rows 2"):
        rows_of_update(OPTIMIZATION, parallel, context_length=CONTEXT, world=3)


def test_any_number_of_ranks_reads_the_same_rows_in_the_same_updates():
    def update(world, accumulation, state=None):
        found, after = {}, {}
        for rank in range(world):
            batches = PackedBatches(
                rows, lanes=8, rank=rank, world=world, accumulation=accumulation, state=state
            )
            stream = iter(batches)
            for _ in range(accumulation):
                batch = next(stream)
                after |= batch["lanes"]
                found |= dict(zip(batch["lanes"], batch["input_ids"].tolist(), strict=True))
        return found, [after[lane] for lane in range(8)]

    one, state = update(1, 1)
    assert one == update(2, 2)[0] == update(4, 1)[0]
    assert update(1, 2, state)[0] == update(8, 1, state)[0] != one
