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


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ("instruct nano-instruct start=/gone/model", "no folder at /gone/model"),
        ("train-tokenizer nano-codebook tokenizer=/gone/model", "no folder at /gone/model"),
        ("train-tokenizer nano-unclip target=/gone/target", "no target at /gone/target"),
    ],
)
def test_a_missing_model_is_told_before_torch_is_loaded(
    tmp_path: Path, arguments: str, says: str
) -> None:
    words = [*arguments.split(), "-o", str(tmp_path / "run")]
    code = f"""
import json, sys
from typer.testing import CliRunner
from seedcli.cli.main import app
result = CliRunner().invoke(app, {words!r})
print(json.dumps([result.exit_code, result.stderr, sorted(sys.modules)]))
"""
    code, said, loaded = run_python(code)
    assert code == 3
    assert says in said
    assert "torch" not in loaded


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
