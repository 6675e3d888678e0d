"""`make bench`: the language model against the official way, on one core. Ratios over 1 say that
ours is the faster one.

The official way trains on one caption a row, padded to `max_length` (140 and 200 in its
recipe), and draws by Hugging Face's `generate`. All variants take turns in one process, and a
ratio is the median over rounds, so other work on the machine falls on all of them alike; `cpu`
counts the process's own time and is the steadier one. The two tests of the parts run by
default, on a tiny model.
"""

from __future__ import annotations

import json
import statistics
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F

from seedcli.data.documents.packing import PackedStream
from seedcli.models.device import keep_freed_memory
from seedcli.models.language.generate import SeedLlama
from seedcli.models.language.lora import attach_lora
from seedcli.models.visual.config import PRESETS
from seedcli.recipe.language import LlamaShapeSection
from seedcli.recipe.read import load_recipe
from seedcli.training.llm_batches import collate
from seedcli.training.llm_data import TokenSamples
from seedcli.training.optimizer import build_phase_optimizer
from tests.bench.caption_training import (
    DrawnCaptions,
    EmojiCaptions,
    PaddedCaptions,
    Training,
    Vocabulary,
    caption_samples,
    packed_training,
    padded_training,
    take_turns,
)
from tests.bench.image_drawing import draw_by_generate, draw_by_ours, drawing_prompts

RECIPE = load_recipe("nano-pretrain", command="pretrain")
NANO = RECIPE.language_model.shape
WIDE = NANO.model_copy(
    update={"hidden_size": 768, "intermediate_size": 2048, "num_layers": 12, "num_heads": 12}
)
TINY = NANO.model_copy(
    update={"hidden_size": 32, "intermediate_size": 48, "num_layers": 2, "num_heads": 2}
)
CONTEXT = RECIPE.context_length
OPTIMIZATION = RECIPE.full.optimization.model_copy(
    update={"batch_tokens": 8 * CONTEXT, "steps": 1_000_000}
)
# Words of a caption: mean, deviation, shortest, longest. COCO's captions have 10.5 words on
# average, of 1.3 pieces each in Llama's vocabulary; 25 are a longer sentence.
DRAWN = {"coco-like": (14, 4, 6, 60), "longer": (25, 8, 6, 80)}


@pytest.fixture(scope="module")
def vocabulary() -> Vocabulary:
    return Vocabulary.of_emoji(
        pieces=NANO.text_vocab_size, num_codes=PRESETS["seed-nano"].codebook.num_codes
    )


@pytest.fixture
def one_core() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def samples_of(captions: str, vocabulary: Vocabulary) -> TokenSamples:
    source = (
        EmojiCaptions(vocabulary)
        if captions == "emoji"
        else DrawnCaptions(
            vocabulary,
            **dict(zip(("mean", "deviation", "shortest", "longest"), DRAWN[captions], strict=True)),
        )
    )
    return caption_samples(source, vocabulary, context_length=CONTEXT)


def trainings_of(
    samples: TokenSamples,
    vocabulary: Vocabulary,
    shape: LlamaShapeSection,
    folder: Path,
    *,
    captions_an_update: int,
) -> list[Training]:
    """The packed one, then the padded ones: to 140, to 200, to the longest of the batch."""
    packed = packed_training(
        samples,
        vocabulary.build_model(shape),
        OPTIMIZATION,
        vocabulary=vocabulary,
        context_length=CONTEXT,
        micro_batch_rows=OPTIMIZATION.batch_tokens // CONTEXT,
        folder=folder,
    )
    padded = [
        padded_training(
            name,
            samples,
            vocabulary.build_model(shape),
            OPTIMIZATION,
            max_length=length,
            rows=captions_an_update,
            folder=folder,
        )
        for name, length in (
            ("max_length 140", 140),
            ("max_length 200", 200),
            ("longest of the batch", None),
        )
    ]
    return [packed, *padded]


