"""A language model of the Llama family that speaks codes: built from a shape or loaded, its
vocabulary extended, saved shard by shard.

On the path: after `vocab`; codes are words of the text vocabulary here, nothing else
tells pictures from prose.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import torch
from huggingface_hub import split_torch_state_dict_into_shards
from safetensors.torch import save_file
from torch import nn
from transformers import (
    AutoModelForCausalLM,
    GenerationConfig,
    LlamaConfig,
    LlamaForCausalLM,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)
from transformers.utils import is_flash_attn_2_available

from seedcli.errors import DataError
from seedcli.files import published
from seedcli.models.language.lora import untie_embeddings
from seedcli.models.quiet import quiet
from seedcli.models.weights.llm_description import LlmFacts, write_llm_facts
from seedcli.models.weights.sizes import check_sizes
from seedcli.models.weights.tensors import UNREADABLE, reason

# published: initializer_range of the resize, AILab-CVC/SEED@93b3cf4,
# MultiModalLLM/src/model/peft_model.py
NEW_ROWS_DEVIATION = 0.02

# Parameters -> context in which they are whole on this process; nothing to do
# unless ZeRO 3 shards them.
Gather = Callable[[list[nn.Parameter]], AbstractContextManager]


def no_gather(parameters: list[nn.Parameter]) -> AbstractContextManager:
    """`Gather` of a process that holds its parameters whole."""
    return contextlib.nullcontext()


def build_language_model(
    text_tokenizer: PreTrainedTokenizerBase,
    *,
    hidden_size: int,
    intermediate_size: int,
    num_layers: int,
    num_heads: int,
    max_positions: int,
    rope_theta: float,
    attention: str = "sdpa",
    seed: int,
) -> LlamaForCausalLM:
    """Shape -> a Llama with random weights (matrices and tables from N(0, 0.02), norms 1) for the
    vocabulary of `text_tokenizer`.
    """
    config = LlamaConfig(
        vocab_size=len(text_tokenizer),
        hidden_size=hidden_size,
        intermediate_size=intermediate_size,
        num_hidden_layers=num_layers,
        num_attention_heads=num_heads,
        num_key_value_heads=num_heads,
        max_position_embeddings=max_positions,
        rope_parameters={"rope_type": "default", "rope_theta": rope_theta},
        tie_word_embeddings=False,
        dtype=torch.float32,
        attn_implementation=attention,
        **special_ids(text_tokenizer),
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        # from_config would spread it under ZeRO 3 while it is built, and draw other weights
        return LlamaForCausalLM(config)


def load_causal_model(folder: str | Path, *, attention: str = "sdpa") -> PreTrainedModel:
    """Folder -> causal language model in fp32, the master weights of training.

    Raises:
        DataError: There is none, it is damaged, or it is of another kind.
    """
    check_sizes(Path(folder))
    try:
        with quiet(advice=True):
            return AutoModelForCausalLM.from_pretrained(
                folder,
                dtype=torch.float32,
                attn_implementation=attention,
                local_files_only=True,
                trust_remote_code=False,
            )
    except UNREADABLE as error:
        raise DataError(
            f"{folder} holds no readable causal language model: {reason(error)}",
            remedy="expected a Hugging Face folder with config.json and weights",
        ) from error


def fastest_attention(device: torch.device, dtype: torch.dtype) -> str:
    """Attention kernel of transformers for a device: FlashAttention-2 where it is installed and can
    run, else PyTorch's own.
    """
    flash = (
        device.type == "cuda"
        and dtype in (torch.float16, torch.bfloat16)
        and is_flash_attn_2_available()
    )
    return "flash_attention_2" if flash else "sdpa"


def special_ids(text_tokenizer: PreTrainedTokenizerBase) -> dict[str, int]:
    """`bos_token_id`, `eos_token_id` and `pad_token_id` of a text tokenizer, as
    configurations name them.
    """
    pad = text_tokenizer.pad_token_id
    return {
        "bos_token_id": text_tokenizer.bos_token_id,
        "eos_token_id": text_tokenizer.eos_token_id,
        "pad_token_id": text_tokenizer.eos_token_id if pad is None else pad,
    }


@torch.no_grad()
def extend_language_model(
    model: PreTrainedModel,
    text_tokenizer: PreTrainedTokenizerBase,
    *,
    seed: int,
    gather: Gather = no_gather,
) -> None:
    """Gives the model a row of embedding and head for every token of an extended vocabulary; new
    rows are drawn from N(0, 0.02).

    Tied matrices are untied first. A model that has the rows already, because it learned
    codes before, keeps them. Rows beyond the vocabulary (padding of the base model's
    matrices) are cut off.

    Source: spec of the published run, AILab-CVC/SEED@93b3cf4,
    MultiModalLLM/src/model/peft_model.py.
    """
    untie_embeddings(model)
    old = model.config.vocab_size
    size = len(text_tokenizer)
    if old != size:
        model.resize_token_embeddings(size, mean_resizing=False)
    if size > old:
        generator = torch.Generator().manual_seed(seed)
        for module in (model.get_input_embeddings(), model.get_output_embeddings()):
            rows = torch.normal(
                0.0, NEW_ROWS_DEVIATION, (size - old, model.config.hidden_size), generator=generator
            )
            with gather([module.weight]):
                module.weight[old:] = rows.to(module.weight)
    set_special_ids(model, text_tokenizer)


def set_special_ids(model: PreTrainedModel, text_tokenizer: PreTrainedTokenizerBase) -> None:
    """Makes configuration and generation settings say the tokenizer's ids: some published folders
    name wrong ones and never stop.
    """
    ids = special_ids(text_tokenizer)
    for name, value in ids.items():
        setattr(model.config, name, value)
    model.generation_config = GenerationConfig(**ids)


def save_language_model(
    model: PreTrainedModel,
    text_tokenizer: PreTrainedTokenizerBase,
    folder: Path,
    *,
    facts: LlmFacts | None,
    shard_size: str,
) -> None:
    """Writes a plain Hugging Face folder (safetensors, configuration, generation settings,
    tokenizer) and `seed.json` beside it.

    Weights stream: one file of at most `shard_size` is in memory at a time. All of it goes into
    `NAME.partial`, which is synced and then renamed, so a folder of this name is complete.

    Args:
        facts: None for a model without codes.
    """
    weights = dict(model.named_parameters())
    try:
        split = split_torch_state_dict_into_shards(weights, max_shard_size=shard_size)
    except ValueError:
        raise DataError(
            f"shard size {shard_size!r} is no size", remedy='say it as "5GB" or "500MB"'
        ) from None
    with published(folder) as partial:
        partial.mkdir()
        for file, names in split.filename_to_tensors.items():
            # copied one file at a time
            tensors = {name: weights[name].detach().cpu().clone().contiguous() for name in names}
            save_file(tensors, partial / file, metadata={"format": "pt"})
            del tensors
        if split.is_sharded:
            index = {"metadata": split.metadata, "weight_map": split.tensor_to_filename}
            (partial / "model.safetensors.index.json").write_text(
                json.dumps(index, indent=2, sort_keys=True) + "\n", encoding="utf-8"
            )
        _write_settings(model, text_tokenizer, partial)
        if facts is not None:
            write_llm_facts(partial, facts)


def _write_settings(
    model: PreTrainedModel, text_tokenizer: PreTrainedTokenizerBase, folder: Path
) -> None:
    set_special_ids(model, text_tokenizer)
    model.config.architectures = [type(model).__name__]
    model.config.use_cache = True
    model.config.dtype = next(model.parameters()).dtype
    model.config.save_pretrained(folder)
    model.generation_config.save_pretrained(folder)
    text_tokenizer.save_pretrained(folder)


def parameter_facts(model: nn.Module) -> dict[str, Any]:
    """Numbers of trained and of frozen parameters."""
    counts = {True: 0, False: 0}
    for parameter in model.parameters():
        counts[parameter.requires_grad] += parameter.numel()
    return {"trained_parameters": counts[True], "frozen_parameters": counts[False]}
