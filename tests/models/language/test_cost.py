"""Analytic costs against the things themselves: PEFT's parameter lists, torch's FLOP counter,
tensors that autograd saves.
"""

from __future__ import annotations

import dataclasses

import pytest
import torch
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils.flop_counter import FlopCounterMode
from transformers import LlamaConfig, LlamaForCausalLM

from seedcli.models.language.cost import (
    KNOWN_SHAPES,
    Adapter,
    LlamaShape,
    Parameters,
    activation_bytes,
    count_parameters,
    memory_per_rank,
    shape_from_config,
    training_flops,
)
from seedcli.models.language.lora import attach_lora
from seedcli.models.language.seed_llama import parameter_facts
from seedcli.training.optimizer import matrices_of_layers

LINEARS = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]
WHOLE = ["embed_tokens", "lm_head", "input_layernorm", "post_attention_layernorm", "norm"]
PUBLISHED = Adapter(rank=16, targets=LINEARS, trained_whole=WHOLE)


def config(**changes) -> LlamaConfig:
    sizes = {
        "hidden_size": 64,
        "intermediate_size": 176,
        "num_hidden_layers": 3,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
    }
    return LlamaConfig(**{**sizes, "vocab_size": 300, **changes})


def phase_model(phase: str, adapter: Adapter | None, dropout: float = 0.0, **changes):
    torch.manual_seed(0)
    model = LlamaForCausalLM(config(**changes))
    if phase == "lora":
        whole = {"targets": adapter.targets, "trained_whole": adapter.trained_whole}
        model = attach_lora(model, rank=adapter.rank, alpha=32, dropout=dropout, **whole)
    if phase == "full":
        model.get_input_embeddings().weight.requires_grad_(False)
    return model.train()


@pytest.mark.parametrize(
    ("name", "total", "trainable"),
    [
        ("seed-llama-8b-pretrain", 6_805_540_864, 369_512_448),
        ("seed-llama-14b-pretrain", 13_099_770_880, None),
    ],
)
def test_published_parameter_counts(name: str, total: int, trainable: int | None) -> None:
    shape = KNOWN_SHAPES[name]
    text = count_parameters(shape, "text")
    assert (text.trainable, text.frozen, text.adapter) == (total, 0, 0)
    full = count_parameters(shape, "full")
    assert (full.trainable, full.total) == (total - 40194 * shape.hidden_size, total)
    lora = count_parameters(shape, "lora", PUBLISHED)
    assert lora.total == total + lora.adapter
    if trainable:
        assert (lora.trainable, lora.adapter) == (trainable, 39_976_960)


@pytest.mark.parametrize(
    "adapter",
    [
        PUBLISHED,
        Adapter(rank=4, targets=["q_proj", "mlp.down_proj"], trained_whole=[]),
        Adapter(rank=8, targets=["self_attn.v_proj"], trained_whole=["norm", "lm_head"]),
    ],
)
def test_parameter_lists_are_those_of_peft(adapter: Adapter) -> None:
    model = phase_model("lora", adapter)
    counted = count_parameters(shape_from_config(config().to_dict()), "lora", adapter)
    facts = {"trained_parameters": counted.trainable, "frozen_parameters": counted.frozen}
    assert facts == parameter_facts(model)


@pytest.mark.parametrize("checkpointing", [False, True])
@pytest.mark.parametrize("phase", ["text", "lora", "full"])
def test_flops_are_those_that_torch_counts(phase: str, checkpointing: bool) -> None:
    adapter = PUBLISHED if phase == "lora" else None
    model = phase_model(phase, adapter, attn_implementation="eager")
    if checkpointing:
        model.activation_checkpointing_enable({"use_reentrant": False})
    ids = torch.arange(80).view(2, 40)
    with FlopCounterMode(display=False) as counter:
        model(input_ids=ids, labels=ids, use_cache=False).loss.backward()
    planned = training_flops(
        shape_from_config(config().to_dict()),
        phase,
        adapter,
        attended_tokens=40,
        gradient_checkpointing=checkpointing,
    )
    assert planned * ids.numel() == pytest.approx(counter.get_total_flops(), rel=0.001)


