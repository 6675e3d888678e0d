"""Parts of seed-nano are put together one by one, each with its log."""

from __future__ import annotations

import json
import shutil

import pytest

from seedcli.models.weights.description import read_model_facts
from seedcli.models.weights.locate import BUNDLED_NANO
from tools.nano.bundle import CODES_STAGES, DECODER_STAGES, run_codes, run_decoder


@pytest.fixture
def runs(tmp_path):
    folder = tmp_path / "runs"
    for stage in (*CODES_STAGES, *DECODER_STAGES):
        (folder / stage).mkdir(parents=True)
        lines = [{"step": step, "loss": 1.0, "images_per_s": 64.0} for step in (20, 40)]
        (folder / stage / "metrics.jsonl").write_text(
            "".join(json.dumps(one) + "\n" for one in lines)
        )
        (folder / stage / "recipe.resolved.toml").write_text(
            f'target = "{folder}/nano-target/model"\n[optimization]\n'
            f"batch_size = 96 # {tmp_path}/my/{stage}.toml:12\n"
        )
    trained = folder / "nano-codebook" / "model"
    trained.mkdir()
    for name in ("model.safetensors", "seed_tokenizer.json", "vocab.txt"):
        shutil.copyfile(BUNDLED_NANO / name, trained / name)
    shutil.copytree(BUNDLED_NANO / "decoder" / "vae", folder / DECODER_STAGES[-1] / "model" / "vae")
    return folder


def test_codes_come_first_and_the_decoder_joins_them(runs, tmp_path):
    folder = tmp_path / "nano"
    done = run_codes(runs, folder)
    # the bundled weights are rounded already, so their codes stay
    assert done["fingerprint"] == read_model_facts(BUNDLED_NANO)[1]["fingerprint"]
    assert not (folder / "decoder").exists()
    run_decoder(runs, folder)
    _, facts = read_model_facts(folder)
    assert set(facts["trained"]["stages"]) == {*CODES_STAGES, *DECODER_STAGES}
    # 40 updates of 96 pictures at 64 a second
    assert facts["trained"]["stages"]["nano-target"] == {"steps": 40, "minutes": 1.0, "loss": 1.0}
    assert (folder / "decoder" / "vae" / "config.json").is_file()
    for stage in (*CODES_STAGES, *DECODER_STAGES):
        recipe = (folder / "training" / stage / "recipe.resolved.toml").read_text()
        assert 'target = "runs/nano-target/model"' in recipe
        assert f"batch_size = 96 # {stage}.toml:12\n" in recipe
        assert (folder / "training" / stage / "metrics.jsonl").is_file()


def test_a_stage_without_a_run_folder_keeps_its_bundled_log(runs, tmp_path):
    folder = tmp_path / "nano"
    run_codes(runs, folder)
    run_decoder(runs, folder)
    log = folder / "training" / "nano-target" / "metrics.jsonl"
    before = read_model_facts(folder)[1]["trained"]["stages"], log.read_bytes()
    for stage in DECODER_STAGES[:-1]:
        shutil.rmtree(runs / stage)
    run_decoder(runs, folder)
    assert (read_model_facts(folder)[1]["trained"]["stages"], log.read_bytes()) == before
