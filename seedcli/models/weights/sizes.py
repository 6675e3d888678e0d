"""Configurations of model folders against their weights, before anything is built. Torch-free.

Libraries build what a configuration says and compare afterwards: a million layers that no file
holds take all memory first. So its sizes are looked at here, beside the shapes that the headers of
the weights state.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open

from seedcli.errors import DataError
from seedcli.files import read_json

# A layer has a tensor at least, so there are no more of them than tensors.
_DEPTHS = frozenset(
    ("depth", "layers", "layers_per_block", "num_hidden_layers", "num_layers")
    + ("transformer_layers_per_block",)
)
# What stands as a side of some tensor, or divides one.
_WIDTHS = frozenset(
    ("attention_head_dim", "block_out_channels", "context_length", "cross_attention_dim")
    + ("embed_dim", "embedding_dim", "heads", "hidden_size", "in_channels", "intermediate_size")
    + ("latent_channels", "norm_num_groups", "num_attention_heads", "num_key_value_heads")
    + ("out_channels", "patch_size", "projection_dim", "vocab_size", "width")
)
# What no tensor need show; the largest that are in use, with room.
_MOST = {"image_size": 4096, "sample_size": 4096, "max_position_embeddings": 1 << 24}


def check_sizes(folder: Path, name: str = "config.json") -> None:
    """Looks at the sizes in a folder's configuration.

    Args:
        folder: With the configuration, and weights as safetensors; of PyTorch's files the shapes
            are unknown, and only numbers that are none are found.
        name: Of the configuration.

    Raises:
        DataError: The configuration is unreadable, or says sizes that are no positive integers or
            that the weights do not have.
    """
    path = folder / name
    if not path.is_file():
        return  # its absence is told where it is read
    shapes = [shape for file in sorted(folder.glob("*.safetensors")) for shape in _shapes(file)]
    tensors = len(shapes) or 1 << 14
    side = max((side for shape in shapes for side in shape), default=1 << 24)
    faults = []
    for key, value in _named(read_json(path)):
        most = _MOST.get(key, tensors if key in _DEPTHS else side)
        if type(value) is not int or not 1 <= value <= most:
            faults.append(f"{key} is {value!r:.40}, expected 1 to {most}")
    if faults:
        raise DataError(
            f"{path} says sizes that its weights do not have: {'; '.join(faults[:5])}",
            remedy="take configuration and weights from one place",
        )


def _named(value: Any) -> Iterator[tuple[str, Any]]:
    """Every size of a configuration with its name; those of its parts and lists too."""
    if not isinstance(value, Mapping):
        return
    for key, inner in value.items():
        if isinstance(inner, Mapping):
            yield from _named(inner)
        elif inner is not None and key in _DEPTHS | _WIDTHS | _MOST.keys():
            for one in inner if isinstance(inner, list) else [inner]:
                yield key, one


def _shapes(file: Path) -> list[list[int]]:
    """Shapes in a safetensors file's header; empty where it is damaged, which its reader tells."""
    try:
        with safe_open(file, "np") as opened:
            return [opened.get_slice(name).get_shape() for name in opened.keys()]  # noqa: SIM118
    except (OSError, SafetensorError):
        return []
