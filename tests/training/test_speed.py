"""Layers that are compiled, in place and without a trace in what is saved."""

from __future__ import annotations

import shutil

import pytest
import torch
from torch import nn

from seedcli.errors import UsageError
from seedcli.training.speed import compile_layers


class Stack(nn.Module):
    """Two layers that learn behind one that does not."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.frozen = nn.ModuleList([nn.Linear(8, 8)]).requires_grad_(False)
        self.layers = nn.ModuleList(nn.Sequential(nn.Linear(8, 8), nn.GELU()) for _ in range(2))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        for layer in (*self.frozen, *self.layers):
            x = layer(x)
        return x


@pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor")  # torch's own, of its tracing
@pytest.mark.skipif(shutil.which("g++") is None, reason="not installed: g++")
def test_compiled_layers_learn_what_the_others_learn() -> None:
    plain, compiled, inputs = Stack(), Stack(), torch.randn(4, 8)
    compile_layers(nn.ModuleDict({"model": compiled}), torch.device("cpu"))
    assert [layer._compiled_call_impl is not None for layer in compiled.layers] == [True, True]
    assert compiled.frozen[0]._compiled_call_impl is None
    for model in (plain, compiled):
        model(inputs).square().sum().backward()
    assert list(compiled.state_dict()) == list(plain.state_dict())
    for mine, theirs in zip(plain.layers.parameters(), compiled.layers.parameters(), strict=True):
        # measured: 1.2e-7 at most, of gradients up to 0.5
        assert torch.allclose(mine.grad, theirs.grad, atol=2e-6)


def test_a_cpu_without_a_compiler_is_told_so(monkeypatch) -> None:
    monkeypatch.setenv("CXX", "no-such-compiler")
    with pytest.raises(UsageError, match=r"needs a C\+\+ compiler"):
        compile_layers(Stack(), torch.device("cpu"))
