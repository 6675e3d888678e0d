"""A Llama of N layers -> one of 2 N that says the same, to be trained further: behind each layer
stands a copy of it whose two output matrices are zero, so that it passes on what it reads (block
expansion, arXiv 2401.02415; there only the copies are trained, here everything is).

  python -m tools.nano.deepen runs/nano-answer/model -o runs/nano-deep/model
"""

from __future__ import annotations

import argparse
import copy
import shutil
from pathlib import Path

from torch import nn
from transformers import LlamaForCausalLM

from seedcli.files import published
from seedcli.models.language.seed_llama import load_causal_model


def deepen(model: LlamaForCausalLM) -> None:
    """Doubles the layers of a model in place; its outputs stay as they are."""
    layers = model.model.layers
    deeper = nn.ModuleList()
    for layer in layers:
        passing = copy.deepcopy(layer)
        for written in (passing.self_attn.o_proj, passing.mlp.down_proj):
            nn.init.zeros_(written.weight)
        deeper += [layer, passing]
    for number, layer in enumerate(deeper):
        layer.self_attn.layer_idx = number
    model.model.layers = deeper
    model.config.num_hidden_layers = len(deeper)


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description="Double the layers of a language model's folder.")
    parser.add_argument("model", type=Path, help="folder of a Llama, as seed pretrain writes it")
    parser.add_argument("-o", dest="folder", type=Path, required=True)
    options = parser.parse_args()
    model = load_causal_model(options.model)
    deepen(model)
    with published(options.folder) as partial:
        shutil.copytree(options.model, partial)
        model.save_pretrained(partial)


if __name__ == "__main__":
    main()
