"""The published numbers as data: typed here a second time, each with its evidence, and under
conditions that results can state.
"""

import re
from collections import Counter

import pytest

from seedcli.benchmarks.paper_numbers import FILE, MARKS, parse_paper_numbers, read_paper_numbers
from seedcli.benchmarks.retrieval_sets import NAMED_SETS
from seedcli.data.documents.conversations import read_prompts
from seedcli.models.visual.config import SEED_2
from seedcli.models.weights.locate_llm import LLM_PRESETS
from seedcli.workflows.evaluate.retrieval_features import RETRIEVAL_TEXT_TOKENS

# (model, dataset, metric): value, mark
SPOT = {
    ("BLIP-2, ITC", "flickr30k", "t2i_r10"): (98.4, "P"),
    ("BLIP-2, ITC", "coco", "r_mean"): (80.3, "P"),
    ("SEED-1, causal embeddings", "flickr30k", "i2t_r1"): (90.0, "P"),
    ("SEED-1, causal embeddings", "coco", "t2i_r5"): (80.7, "P"),
    ("SEED-1, causal codes", "coco", "i2t_r10"): (93.8, "P"),
    ("SEED-1, causal codes", "flickr30k", "r_mean"): (91.7, "P"),
    ("SEED-2, causal embeddings", "flickr30k", "i2t_r10"): (100.0, "M"),
    ("SEED-2, causal embeddings", "coco", "i2t_r1"): (74.2, "M"),
    ("SEED-2, causal codes", "coco", "t2i_r1"): (53.2, "M"),
    ("unCLIP, true CLIP embedding", "coco", "ceiling_clip_i"): (79.30, "M"),
    ("SEED-2", "flickr30k", "clip_i"): (76.52, "M"),
    ("GILL", "coco", "clip_i"): (67.45, "T"),
    ("Emu", "flickr30k", "clip_i"): (64.82, "T"),
    ("SEED-LLaMA 8B", "coco", "clip_i"): (69.07, "T"),
    ("SEED-LLaMA-I 8B", "flickr30k", "clip_i"): (66.55, "T"),
    ("SEED-LLaMA-I 8B", "coco", "cider"): (124.5, "T"),
    ("SEED-LLaMA-I 8B", "vqav2", "accuracy"): (66.2, "T"),
    ("SEED-LLaMA-I 8B", "okvqa", "accuracy"): (45.9, "T"),
    ("SEED-LLaMA-I 8B", "vizwiz", "accuracy"): (55.1, "T"),
    ("SEED-LLaMA-I 8B", "seed-bench", "accuracy"): (51.5, "T"),
    ("SEED-LLaMA-I 8B", "msvd", "accuracy"): (40.9, "T"),
    ("SEED-LLaMA-I 8B", "msrvtt", "accuracy"): (30.8, "T"),
    ("SEED-LLaMA-I 14B", "vqav2", "accuracy"): (63.4, "T"),
    ("SEED-LLaMA-I 14B", "seed-bench", "accuracy"): (53.7, "T"),
    ("SEED-LLaMA, causal codes", "coco", "causal_valid"): (100 * 4997 / 5000, "S"),
    ("SEED-LLaMA, bilateral codes", "coco", "bilateral_valid"): (100 * 2134 / 5000, "S"),
    ("SEED-LLaMA 14B, 64 A100-40G", "pretraining", "hours"): (216, "P"),
    ("SEED-1 tokenizer, 64 V100", "tokenizer", "days"): (5.7, "P"),
}


def cells():
    return {
        (number.model, number.measurement.dataset, number.metric): number
        for number in read_paper_numbers().published
    }


def test_values_are_the_published_ones():
    found = cells()
    assert len(found) == len(read_paper_numbers().published) == 98
    assert {key: (found[key].value, found[key].mark) for key in SPOT} == SPOT
    assert found["SEED-2, causal embeddings", "flickr30k", "i2t_r10"].decimals == 1
    assert found["unCLIP, true CLIP embedding", "coco", "ceiling_clip_i"].decimals == 2


def test_means_of_recalls_are_those_of_the_six():
    rows = Counter()
    for number in read_paper_numbers().published:
        if number.measurement.protocol.benchmark == "retrieval":
            sign = -6 if number.metric == "r_mean" else 1
            rows[number.model, number.measurement.dataset] += sign * number.value
    assert len(rows) == 10
    assert all(abs(rest) < 6 * 0.051 for rest in rows.values()), rows  # tables round to one digit


def test_every_row_has_its_evidence_and_source():
    for number in read_paper_numbers().published:
        assert number.mark in MARKS
        assert number.source
        assert number.measurement.split
        assert (number.weights is None) == bool(number.absent)
        assert number.weights in (None, "seed-2", *LLM_PRESETS)


def test_conditions_are_what_the_code_does():
    numbers = {
        number.measurement.protocol.name: number.measurement
        for number in read_paper_numbers().published
    }
    retrieval, caption, vqa = (numbers[name].conditions for name in ("retrieval", "caption", "vqa"))
    assert retrieval["settings.max_text_tokens"] == RETRIEVAL_TEXT_TOKENS
    assert retrieval["query"] == SEED_2.qformer.num_queries - 1
    for uses, conditions in (("retrieval", retrieval), ("codes", caption)):
        for name in ("image_size_px", "geometry", "interpolation"):
            assert conditions[f"settings.preprocessing.{name}"] == getattr(
                getattr(SEED_2.preprocess, uses), name
            )
    assert caption["settings.prompt"] == read_prompts()["question"]["describe_image"]
    assert vqa["settings.prompt"] == "{question} " + read_prompts()["question"]["short_answer"]
    assert numbers["drawing"].conditions["settings.decoder.guidance"] == SEED_2.detokenize.guidance
    for number in read_paper_numbers().published:
        named = NAMED_SETS.get(number.measurement.dataset)
        assert (
            named is None
            or number.measurement.conditions["num_images"] == named.published["test"][0]
        )


def test_commands_and_folders_of_measurements():
    numbers = read_paper_numbers()
    codes = cells()["SEED-2, causal codes", "coco", "i2t_r1"].measurement
    assert (
        codes.command("seed-2")
        == "seed eval retrieval --dataset coco --feature codes --model seed-2"
    )
    assert codes.name == "retrieval-coco-test-codes"
    own = {each.name: each.command("seed-nano") for each in numbers.own}
    assert (
        own["retrieval-emoji-vendor-causal"]
        == "seed eval retrieval --dataset emoji --split vendor --feature causal --model seed-nano"
    )
    assert len(own) == len(numbers.own)
    assert all(re.fullmatch(r"[\w.-]+", each.name) for each in numbers.own)


@pytest.mark.parametrize(
    ("pattern", "replacement", "message"),
    [
        (r'mark = "P"\n', "", "BLIP-2, ITC: mark None, expected one of S, P, T, M"),
        (r'mark = "P"', 'mark = "X"', "mark 'X'"),
        (
            r'absent = "another system, for scale"\n',
            "",
            "either `weights` or why they are `absent`",
        ),
        (r'protocol = "retrieval"', 'protocol = "guess"', "no set or protocol called 'guess'"),
        (r'assumed = \["judge.name"', 'assumed = ["jduge"', "assumes jduge, which is no condition"),
    ],
)
def test_a_faulty_file_is_refused(pattern, replacement, message):
    text = FILE.read_text(encoding="utf-8")
    changed = re.sub(pattern, replacement, text, count=1)
    assert changed != text
    with pytest.raises(ValueError, match=re.escape(message)):
        parse_paper_numbers(changed)