@pytest.mark.parametrize("checkpointing", [False, True])
@pytest.mark.parametrize("phase", ["text", "lora"])
@pytest.mark.parametrize("arithmetic", ["fp32", "autocast", "half"])
def test_saved_activations_are_those_that_autograd_keeps(
    arithmetic: str, phase: str, checkpointing: bool
) -> None:
    adapter = PUBLISHED if phase == "lora" else None
    small, large = (
        _saved_bytes(arithmetic, phase, adapter, checkpointing, layers) for layers in (2, 6)
    )
    shapes = [shape_from_config(config(num_hidden_layers=layers).to_dict()) for layers in (2, 6)]
    low, high = (
        activation_bytes(
            shape, adapter, tokens=128, arithmetic=arithmetic, gradient_checkpointing=checkpointing
        )
        for shape in shapes
    )
    assert high - low == pytest.approx(large - small, rel=0.02)  # measured: within 1.2 %


def _saved_bytes(
    arithmetic: str, phase: str, adapter: Adapter | None, checkpointing: bool, layers: int
) -> int:
    model = phase_model(phase, adapter, dropout=0.05, num_hidden_layers=layers)
    if arithmetic == "half":
        model = model.bfloat16()
    if checkpointing:
        model.activation_checkpointing_enable({"use_reentrant": False})
        model.enable_input_require_grads()
    weights = {parameter.untyped_storage().data_ptr() for parameter in model.parameters()}
    saved: dict[int, torch.Tensor] = {}

    def pack(tensor: torch.Tensor) -> torch.Tensor:
        if (address := tensor.untyped_storage().data_ptr()) not in weights:
            saved.setdefault(address, tensor)
        return tensor

    ids = torch.arange(128).view(1, 128)
    autocast = torch.autocast("cpu", torch.bfloat16, enabled=arithmetic == "autocast")
    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor), autocast:
        model(input_ids=ids, position_ids=ids, use_cache=False)
    return sum(tensor.untyped_storage().nbytes() for tensor in saved.values())


def published_model(phase: str, num_layers: int, dtype: torch.dtype):
    """SEED-LLaMA 8B at full widths; within `FakeTensorMode`, so without memory."""
    shape = KNOWN_SHAPES["seed-llama-8b-pretrain"]
    torch.set_default_dtype(dtype)
    try:
        return phase_model(
            phase,
            PUBLISHED if phase == "lora" else None,
            hidden_size=shape.hidden_size,
            intermediate_size=shape.intermediate_size,
            num_hidden_layers=num_layers,
            num_attention_heads=shape.num_heads,
            num_key_value_heads=shape.num_kv_heads,
            vocab_size=shape.vocab_size,
        )
    finally:
        torch.set_default_dtype(torch.float32)


@pytest.mark.parametrize("phase", ["lora", "full"])
def test_memory_of_the_published_size_is_what_training_holds(phase: str) -> None:
    """Weights, gradients and moments of all 32 layers, as tensors of the meta device."""
    shape = KNOWN_SHAPES["seed-llama-8b-pretrain"]
    adapter = PUBLISHED if phase == "lora" else None
    with torch.device("meta"):
        model = published_model(phase, shape.num_layers, torch.float32)
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    for parameter in trained:
        parameter.grad = torch.empty_like(parameter)
    optimizer = torch.optim.AdamW(trained, foreach=False)
    optimizer.step()
    parameters = count_parameters(shape, phase, adapter)
    settings = {"ranks": 1, "zero_stage": 0, "arithmetic": "fp32", "activations": 0}
    planned = memory_per_rank(parameters, **settings)
    assert planned.weights == sum(parameter.nbytes for parameter in model.parameters())
    assert planned.gradients == sum(parameter.grad.nbytes for parameter in trained)
    assert planned.optimizer == sum(
        state[name].nbytes
        for state in optimizer.state.values()
        for name in ("exp_avg", "exp_avg_sq")
    )
    by_muon = memory_per_rank(parameters, optimizer="muon", **settings)
    one_moment = sum(parameter.nbytes for parameter in matrices_of_layers(model))
    assert planned.optimizer - by_muon.optimizer == one_moment


