"""`seed instruct` as a whole command, on what `seed pretrain` wrote."""

from __future__ import annotations

import dataclasses
import json
import shlex
import shutil
from pathlib import Path

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer, pipeline

from seedcli.data.documents.conversations import conversation_template
from seedcli.data.documents.documents import Message
from seedcli.data.documents.sequences import encode_prompt
from seedcli.errors import DataError, SeedError, UsageError
from seedcli.models.language.code_vocabulary import CodeVocabulary
from seedcli.models.language.text_tokenizer import load_text_tokenizer
from seedcli.models.weights.llm_description import FACTS_FILE, read_llm_facts, write_llm_facts
from seedcli.recipe.read import load_recipe
from seedcli.training.checkpoints import newest_checkpoint
from seedcli.training.run_folder import read_metrics
from seedcli.workflows.train import instruct
from tests.workflows.tiny_runs import CONTEXT, STEPS, Fault, assert_same_weights, dry_run, run_seed


def _recipe(runs: Path, *overrides: str):
    return load_recipe(runs / "instruct.toml", overrides)


@pytest.fixture
def start(finished_runs, tmp_path, monkeypatch) -> Path:
    """A copy of the pretrained model, to be spoiled; codes of pictures do not go
    into the user's cache.
    """
    monkeypatch.setenv("HF_HOME", str(tmp_path / "cache"))
    shutil.copytree(finished_runs / "pretrain" / "model", tmp_path / "start")
    return tmp_path / "start"


def test_the_result_is_a_plain_folder_that_remembers_both_trainings(finished_runs):
    model, pretrained = (finished_runs / command / "model" for command in ("instruct", "pretrain"))
    facts, before = read_llm_facts(model), read_llm_facts(pretrained)
    assert facts == dataclasses.replace(
        before, name="instruct", template="vicuna", trained=facts.trained
    )
    assert facts.trained["started_from"] == before.trained
    (summary,) = facts.trained["phases"].values()
    # measured 2e-6 of logits up to 5
    assert summary["steps"] == STEPS and summary["largest_logit_difference_of_merge"] < 1e-4
    assert json.loads((finished_runs / "instruct.json").read_text()) == {
        "model": str(model),
        "phases": {"lora": summary},
    }
    lines = read_metrics(finished_runs / "instruct" / "lora")
    assert all(
        line.keys()
        >= {"loss", "loss_text", "loss_image", "tokens_per_s", "real_share", "utilisation"}
        for line in lines
    )
    loaded, text_tokenizer = (
        AutoModelForCausalLM.from_pretrained(model),
        AutoTokenizer.from_pretrained(model),
    )
    assert loaded.config.vocab_size == len(text_tokenizer)
    embedding = AutoModelForCausalLM.from_pretrained(pretrained).get_input_embeddings().weight
    # trained whole beside LoRA
    assert not torch.equal(loaded.get_input_embeddings().weight, embedding)


def test_other_programs_chat_with_the_result(finished_runs):
    """As it was taught; the pretrained model, which was taught nothing, has no template."""
    model = finished_runs / "instruct" / "model"
    assert not (finished_runs / "pretrain" / "model" / "chat_template.jinja").exists()
    asked = [
        {"role": "user", "content": "hi"},
        {"role": "assistant", "content": "Hello."},
        {"role": "user", "content": "a dog?"},
    ]
    text_tokenizer = AutoTokenizer.from_pretrained(model)
    ids = text_tokenizer.apply_chat_template(asked, add_generation_prompt=True, return_dict=False)
    messages = [Message(each["role"], (each["content"],)) for each in asked]
    ours = load_text_tokenizer(model)
    facts = read_llm_facts(model)
    prompt = conversation_template("vicuna").prompt(messages)
    assert ids == encode_prompt(prompt, ours, CodeVocabulary.of(ours, facts.num_queries))
    chat = pipeline("text-generation", model=str(model), device="cpu")
    (answer,) = chat(asked, max_new_tokens=3, do_sample=False)
    assert [each["role"] for each in answer["generated_text"]] == [
        "user",
        "assistant",
        "user",
        "assistant",
    ]


