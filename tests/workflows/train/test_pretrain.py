"""`seed pretrain` as a whole command: what it writes, that nothing that kills it is lost, and what
it refuses before it trains.
"""

from __future__ import annotations

import json
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from seedcli.errors import DataError, RecipeError, UsageError
from seedcli.models.weights.description import decoder_fingerprint
from seedcli.models.weights.llm_description import read_llm_facts
from seedcli.models.weights.load import describe
from seedcli.models.weights.locate import locate
from seedcli.recipe.read import load_recipe
from seedcli.training.checkpoints import newest_checkpoint
from seedcli.training.run_folder import read_metrics
from seedcli.workflows.train import pretrain
from tests.workflows.tiny_runs import (
    CONTEXT,
    STEPS,
    Fault,
    assert_same_weights,
    change_recipe,
    dry_run,
    read_weights,
    run_seed,
)

TIMES = ("tokens_per_s", "utilisation", "memory_mb", "eta_s")


def test_the_result_is_a_plain_folder_that_says_whose_codes_it_speaks(
    finished_runs, model, tiny_model_folder
):
    facts = read_llm_facts(model)
    visual = describe(locate(str(tiny_model_folder)))
    assert (facts.name, facts.template, facts.num_queries, facts.num_codes) == (
        "pretrain",
        None,
        32,
        64,
    )
    assert Path(facts.visual_tokenizer) == tiny_model_folder
    assert facts.visual_fingerprint == visual.fingerprint
    assert (
        facts.decoder_fingerprint == decoder_fingerprint(tiny_model_folder / "decoder") is not None
    )
    assert list(facts.trained["phases"]) == ["text", "lora", "full"]
    assert json.loads((finished_runs / "pretrain.json").read_text()) == {
        "model": str(model),
        "phases": facts.trained["phases"],
    }
    loaded, text_tokenizer = (
        AutoModelForCausalLM.from_pretrained(model),
        AutoTokenizer.from_pretrained(model),
    )
    assert type(loaded).__name__ == "LlamaForCausalLM"
    assert loaded.config.vocab_size == len(text_tokenizer) == len(loaded.lm_head.weight)
    first, boi, eoi = text_tokenizer.convert_tokens_to_ids(["<img_00000>", "<img>", "</img>"])
    assert text_tokenizer("<img> <img_00007></img> a dog").input_ids[:4] == [1, boi, first + 7, eoi]
    assert {"model.safetensors.index.json", "generation_config.json"} <= {
        path.name for path in model.iterdir()
    }
    assert not list(model.parent.rglob("*.partial"))


@pytest.mark.parametrize("phase", ["text", "lora", "full"])
def test_every_phase_logs_its_course_and_sums_it_up(finished_runs, phase):
    folder = finished_runs / "pretrain" / phase
    lines = read_metrics(folder)
    assert [line["step"] for line in lines] == list(range(1, STEPS + 1))
    kinds = {"loss_text"} if phase == "text" else {"loss_text", "loss_image"}
    assert all(
        line.keys() >= {"loss", *kinds, "gradient_norm", "lr", "real_share", *TIMES}
        for line in lines
    )
    assert "loss_image" not in lines[-1] or phase != "text"
    assert all(
        0.5 < line["real_share"] <= 1 and line["tokens_per_s"] > 0 and 0 < line["utilisation"] < 1
        for line in lines
    )
    assert (folder / "losses.png").stat().st_size > 0
    summary = json.loads((folder / "summary.json").read_text())
    assert summary["steps"] == STEPS
    assert summary["losses"] == pytest.approx(
        {name: lines[-1][name] for name in ("loss", *kinds)}, rel=1e-4
    )
    assert summary["tokens_per_s"] > 0 and summary["elapsed_s"] > 0
    assert ("largest_logit_difference_of_merge" in summary) == (phase == "lora")
    if phase == "lora":
        assert summary["largest_logit_difference_of_merge"] < 1e-5  # measured 6e-7


def test_the_full_phase_trains_everything_but_the_input_embedding(finished_runs, model):
    before, after = read_weights(finished_runs / "pretrain" / "lora" / "model"), read_weights(model)
    assert before.keys() == after.keys()
    assert [name for name in before if torch.equal(before[name], after[name])] == [
        "model.embed_tokens.weight"
    ]
    assert not torch.equal(after["lm_head.weight"], after["model.embed_tokens.weight"])
    frozen = before["model.embed_tokens.weight"].numel()
    assert (
        json.loads((finished_runs / "pretrain" / "full" / "summary.json").read_text())[
            "frozen_parameters"
        ]
        == frozen
    )


