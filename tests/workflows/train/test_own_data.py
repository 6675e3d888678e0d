"""`examples/own-data` as its readme says: read by a recipe as it is, and through
`seed tokens build`; both give the same documents.
"""

from __future__ import annotations

import json
import random
import re
from pathlib import Path

import pytest
from typer.testing import CliRunner

from seedcli.cli.main import app
from seedcli.data.mixtures.documents import open_source
from seedcli.models.weights.load import describe
from seedcli.models.weights.locate import locate
from seedcli.recipe.language import DocumentSourceSection
from seedcli.recipe.read import load_recipe
from seedcli.workflows.pictures import SeedTokenizer
from seedcli.workflows.train import instruct
from tests.contracts.command_line import parse, seed_calls

ROOT = Path(__file__).parents[3]
RECIPE = "examples/own-data/instruct.toml"


@pytest.fixture(autouse=True)
def at_the_root(monkeypatch):
    monkeypatch.chdir(ROOT)


def readme_commands() -> list[str]:
    text = Path("examples/own-data/README.md").read_text(encoding="utf-8")
    return [
        line
        for block in re.findall(r"```sh\n(.*?)```", text, flags=re.DOTALL)
        for line in block.splitlines()
    ]


def test_a_recipe_and_built_shards_give_the_same_documents(tmp_path):
    calls = [call for line in readme_commands() for call in seed_calls(line)]
    assert [call.split()[1] for call in calls] == ["instruct", "tokens", "tokens"]
    for call in calls:
        parse(call)
    build = next(call for call in calls if " build " in call).replace(
        "tokens/own", str(tmp_path / "own")
    )
    built = CliRunner().invoke(app, build.split()[1:])
    assert built.exit_code == 0, built.stderr
    assert json.loads(built.stdout)["conversations"] == 4

    [direct] = load_recipe(RECIPE).data.sources
    shards = DocumentSourceSection(
        kind="tokens", path=str(tmp_path / "own"), form="messages", weight=1.0, max_tokens=256
    )
    facts = describe(locate("seed-nano"))
    how = {
        "num_queries": 32,
        "num_codes": facts.config.codebook.num_codes,
        "fingerprint": facts.fingerprint,
        "cache": tmp_path,
    }
    tokenizer = SeedTokenizer(locate("seed-nano"), device="cpu")

    def codes_of(pictures):
        return [tuple(codes) for codes in tokenizer.encode(pictures, fixed_shape=True).tolist()]

    one = open_source(direct, codes_of=codes_of, **how)
    two = open_source(shards, codes_of=None, **how)
    assert len(one) == len(two) == 4
    for row in range(4):
        messages = [source.read(row, random.Random(0)).messages for source in (one, two)]
        assert messages[0] == messages[1]
    pictures = [
        part
        for message in one.read(1, random.Random(0)).messages
        for part in message.segments
        if not isinstance(part, str)
    ]
    assert len(set(pictures)) == 2 and all(len(codes) == 32 for codes in pictures)


def test_the_recipe_trains(tmp_path, tiny_llm_folder, monkeypatch):
    monkeypatch.setenv("HF_HOME", str(tmp_path / "hf"))
    overrides = [
        f"start={tiny_llm_folder}",
        "full.optimization.steps=2",
        "full.optimization.batch_tokens=512",
        "parallel.micro_batch_rows=2",
    ]
    recipe = load_recipe(RECIPE, overrides=[*overrides, "full.optimization.warmup_steps=1"])
    result = instruct.run(recipe, tmp_path / "run")
    assert (Path(result["model"]) / "model.safetensors").is_file()