def test_rows_that_are_left_out_are_told_at_start_and_end(finished_runs):
    reason = "an assistant's message is empty"
    summary = json.loads((finished_runs / "instruct" / "lora" / "summary.json").read_text())
    ((source, counts),) = summary["left_out"].items()
    assert source.endswith("talks.jsonl (messages)") and counts.keys() >= {"rows", reason}
    rows = len((finished_runs / "talks.jsonl").read_text().splitlines())
    said = (finished_runs / "instruct.stderr").read_text()
    start = said.index(f"{source}: 1 of {rows} rows are left out (1 {reason})")
    end = (
        f"{counts[reason]} of {counts['rows']} rows drawn are left out ({counts[reason]} {reason})"
    )
    assert said.index(f"{source}: {end}") > start


def test_a_dry_run_reads_and_writes_nothing_and_needs_no_torch(finished_runs, tmp_path):
    result = dry_run(tmp_path / "run", "instruct", finished_runs / "instruct.toml", "start=nowhere")
    (phase,) = result["phases"]
    assert (phase["phase"], phase["tokens"], len(phase["sources"])) == (
        "lora",
        STEPS * 4 * CONTEXT,
        1,
    )
    assert result["start"] == "nowhere" and result["model"] == str(tmp_path / "run" / "model")


def test_a_run_that_is_killed_gives_the_same_weights(finished_runs, tmp_path):
    run = tmp_path / "run"
    command = ["instruct", finished_runs / "instruct.toml", "-o", run]
    stops = [
        (Fault("lora", 2), -9, None),
        (Fault("lora", 4), -9, "step-00000002"),
        (Fault("lora", 3, do="terminate"), 130, "step-00000003"),
        (Fault(saved="run/model.partial/model-00003-of-00004.safetensors"), -9, "step-00000004"),
    ]
    for number, (fault, exit_code, checkpoint) in enumerate(stops):
        done = run_seed(tmp_path, *command, *(["--resume"] if number else []), fault=fault)
        assert (done.exit_code, done.stdout) == (exit_code, ""), done.stderr
        newest = newest_checkpoint(run / "lora" / "checkpoints")
        assert (newest.name if newest else None) == checkpoint
        assert (
            exit_code != 130 or shlex.join(["seed", *map(str, command), "--resume"]) in done.stderr
        )
        assert not (run / "model").exists()
    summary = run_seed(tmp_path, *command, "--resume").result["phases"]["lora"]
    assert_same_weights(run / "model", finished_runs / "instruct" / "model")
    undisturbed = json.loads((finished_runs / "instruct.json").read_text())["phases"]["lora"]
    assert summary["losses"] == undisturbed["losses"]
    assert summary["left_out"] == undisturbed["left_out"]


@pytest.mark.parametrize("embedding", ["frozen", "trained"])
def test_a_model_is_tuned_whole_where_the_recipe_has_no_adapter(finished_runs, tmp_path, embedding):
    text = (finished_runs / "instruct.toml").read_text()
    adapter = text[text.index("[lora.adapter]") : text.index("[lora.optimization]")]
    whole = text.replace(adapter, f'[full]\ninput_embedding = "{embedding}"\n')
    whole = whole.replace("[lora.", "[full.")
    (tmp_path / "whole.toml").write_text(whole)
    result = instruct.run(load_recipe(tmp_path / "whole.toml"), tmp_path / "run")
    (summary,) = result["phases"].values()
    assert list(result["phases"]) == ["full"] and "largest_logit_difference_of_merge" not in summary
    before, after = (
        AutoModelForCausalLM.from_pretrained(folder).state_dict()
        for folder in (finished_runs / "pretrain" / "model", tmp_path / "run" / "model")
    )
    same = {name for name in before if torch.equal(before[name], after[name])}
    assert same == ({"model.embed_tokens.weight"} if embedding == "frozen" else set())
    assert read_llm_facts(tmp_path / "run" / "model").template == "vicuna"


def test_a_recipe_trains_something_and_muon_is_not_spread_by_deepspeed(finished_runs, tmp_path):
    text = (finished_runs / "instruct.toml").read_text()
    (tmp_path / "nothing.toml").write_text(text[: text.index("[lora.")])
    with pytest.raises(SeedError, match="neither `lora` nor `full`"):
        load_recipe(tmp_path / "nothing.toml")
    muon = text.replace("[lora.optimization]\n", '[lora.optimization]\noptimizer = "muon"\n')
    (tmp_path / "muon.toml").write_text(muon)
    with pytest.raises(SeedError, match="whole matrices"):
        load_recipe(tmp_path / "muon.toml", ["parallel.engine=deepspeed"])


