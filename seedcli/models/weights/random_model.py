"""A visual tokenizer of a given shape with random weights: for measuring time and memory where the
weights themselves are not at hand. Its codes mean nothing.
"""

from __future__ import annotations

import torch

from seedcli.models.device import compute_dtype, pick_device
from seedcli.models.visual.config import Numerics, SeedModelConfig
from seedcli.models.visual.model import SeedModel


def build_random_model(
    config: SeedModelConfig,
    *,
    device: str = "auto",
    dtype: str = "auto",
    numerics: Numerics = "default",
) -> SeedModel:
    """Shape -> a tokenizer in eval mode and without gradients. Every matrix keeps the scale of what
    goes through it, so that numbers neither vanish nor overflow on their way.

    Args:
        config: Its shape.
        device, dtype, numerics: See `load_seed_model`.

    Raises:
        UsageError: Unknown device or dtype.
    """
    place = pick_device(device)
    with torch.device("meta"):
        model = SeedModel(config)
    model = model.to_empty(device=place).eval().requires_grad_(False)
    generator = torch.Generator(place).manual_seed(0)
    for name, value in model.state_dict().items():
        if value.ndim > 1:
            value.normal_(std=value[0].numel() ** -0.5, generator=generator)
        else:
            value.fill_(1.0 if name.endswith("weight") else 0.0)
    model.fingerprint = "random"
    model.set_numerics(numerics, compute_dtype(dtype))
    return model