@pytest.mark.parametrize("captions", ["emoji", *DRAWN])
@pytest.mark.bench
@pytest.mark.timeout(3600)
def test_training_on_captions(captions, vocabulary, one_core, tmp_path):
    """Real tokens a second, of one recipe and model, with as many captions
    an update in each way.
    """
    samples = samples_of(captions, vocabulary)
    lengths = sorted(len(samples.sample(n).ids) for n in range(2000))
    mean = statistics.mean(lengths)
    rounds, (packed, *padded) = (
        7,
        trainings_of(
            samples, vocabulary, NANO, tmp_path, captions_an_update=round(0.96 * 8 * CONTEXT / mean)
        ),
    )
    take_turns([packed, *padded], rounds=rounds)

    def rates(training: Training, clock: str) -> list[float]:
        return [turn.tokens / getattr(turn, clock) for turn in training.turns]

    report = {
        "benchmark": "training",
        "captions": captions,
        "tokens_of_a_caption_with_its_image": {
            "mean": round(mean, 1),
            "p5": lengths[100],
            "p95": lengths[-100],
            "longest": lengths[-1],
        },
        "real_share_of_packed_rows": round(
            sum(turn.tokens for turn in packed.turns) / rounds / OPTIMIZATION.batch_tokens, 3
        ),
        "packed_tokens_per_cpu_s": round(statistics.median(rates(packed, "cpu_s"))),
        "packed_over": {
            training.name: {
                clock: round(
                    statistics.median(
                        ours / theirs
                        for ours, theirs in zip(
                            rates(packed, key), rates(training, key), strict=True
                        )
                    ),
                    2,
                )
                for clock, key in (("wall", "wall_s"), ("cpu", "cpu_s"))
            }
            for training in padded
        },
    }
    print("\n" + json.dumps(report))
    assert all(len(training.turns) == rounds for training in (packed, *padded))


@pytest.mark.parametrize("batch", [1, 8])
@pytest.mark.parametrize(("size", "shape"), [("nano", NANO), ("wide", WIDE)])
@pytest.mark.bench
@pytest.mark.timeout(3600)
def test_drawing_images(size, shape, batch, vocabulary, one_core):
    """32 codes after a prompt that ends in BOI: as many forward passes for
    `generate` as for ours.
    """
    model = vocabulary.build_model(shape).eval()
    ways = ways_to_draw(model, vocabulary, batch=batch)
    codes = {name: draw() for name, draw in ways.items()}  # warms up
    times: dict[str, list[tuple[float, float]]] = {name: [] for name in ways}
    for _ in range(15 if size == "nano" else 7):
        for name, draw in ways.items():
            wall, cpu = time.perf_counter(), time.process_time()
            draw()
            times[name].append((time.perf_counter() - wall, time.process_time() - cpu))
    report = {
        "benchmark": "drawing",
        "model": size,
        "batch": batch,
        "ours_ms_an_image": round(
            1000 * statistics.median(cpu for _, cpu in times["ours"]) / batch, 1
        ),
        "ours_over": {
            name: {
                clock: round(
                    statistics.median(
                        other[i] / own[i]
                        for own, other in zip(times["ours"], times[name], strict=True)
                    ),
                    2,
                )
                for i, clock in enumerate(("wall", "cpu"))
            }
            for name in ways
            if name != "ours"
        },
    }
    print("\n" + json.dumps(report))
    assert codes["ours"] == codes["generate, processor"] == codes["generate, prefix function"]


def ways_to_draw(
    model, vocabulary: Vocabulary, *, batch: int
) -> dict[str, Callable[[], list[list[int]]]]:
    llm = SeedLlama(model, vocabulary.text_tokenizer, vocabulary.codes, None)
    prompts = drawing_prompts(vocabulary.codes, batch=batch)
    theirs = {
        f"generate, {grammar}": lambda grammar=grammar: draw_by_generate(
            model, vocabulary.codes, prompts, grammar
        )
        for grammar in ("bare", "processor", "prefix function")
    }
    ours = {
        name: lambda guidance=guidance: draw_by_ours(llm, prompts, code_guidance=guidance)
        for name, guidance in (("ours", 1.0), ("ours, with code guidance", 2.0))
    }
    return ours | theirs