def test_half_precision_changes_no_merge(finished_runs, tmp_path):
    """The forward pass is bf16; what is merged are fp32 master weights, computed with in fp32."""
    command = ["instruct", finished_runs / "instruct.toml", "parallel.precision=bf16"]
    done = run_seed(tmp_path, *command, "-o", tmp_path / "run")
    # measured 2e-6 of logits up to 5; 0.27 of 30 where the model kept Accelerate's autocast
    assert done.result["phases"]["lora"]["largest_logit_difference_of_merge"] < 1e-4
    exact = finished_runs / "instruct" / "lora"
    losses = [
        [line["loss"] for line in read_metrics(run)] for run in (exact, tmp_path / "run/lora")
    ]
    assert losses[0] == pytest.approx(losses[1], rel=1e-2)  # measured 7.5e-4 at most
    assert losses[0] != losses[1]


def test_nan_is_exit_5_and_names_the_last_good_checkpoint(finished_runs, tmp_path):
    command = ["instruct", finished_runs / "instruct.toml", "-o", tmp_path / "run"]
    done = run_seed(tmp_path, *command, fault=Fault("lora", 4, do="nan"))
    assert done.exit_code == 5, done.stderr
    assert (
        f"last good checkpoint: {tmp_path / 'run' / 'lora' / 'checkpoints' / 'step-00000002'}"
        in done.stderr
    )
    assert not (tmp_path / "run" / "model").exists()


def test_a_start_whose_visual_tokenizer_has_changed_is_refused(finished_runs, start, tmp_path):
    write_llm_facts(
        start, dataclasses.replace(read_llm_facts(start), visual_fingerprint="0123456789abcdef")
    )
    with pytest.raises(DataError, match="0123456789abcdef") as refused:
        instruct.run(_recipe(finished_runs, f"start={start}"), tmp_path / "run")
    assert refused.value.exit_code == 3 and "pretrain again" in refused.value.remedy
    assert not (tmp_path / "run").exists()


def test_a_start_that_speaks_no_codes_is_sent_to_pretraining(finished_runs, start, tmp_path):
    (start / FACTS_FILE).unlink()
    with pytest.raises(DataError, match=r"has no seed\.json") as refused:
        instruct.run(_recipe(finished_runs, f"start={start}"), tmp_path / "run")
    assert "seed pretrain" in refused.value.remedy


def test_a_start_of_another_architecture_is_refused(finished_runs, start, tmp_path):
    config = json.loads((start / "config.json").read_text())
    (start / "config.json").write_text(json.dumps({**config, "model_type": "gpt2"}))
    with pytest.raises(DataError, match=r"type gpt2, expected llama"):
        instruct.run(_recipe(finished_runs, f"start={start}"), tmp_path / "run")


def test_a_start_without_words_says_what_to_copy(finished_runs, start, tmp_path):
    (start / "tokenizer.json").unlink()
    with pytest.raises(DataError, match="has no text tokenizer") as refused:
        instruct.run(_recipe(finished_runs, f"start={start}"), tmp_path / "run")
    assert "copy tokenizer.json" in refused.value.remedy


@pytest.mark.parametrize(
    ("name", "error", "found"),
    [
        ("seed-nan", UsageError, "no language model is called"),
        ("nowhere/at/all", DataError, "no folder at nowhere/at/all"),
        ("./nowhere", DataError, "no folder at nowhere"),
    ],
)
def test_a_start_that_is_nowhere_is_refused_in_the_recipe_s_words(
    finished_runs, start, tmp_path, name, error, found
):
    with pytest.raises(error, match=found) as refused:
        instruct.run(_recipe(finished_runs, f"start={name}"), tmp_path / "run")
    assert refused.value.remedy.startswith("start takes") and "--model" not in refused.value.remedy


def test_rows_longer_than_the_model_s_positions_are_refused(finished_runs, start, tmp_path):
    longer = ["context_length=256", "lora.optimization.batch_tokens=1024"]
    with pytest.raises(
        UsageError, match="context_length 256 is longer than the 128 positions"
    ) as refused:
        instruct.run(_recipe(finished_runs, f"start={start}", *longer), tmp_path / "run")
    assert refused.value.remedy == "context_length=128"


def test_a_folder_that_holds_a_run_is_refused_without_resume(finished_runs):
    with pytest.raises(
        UsageError, match=r"already holds a run \(lora/checkpoints/step-00000004\)"
    ) as refused:
        instruct.run(_recipe(finished_runs), finished_runs / "instruct")
    assert "--resume" in refused.value.remedy
