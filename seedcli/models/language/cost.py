"""What a Llama costs before it exists: parameters, arithmetic and memory from its shape alone.
Torch-free; `seed plan` is its user.

Every formula is tested against the thing itself: parameter lists against PEFT, arithmetic against
torch's FLOP counter, activations against the tensors that autograd saves.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

Phase = Literal["text", "lora", "full"]
Arithmetic = Literal["fp32", "autocast", "half"]


@dataclass(frozen=True, kw_only=True)
class LlamaShape:
    """Sizes of a decoder of the Llama family; the input embedding and the head are two matrices."""

    hidden_size: int
    intermediate_size: int
    num_layers: int
    num_heads: int
    num_kv_heads: int
    vocab_size: int
    head_dim: int | None = None

    @property
    def kv_dim(self) -> int:
        """Width of keys, and of values."""
        return self.num_kv_heads * self._head_dim

    @property
    def attention_dim(self) -> int:
        """Width of queries."""
        return self.num_heads * self._head_dim

    @property
    def _head_dim(self) -> int:
        return self.head_dim or self.hidden_size // self.num_heads

    def with_vocab(self, vocab_size: int) -> LlamaShape:
        """The same layers with another vocabulary."""
        return LlamaShape(**{**self.__dict__, "vocab_size": vocab_size})

    def modules(self) -> Iterator[Module]:
        """Every module that has parameters of its own, in order."""
        yield Module("model.embed_tokens", self.vocab_size, self.hidden_size, "embedding")
        for layer in range(self.num_layers):
            path = f"model.layers.{layer}"
            for name, inputs, outputs in (
                ("self_attn.q_proj", self.hidden_size, self.attention_dim),
                ("self_attn.k_proj", self.hidden_size, self.kv_dim),
                ("self_attn.v_proj", self.hidden_size, self.kv_dim),
                ("self_attn.o_proj", self.attention_dim, self.hidden_size),
                ("mlp.gate_proj", self.hidden_size, self.intermediate_size),
                ("mlp.up_proj", self.hidden_size, self.intermediate_size),
                ("mlp.down_proj", self.intermediate_size, self.hidden_size),
            ):
                yield Module(f"{path}.{name}", inputs, outputs, "linear")
            yield Module(f"{path}.input_layernorm", self.hidden_size, 1, "norm")
            yield Module(f"{path}.post_attention_layernorm", self.hidden_size, 1, "norm")
        yield Module("model.norm", self.hidden_size, 1, "norm")
        yield Module("lm_head", self.hidden_size, self.vocab_size, "linear")


@dataclass(frozen=True)
class Module:
    """One module with parameters: a matrix `inputs` x `outputs`, or a vector."""

    name: str
    inputs: int
    outputs: int
    kind: Literal["embedding", "linear", "norm"]

    @property
    def size(self) -> int:
        """Number of parameters; no module of a Llama has a bias."""
        return self.inputs * self.outputs


_7B = LlamaShape(
    hidden_size=4096,
    intermediate_size=11008,
    num_layers=32,
    num_heads=32,
    num_kv_heads=32,
    vocab_size=32000,
)
_13B = LlamaShape(
    hidden_size=5120,
    intermediate_size=13824,
    num_layers=40,
    num_heads=40,
    num_kv_heads=40,
    vocab_size=32000,
)
_PUBLISHED_VOCAB = 32000 + 8192 + 2

# What `start` may name without its config.json at hand. Source: the config.json of each.
KNOWN_SHAPES: dict[str, LlamaShape] = {
    "lmsys/vicuna-7b-v1.1": _7B,
    "lmsys/vicuna-13b-v1.1": _13B,
    "lmsys/vicuna-7b-v1.5": _7B,
    "lmsys/vicuna-13b-v1.5": _13B,
    "meta-llama/Llama-2-7b-hf": _7B,
    "meta-llama/Llama-2-7b-chat-hf": _7B,
    "meta-llama/Llama-2-13b-hf": _13B,
    "meta-llama/Llama-2-13b-chat-hf": _13B,
    "seed-llama-8b-pretrain": _7B.with_vocab(_PUBLISHED_VOCAB),
    "seed-llama-8b-sft": _7B.with_vocab(_PUBLISHED_VOCAB),
    "seed-llama-14b-pretrain": _13B.with_vocab(_PUBLISHED_VOCAB),
    "seed-llama-14b-sft": _13B.with_vocab(_PUBLISHED_VOCAB),
}


def shape_from_config(config: Mapping[str, Any]) -> LlamaShape:
    """A Hugging Face `config.json` of the Llama family -> its shape.

    Raises:
        KeyError: a size is missing, so it is of another family.
    """
    return LlamaShape(
        hidden_size=config["hidden_size"],
        intermediate_size=config["intermediate_size"],
        num_layers=config["num_hidden_layers"],
        num_heads=config["num_attention_heads"],
        num_kv_heads=config.get("num_key_value_heads") or config["num_attention_heads"],
        head_dim=config.get("head_dim"),
        vocab_size=config["vocab_size"],
    )


@dataclass(frozen=True, kw_only=True)
class Adapter:
    """The LoRA of a phase, by the recipe's names."""

    rank: int
    targets: Sequence[str]
    trained_whole: Sequence[str]

    def adapts(self, module: Module) -> bool:
        """True for a linear layer that gets an adapter; PEFT's rule for names."""
        return any(f".{module.name}".endswith(f".{end}") for end in self.targets)

    def keeps_whole(self, module: Module) -> bool:
        """True for a module that is trained as it is; PEFT's rule for names."""
        return any(module.name.endswith(end) for end in self.trained_whole)

    def size(self, module: Module) -> int:
        """Parameters of the adapter beside a linear layer."""
        return self.rank * (module.inputs + module.outputs) if self.adapts(module) else 0


