"""What each engine costs beside one process: the same pictures by every engine in one run.

    python -m tools.engines --pictures 1000 --model seed-nano

Prints a table in Markdown: seconds of all processors together and of the clock, each also as a
ratio to one process; the most memory that the driver held, and a worker; whether the shards are the
same bytes. The engines take turns, and of several rounds each engine's least counts: on a machine
that others use, too, seconds only grow. Engines that are not installed are left out.
"""

from __future__ import annotations

import argparse
import hashlib
import importlib.util
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import psutil
from PIL import Image

_LOOK_EVERY_S = 0.2
_OF_RAY = ("raylet", "gcs_server", "log_monitor", "dashboard", "monitor.py", "runtime_env")


@dataclass
class Cost:
    """Of one engine.

    Attributes:
        wall_s: From start to end.
        cpu_s: Of all its processes, those that run a cluster included.
        driver_mb: Most resident memory of the process that was started.
        worker_mb: Most resident memory of another one, those that run a cluster left out.
        shards: Digest of each file.
    """

    wall_s: float = 0.0
    cpu_s: float = 0.0
    driver_mb: float = 0.0
    worker_mb: float = 0.0
    shards: dict[str, str] = field(default_factory=dict)


def make_pictures(folder: Path, number: int) -> None:
    """PNG files of 64 px; 100 pictures, linked."""
    for index in range(number):
        path = folder / f"{index:06d}.png"
        if index < 100:
            blocks = np.random.default_rng(index).integers(0, 256, (5, 5, 3), dtype=np.uint8)
            Image.fromarray(blocks).resize((64, 64), Image.Resampling.BICUBIC).save(path)
        else:
            os.link(folder / f"{index % 100:06d}.png", path)


def run(commands: Sequence[list[str]], output: Path) -> Cost:
    """Commands one after the other -> what they cost together."""
    cost = Cost()
    for command in commands:
        started = time.monotonic()
        driver = psutil.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        seconds: dict[int, float] = {}
        while driver.poll() is None:
            _look(driver, cost, seconds)
            time.sleep(_LOOK_EVERY_S)
        if driver.returncode != 0:
            sys.exit(f"error: {' '.join(command)} ended with {driver.returncode}")
        cost.wall_s += time.monotonic() - started
        cost.cpu_s += sum(seconds.values())
    cost.shards = {
        path.name: hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(output.glob("*.parquet"))
    }
    return cost


def _look(driver: psutil.Popen, cost: Cost, seconds: dict[int, float]) -> None:
    """Takes down what the processes of a run have used so far."""
    try:
        processes = [driver, *driver.children(recursive=True)]
    except psutil.Error:
        return
    for process in processes:
        try:
            times, megabytes = process.cpu_times(), process.memory_info().rss / 1e6
            line = " ".join(process.cmdline())
        except psutil.Error:  # it has just ended
            continue
        seconds[process.pid] = times.user + times.system
        if process.pid == driver.pid:
            cost.driver_mb = max(cost.driver_mb, megabytes)
        elif not any(name in line for name in _OF_RAY):
            cost.worker_mb = max(cost.worker_mb, megabytes)


def least(costs: Sequence[Cost]) -> Cost:
    """Of several rounds; shards that differ between them are those of none."""
    same = all(cost.shards == costs[0].shards for cost in costs)
    return Cost(
        *(min(getattr(cost, name) for cost in costs) for name in ("wall_s", "cpu_s")),
        *(max(getattr(cost, name) for cost in costs) for name in ("driver_mb", "worker_mb")),
        shards=costs[0].shards if same else {},
    )


def main() -> None:
    """Measures as the arguments say."""
    parser = argparse.ArgumentParser(prog="python -m tools.engines")
    parser.add_argument("--pictures", type=int, default=1000)
    parser.add_argument("--model", default="seed-nano")
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=3)
    asked = parser.parse_args()
    number = str(asked.processes)
    with tempfile.TemporaryDirectory() as place:
        pictures = Path(place) / "pictures"
        pictures.mkdir()
        make_pictures(pictures, asked.pictures)

        def command(name: str, *options: str) -> list[str]:
            return [
                *(sys.executable, "-m", "seedcli", "tokenize", str(pictures)),
                *("-o", str(Path(place) / name), "--model", asked.model, "--workers", "1"),
                *("--shard-size", str(max(1, asked.pictures // 8)), "--device", "cpu", *options),
            ]

        parts = [
            command("parts", "--part", f"{index}/{number}") for index in range(asked.processes)
        ]
        engines = {
            "this process": [command("one")],
            f"--nproc {number}": [command("nproc", "--nproc", number)],
            f"--part I/{number}, one after the other": [*parts, command("parts", "--resume")],
        }
        if importlib.util.find_spec("ray"):
            engines["--ray"] = [command("ray", "--ray", "--actors", number)]
        rounds: list[dict[str, Cost]] = []
        for _ in range(asked.rounds):
            rounds.append({})
            for name, commands in engines.items():
                output = Path(commands[0][commands[0].index("-o") + 1])
                rounds[-1][name] = run(commands, output)
                shutil.rmtree(output)
        costs = {name: least([each[name] for each in rounds]) for name in engines}
    one = costs["this process"]
    lines = [
        "| engine | processor s | ratio | clock s | ratio | driver MB | worker MB | same bytes |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for name, cost in costs.items():
        lines.append(
            f"| {name} | {cost.cpu_s:.1f} | {cost.cpu_s / one.cpu_s:.2f} | {cost.wall_s:.1f} | "
            f"{cost.wall_s / one.wall_s:.2f} | {cost.driver_mb:.0f} | {cost.worker_mb:.0f} | "
            f"{'yes' if cost.shards == one.shards else 'NO'} |"
        )
    sys.stdout.write("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