def test_a_dry_run_reads_and_writes_nothing_and_needs_no_torch(finished_runs, tmp_path):
    result = dry_run(tmp_path / "run", "pretrain", finished_runs / "pretrain.toml", "--nproc", "2")
    assert [phase["phase"] for phase in result["phases"]] == ["text", "lora", "full"]
    assert all(phase["tokens"] == STEPS * 4 * CONTEXT for phase in result["phases"])
    assert [source["share"] for source in result["phases"][1]["sources"]] == pytest.approx(
        [1 / 3] * 3
    )
    assert result["phases"][0]["sources"][0]["path"].endswith("texts.jsonl")
    assert result["output"] == str(tmp_path / "run") and result["model"] == str(
        tmp_path / "run" / "model"
    )


@pytest.mark.slow
@pytest.mark.timeout(400)
def test_a_run_that_is_killed_in_every_phase_gives_the_same_weights(finished_runs, tmp_path):
    """One run, stopped nine times. Where a process is killed two updates are made again at most,
    and no file is half there.
    """
    run, reference = tmp_path / "run", finished_runs / "pretrain"
    command = ["pretrain", finished_runs / "pretrain.toml", "-o", run]

    def stopped(
        fault: Fault, *, exit_code: int, checkpoint: str | None, resume: bool = True
    ) -> str:
        done = run_seed(tmp_path, *command, *(["--resume"] if resume else []), fault=fault)
        assert done.exit_code == exit_code, done.stderr
        assert done.stdout == ""
        newest = newest_checkpoint(run / (fault.phase or "lora") / "checkpoints")
        assert (newest.name if newest else None) == checkpoint
        return done.stderr

    stopped(Fault("text", 1), exit_code=-9, checkpoint=None, resume=False)
    stopped(Fault("text", 4), exit_code=-9, checkpoint="step-00000002")
    said = stopped(Fault("text", 3, do="terminate"), exit_code=130, checkpoint="step-00000003")
    assert "phase text: stopped after update 3 of 4" in said
    assert shlex.join(["seed", *map(str, command), "--resume"]) in said
    stopped(Fault("lora", 4), exit_code=-9, checkpoint="step-00000002")
    said = stopped(Fault("lora", 4, do="interrupt"), exit_code=130, checkpoint="step-00000004")
    # in the last update: not one step of the next phase
    assert "phase lora: stopped after update 4 of 4" in said
    assert not (run / "full").exists()
    stopped(
        Fault(saved="lora/model.partial/model-00002-of-00004.safetensors"),
        exit_code=-9,
        checkpoint="step-00000004",
    )
    assert not (run / "lora" / "model").exists()
    stopped(Fault("full", 2), exit_code=-9, checkpoint=None)
    stopped(Fault("full", 4), exit_code=-9, checkpoint="step-00000002")
    stopped(
        Fault(saved="run/model.partial/model-00001-of-00004.safetensors"),
        exit_code=-9,
        checkpoint="step-00000004",
    )
    result = run_seed(tmp_path, *command, "--resume").result
    for each in ("text/model", "lora/model", "model"):
        assert_same_weights(run / each, reference / each)
    for phase in ("text", "lora", "full"):
        timeless = [
            [{**line, **dict.fromkeys(TIMES)} for line in read_metrics(place / phase)]
            for place in (run, reference)
        ]
        assert timeless[0] == timeless[1]
        facts = [
            phases["phases"][phase]
            for phases in (result, json.loads((finished_runs / "pretrain.json").read_text()))
        ]
        assert all(each.pop("tokens_per_s") > 0 and each.pop("elapsed_s") > 0 for each in facts)
        # also where the process that saved the model had nothing left to train
        assert facts[0] == facts[1]
    assert not list(run.rglob("*.partial"))
    assert len(json.loads((run / "run.json").read_text())) == 10


def test_a_signal_before_training_names_the_command_that_continues(
    finished_runs, tmp_path, monkeypatch
):
    monkeypatch.setenv("HF_HOME", str(tmp_path / "cache"))
    script = f"""
import os, signal, sys
sys.argv = ["seed", "pretrain", {str(finished_runs / "pretrain.toml")!r}, "run.log_every_steps=2", "-o", "a run"]
import seedcli.workflows.train.pretrain as workflow
workflow.run = lambda *args, **kwargs: os.kill(os.getpid(), signal.SIGTERM)
from seedcli.cli.main import main
main()
"""  # noqa: E501
    done = subprocess.run(
        [sys.executable, "-c", script],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        cwd=tmp_path,
    )
    assert done.returncode == 130, done.stderr
    assert (
        f"seed pretrain {finished_runs}/pretrain.toml run.log_every_steps=2 -o 'a run' --resume"
        in done.stderr
    )


