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
from transformers import AutoModelForCausalLM, AutoTokenizer, GPT2Config, GPT2LMHeadModel

from seedcli.errors import DataError, RecipeError, SeedError, UsageError
from seedcli.models.language.seed_llama import (
    build_language_model,
    load_causal_model,
    save_language_model,
)
from seedcli.models.language.text_tokenizer import load_text_tokenizer
from seedcli.models.weights.description import decoder_fingerprint
from seedcli.models.weights.llm_description import read_llm_facts, write_llm_facts
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
    dry_run,
    read_weights,
    run_seed,
)

TIMES = ("tokens_per_s", "utilisation", "memory_mb", "eta_s")


def _recipe(runs: Path, *overrides: str, without: tuple[str, ...] = ()):
    """The tiny recipe with overrides, some of its sections left out."""
    recipe = load_recipe(runs / "pretrain.toml", overrides)
    return recipe.model_copy(update=dict.fromkeys(without))


def _from_folder(runs: Path, start: Path, *overrides: str):
    """The tiny recipe, but from a language model on the disk."""
    recipe = _recipe(runs, *overrides, without=("text",))
    return recipe.model_copy(
        update={
            "language_model": recipe.language_model.model_copy(
                update={"start": str(start), "shape": None}
            )
        }
    )


@pytest.fixture
def cache(tmp_path, monkeypatch):
    """Codes of pictures go here and not into the user's cache."""
    monkeypatch.setenv("HF_HOME", str(tmp_path / "cache"))


@pytest.fixture(scope="module")
def model(finished_runs) -> Path:
    return finished_runs / "pretrain" / "model"


@pytest.fixture(scope="module")
def words(finished_runs) -> Path:
    """A language model without codes, as the text phase leaves it."""
    return finished_runs / "pretrain" / "text" / "model"


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
        pretrain.run(_recipe(finished_runs), finished_runs / "pretrain")
    assert "--resume" in refused.value.remedy and "-o" in refused.value.remedy
    # learned from the sources of a run that was killed soon after
    (tmp_path / "run" / "text" / "vocabulary").mkdir(parents=True)
    with pytest.raises(UsageError, match="already holds a run"):
        pretrain.run(
            _recipe(finished_runs, "language_model.shape.text_vocab_size=330"), tmp_path / "run"
        )


def test_resume_with_another_recipe_is_refused(finished_runs, cache):
    other = _recipe(finished_runs, "seed=9", "lora.adapter.rank=8")
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
            _recipe(finished_runs, "lora.optimization.steps=9"), tmp_path / "run", resume=True
        )
    assert "lora.optimization.steps=4" in refused.value.remedy


def test_rows_that_do_not_split_are_refused_before_anything_is_read(
    finished_runs, tmp_path, monkeypatch, cache
):
    with pytest.raises(UsageError, match="an update has 3 rows .* micro_batch_rows 2") as refused:
        pretrain.run(
            _recipe(finished_runs, f"full.optimization.batch_tokens={3 * CONTEXT}"),
            tmp_path / "run",
        )
    assert "phase full" in str(refused.value) and "micro_batch_rows" in refused.value.remedy
    monkeypatch.setenv("WORLD_SIZE", "3")
    with pytest.raises(UsageError, match="an update has 4 rows .* over 3 processes"):
        pretrain.run(_recipe(finished_runs), tmp_path / "run")
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


def test_codes_of_another_tokenizer_are_refused(finished_runs, tmp_path, cache):
    path = tmp_path / "other.toml"
    path.write_text(
        (finished_runs / "pretrain.toml")
        .read_text()
        .replace(f"{finished_runs}/pairs.jsonl", f"{tmp_path}/pairs.jsonl")
    )
    rows = [json.loads(line) for line in (finished_runs / "pairs.jsonl").read_text().splitlines()]
    (tmp_path / "pairs.jsonl").write_text(
        "".join(json.dumps({**row, "fingerprint": "0123456789abcdef"}) + "\n" for row in rows)
    )
    with pytest.raises(DataError, match="0123456789ab") as refused:
        pretrain.run(load_recipe(path), tmp_path / "run")
    assert refused.value.exit_code == 3 and "tokenize" in refused.value.remedy


def test_a_start_that_speaks_other_codes_is_refused(finished_runs, model, tmp_path, cache):
    start = tmp_path / "start"
    shutil.copytree(model, start)
    write_llm_facts(
        start,
        read_llm_facts(model).__class__(
            **{**vars(read_llm_facts(model)), "visual_fingerprint": "0123456789abcdef"}
        ),
    )
    with pytest.raises(DataError, match="0123456789abcdef") as refused:
        pretrain.run(_from_folder(finished_runs, start), tmp_path / "run")
    assert refused.value.exit_code == 3 and refused.value.remedy.startswith("tokenizer=")
    assert not (tmp_path / "run").exists()


