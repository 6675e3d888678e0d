"""Examples in help texts: each parses, and each that needs no more than a clone runs as typed; of
what trains the dry run. Benchmarks take minutes: tests of their own run them.
"""

from __future__ import annotations

import inspect
import re
import shlex
import shutil
from pathlib import Path

import pytest
from PIL import Image
from typer.testing import CliRunner

from seedcli.cli.main import app
from tests.contracts.command_line import leaf_commands, parse, seed_calls
from tests.contracts.source_tree import ROOT
from tests.videos import write_video

COMMANDS = dict(leaf_commands())
# What is not in a clone: published weights and sets, somebody's tars, folders of trained models,
# a run to continue, a browser, a server, and somebody who ends one; rates take minutes.
NEEDS = (
    "seed-2",
    "seed-llama",
    "--data-root",
    "laion/",
    "train2017",
    "train2014",
    "--causal runs/",
    "--lora runs/",
    "runs/nano-bilateral",
    "--resume",
    "--web",
    "seed serve",
    "--url",
    "seed bench ",
)


def examples(name: str) -> list[str]:
    text = inspect.cleandoc(COMMANDS[name].help or "")
    _, _, listed = text.partition("Example")
    joined = re.sub(r"\\\n\s*", "", listed)
    return [line.strip() for line in joined.splitlines() if line.strip().startswith("seed ")]


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_has_examples_that_parse(name: str) -> None:
    lines = examples(name)
    assert lines, f"seed {name} --help shows no example"
    for line in lines:
        for call in seed_calls(line):
            parse(call)
    assert any(f"seed {name}" in line for line in lines)


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """What the examples name: pictures, codes and shards, made by the bundled model."""
    folder = tmp_path_factory.mktemp("help")
    shutil.copytree(ROOT / "examples", folder / "examples")
    (folder / "photos").mkdir()
    for name in ("photo.jpg", "img.jpg", "photos/one.jpg", "photos/two.jpg"):
        Image.open(ROOT / "examples" / "face.png").convert("RGB").save(folder / name)
    write_video(folder / "clip.mp4")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        for output in ("codes.jsonl", "tokens/"):
            done = CliRunner().invoke(app, ["tokenize", "photos", "-o", output])
            assert done.exit_code == 0, done.output
    return folder


@pytest.mark.parametrize("name", [name for name in COMMANDS if not name.startswith("eval ")])
def test_examples_run(name: str, folder: Path, monkeypatch) -> None:
    monkeypatch.chdir(folder)
    (folder / "codes.jsonl").rename(folder / "kept.jsonl")
    for line in examples(name):
        if any(need in line for need in NEEDS):
            continue
        shutil.copy(folder / "kept.jsonl", folder / "codes.jsonl")
        if "-o codes.jsonl" in line:
            (folder / "codes.jsonl").unlink()
        piped = None
        for call in seed_calls(line):
            words = shlex.split(call)[1:]
            if name in ("train-tokenizer", "pretrain", "instruct"):
                words.append("--dry-run")
            done = CliRunner().invoke(app, words, input=piped or "")
            assert done.exit_code == 0, f"{line}\n{done.output}\n{done.exception!r}"
            piped = done.stdout
    (folder / "kept.jsonl").rename(folder / "codes.jsonl")
