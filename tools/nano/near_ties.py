"""How far apart the two nearest codes lie, and how many codes another machine or other kernels
choose otherwise.

  python -m tools.nano.near_ties here.npz
  ATEN_CPU_CAPABILITY=avx2 ONEDNN_MAX_CPU_ISA=AVX2 python -m tools.nano.near_ties there.npz --against here.npz
"""  # noqa: E501

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

import numpy as np
import torch

from seedcli.data.emoji import read_emoji
from seedcli.data.images.images import Preprocess, open_image
from seedcli.models.weights.load import load_seed_model
from seedcli.models.weights.locate import locate

_BATCH = 32


@torch.no_grad()
def codes_and_gaps(num_pictures: int) -> tuple[np.ndarray, np.ndarray]:
    """Emoji of the training split -> codes [N,32] by seed-nano, and the squared distance between
    the two nearest codes [N,32].
    """
    model = load_seed_model(locate("seed-nano"))
    preprocess = Preprocess(model.config.preprocess.codes)
    pictures = [preprocess(open_image(each.image)) for each in read_emoji("train")[:num_pictures]]
    codes, gaps = [], []
    for start in range(0, len(pictures), _BATCH):
        code_inputs = model.code_inputs(
            model.causal_embeddings(torch.stack(pictures[start : start + _BATCH]))
        )
        distances = model.codebook.distances(code_inputs).view(*code_inputs.shape[:2], -1)
        nearest = distances.topk(2, largest=False).values
        codes.append(model.codes(code_inputs))
        gaps.append(nearest[..., 1] - nearest[..., 0])
    return torch.cat(codes).numpy(), torch.cat(gaps).numpy()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("file", type=Path, help="where codes and gaps are written")
    parser.add_argument("--against", type=Path, help="such a file of another machine")
    parser.add_argument("--pictures", type=int, default=512)
    arguments = parser.parse_args()
    codes, gaps = codes_and_gaps(arguments.pictures)
    np.savez(arguments.file, codes=codes, gaps=gaps)
    result = {
        "codes": codes.size,
        "gap_quantiles": {
            share: float(f"{np.quantile(gaps, share):.3g}") for share in (0.0001, 0.001, 0.01, 0.5)
        },
    }
    if arguments.against:
        other = np.load(arguments.against)
        result["flipped"] = int((codes != other["codes"]).sum())
        result["largest_move_of_a_gap"] = float(f"{np.abs(gaps - other['gaps']).max():.3g}")
    sys.stdout.write(json.dumps(result) + "\n")


if __name__ == "__main__":
    main()