PARTS = {
    "matrix products": ("aten::mm", "aten::addmm", "aten::bmm"),
    "attention": (
        "aten::_scaled_dot_product_flash_attention_for_cpu",
        "aten::_scaled_dot_product_flash_attention_for_cpu_backward",
    ),
    "random numbers of dropout": ("aten::bernoulli_",),
    "softmax of the loss": ("aten::_log_softmax", "aten::_log_softmax_backward_data"),
    "optimizer": ("aten::_fused_adamw_", "aten::_foreach_norm"),
}


@pytest.mark.parametrize("phase", ["full", "lora"])
@pytest.mark.bench
@pytest.mark.timeout(3600)
def test_where_an_update_goes(phase, vocabulary, one_core):
    """Shares of an update of seed-nano's recipe, by kind of work; the rest is element by element
    (norms, rotation, gates, adapters).
    """
    keep_freed_memory()
    samples = samples_of("emoji", vocabulary)
    model = vocabulary.build_model(NANO).train()
    if phase == "lora":
        model = attach_lora(model, **RECIPE.lora.adapter.model_dump())
    else:
        model.get_input_embeddings().requires_grad_(False)
    optimizer = build_phase_optimizer(model, OPTIMIZATION, RECIPE.parallel)
    rows = iter(PackedStream(samples, context_length=CONTEXT, lanes=16))

    def update() -> None:
        batch = collate([next(rows) for _ in range(16)])
        logits = model(
            input_ids=batch["input_ids"], position_ids=batch["position_ids"], use_cache=False
        ).logits
        wanted = F.pad(batch["labels"][:, 1:], (0, 1), value=-100).reshape(-1)
        F.cross_entropy(logits.reshape(len(wanted), -1), wanted).backward()
        torch.nn.utils.clip_grad_norm_(
            [parameter for parameter in model.parameters() if parameter.requires_grad], 1.0
        )
        optimizer.step()
        optimizer.zero_grad()

    update()
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU]) as profile:
        for _ in range(3):
            update()
    took = {event.key: event.self_cpu_time_total for event in profile.key_averages()}
    whole = sum(took.values())
    shares = {
        part: round(sum(took.get(name, 0.0) for name in names) / whole, 3)
        for part, names in PARTS.items()
    }
    print(
        "\n"
        + json.dumps(
            {
                "benchmark": "update",
                "phase": phase,
                "shares": shares | {"rest": round(1 - sum(shares.values()), 3)},
            }
        )
    )
    assert shares["matrix products"] > 0


def test_both_ways_train_on_the_same_captions(vocabulary, tmp_path):
    samples = samples_of("emoji", vocabulary)
    captions = PaddedCaptions(samples, max_length=140)
    sequences = [captions[n] for n in range(12)]
    batch = captions.collate(sequences)
    assert batch["input_ids"].shape == (12, 140)
    assert batch["attention_mask"].sum(1).tolist() == [len(sequence.ids) for sequence in sequences]
    assert [row[row != -100].tolist() for row in batch["labels"]] == [
        sequence.ids[1:].tolist() for sequence in sequences
    ]
    assert PaddedCaptions(samples, max_length=None).collate(sequences)["labels"].shape[1] == max(
        batch["attention_mask"].sum(1)
    )
    trainings = trainings_of(samples, vocabulary, TINY, tmp_path, captions_an_update=40)
    take_turns(trainings, rounds=2)
    packed, *padded = ([turn.tokens for turn in training.turns] for training in trainings)
    assert all(0.8 * 8 * CONTEXT < tokens <= 8 * CONTEXT for tokens in packed)
    assert padded[0] == padded[1] == padded[2]
    assert all(40 * 36 < tokens < 40 * 90 for tokens in padded[0])


@pytest.mark.parametrize("batch", [1, 3])
def test_all_ways_under_a_grammar_draw_the_same(batch, vocabulary):
    ways = ways_to_draw(vocabulary.build_model(TINY).eval(), vocabulary, batch=batch)
    codes = {name: draw() for name, draw in ways.items()}
    assert codes["ours"] == codes["generate, processor"] == codes["generate, prefix function"]
    assert (
        all(len(row) == 32 for rows in codes.values() for row in rows)
        and len(codes["ours"]) == batch
    )
