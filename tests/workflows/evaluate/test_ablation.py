"""The ablations on tiny twins: what is counted, kept, drawn and refused."""

from __future__ import annotations

import dataclasses
import json
import shutil

import numpy as np
import pytest
import torch
from PIL import Image

from seedcli.console import Reporter
from seedcli.errors import DataError, UsageError
from seedcli.models.weights.load import load_seed_model
from seedcli.models.weights.locate import locate
from seedcli.models.weights.tensors import save_tokenizer_folder
from seedcli.workflows.evaluate.ablation import sides as ablation_models
from seedcli.workflows.evaluate.ablation.frame import Judgement
from seedcli.workflows.evaluate.ablation.request import AblationRequest
from seedcli.workflows.evaluate.ablation.sides import training_facts
from seedcli.workflows.evaluate.pictures import EvalPictures, caption_pairs
from seedcli.workflows.evaluate.run import measure
from seedcli.workflows.sampling import SamplingOptions
from tests.llm_fixture import write_tiny_llm


class Listener(Reporter):
    """Keeps what is said."""

    def __init__(self):
        self.said = []

    def warn(self, text):
        self.said.append(text)


def with_mask(folder, source, mask):
    """The tokenizer of a folder with another mask, saved as training saves
    one: without a decoder.
    """
    tokenizer = load_seed_model(locate(str(source)), text_branch=True)
    tokenizer.config = dataclasses.replace(
        tokenizer.config, qformer=dataclasses.replace(tokenizer.config.qformer, mask=mask)
    )
    save_tokenizer_folder(
        tokenizer, folder, name=f"tiny-{mask}", trained={"trained_with_prefixes": True}
    )
    return folder


def with_phases(source, folder, **phases):
    """A copy of a language model that says by which phases it was trained."""
    shutil.copytree(source, folder)
    facts = json.loads((folder / "seed.json").read_text())
    facts |= {
        "name": folder.name,
        "trained": {"phases": {name: {"steps": steps} for name, steps in phases.items()}},
    }
    (folder / "seed.json").write_text(json.dumps(facts))
    return folder


@pytest.fixture(scope="module")
def twins(tmp_path_factory, tiny_model_folder, tiny_llm_folder):
    """Language models of the tiny tokenizer and of its bilateral twin."""
    folder = tmp_path_factory.mktemp("twins")
    tokenizer = with_mask(folder / "bilateral-tokenizer", tiny_model_folder, "bilateral")
    write_tiny_llm(folder / "bilateral-llm", tokenizer, seed=1)
    return str(tiny_llm_folder), str(folder / "bilateral-llm")


@pytest.fixture
def asked(tmp_path, tiny_judge_folder):
    def make(**replaced):
        defaults = {
            "judge": str(tiny_judge_folder),
            "limit": 3,
            "steps": 1,
            "guidance": 1.0,
            "device": "cpu",
            "batch_size": 4,
        }
        return AblationRequest(**defaults | {"output": tmp_path / "run"} | replaced)

    return make


@pytest.fixture
def ablate(asked):
    return lambda reporter=None, **replaced: measure(asked(**replaced), reporter=reporter)


def of_twins(twins):
    return dict(zip(("causal", "bilateral"), twins, strict=True))


