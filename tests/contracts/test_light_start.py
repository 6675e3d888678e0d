"""What importing and asking for help may load and do, looked at in processes of their own."""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.contracts.source_tree import ROOT, files

HEAVY = [
    "torch",
    "torchvision",
    "numpy",
    "PIL",
    "transformers",
    "diffusers",
    "peft",
    "accelerate",
    "deepspeed",
    "datasets",
    "open_clip",
]
HEAVY += ["pyarrow", "matplotlib", "pycocotools", "huggingface_hub"]
TORCH_FREE = [
    "errors.py",
    "console.py",
    "progress.py",
    "recipe/read.py",
    "recipe/stages.py",
    "models/visual/config.py",
    "models/language/cost.py",
    "models/language/vocab.py",
    "models/weights/published.py",
    "training/launcher.py",
    "training/ranks.py",
    "training/run_folder.py",
    "workflows/train/instruct.py",
    "workflows/train/parts.py",
    "workflows/train/phases.py",
    "workflows/train/start.py",
    "workflows/evaluate/run.py",
    "workflows/train/plan.py",
    "workflows/train/pretrain.py",
]
HELP_LIMIT_S = 0.25


def run_python(code: str, *, cwd: Path = ROOT) -> Any:
    """What the last line of a fresh interpreter's output holds, as JSON."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        cwd=cwd,
        env=environment,
        timeout=100,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


def module_name(file: str) -> str:
    return "seedcli." + file.removesuffix(".py").replace("/", ".").removesuffix(".__init__")


def test_torch_free_rooms_load_nothing_heavy() -> None:
    light = [file for file in files() if file in TORCH_FREE or file.startswith("cli/")]
    assert set(TORCH_FREE) <= set(light)
    names = [module_name(file) for file in light]
    loaded = run_python(
        f"import importlib, json, sys\nfor name in {names!r}: importlib.import_module(name)\n"
        "print(json.dumps(sorted(sys.modules)))"
    )
    assert [name for name in HEAVY if name in loaded] == []


def test_help_of_every_command_loads_nothing_heavy() -> None:
    code = """
import json, sys
from typer.testing import CliRunner
from seedcli.cli.main import app
from tests.contracts.command_line import leaf_commands
names = [name.split() for name, _ in leaf_commands()]
groups = [[], *{tuple(name[:-1]): list(name[:-1]) for name in names if len(name) > 1}.values()]
for name in [*names, *groups]:
    result = CliRunner().invoke(app, [*name, "--help"])
    assert result.exit_code == 0, (name, result.output)
print(json.dumps(sorted(sys.modules)))
"""
    loaded = run_python(code)
    assert [name for name in [*HEAVY, "rich"] if name in loaded] == []


# `here` is a file that exists
MISSING = {
    "tokenize gone/": "no such file or folder: gone/",
    "tokenize here --model /gone/m": "no folder at /gone/m",
    "detokenize gone.jsonl -o x": "gone.jsonl: No such file",
    "detokenize here -o x --fill llm --llm /gone/m": "no folder at /gone/m",
    "train-tokenizer nano-target data.path=gone": "no such training data: gone",
    "train-tokenizer nano-judge validation.path=gone.tar": "no such training data: gone.tar",
    "train-tokenizer nano-causal-qformer model.vocab=gone.txt": "no WordPiece vocabulary at gone",
    "train-tokenizer seed2-causal-qformer": "no such training data: data/cc3m/{00000..00331}.tar",
    "train-tokenizer nano-codebook tokenizer=/gone/m": "no folder at /gone/m",
    "train-tokenizer nano-unclip target=/gone/m": "no target at /gone/m",
    "pretrain vicuna7b": "and 2 more",
    "pretrain nano-pretrain": "no such training data: runs/nano-documents/read.parquet",
    "instruct nano-instruct": "no such training data: runs/nano-documents/conversations.parquet",
    "instruct nano-instruct start=/gone/m data.sources.0.path=here data.sources.1.path=here": (
        "no folder at /gone/m"
    ),
    "eval retrieval --dataset gone.json": "no file at gone.json",
    "eval caption --dataset here.json --images gone": "looked in gone",
    "eval vqa --dataset vqav2 --data-root gone": "gone/vqav2/annotations",
    "eval clip-similarity --judge /gone/m": "no judge at /gone/m",
    "eval clip-similarity --dataset gone.json": "no file at gone.json",
    "eval ablation --prefix --dataset gone.json": "no file at gone.json",
    "eval paper --results gone": "no folder at gone",
    "tokens build messages gone.jsonl -o x": "no such file: gone.jsonl",
    "tokens build messages here --images gone -o x": "--images gone: no such file",
    "tokens info gone": "gone: no such file or folder",
    "tokens merge gone -o x": "gone: no such file or folder",
    "chat --model /gone/m": "--model takes a preset (seed-nano, seed-llama",
    "eval caption --tokenizer /gone/m": "--tokenizer takes a preset (seed-2, seed-nano)",
    "chat --once hi --image gone.png": "gone.png: no such file",
    "chat --negative gone.jsonl": "--negative gone.jsonl: no such file",
    "serve --model /gone/m": "no folder at /gone/m",
    "bench tokenize gone/": "no such file or folder: gone/",
    "models verify /gone/m": "no folder at /gone/m",
}


def test_what_is_missing_is_told_before_torch_is_loaded(tmp_path: Path) -> None:
    """All in one process, in which the first command to load torch would be seen."""
    (tmp_path / "here").touch()
    sentences = [{"raw": "a cat"}]
    caption = {"filename": "cat.png", "split": "test", "sentences": sentences}
    (tmp_path / "here.json").write_text(json.dumps({"images": [caption]}))
    program = f"""
