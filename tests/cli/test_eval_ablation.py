"""`seed eval ablation` as typed: what goes to stdout, what a person sees, what is refused
before anything is loaded.
"""

from __future__ import annotations

import json

import pytest
from typer.testing import CliRunner

from seedcli.cli.eval_ablation import _show_masks, _show_prefix
from seedcli.cli.main import app
from seedcli.workflows.evaluate.ablation.request import AblationRequest
from tests.llm_fixture import write_tiny_llm
from tests.workflows.evaluate.test_ablation import with_mask, with_phases


def call(*words, code=0):
    outcome = CliRunner().invoke(app, ["eval", "ablation", *map(str, words)])
    assert outcome.exit_code == code, outcome.output
    return outcome


@pytest.fixture
def quick(tiny_judge_folder, tmp_path):
    def options(output="run"):
        words = [
            "--judge",
            tiny_judge_folder,
            "--picture-steps",
            1,
            "--picture-guidance",
            1,
            "--limit",
            2,
            "--device",
            "cpu",
            "--json",
        ]
        return [*words, "-o", tmp_path / output]

    return options


def test_prefix_prints_one_envelope(quick, tiny_model_folder, tmp_path):
    result = json.loads(
        call("--prefix", "--causal", tiny_model_folder, "--lengths", "8,32", *quick()).stdout
    )
    assert (result["benchmark"], result["dataset"], result["split"], result["num_images"]) == (
        "ablation",
        "emoji",
        "unseen",
        2,
    )
    assert list(result["metrics"]) == ["causal_mean_8", "causal_all"]
    assert result["seeds"] == [0]
    shown = _show_prefix(result)
    assert (
        "causal mean 8" in shown
        and "prefixes.svg" in shown
        and "prefixes-strip.png" in shown
        and "chance" in shown
    )
    every = json.loads(call("--prefix", "--causal", tiny_model_folder, "--every", *quick()).stdout)
    assert every["lengths"] == list(range(1, 33))
    assert every["num_reused"] == 4


def test_twins_and_phases(quick, tiny_model_folder, tiny_llm_folder, tmp_path):
    tokenizer = with_mask(tmp_path / "tokenizer", tiny_model_folder, "bilateral")
    write_tiny_llm(tmp_path / "llm", tokenizer, seed=1)
    masks = ["--causal", tiny_llm_folder, "--bilateral", tmp_path / "llm"]
    result = json.loads(call(*masks, "--temperature", "0.7", "--seeds", "4", *quick()).stdout)
    assert result["settings"]["decoding"]["temperature"] == 0.7
    assert result["seeds"] == [4]
    shown = _show_masks(result)
    assert "seed 4, answers of exactly 32 codes: causal 0 of 2, bilateral 0 of 2" in shown
    assert "4,997" in shown
    lora = with_phases(tiny_llm_folder, tmp_path / "alone", lora=3)
    full = with_phases(tiny_llm_folder, tmp_path / "both", lora=1, full=2)
    result = json.loads(call("--lora", lora, "--full", full, *quick("phases")).stdout)
    assert result["metrics"]["difference_text_loss"] == 0
    assert result["seeds"] == [0, 1, 2]
    assert (
        call("--causal", tmp_path / "llm", "--bilateral", tiny_llm_folder, *quick(), code=2).stdout
        == ""
    )


@pytest.mark.parametrize(
    ("words", "says"),
    [
        ([], "--causal is missing"),
        (["--causal", "a"], "--bilateral is missing"),
        (["--bilateral", "a"], "--causal is missing"),
        (["--lora", "a"], "--full MODEL"),
        (["--full", "a"], "--lora MODEL"),
        (["--lora", "a", "--full", "b", "--prefix"], "one of them at a time"),
        (
            ["--causal", "a", "--bilateral", "b", "--lora", "c", "--full", "d"],
            "one of them at a time",
        ),
        (["--causal", "a", "--bilateral", "b", "--every"], "--every has no effect"),
        (["--causal", "a", "--bilateral", "b", "--lengths", "3"], "--lengths has no effect"),
        (["--prefix", "--every", "--lengths", "3"], "--every is every K"),
        (["--prefix", "--top-p", "0.5"], "as its folder advises"),
        (["--prefix", "--lengths", "3,x"], "--lengths 3,x"),
        (["--prefix", "--seeds", "-1"], "--seeds -1"),
        (["--causal", "nothing", "--bilateral", "b"], "no language model is called 'nothing'"),
    ],
)
def test_options_that_do_not_go_together(words, says):
    outcome = call(*words, code=2)
    assert outcome.stdout == ""
    assert says in outcome.stderr
    assert "->" in outcome.stderr


def test_sampling_is_the_official_scripts_by_default():
    choice = AblationRequest().choice()
    assert (choice.temperature, choice.top_p, choice.max_new_tokens) == (1.0, 0.5, 120)
    assert AblationRequest().all_seeds == (0, 1, 2)