def test_masks_from_start_to_plot(twins, ablate, tmp_path):
    listener = Listener()
    page = tmp_path / "page.html"
    result = ablate(listener, **of_twins(twins), seeds=(0, 1, 2), page=page)
    assert (result["num_images"], result["num_answers"]) == (3, 18)
    assert result["models"]["bilateral"]["tokenizer"] == "tiny-bilateral"
    for side in ("causal", "bilateral"):
        ends = result["histograms"][side]["ends"]
        assert sum(ends.values()) == 9
        assert sum(result["histograms"][side]["lengths_of_closed"].values()) == ends["closed"]
        curve = result["curves"][side]["unconditional"]
        assert len(curve["mean"]) == len(curve["interval"]) == 32
        assert result["metrics"][f"{side}_conditional_loss"] == pytest.approx(
            sum(result["curves"][side]["conditional"]["mean"]) / 32, abs=1e-3
        )
        assert result["metrics"][f"{side}_end_loss"] > 0
        assert result["metrics"][f"{side}_valid"] is not None
    metrics = result["metrics"]
    difference = metrics["causal_unconditional_loss"] - metrics["bilateral_unconditional_loss"]
    assert metrics["difference_unconditional_loss"] == pytest.approx(difference, abs=1e-3)
    assert result["by_seed"].keys() == {"0", "1", "2"}
    assert all(
        (tmp_path / "run" / name).stat().st_size
        for name in ("losses.png", "losses.svg", "result.json")
    )
    # the plot, and of each sample the true picture: nothing was drawn
    assert (page.read_text().count("<img"), page.read_text().count("no picture")) == (1 + 3, 2 * 3)
    assert any("nothing tells how both tokenizers were trained" in said for said in listener.said)

    # another seed computes its own answers only
    again = ablate(**of_twins(twins), seeds=(0, 1, 2, 3))
    assert again["num_reused"] == 18 + 6
    assert again["curves"] == result["curves"]
    with pytest.raises(DataError, match="other settings"):
        ablate(**of_twins(twins), sampling=SamplingOptions(temperature=0.5))


def test_an_image_of_exactly_all_codes_is_drawn_and_judged(twins, ablate, tmp_path, monkeypatch):
    """Random weights never end in time, so here the third answer of each batch is made to."""
    from seedcli.models.language.generate import SeedLlama

    plain = SeedLlama.generate

    def generate(llm, prompts, *arguments, **options):
        answers = plain(llm, prompts, *arguments, **options)
        ids = (*(llm.vocabulary.first_code + number for number in range(32)), llm.vocabulary.eoi)
        return [
            dataclasses.replace(answer, ids=ids, ended=True) if place == 2 else answer
            for place, answer in enumerate(answers)
        ]

    monkeypatch.setattr(SeedLlama, "generate", generate)
    result = ablate(**of_twins(twins), seeds=(0,), sampling=SamplingOptions(max_new_tokens=40))
    assert result["histograms"]["causal"]["lengths_of_closed"]["32"] == 1
    assert result["metrics"]["causal_valid"] == pytest.approx(100 / 3, abs=1e-3)
    assert result["by_seed"]["0"]["causal"] == {"valid": 1, "of": 3}
    assert -100 <= result["metrics"]["causal_clip_i"] <= 100
    assert len(list((tmp_path / "run" / "pictures").glob("*.png"))) == 2
    with Image.open(next((tmp_path / "run" / "pictures").iterdir())) as image:
        assert json.loads(image.text["seed"])["codes"] == list(range(32))


def test_models_that_are_no_twins_are_refused(twins, ablate, tmp_path, tiny_model_folder):
    causal, bilateral = twins
    with pytest.raises(UsageError, match=r"--causal .*bilateral-tokenizer is bilateral") as caught:
        ablate(causal=bilateral, bilateral=causal)
    assert caught.value.remedy == "swap --causal and --bilateral"
    with pytest.raises(UsageError, match="--bilateral .* is causal") as caught:
        ablate(causal=causal, bilateral=causal)
    assert "takes a model of a bilateral tokenizer" in caught.value.remedy
    with pytest.raises(UsageError, match="is bilateral"):
        ablate(prefix=True, causal=bilateral)
    other = with_mask(tmp_path / "other", tiny_model_folder, "bilateral")
    facts = json.loads((other / "seed_tokenizer.json").read_text())
    facts["config"]["preprocess"]["codes"]["interpolation"] = "bicubic"
    (other / "seed_tokenizer.json").write_text(
        json.dumps({key: value for key, value in facts.items() if key != "fingerprint"})
    )
    with pytest.raises(
        DataError, match=r"no twins: preprocess\.codes\.interpolation is 'bilinear' and 'bicubic'"
    ) as caught:
        ablate(prefix=True, causal=str(tiny_model_folder), bilateral=str(other))
    assert "nano-bilateral-codebook" in caught.value.remedy
    with pytest.raises(UsageError, match="beams"):
        ablate(**of_twins(twins), sampling=SamplingOptions(num_beams=2))


