"""An exponential moving average of a network's weights, kept in buffers so that
every checkpoint holds it.
"""

from __future__ import annotations

import torch
from torch import nn


class MovingAverage(nn.Module):
    """Average of `network`'s trainable parameters, in fp32.

    The decay grows with the step, min(decay, (1 + step) / (10 + step)), so that a short run does
    not average in its random start (TensorFlow's ExponentialMovingAverage with num_updates;
    diffusers trains unCLIP with the same rule).
    """

    def __init__(self, network: nn.Module, decay: float):
        super().__init__()
        self.decay = decay
        self._names = {
            name: f"average_{index}"
            for index, (name, p) in enumerate(network.named_parameters())
            if p.requires_grad
        }
        for name, parameter in network.named_parameters():
            if name in self._names:
                self.register_buffer(self._names[name], parameter.detach().clone().float())

    @torch.no_grad()
    def update(self, network: nn.Module, step: int) -> None:
        """Moves the average towards the weights after update `step`."""
        decay = min(self.decay, (1 + step) / (10 + step))
        parameters = dict(network.named_parameters())
        averages = [getattr(self, buffer) for buffer in self._names.values()]
        torch._foreach_lerp_(
            averages, [parameters[name].detach().float() for name in self._names], 1 - decay
        )

    @torch.no_grad()
    def copy_to(self, network: nn.Module) -> None:
        """Replaces the network's trainable weights by their average."""
        parameters = dict(network.named_parameters())
        for name, buffer in self._names.items():
            parameters[name].copy_(getattr(self, buffer))
