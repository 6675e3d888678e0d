"""`make bench`: does decoding keep up with the model, and does memory depend
on the number of images?
"""

from __future__ import annotations

import itertools
import os
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from seedcli.data.images.inputs import list_inputs
from seedcli.data.images.loader import ImageLoader
from seedcli.models.weights.load import describe
from seedcli.models.weights.locate import BUNDLED_NANO, locate

pytestmark = [pytest.mark.bench, pytest.mark.timeout(3600)]
PEAK_OF = (
    "import resource, sys; from seedcli.cli.main import app; app(sys.argv[1:], "
    "standalone_mode=False); print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024, "
    "resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss // 1024)"
)


@pytest.fixture(scope="module")
def model(tmp_path_factory, tiny_tokenizer_folder) -> str:
    return (
        "seed-nano"
        if (BUNDLED_NANO / "seed_tokenizer.json").is_file()
        else str(tiny_tokenizer_folder)
    )


@pytest.fixture(scope="module")
def pictures(tmp_path_factory) -> Path:
    """10,000 PNG files of 64 px; 100 pictures, linked."""
    folder = tmp_path_factory.mktemp("pictures")
    for number in range(10_000):
        path = folder / f"{number:05d}.png"
        if number < 100:
            blocks = np.random.default_rng(number).integers(0, 256, (5, 5, 3), dtype=np.uint8)
            Image.fromarray(blocks).resize((64, 64), Image.Resampling.BICUBIC).save(path)
        else:
            os.link(folder / f"{number % 100:05d}.png", path)
    return folder


def test_decoding_alone(pictures, model):
    for workers in (0, 1, 2):
        items = list(itertools.islice(list_inputs([str(pictures)]), 4000))
        chunks = (items[start : start + 32] for start in range(0, len(items), 32))
        with ImageLoader(
            describe(locate(model)).config.preprocess.codes, workers=workers
        ) as loader:
            batches = loader.batches(chunks)
            next(batches)  # workers are up
            started = time.perf_counter()
            count = sum(len(batch.items) for batch in batches)
        print(
            f"decoding, {workers} workers: {count / (time.perf_counter() - started):.0f} images/s"
        )
        assert count == 4000 - 32


def test_memory_does_not_grow_with_the_number_of_images(pictures, model, tmp_path):
    peaks = {}
    for number in (1_000, 10_000):
        command = [
            sys.executable,
            "-c",
            PEAK_OF,
            "tokenize",
            str(pictures),
            "--limit",
            str(number),
            "--model",
            model,
        ]
        started = time.perf_counter()
        result = subprocess.run(
            [*command, "-o", str(tmp_path / str(number))],
            capture_output=True,
            text=True,
            check=True,
        )
        elapsed_s = time.perf_counter() - started
        own, worker = map(int, result.stdout.splitlines()[-1].split())
        print(
            f"{number} images with {model}: {number / elapsed_s:.0f} images/s with start-up; peak "
            f"{own} MB and {worker} MB in a worker"
        )
        peaks[number] = own
    assert peaks[10_000] < 1.1 * peaks[1_000]