def test_a_start_of_another_architecture_is_refused(finished_runs, words, tmp_path, cache):
    start = tmp_path / "gpt2"
    GPT2LMHeadModel(GPT2Config(vocab_size=320, n_embd=16, n_layer=1, n_head=2)).save_pretrained(
        start
    )
    load_text_tokenizer(words).save_pretrained(start)
    with pytest.raises(DataError, match=r"gpt2.* expected llama") as refused:
        pretrain.run(_from_folder(finished_runs, start), tmp_path / "run")
    assert refused.value.exit_code == 3 and refused.value.remedy


def test_a_start_without_a_text_tokenizer_is_refused_and_says_what_to_copy(
    finished_runs, words, tmp_path, cache
):
    start = tmp_path / "start"
    shutil.copytree(words, start, ignore=shutil.ignore_patterns("tokenizer*"))
    with pytest.raises(DataError, match="has no text tokenizer") as refused:
        pretrain.run(_from_folder(finished_runs, start), tmp_path / "run")
    assert refused.value.exit_code == 3 and "copy" in refused.value.remedy


def test_a_published_start_takes_its_words_from_the_published_text_tokenizer(
    finished_runs, words, tmp_path, monkeypatch, cache
):
    """The published language models come without tokenizer files (spec: seed-llama-8b-sft); they
    lie in seed-tokenizer-2.
    """
    start = tmp_path / "published"
    shutil.copytree(words, start, ignore=shutil.ignore_patterns("tokenizer*"))
    config = json.loads((start / "config.json").read_text())
    (start / "config.json").write_text(json.dumps({**config, "vocab_size": 40194}))
    asked = []
    monkeypatch.setattr(
        "seedcli.models.weights.download.fetch",
        lambda role, **how: asked.append(role.name) or words,
    )
    from seedcli.workflows.train.start import locate_start

    found = locate_start(str(start), context_length=CONTEXT)
    assert asked == ["seed-llama-text-tokenizer"] and (found.folder, found.text_tokenizer) == (
        start,
        words,
    )


@pytest.mark.parametrize(
    ("start", "says"),
    [
        ("absent", "no language model is called 'absent'"),
        ("not/here/at-all", "no folder at not/here/at-all"),
    ],
)
def test_a_start_that_is_nowhere_is_refused(finished_runs, tmp_path, cache, start, says):
    with pytest.raises(SeedError, match=says) as refused:
        pretrain.run(_from_folder(finished_runs, Path(start)), tmp_path / "run")
    assert refused.value.remedy
    assert not (tmp_path / "run").exists()


def test_a_base_model_with_tied_embeddings_is_untied(finished_runs, words, tmp_path, cache):
    text_tokenizer = load_text_tokenizer(words)
    shape = {
        "hidden_size": 32,
        "intermediate_size": 48,
        "num_layers": 2,
        "num_heads": 2,
        "max_positions": 128,
        "rope_theta": 10000.0,
    }
    tied = build_language_model(text_tokenizer, **shape, seed=3)
    tied.config.tie_word_embeddings = True
    tied.lm_head.weight = tied.get_input_embeddings().weight
    save_language_model(tied, text_tokenizer, tmp_path / "tied", facts=None, shard_size="1GB")
    again = load_causal_model(tmp_path / "tied")
    assert again.lm_head.weight is again.get_input_embeddings().weight
    pretrain.run(
        _from_folder(
            finished_runs,
            tmp_path / "tied",
            "full.optimization.steps=1",
            "lora.optimization.steps=1",
        ),
        tmp_path / "run",
    )
    config = json.loads((tmp_path / "run" / "model" / "config.json").read_text())
    after = read_weights(tmp_path / "run" / "model")
    assert config["tie_word_embeddings"] is False
    assert not torch.equal(after["lm_head.weight"], after["model.embed_tokens.weight"])
    loaded = AutoModelForCausalLM.from_pretrained(tmp_path / "run" / "model")
    assert torch.equal(loaded.lm_head.weight, after["lm_head.weight"])
    merged = read_weights(tmp_path / "run" / "lora" / "model")
    assert torch.equal(merged["model.embed_tokens.weight"], after["model.embed_tokens.weight"])


def test_the_folder_of_the_visual_tokenizer_is_found_from_anywhere(
    finished_runs, tmp_path, tiny_model_folder, monkeypatch, cache
):
    monkeypatch.chdir(tiny_model_folder.parent)
    recipe = _recipe(
        finished_runs,
        f"tokenizer={tiny_model_folder.name}",
        *(f"{p}.optimization.steps=1" for p in ("text", "full")),
    )
    pretrain.run(recipe.model_copy(update={"lora": None}), tmp_path / "run")
    assert Path(read_llm_facts(tmp_path / "run" / "model").visual_tokenizer) == tiny_model_folder