def test_training_that_differs_is_said(tmp_path):
    runs = {}
    for name, steps, mask in (("causal", 10, "causal"), ("bilateral", 12, "bilateral")):
        first, second = tmp_path / f"{name}-qformer", tmp_path / f"{name}-codebook"
        for folder in (first, second):
            (folder / "model").mkdir(parents=True)
        (first / "recipe.resolved.toml").write_text(
            f'stage = "causal-qformer"\nseed = 1\n[model]\nmask = "{mask}"\n[optimization]\n'
            f"steps = {steps}\n"
        )
        (second / "recipe.resolved.toml").write_text(
            f'stage = "codebook"\nseed = 1\ntokenizer = "{first / "model"}"\ntarget = "{name}"\n'
        )
        runs[name] = training_facts(second / "model")
    assert runs["causal"].keys() == {
        "codebook.stage",
        "codebook.seed",
        "causal-qformer.stage",
        "causal-qformer.seed",
        "causal-qformer.optimization.steps",
    }
    listener = Listener()
    ablation_models._compare_training("tokenizers", *runs.values(), listener)
    assert listener.said == [
        "the tokenizers were trained differently: causal-qformer.optimization.steps is 10 and 12"
    ]
    listener = Listener()
    ablation_models._compare_training("tokenizers", runs["causal"], runs["causal"], listener)
    assert listener.said == []
    assert training_facts(tmp_path) is None


def test_the_bundled_tokenizer_tells_how_it_was_trained():
    facts = training_facts(ablation_models.BUNDLED_NANO)
    assert facts["causal-qformer.optimization.steps"] == 2600
    assert facts["codebook.losses.prefix_share"] == 0.25


def test_prefixes_of_both_with_both_fills(twins, ablate, tmp_path):
    listener = Listener()
    page = tmp_path / "page.html"
    result = ablate(listener, prefix=True, **of_twins(twins), lengths=(32, 1, 8), page=page)
    assert result["lengths"] == [1, 8, 32]
    assert result["num_pictures"] == 3 * 2 * (2 * 2 + 1)
    assert set(result["metrics"]) == {
        f"{side}_{fill}_{kept}"
        for side in ("causal", "bilateral")
        for fill in ("mean", "llm")
        for kept in (1, 8)
    } | {
        "causal_all",
        "bilateral_all",
        "difference_all",
        *(f"difference_{fill}_{kept}" for fill in ("mean", "llm") for kept in (1, 8)),
    }
    assert result["metrics"]["causal_mean_8"] == pytest.approx(
        result["curves"]["causal"]["mean"]["mean"][1], abs=1e-3
    )
    assert set(result["chance"]) == {
        name for name in result["metrics"] if not name.startswith("difference")
    }
    assert all(-100 <= level <= 100 for level in result["chance"].values())
    assert (
        result["curves"]["causal"]["mean"]["mean"][2]
        == result["curves"]["causal"]["llm"]["mean"][2]
    )
    assert all(
        (tmp_path / "run" / name).stat().st_size for name in ("prefixes.png", "prefixes.svg")
    )
    assert page.read_text().count("<img") == 2  # curves and strip
    with Image.open(result["strip"]) as strip:
        assert strip.height > 3 * 4 * 64
    with Image.open(tmp_path / "run" / "pictures" / "bilateral-llm-08-s0-000000.png") as image:
        facts = json.loads(image.text["seed"])
    assert (facts["codes_only"], facts["fill"], facts["model"]) == (8, "llm", "tiny-bilateral")
    assert any("tiny was not trained on prefixes" in said for said in listener.said)

    again = ablate(prefix=True, **of_twins(twins), lengths=(8, 16))
    assert again["num_reused"] == 3 * 2 * 2


def test_prefixes_of_a_tokenizer_alone(ablate, tiny_model_folder):
    result = ablate(prefix=True, causal=str(tiny_model_folder), limit=2, lengths=(4,))
    assert set(result["metrics"]) == {"causal_mean_4"}
    with pytest.raises(UsageError, match="an image has 32 codes"):
        ablate(prefix=True, causal=str(tiny_model_folder), lengths=(33,))
    with pytest.raises(UsageError, match="32 codes"):
        ablate(prefix=True, causal=str(tiny_model_folder), lengths=(0, 4))


