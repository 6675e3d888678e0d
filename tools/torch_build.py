"""Which torch the Makefile installs: prints pip's arguments, and says why on stderr.

    python tools/torch_build.py torch==2.14.1 torchvision==0.29.1

On Linux the wheels of the package index are the CUDA build (6.5 GB installed, with CUDA's
libraries). Where no NVIDIA GPU is seen the CPU build (under 2 GB) is taken from PyTorch's own
index, if that answers. Standard library only: it runs before anything is installed.
"""

from __future__ import annotations

import http.client
import sys
import urllib.error
import urllib.request
from pathlib import Path

CPU_INDEX = "https://download.pytorch.org/whl/cpu"
ANSWER_WITHIN_S = 5.0
NVIDIA = Path("/dev/nvidiactl")  # the driver's, there where a GPU can be used


def pip_arguments(
    pinned: list[str],
    *,
    system: str = sys.platform,
    nvidia: Path = NVIDIA,
    index: str = CPU_INDEX,
) -> tuple[list[str], str]:
    """Pinned requirements -> what pip is given for them, and the reason in a line."""
    if system != "linux":
        return pinned, "the build for this system"
    if nvidia.exists():
        return pinned, "the CUDA build, for the NVIDIA GPU of this machine"
    if not answers(f"{index}/torch/"):
        return pinned, f"the CUDA build: no GPU is seen, but {index} does not answer"
    return [
        *(f"{requirement}+cpu" for requirement in pinned),
        "--extra-index-url",
        index,
    ], f"the CPU build of {index}, since no NVIDIA GPU is seen"


def answers(url: str) -> bool:
    """Whether a page can be had within `ANSWER_WITHIN_S`."""
    try:
        with urllib.request.urlopen(url, timeout=ANSWER_WITHIN_S) as page:
            return page.status == 200
    except (OSError, urllib.error.URLError, http.client.HTTPException):
        return False


if __name__ == "__main__":
    arguments, reason = pip_arguments(sys.argv[1:])
    sys.stderr.write(f"torch: {reason}\n")
    sys.stdout.write(" ".join(arguments) + "\n")