@dataclass(frozen=True)
class Parameters:
    """How many parameters a phase trains, and how many it leaves as they are; of the trained ones,
    how many are adapters, and how many are matrices of the decoder layers, which Muon takes.
    """

    trainable: int
    frozen: int
    adapter: int
    matrices: int = 0

    @property
    def total(self) -> int:
        """All of them, adapters included."""
        return self.trainable + self.frozen


def count_parameters(shape: LlamaShape, phase: Phase, adapter: Adapter | None = None) -> Parameters:
    """Shape and phase -> numbers of parameters.

    text: all are trained. lora: adapters and what is trained whole. full: all but the input
    embedding. `adapter` belongs to phase lora.
    """
    trainable = frozen = beside = matrices = 0
    for module in shape.modules():
        in_layer = module.kind == "linear" and module.name != "lm_head"
        if adapter:
            beside += adapter.size(module)
            matrices += adapter.size(module) if in_layer else 0
        if _is_trained(module, phase, adapter):
            trainable += module.size
            matrices += module.size if in_layer else 0
        else:
            frozen += module.size
    return Parameters(trainable + beside, frozen, beside, matrices)


def _is_trained(module: Module, phase: Phase, adapter: Adapter | None) -> bool:
    match phase:
        case "text":
            return True
        case "full":
            return module.kind != "embedding"
        case "lora":
            return adapter is not None and adapter.keeps_whole(module)


def training_flops(
    shape: LlamaShape,
    phase: Phase,
    adapter: Adapter | None = None,
    *,
    attended_tokens: float,
    gradient_checkpointing: bool,
) -> float:
    """Floating-point operations of one update, per token of a row, padding included.

    A matrix product of a token costs 2 operations a parameter forward, 2 for the gradient of its
    input, and 2 more for the gradient of its weights where these are trained: frozen layers cost
    two thirds. Gradient checkpointing runs the layers (not the head) forward twice, up to the last
    product whose result the backward pass wants. The head is counted for every token: where answers
    alone are learned, less.

    Args:
        shape: Of the model, its vocabulary extended.
        phase: As in `count_parameters`.
        adapter: Of phase lora.
        attended_tokens: Positions whose scores are computed for one token: all of the row with a
            kernel that masks (PyTorch's), half of a document with FlashAttention's packed one.
        gradient_checkpointing: As the recipe says.
    """
    flops = 0.0
    for module in shape.modules():
        if module.kind != "linear":
            continue
        weights_too = _is_trained(module, phase, adapter)
        beside = adapter.size(module) if adapter else 0
        flops += (6 if weights_too else 4) * module.size + 6 * beside
        if gradient_checkpointing and not module.name.endswith((".down_proj", "lm_head")):
            flops += 2 * (module.size + beside)
        elif gradient_checkpointing and beside and module.name != "lm_head":
            flops += 2 * (module.size + adapter.rank * module.inputs)
    # queries by keys, and weights by values
    scores = 4 * attended_tokens * shape.attention_dim * shape.num_layers
    return flops + scores * (4 if gradient_checkpointing else 3)


# Bytes that autograd keeps of one token in one layer, as (per intermediate width, per hidden width,
# per kv width, per rank); measured with transformers 5.23 and torch 2.14 (PyTorch's attention) by
# sizes of saved tensors; the share by rank is all of a layer's adapters together.
_SAVED_BYTES: dict[tuple[Arithmetic, bool], tuple[float, float, float, float]] = {
    ("fp32", False): (16, 32, 8, 0),
    ("fp32", True): (20, 73, 8, 28),
    ("autocast", False): (8, 30, 4, 0),
    ("autocast", True): (12, 56, 4, 14),
    ("half", False): (8, 20, 4, 0),
    ("half", True): (10, 40.5, 4, 14),
}
# of one token and vocabulary entry: the logits, their logarithms in fp32, their gradient in fp32
# and in the logits' type
_LOGIT_BYTES = 12
_FRAMEWORK_BYTES = 2_000_000_000  # assumed: GPU context, communication buckets, fragmentation


