"""`make bench`: time and memory at full size, on seeded weights in the layout of the release (3.3
GB in build/, made once, about a minute).

The official code, on two cores and with its downloads done, takes 31.5 s and 7.5 GB for one
picture, of which 2.2 s is arithmetic. Targets: at most 8 s warm, 15 s the first time, 5 GB; 3.7 GB
is the prize. Wall times are printed and not asserted: they are the machine's too.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch
from PIL import Image
from torch.utils.flop_counter import FlopCounterMode

from seedcli.models.visual.config import PRESETS
from seedcli.models.weights.load import load_seed_model
from seedcli.models.weights.locate import locate
from tests.released_weights import write_released_weights

SEED_2 = PRESETS["seed-2"]
WEIGHTS = Path(
    os.environ.get("SEED_BENCH_WEIGHTS", Path(__file__).parents[2] / "build" / "bench-weights")
)
BATCH = 16

pytestmark = [pytest.mark.bench, pytest.mark.timeout(3600)]


@dataclass
class Run:
    """One finished process."""

    stdout: str
    wall_s: float
    cpu_s: float
    peak_gb: float

    def __str__(self) -> str:
        return f"{self.wall_s:6.2f} s wall, {self.cpu_s:6.2f} s CPU, {self.peak_gb:5.2f} GB peak"


def measure(*arguments: str) -> Run:
    start = time.perf_counter()
    process = subprocess.Popen([sys.executable, *arguments], stdout=subprocess.PIPE, text=True)
    stdout = process.stdout.read()
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    process.stdout.close()
    assert process.returncode == 0
    return Run(
        stdout,
        time.perf_counter() - start,
        usage.ru_utime + usage.ru_stime,
        usage.ru_maxrss * 1024 / 1e9,
    )


@pytest.fixture(scope="module")
def folder() -> Path:
    if not (WEIGHTS / "seed_quantizer.pt").is_file():
        write_released_weights(WEIGHTS, SEED_2)
    return WEIGHTS


@pytest.fixture
def picture(tmp_path) -> Path:
    pixels = torch.randint(
        0, 256, (480, 640, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(0)
    )
    Image.fromarray(pixels.numpy()).save(tmp_path / "picture.png")
    return tmp_path / "picture.png"


def forget(path: Path) -> None:
    """Drops a file from the page cache, as after a restart of the machine."""
    descriptor = os.open(path, os.O_RDONLY)
    os.fsync(descriptor)
    os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
    os.close(descriptor)


@contextmanager
def timed(flops: float, rates: list[tuple[float, float]]) -> Iterator[None]:
    """Appends the rate of the enclosed work, operations a second by the wall and by CPU time."""
    wall, cpu = time.perf_counter(), time.process_time()
    yield
    rates.append((flops / (time.perf_counter() - wall), flops / (time.process_time() - cpu)))


def test_one_picture_as_a_whole_process(folder, picture):
    command = (
        "-m",
        "seedcli",
        "tokenize",
        str(picture),
        "--model",
        str(folder),
        "--json",
        "--quiet",
    )
    print(f"\nimport torch          {measure('-c', 'import torch')}")
    (folder / "seed_fingerprint.json").unlink(missing_ok=True)
    for path in folder.iterdir():
        forget(path)
    first = measure(*command)
    print(
        f"first time            {first}   (target 15 s; nothing in the page cache, "
        "fingerprint computed)"
    )
    warm = min((measure(*command) for _ in range(2)), key=lambda run: run.wall_s)
    print(f"warm                  {warm}   (target 8 s, 5 GB; prize 3.7 GB)")
    assert json.loads(first.stdout)["codes"] == json.loads(warm.stdout)["codes"]
    assert first.peak_gb < 5
    assert warm.peak_gb < 3.7


def test_codes_are_those_of_weights_converted_to_fp32(folder):
    pixels = torch.randn(2, 3, 224, 224, generator=torch.Generator().manual_seed(1))
    mapped = load_seed_model(locate(str(folder)))
    codes = mapped.encode(pixels)
    assert torch.equal(mapped.float().encode(pixels), codes)


def test_steady_state(folder):
    """Pictures a second against plain fp32 matrix products of the ViT's shapes, taken
    in turns in one process.
    """
    tokenizer = load_seed_model(locate(str(folder)))
    pixels = torch.randn(BATCH, 3, 224, 224, generator=torch.Generator().manual_seed(2))
    vision = SEED_2.vision
    rows = BATCH * vision.num_tokens
    shapes = [
        (vision.width, 3 * vision.width),
        (vision.width, vision.width),
        (vision.width, vision.mlp_dim),
        (vision.mlp_dim, vision.width),
    ]
    products = [(torch.randn(rows, inner), torch.randn(outer, inner)) for inner, outer in shapes]
    product_flops = 4 * sum(2 * rows * inner * outer for inner, outer in shapes)
    with FlopCounterMode(display=False) as counter:
        tokenizer.encode(pixels)
    flops = counter.get_total_flops()
    rates: dict[str, list[tuple[float, float]]] = {"ours": [], "plain": []}
    for _ in range(3):
        with timed(product_flops, rates["plain"]):
            for _ in range(4):
                for left, right in products:
                    torch.nn.functional.linear(left, right)
        with timed(flops, rates["ours"]):
            tokenizer.encode(pixels)
    wall, cpu = (max(rate[i] for rate in rates["ours"]) for i in (0, 1))
    plain_wall, plain_cpu = (max(rate[i] for rate in rates["plain"]) for i in (0, 1))
    print(f"\nsteady state, batch {BATCH}: {wall / flops * BATCH:.2f} pictures/s")
    print(f"ours {wall / 1e9:.0f} GFLOP/s, plain products {plain_wall / 1e9:.0f} GFLOP/s")
    print(
        f"share of plain products: {100 * wall / plain_wall:.0f} % by the wall, "
        f"{100 * cpu / plain_cpu:.0f} % by CPU time   (target 90 %)"
    )
    assert cpu / plain_cpu > 0.7