@pytest.mark.parametrize("checkpointing", [False, True])
def test_activations_of_the_published_size_are_those_that_autograd_keeps(checkpointing) -> None:
    """Layers of full width. Without memory transformers writes out the mask that it leaves out
    else, 2 bytes a pair of tokens; so the row is short.
    """
    shape = KNOWN_SHAPES["seed-llama-8b-pretrain"]
    with FakeTensorMode():
        ids = torch.zeros(1, 256, dtype=torch.long)
        small, large = (
            _kept_bytes(published_model("full", layers, torch.bfloat16), ids, checkpointing)
            for layers in (1, 3)
        )
    low, high = (
        activation_bytes(
            dataclasses.replace(shape, num_layers=layers),
            tokens=256,
            arithmetic="half",
            gradient_checkpointing=checkpointing,
        )
        for layers in (1, 3)
    )
    assert high - low == pytest.approx(large - small, rel=0.02)  # measured: within 0.4 %


def _kept_bytes(model: torch.nn.Module, ids: torch.Tensor, checkpointing: bool) -> int:
    """What autograd keeps of a forward pass beside the weights."""
    if checkpointing:
        model.activation_checkpointing_enable({"use_reentrant": False})
        model.enable_input_require_grads()
    weights = {parameter.untyped_storage()._cdata for parameter in model.parameters()}
    kept: dict[int, torch.Tensor] = {}

    def pack(tensor: torch.Tensor) -> torch.Tensor:
        if (storage := tensor.untyped_storage()._cdata) not in weights:
            kept.setdefault(storage, tensor)
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        model(input_ids=ids, use_cache=False)
    return sum(tensor.untyped_storage().nbytes() for tensor in kept.values())


@pytest.mark.parametrize("stage", [0, 1, 2, 3])
def test_memory_by_zero_stage(stage: int) -> None:
    parameters = Parameters(trainable=1000, frozen=3000, adapter=0)
    memory = memory_per_rank(
        parameters, ranks=4, zero_stage=stage, arithmetic="half", activations=7
    )
    assert memory.optimizer == 12000 // (4 if stage >= 1 else 1)
    assert memory.gradients == 2000 // (4 if stage >= 2 else 1)
    assert memory.weights == 8000 // (4 if stage == 3 else 1)
    assert (
        memory.device == memory.weights + memory.gradients + memory.optimizer + 7 + memory.framework
    )
    away = memory_per_rank(
        parameters,
        ranks=4,
        zero_stage=stage,
        arithmetic="half",
        activations=7,
        offload_optimizer=True,
        offload_parameters=True,
    )
    assert away.host == (memory.optimizer if stage >= 1 else 0) + (
        memory.weights if stage == 3 else 0
    )
    assert away.device + away.host == memory.device


def test_eager_attention_writes_its_scores_out() -> None:
    shape = LlamaShape(
        hidden_size=64,
        intermediate_size=176,
        num_layers=2,
        num_heads=4,
        num_kv_heads=4,
        vocab_size=100,
    )
    settings = {"tokens": 32, "arithmetic": "fp32", "gradient_checkpointing": False}
    plain, eager = (activation_bytes(shape, **settings, eager_row_tokens=row) for row in (0, 32))
    # two matrices of scores, fp32, 4 heads, 32 x 32, 2 layers
    assert eager - plain == 2 * 4 * 4 * 32 * 32 * 2