def test_chance_is_of_pictures_that_do_not_belong_together():
    drawn, truth = np.eye(3), np.array([[1.0, 0, 0], [0, 1.0, 0], [0, 1.0, 0]])
    judgement = Judgement(["a", "b", "c"], drawn, truth)
    assert judgement.similarity == {"a": 100.0, "b": 100.0, "c": 0.0}
    assert judgement.chance(["a", "b"]) == 0
    assert judgement.chance(["b", "c"]) == 50  # the second's true picture is what the first drew
    assert judgement.chance(["a"]) is None and judgement.chance(["a", "nothing drawn"]) is None
    assert Judgement([], np.zeros((0, 0)), np.zeros((0, 0))).similarity == {}


def test_lora_against_full(ablate, tmp_path, tiny_llm_folder, twins):
    lora = with_phases(tiny_llm_folder, tmp_path / "alone", text=5, lora=30)
    full = with_phases(tiny_llm_folder, tmp_path / "both", text=5, lora=10, full=20)
    listener = Listener()
    page = tmp_path / "page.html"
    result = ablate(listener, lora=str(lora), full=str(full), seeds=(0, 1), page=page)
    assert page.read_text().count("<img") == 3 * 3  # of each sample the true one and both drawn
    assert page.read_text().count("<strong>full:</strong>") == 3
    assert listener.said == []
    names = ("text_loss", "image_loss", "clip_i", "cider")
    assert set(result["metrics"]) == {
        f"{side}_{name}" for side in ("lora", "full", "difference") for name in names
    }
    # Copies of one model: both sides are equal.
    assert all(
        result["metrics"][f"lora_{name}"] == result["metrics"][f"full_{name}"] for name in names
    )
    assert all(result["metrics"][f"difference_{name}"] == 0 for name in names)
    assert result["metrics"]["full_text_loss"] > 0 and result["num_pictures"] == 2 * 2 * 3
    assert ablate(lora=str(lora), full=str(full), seeds=(0, 1))["num_reused"] == 2 * 3 + 2 * 2 * 3

    with pytest.raises(
        UsageError, match="--lora .* was trained by the phases text, lora, full"
    ) as caught:
        ablate(lora=str(full), full=str(full))
    assert "nano-lora-only" in caught.value.remedy
    with pytest.raises(UsageError, match="--full .* was trained by the phases text, lora"):
        ablate(lora=str(lora), full=str(lora))
    short = with_phases(tiny_llm_folder, tmp_path / "short", lora=10)
    listener = Listener()
    ablate(
        listener,
        lora=str(short),
        full=str(full),
        output=tmp_path / "short-run",
        limit=2,
        seeds=(0,),
    )
    assert listener.said == ["lora was trained for 10 updates, full for 30: not the same budget"]
    stranger = with_phases(twins[1], tmp_path / "stranger", lora=30)
    with pytest.raises(DataError, match="speaks codes of"):
        ablate(lora=str(stranger), full=str(full))


def test_losses_are_those_of_the_model(ablate, asked, tmp_path, twins, tiny_llm, tiny_model_folder):
    """One number of a line, recomputed by hand: the loss of the fifth code with
    and without the caption.
    """
    ablate(**of_twins(twins), limit=2, seeds=(0,))
    lines = [
        json.loads(line) for line in (tmp_path / "run" / "samples.jsonl").read_text().splitlines()
    ]
    line = next(line for line in lines if line["key"] == "causal-losses-000001")
    pairs = caption_pairs(asked().load_set(Reporter()))
    pictures = EvalPictures(locate(str(tiny_model_folder)), device="cpu")
    (codes,) = pictures.read([pairs["000001"].image])
    vocabulary = tiny_llm.vocabulary
    words = tiny_llm.text_tokenizer.encode(pairs["000001"].caption, add_special_tokens=False)
    for name, before in (
        ("conditional", [vocabulary.bos, *words]),
        ("unconditional", [vocabulary.bos]),
    ):
        ids = [*before, *vocabulary.codes_to_ids(codes)]
        place = len(before) + 1 + 4
        with torch.inference_mode():
            logits = tiny_llm.model(input_ids=torch.tensor([ids[:place]])).logits[0, -1].float()
        assert line[name][4] == pytest.approx(-logits.log_softmax(-1)[ids[place]].item(), abs=1e-3)
    assert len(line["conditional"]) == 33
