"""`seed pretrain` and `seed instruct` as whole commands: a tiny recipe on a handful of rows, in
processes that can be killed at a place.

Every command is a process of its own, forked from one that has imported everything, so that a
command takes a second and not ten.
"""

from __future__ import annotations

import itertools
import json
import multiprocessing
import os
import random
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import pytest
import torch
from PIL import Image
from safetensors.torch import load_file

from seedcli.models.weights.load import describe
from seedcli.models.weights.locate import locate
from seedcli.recipe.read import load_recipe

STEPS = 4
CONTEXT = 64
WORDS = [
    "a small dog runs",
    "the red bus waits near the bridge",
    "12 birds above a green field",
    "a cat on a blue chair",
    "two old ships",
]
_PRELOADED = [
    "seedcli.cli.main",
    "seedcli.workflows.train.instruct",
    "seedcli.workflows.train.pretrain",
    "seedcli.training.phase",
]
_PRELOADED += [
    "seedcli.models.language.seed_llama",
    "seedcli.models.language.lora",
    "seedcli.data.mixtures.documents",
    "seedcli.models.weights.load",
]
# which a run imports later
_PRELOADED += ["deepspeed", "datasets", "matplotlib.figure", "matplotlib.backends.backend_agg"]

_OPTIMIZATION = f"""
steps = {STEPS}
batch_tokens = {4 * CONTEXT}
learning_rate = 1e-2
min_learning_rate = 1e-3
warmup_steps = 1
schedule = "cosine"
weight_decay = 0.05
decay_norms = false
betas = [0.9, 0.95]
adam_epsilon = 1e-8
gradient_clip = 1.0
"""
_ADAPTER = """
[lora.adapter]
rank = 4
alpha = 8.0
dropout = 0.1
targets = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]
trained_whole = ["embed_tokens", "lm_head", "input_layernorm", "post_attention_layernorm", "norm"]
"""
_HOW = """
[parallel]
device = "cpu"
micro_batch_rows = 2

[run]
log_every_steps = 1
checkpoint_every_steps = 2
shard_size = "40kB"
"""


def write_rows(folder: Path, fingerprint: str) -> None:
    """`texts.jsonl`, `pairs.jsonl` with codes, `pictures.jsonl` with pictures beside it,
    `talks.jsonl` with conversations.
    """
    rng = random.Random(0)
    codes = [[rng.randrange(64) for _ in range(32)] for _ in WORDS]
    for number in range(3):
        Image.new("RGB", (64, 48), (40 * number, 200 - 60 * number, 90)).save(
            folder / f"{number}.png"
        )
    rows: dict[str, list[dict[str, Any]]] = {
        "texts": [{"text": f"{one}, {other}"} for one in WORDS for other in WORDS],
        "pairs": [
            {"codes": each, "text": words, "fingerprint": fingerprint}
            for each, words in zip(codes, WORDS, strict=True)
        ],
        "pictures": [{"image": f"{number}.png", "text": WORDS[number]} for number in range(3)],
        "talks": [
            {
                "messages": [
                    {"role": "user", "content": asked},
                    {"role": "assistant", "content": answered},
                ],
                "images": [each],
                "fingerprint": fingerprint,
            }
            for each, words in zip(codes, WORDS, strict=True)
            # of the last, nothing can be learned
            for asked, answered in (
                ("<image>what?", words),
                (f"draw {words[:8]}", "<image>"),
                *([("<image>?", " ")] if words == WORDS[0] else ()),
            )
        ],
    }
    for name, each in rows.items():
        (folder / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in each))


def write_recipes(folder: Path, tokenizer: Path) -> None:
    """`pretrain.toml` (text, LoRA, full) and `instruct.toml` over the rows of
    `write_rows` in the same folder.
    """
    caption = (
        'form = "caption", weight = 1.0, max_tokens = 64, image_first = 0.5, mask_first = false'
    )
    text = (
        f'{{ kind = "table", path = "{folder}/texts.jsonl", form = "text", weight = 1.0, '
        f"max_tokens = 64 }}"
    )
    (folder / "pretrain.toml").write_text(f"""
stage = "pretrain"
seed = 7
tokenizer = "{tokenizer}"
context_length = {CONTEXT}

[language_model]
start = "scratch"
template = "vicuna"

[language_model.shape]
hidden_size = 32
intermediate_size = 48
num_layers = 2
num_heads = 2
max_positions = 128
rope_theta = 10000.0
text_vocab_size = 320

[text.data]
sources = [{text}]

[text.optimization]{_OPTIMIZATION}
[data]
sources = [
  {{ kind = "table", path = "{folder}/pairs.jsonl", {caption} }},
  {{ kind = "table", path = "{folder}/pictures.jsonl", {caption} }},
  {text},
]
{_ADAPTER}
[lora.optimization]{_OPTIMIZATION}
[full.optimization]{_OPTIMIZATION}{_HOW}""")
    (folder / "instruct.toml").write_text(f"""
stage = "instruct"
seed = 8
start = "{folder}/pretrain/model"
template = "vicuna"
context_length = {CONTEXT}

[data]
sources = [{{ kind = "table", path = "{folder}/talks.jsonl", form = "messages", weight = 1.0, max_tokens = 64 }}]
{_ADAPTER}
[lora.optimization]{_OPTIMIZATION}{_HOW}""")  # noqa: E501