def activation_bytes(
    shape: LlamaShape,
    adapter: Adapter | None = None,
    *,
    tokens: int,
    arithmetic: Arithmetic,
    gradient_checkpointing: bool,
    eager_row_tokens: int = 0,
) -> int:
    """Most memory that one forward and backward pass holds beside weights,
    gradients and moments; bytes.

    Args:
        shape: Of the model.
        adapter: Of phase lora.
        tokens: Of one micro-batch, padding included.
        arithmetic: fp32; autocast: weights in fp32, products in 16 bits; half:
            weights in 16 bits too.
        gradient_checkpointing: Only layer inputs are kept, and one layer's activations at a time.
        eager_row_tokens: Length of a row where attention writes out its scores (the
            eager kernel), else 0.
    """
    per_intermediate, per_hidden, per_kv, per_rank = _SAVED_BYTES[arithmetic, adapter is not None]
    layer = (
        per_intermediate * shape.intermediate_size
        + per_hidden * shape.hidden_size
        + per_kv * shape.kv_dim
    )
    layer += per_rank * adapter.rank if adapter else 0
    width = 2 if arithmetic == "half" else 4
    layer += 2 * width * shape.num_heads * eager_row_tokens
    logits = _LOGIT_BYTES * shape.vocab_size
    if gradient_checkpointing:
        return round(tokens * (width * shape.hidden_size * shape.num_layers + layer + logits))
    linears = [module for module in shape.modules() if module.kind == "linear"]
    copies = (
        2 * sum(module.size + (adapter.size(module) if adapter else 0) for module in linears)
        if arithmetic == "autocast"
        else 0
    )
    return round(tokens * (layer * shape.num_layers + logits)) + copies


@dataclass(frozen=True, kw_only=True)
class Memory:
    """Bytes of one rank: on its device, and in the host's memory."""

    weights: int
    gradients: int
    optimizer: int
    activations: int
    framework: int
    host: int

    @property
    def device(self) -> int:
        """All that lies on the device."""
        return self.weights + self.gradients + self.optimizer + self.activations + self.framework


def memory_per_rank(
    parameters: Parameters,
    *,
    ranks: int,
    zero_stage: Literal[0, 1, 2, 3],
    arithmetic: Arithmetic,
    activations: int,
    optimizer: Literal["adamw", "muon"] = "adamw",
    offload_optimizer: bool = False,
    offload_parameters: bool = False,
) -> Memory:
    """What training holds on each of `ranks` processes.

    In `half`, weights and gradients are 16-bit and the optimizer keeps fp32 copies beside its two
    moments, of which Muon has one; else weights, gradients and moments are fp32. ZeRO 1 divides
    the optimizer's share by the ranks, 2 the gradients too, 3 the weights too.
    """
    width = 2 if arithmetic == "half" else 4
    state = parameters.trainable * (12 if arithmetic == "half" else 8)
    state -= 4 * parameters.matrices if optimizer == "muon" else 0
    state = -(-state // ranks) if zero_stage >= 1 else state
    gradients = (
        -(-parameters.trainable * width // ranks)
        if zero_stage >= 2
        else parameters.trainable * width
    )
    weights = -(-parameters.total * width // ranks) if zero_stage == 3 else parameters.total * width
    off_optimizer = offload_optimizer and zero_stage >= 1
    off_parameters = offload_parameters and zero_stage == 3
    return Memory(
        weights=0 if off_parameters else weights,
        gradients=gradients,
        optimizer=0 if off_optimizer else state,
        activations=activations,
        framework=_FRAMEWORK_BYTES,
        host=(state if off_optimizer else 0) + (weights if off_parameters else 0),
    )


@dataclass(frozen=True)
class Device:
    """A kind of processor: dense matrix-product peaks in TFLOP/s, memory in GB (1e9
    bytes; None: not told).
    """

    half_tflops: float
    fp32_tflops: float
    memory_gb: float | None


# Sources: the vendors' data sheets, dense (no sparsity), 16-bit with fp32 accumulation; fp32
# without TF32. cpu: one core, fp32 matrix products of torch 2.14 measured where seed-nano was
# trained (285 GFLOP/s on two); bf16 is emulated there and slower.
DEVICES: dict[str, Device] = {
    "v100-16g": Device(125.0, 15.7, 16.0),
    "v100-32g": Device(125.0, 15.7, 32.0),
    "a100-40g": Device(312.0, 19.5, 40.0),
    "a100-80g": Device(312.0, 19.5, 80.0),
    "h100-80g": Device(989.0, 67.0, 80.0),
    "h200-141g": Device(989.0, 67.0, 141.0),
    "a6000-48g": Device(155.0, 38.7, 48.0),
    "l40s-48g": Device(362.0, 91.6, 48.0),
    "rtx3090-24g": Device(71.0, 35.6, 24.0),
    "rtx4090-24g": Device(165.0, 82.6, 24.0),
    "cpu": Device(0.14, 0.14, None),
}
