"""What can be measured on a GPU alone, on a machine that has torch and can reach nothing.

    make bench-gpu PYTHON=python3                    # or, without make:
    python3 -m tools.bench_gpu -o bench-gpu.json

Carry: the folders `seedcli/` (its `bundled/` may stay behind: no weights are needed) and `tools/`.
Packages: torch, numpy, pillow, transformers, accelerate, peft, tokenizers, safetensors and
sentencepiece; for loading in 8 and 4 bits bitsandbytes. What a missing package would have measured
is left out, and the result says so. Nothing is installed, downloaded or asked for.

All weights are random, in the shapes of SEED-2 and SEED-LLaMA 8B: times, memory and utilisation are
those of the published weights; of codes that differ between number formats only the order of
magnitude says something, and every such figure is labelled. The file is written anew after each
figure, so that a run that is cut off keeps what it has. `--seconds 360` is what it may take on one
GPU of 80 GB; a figure for which too little is left is named as left out. `--size tiny` does the
same with networks of a few layers, in a minute on a CPU.

THIS HAS NOT BEEN RUN ON A GPU. What was run is `--size tiny` on a CPU.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path

import torch

from seedcli.training.speed import matmul_rate
from tools.bench_gpu.figures import Bench
from tools.bench_gpu.pictures import Pictures
from tools.bench_gpu.sizes import SIZES
from tools.bench_gpu.words import Words


def measure(bench: Bench, folder: Path) -> None:
    """All figures, those that are worth most first.

    Args:
        bench: Where they go.
        folder: For weights of the language model, 14 GB; emptied by its owner.
    """
    pictures = Pictures(bench)
    bench.figure(
        "matmul_tflops",
        lambda: {
            name: round(matmul_rate(bench.device, name) / 1e12, 2)
            for name in ("bf16", "fp16", "fp32")
        },
        needs_s=5,
    )
    bench.figure("codes", pictures.codes, needs_s=50)
    bench.figure("pictures_bf16", lambda: pictures.speed("bfloat16"), needs_s=25)
    bench.figure(
        "pictures_official_fp16", lambda: pictures.speed("float16", "official-fp16"), needs_s=25
    )
    bench.figure("pictures_fp32", lambda: pictures.speed("float32"), needs_s=30)
    words = Words(bench, folder)
    bench.figure("generation_1_row", lambda: words.generation(1), needs_s=30)
    bench.figure("generation_8_rows", lambda: words.generation(8), needs_s=30)
    bench.figure("training_step", words.training_step, needs_s=40)
    bench.figure("offload", pictures.offload, needs_s=25)
    bench.figure("saved", words.save, needs_s=90)
    for name, quantize in (
        ("loading_bf16", None),
        ("loading_8bit", "8bit"),
        ("loading_4bit", "4bit"),
    ):
        bench.figure(name, lambda quantize=quantize: words.loading(quantize), needs_s=45)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python3 -m tools.bench_gpu",
        description="Figures of one GPU, with random weights; reaches nothing.",
    )
    parser.add_argument("-o", "--output", type=Path, default=Path("bench-gpu.json"))
    parser.add_argument("--size", choices=SIZES, default="full")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--seconds", type=float, default=360.0)
    parser.add_argument("--scratch", type=Path, help="folder for 14 GB of weights; default: /tmp")
    return parser.parse_args()


def main() -> None:
    """Measures as the arguments say."""
    asked = _arguments()
    if asked.device == "cpu" and asked.size == "full":
        sys.exit("error: no GPU is here\n  -> --size tiny runs on a CPU")
    bench = Bench(SIZES[asked.size](), asked.output, device=asked.device, seconds=asked.seconds)
    with tempfile.TemporaryDirectory(dir=asked.scratch) as folder:
        measure(bench, Path(folder))
    sys.stdout.write(f"{asked.output}\n")


if __name__ == "__main__":
    main()