def test_nan_is_exit_5_and_the_advice_can_be_followed(finished_runs, tmp_path):
    run = tmp_path / "run"
    shutil.copytree(finished_runs / "pretrain" / "text", run / "text")
    shutil.copy(finished_runs / "pretrain" / "recipe.resolved.toml", run)
    command = ["pretrain", finished_runs / "pretrain.toml", "-o", run, "--resume"]
    done = run_seed(tmp_path, *command, fault=Fault("lora", 3, do="nan"))
    assert done.exit_code == 5, done.stderr
    assert "phase lora, update 3: loss nan" in done.stderr
    assert f"last good checkpoint: {run / 'lora' / 'checkpoints' / 'step-00000002'}" in done.stderr
    assert "lower the learning rate" in done.stderr and "--resume" in done.stderr
    assert not (run / "lora" / "model").exists()
    lower = [
        "lora.optimization.learning_rate=1e-3",
        "lora.optimization.min_learning_rate=1e-4",
        "lora.optimization.gradient_clip=0.5",
    ]
    assert run_seed(tmp_path, *command, *lower).result["phases"]["lora"]["steps"] == STEPS
    assert json.loads((run / "run.json").read_text())[-1]["changed"][
        "lora.optimization.learning_rate"
    ] == [0.01, 0.001]


def test_a_folder_that_holds_a_run_is_refused_without_resume(finished_runs, tmp_path, cache):
    with pytest.raises(UsageError, match="already holds a run") as refused:
        pretrain.run(change_recipe(finished_runs), finished_runs / "pretrain")
    assert "--resume" in refused.value.remedy and "-o" in refused.value.remedy
    # learned from the sources of a run that was killed soon after
    (tmp_path / "run" / "text" / "vocabulary").mkdir(parents=True)
    with pytest.raises(UsageError, match="already holds a run"):
        pretrain.run(
            change_recipe(finished_runs, "language_model.shape.text_vocab_size=330"),
            tmp_path / "run",
        )


def test_resume_with_another_recipe_is_refused(finished_runs, cache):
    other = change_recipe(finished_runs, "seed=9", "lora.adapter.rank=8")
    with pytest.raises(
        RecipeError, match=r"lora\.adapter\.rank: was 4, is 8; seed: was 7, is 9"
    ) as refused:
        pretrain.run(other, finished_runs / "pretrain", resume=True)
    assert refused.value.exit_code == 2 and "new folder" in refused.value.remedy


def test_resume_with_more_updates_of_a_finished_phase_is_refused(finished_runs, tmp_path, cache):
    shutil.copytree(finished_runs / "pretrain", tmp_path / "run")
    with pytest.raises(
        UsageError, match="phase lora is finished after 4 updates, the recipe says 9"
    ) as refused:
        pretrain.run(
            change_recipe(finished_runs, "lora.optimization.steps=9"), tmp_path / "run", resume=True
        )
    assert "lora.optimization.steps=4" in refused.value.remedy


def test_rows_that_do_not_split_are_refused_before_anything_is_read(
    finished_runs, tmp_path, monkeypatch, cache
):
    with pytest.raises(UsageError, match="an update has 3 rows .* micro_batch_rows 2") as refused:
        pretrain.run(
            change_recipe(finished_runs, f"full.optimization.batch_tokens={3 * CONTEXT}"),
            tmp_path / "run",
        )
    assert "phase full" in str(refused.value) and "micro_batch_rows" in refused.value.remedy
    monkeypatch.setenv("WORLD_SIZE", "3")
    with pytest.raises(UsageError, match="an update has 4 rows .* over 3 processes"):
        pretrain.run(change_recipe(finished_runs), tmp_path / "run")
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("source", ["texts", "pairs"])
def test_a_source_that_is_missing_is_named_before_the_first_phase(
    finished_runs, tmp_path, cache, source
):
    path = tmp_path / "moved.toml"
    path.write_text(
        (finished_runs / "pretrain.toml")
        .read_text()
        .replace(f"/{source}.jsonl", f"/absent-{source}.jsonl")
    )
    with pytest.raises(DataError, match=f"absent-{source}.jsonl") as refused:
        pretrain.run(load_recipe(path), tmp_path / "run")
    assert refused.value.exit_code == 3
    assert not (tmp_path / "run" / "text").exists()