import json, sys
from typer.testing import CliRunner
from seedcli.cli.main import app
told = {{}}
for line in {list(MISSING)!r}:
    result = CliRunner().invoke(app, line.split())
    told[line] = [result.exit_code, result.stderr, "torch" in sys.modules]
print(json.dumps(told))
"""
    for line, (code, said, is_loaded) in run_python(program, cwd=tmp_path).items():
        assert (code, is_loaded) == (3, False), f"{line}\n{said}"
        assert MISSING[line] in said, line
    assert sorted(path.name for path in tmp_path.iterdir()) == ["here", "here.json"]


def test_help_is_fast() -> None:
    """Processor time, since the machine may be busy with other things; the best of a few. 0.10 s
    measured on two idle cores.
    """
    seconds = []
    for _ in range(5):
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        subprocess.run(
            [sys.executable, "-m", "seedcli", "--help"], check=True, capture_output=True, cwd=ROOT
        )
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        seconds.append(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)
        if seconds[-1] < HELP_LIMIT_S:
            break
    assert min(seconds) < HELP_LIMIT_S


@pytest.mark.timeout(400)
@pytest.mark.slow
def test_importing_everything_changes_nothing(tmp_path: Path) -> None:
    """Every module of ours in one process that may not reach the network; torch's and
    logging's settings stay.

    8 s of processor time; the limit is for busy machines.
    """
    names = [module_name(file) for file in files() if not file.endswith("__main__.py")]
    code = f"""
import importlib, json, logging, os, sys, warnings
import torch
attempts = []
def watch(event, arguments):
    if event in ("socket.connect", "socket.getaddrinfo"):
        attempts.append([event, repr(arguments)])
sys.addaudithook(watch)
def state():
    return [torch.get_default_dtype(), torch.get_default_device(), torch.is_grad_enabled(), torch.get_num_threads(), torch.initial_seed(),
            logging.root.level, len(logging.root.handlers), os.getcwd()]
before = state()
for name in {names!r}:
    importlib.import_module(name)
changes = [(str(one), str(two)) for one, two in zip(before, state()) if one != two]
print()
print(json.dumps([attempts, changes, sorted(os.listdir({str(tmp_path)!r}))]))
"""  # noqa: E501
    environment = {
        **os.environ,
        "HOME": str(tmp_path),
        "HF_HOME": str(tmp_path / "hf"),
        "MPLCONFIGDIR": str(tmp_path / "mpl"),
    }
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        cwd=ROOT,
        env=environment,
        timeout=380,
    )
    assert done.returncode == 0, done.stderr
    attempts, changes, written = json.loads(done.stdout.splitlines()[-1])
    assert attempts == []
    assert changes == []
    assert not {"hf", ".cache"} & set(written)
