"""A folder -> `SeedLlama`: weights, text tokenizer and adapter checked against each other."""

from __future__ import annotations

import importlib.util
from typing import Any, Literal

import torch
from transformers import AutoConfig, AutoModelForCausalLM, BitsAndBytesConfig

from seedcli.errors import DataError, UsageError
from seedcli.models.device import pick_device
from seedcli.models.language.code_vocabulary import CodeVocabulary
from seedcli.models.language.generate import SeedLlama
from seedcli.models.language.seed_llama import set_special_ids, special_ids
from seedcli.models.language.text_tokenizer import load_text_tokenizer
from seedcli.models.quiet import quiet
from seedcli.models.weights.adapter import MERGE_BY_HAND
from seedcli.models.weights.locate_llm import LlmFiles
from seedcli.models.weights.sizes import check_sizes
from seedcli.models.weights.tensors import UNREADABLE, reason

Quantization = Literal["8bit", "4bit"]


def load_language_model(
    files: LlmFiles,
    *,
    device: str = "auto",
    dtype: str = "auto",
    quantize: Quantization | None = None,
) -> SeedLlama:
    """Loads a language model with its text tokenizer, in eval mode.

    bos, eos and pad are those of the text tokenizer: the published 8B states `<unk>` and `<s>` and
    pad -1, so that it would never stop at `</s>` and its embedding would take its last row, an
    image marker, for padding.

    Args:
        files: What `locate_llm` found.
        device: `auto`, or a torch device.
        dtype: Of the weights; `auto` is float32 on a CPU, on a GPU what the model's folder
            advises (float16 for published weights, as in the official code), else bfloat16 where
            the GPU has it, else float16.
        quantize: Weights of the linear layers in 8 or 4 bits, by bitsandbytes on an NVIDIA GPU.

    Raises:
        UsageError: Unknown device or dtype; quantisation that this machine cannot do.
        DataError: Files are missing or do not fit together.
    """
    place = pick_device(device)
    refuse_quantization(quantize, device)
    if quantize is not None and files.adapter is not None:
        raise UsageError(
            f"{files.adapter.folder} is a LoRA adapter, which --quantize {quantize} cannot change",
            remedy=f"leave out --quantize, or merge it first: {MERGE_BY_HAND}",
        )
    chosen = pick_dtype(dtype, place, advised=files.facts.dtype)
    options: dict[str, Any] = {"dtype": chosen}
    if quantize is not None:
        options["quantization_config"] = quantization_config(quantize, chosen)
    text_tokenizer = load_text_tokenizer(files.text_tokenizer)
    vocabulary = CodeVocabulary.of(text_tokenizer, files.facts.num_queries)
    if vocabulary.num_codes != files.facts.num_codes:
        raise DataError(
            f"{files.text_tokenizer} has {vocabulary.num_codes} code tokens, the visual tokenizer "
            f"{files.facts.visual_tokenizer} has {files.facts.num_codes} codes",
            remedy="--tokenizer names the visual tokenizer that belongs to this language model",
        )
    placement = {} if place.type == "cpu" else {"device_map": {"": place}}
    local = {"local_files_only": True, "trust_remote_code": False}
    check_sizes(files.folder)
    try:
        with quiet(advice=True):
            config = AutoConfig.from_pretrained(str(files.folder), **local)
            for name, token in special_ids(text_tokenizer).items():
                setattr(config, name, token)
            config.use_cache = True
            model = AutoModelForCausalLM.from_pretrained(
                str(files.folder),
                config=config,
                attn_implementation="sdpa",  # a configuration may name a kernel of the hub
                **local,
                **placement,
                **options,
            ).eval()
    except UNREADABLE as error:
        raise DataError(
            f"the language model in {files.folder} cannot be loaded: {reason(error)}",
            remedy="the folder must be as Hugging Face's save_pretrained writes it; seed models "
            "verify checks published files",
        ) from error
    if files.adapter is not None:
        from seedcli.models.language.lora import apply_adapter

        model = apply_adapter(model, files.adapter).eval()
    set_special_ids(model, text_tokenizer)
    rows = model.get_input_embeddings().weight.shape[0]
    if rows < vocabulary.size:
        raise DataError(
            f"the language model in {files.folder} knows {rows} tokens, its text tokenizer in "
            f"{files.text_tokenizer} has {vocabulary.size}",
            remedy="a language model without code tokens is extended by seed pretrain",
        )
    return SeedLlama(model, text_tokenizer, vocabulary, files.facts)


def pick_dtype(dtype: str, device: torch.device, *, advised: str | None) -> torch.dtype:
    """The user's dtype, or `auto`'s for a device and for what a model's folder advises on a GPU."""
    if dtype != "auto":
        return getattr(torch, dtype)
    if device.type == "cuda":
        half = torch.bfloat16 if torch.cuda.is_bf16_supported() else torch.float16
        return getattr(torch, advised) if advised else half
    return torch.float16 if device.type == "mps" else torch.float32


def refuse_quantization(quantize: Quantization | None, device: str) -> None:
    """Checks that this machine can quantise, before anything is downloaded.

    Raises:
        UsageError: No such device; or quantisation without an NVIDIA GPU or without
            bitsandbytes; says what is missing.
    """
    if quantize is None:
        return
    kind = pick_device(device).type
    missing = [] if kind == "cuda" else [f"an NVIDIA GPU (this conversation runs on {kind})"]
    missing += [] if importlib.util.find_spec("bitsandbytes") else ["the package bitsandbytes"]
    if missing:
        raise UsageError(
            f"--quantize {quantize} needs {' and '.join(missing)}",
            remedy="pip install bitsandbytes, or leave out --quantize"
            if kind == "cuda"
            else "leave out --quantize",
        )


def quantization_config(quantize: Quantization, dtype: torch.dtype) -> BitsAndBytesConfig:
    """8 bits: LLM.int8 as the official demo loads; 4 bits: NF4 with double quantisation. Embeddings
    and head stay as they are.
    """
    if quantize == "8bit":
        return BitsAndBytesConfig(load_in_8bit=True)
    return BitsAndBytesConfig(
        load_in_4bit=True,
        bnb_4bit_quant_type="nf4",
        bnb_4bit_use_double_quant=True,
        bnb_4bit_compute_dtype=dtype,
    )
