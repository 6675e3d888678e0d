"""`make bench-gpu` at its tiny size: every figure is there, or says why it is not, and nothing is
imported that a machine with torch may lack.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]
ROOT = Path(__file__).parents[2]
# What the package needs elsewhere, and the first lines of the tool do not name; recipes stand for
# pydantic, which DeepSpeed loads, too.
NOT_NAMED = {"braceexpand", "datasets", "diffusers", "open_clip", "pyarrow", "ray", "tomlkit"} | {
    "seedcli.recipe.read",
    "typer",
}
PROGRAM = f"""
import runpy, sys
try:
    runpy.run_module("tools.bench_gpu", run_name="__main__", alter_sys=True)
finally:
    print(sorted({NOT_NAMED!r} & set(sys.modules)))
"""
LEFT_OUT = {"loading_8bit", "loading_4bit"}  # they want an NVIDIA GPU


def test_every_figure_is_measured_or_says_why_it_is_not(tmp_path):
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, "--size", "tiny", "--device", "cpu", "-o", "gpu.json"],
        cwd=tmp_path,
        env={"PYTHONPATH": str(ROOT), "PATH": "", "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == "[]"
    result = json.loads((tmp_path / "gpu.json").read_text())
    assert result["machine"]["not_run_on_a_gpu"] is True
    figures = result["figures"]
    assert set(result["left_out"]) == LEFT_OUT
    assert all("NVIDIA GPU" in why for why in result["left_out"].values())
    differ = figures["codes"]["differ_from_fp32"]
    assert set(differ) == {"bfloat16", "float16", "official-fp16"}
    # 256 codes of 8 pictures; bfloat16 turned 2.7 % of them, float16 0.4 %
    assert 0 <= differ["float16"] <= differ["bfloat16"] < 0.2
    assert figures["codes"]["different_codes"] > 20
    assert "random weights" in figures["codes"]["label"]
    for name in ("pictures_bf16", "pictures_official_fp16", "pictures_fp32"):
        assert all(rate > 0 for rate in figures[name]["images_per_s"].values())
    assert figures["generation_8_rows"]["tokens_per_s"] > figures["generation_1_row"]["rows"]
    assert 0 < figures["training_step"]["utilisation_of_matmul"] < 1
    assert figures["loading_bf16"]["load_s"] > 0
    assert set(figures["offload"]) >= {"stays_s_per_image", "offloaded_s_per_image"}