@dataclass(frozen=True)
class Fault:
    """What happens to a command, and when: at the start of an update of a phase, or when a file of
    weights has been written.
    """

    phase: Literal["text", "lora", "full"] | None = None
    update: int = 3
    saved: str | None = None
    do: Literal["kill", "terminate", "interrupt", "nan"] = "kill"


@dataclass(frozen=True)
class Done:
    """How a command ended; a negative exit code is a signal's."""

    exit_code: int
    stdout: str
    stderr: str

    @property
    def result(self) -> dict[str, Any]:
        """What it gave, as JSON."""
        assert self.exit_code == 0, self.stderr
        return json.loads(self.stdout)


def run_seed(scratch: Path, *arguments: str | Path, fault: Fault | None = None) -> Done:
    """`seed ARGUMENTS` in a process of its own; caches lie in `scratch`."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(_PRELOADED)
    process = context.Process(
        target=_be_seed, args=(scratch, [str(each) for each in arguments], fault)
    )
    process.start()
    process.join(400)  # on a busy machine; a hang is what it looks for
    assert process.exitcode is not None, f"still running: {arguments}"
    return Done(process.exitcode, *((scratch / name).read_text() for name in ("stdout", "stderr")))


def _be_seed(scratch: Path, arguments: list[str], fault: Fault | None) -> None:
    for number, name in ((1, "stdout"), (2, "stderr")):
        opened = os.open(scratch / name, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        os.dup2(opened, number)
        os.close(opened)
    os.environ["HF_HOME"] = str(scratch / "cache")
    sys.argv = ["seed", *arguments]
    if fault:
        _arm(fault)
    from seedcli.cli.main import main

    main()


def _arm(fault: Fault) -> None:
    import seedcli.models.language.seed_llama as saving
    from seedcli.training.phase import PhaseTraining

    read_updates, save_file = PhaseTraining.updates, saving.save_file

    def happen(training: PhaseTraining | None) -> None:
        if fault.do == "nan":
            trained = (each for each in training.module.parameters() if each.requires_grad)
            next(trained).data.view(-1)[0] = float("nan")
        else:
            os.kill(
                os.getpid(),
                {"kill": signal.SIGKILL, "terminate": signal.SIGTERM, "interrupt": signal.SIGINT}[
                    fault.do
                ],
            )

    def updates(self: PhaseTraining, step: int) -> Iterator[Any]:
        stream = read_updates(self, step)
        for number in itertools.count(step + 1):
            if self.name == fault.phase and number == fault.update:
                happen(self)
            yield next(stream)

    def save(tensors: dict, path: Path, **how: Any) -> None:
        save_file(tensors, path, **how)
        if fault.saved and str(path).endswith(fault.saved):
            happen(None)

    PhaseTraining.updates, saving.save_file = updates, save


@pytest.fixture(scope="session")
def finished_runs(tmp_path_factory, tiny_model_folder) -> Path:
    """A folder with rows, recipes, and a run of each command that nothing disturbed: `pretrain`,
    `instruct`. Do not write into it.
    """
    folder = tmp_path_factory.mktemp("runs")
    write_rows(folder, describe(locate(str(tiny_model_folder))).fingerprint)
    write_recipes(folder, tiny_model_folder)
    for command in ("pretrain", "instruct"):
        done = run_seed(folder, command, folder / f"{command}.toml", "-o", folder / command)
        (folder / f"{command}.json").write_text(json.dumps(done.result))
        (folder / f"{command}.stderr").write_text(done.stderr)
    return folder


def dry_run(folder: Path, *arguments: str | Path) -> dict[str, Any]:
    """What `seed ARGUMENTS -o FOLDER --dry-run` prints; nothing heavy is loaded or written."""
    words = ["seed", *map(str, arguments), "-o", str(folder), "--dry-run"]
    script = f"""
import json, sys
sys.argv = {words!r}
from seedcli.cli.main import main
try:
    main()
except SystemExit as end:
    assert not end.code
heavy = ("torch", "numpy", "transformers", "pyarrow")
print(json.dumps([name for name in heavy if name in sys.modules]))
"""
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, timeout=60, check=True
    )
    result, heavy = (json.loads(line) for line in done.stdout.splitlines())
    assert heavy == []
    assert not folder.exists()
    return result


def read_weights(folder: Path) -> dict[str, torch.Tensor]:
    """All tensors of a model folder, by name."""
    return {
        name: tensor
        for path in sorted(folder.glob("*.safetensors"))
        for name, tensor in load_file(path).items()
    }


def assert_same_weights(one: Path, two: Path) -> None:
    """Files of weights of two folders are equal to the bit."""
    names = sorted(path.name for path in one.glob("*.safetensors"))
    assert names and names == sorted(path.name for path in two.glob("*.safetensors"))
    assert [name for name in names if (one / name).read_bytes() != (two / name).read_bytes()] == []


def change_recipe(runs: Path, *overrides: str, without: tuple[str, ...] = ()):
    """The tiny recipe with overrides, some of its sections left out."""
    recipe = load_recipe(runs / "pretrain.toml", overrides)
    return recipe.model_copy(update=dict.fromkeys(without))
