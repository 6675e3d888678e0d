"""A recipe's [parallel] section -> the Hugging Face Trainer's arguments and DeepSpeed's
configuration; AdamW over a language model.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import torch
from torch import nn
from transformers import TrainingArguments
from transformers.integrations.deepspeed import (
    is_deepspeed_zero3_enabled,
    unset_hf_deepspeed_config,
)

from seedcli.errors import UsageError
from seedcli.recipe.language import LlmParallelSection, LlmRunSection, TokenOptimizationSection

_ONE_PROCESS = {
    "RANK": "0",
    "LOCAL_RANK": "0",
    "WORLD_SIZE": "1",
    "MASTER_ADDR": "127.0.0.1",
    "MASTER_PORT": "0",
}


def rows_of_update(
    optimization: TokenOptimizationSection,
    parallel: LlmParallelSection,
    *,
    context_length: int,
    world: int,
) -> tuple[int, int]:
    """(lanes: packed rows of one update, micro-batches a process computes for it).

    Raises:
        UsageError: The rows do not split evenly over processes and micro-batches.
    """
    lanes = optimization.batch_tokens // context_length
    at_once = world * parallel.micro_batch_rows
    if lanes % at_once:
        raise UsageError(
            f"an update has {lanes} rows (batch_tokens {optimization.batch_tokens} / "
            f"context_length {context_length}), which do not split over {world} processes with "
            f"micro_batch_rows {parallel.micro_batch_rows}",
            remedy="change parallel.micro_batch_rows or the number of processes; results do not "
            "depend on them",
        )
    return lanes, lanes // at_once


def training_arguments(
    folder: Path,
    optimization: TokenOptimizationSection,
    parallel: LlmParallelSection,
    run: LlmRunSection,
    *,
    seed: int,
    accumulation: int,
    other_world: bool = False,
) -> TrainingArguments:
    """Everything that the Trainer decides by itself is decided here; joins the process group that
    torchrun or `launcher` describes.

    Must be made before the model: under ZeRO 3 models are built in shards from then on.

    Args:
        other_world: A DeepSpeed checkpoint of another number of processes is to be read.
    """
    on_cpu = parallel.device == "cpu" or not torch.cuda.is_available()
    if parallel.engine == "deepspeed" and "RANK" not in os.environ:
        os.environ.update(_ONE_PROCESS)
    world = int(os.environ.get("WORLD_SIZE", "1"))
    arguments = TrainingArguments(
        output_dir=str(folder),
        max_steps=optimization.steps,
        per_device_train_batch_size=parallel.micro_batch_rows,
        gradient_accumulation_steps=accumulation,
        learning_rate=optimization.learning_rate,
        weight_decay=optimization.weight_decay,
        adam_beta1=optimization.betas[0],
        adam_beta2=optimization.betas[1],
        adam_epsilon=optimization.adam_epsilon,
        max_grad_norm=optimization.gradient_clip,
        lr_scheduler_type="constant",  # PackedTrainer makes its own
        average_tokens_across_devices=True,
        logging_strategy="no",
        logging_nan_inf_filter=False,
        save_strategy="no",
        report_to="none",
        disable_tqdm=True,
        log_level="error",
        ignore_data_skip=True,
        remove_unused_columns=False,
        seed=seed,
        use_cpu=on_cpu,
        ddp_backend="gloo" if on_cpu and world > 1 else None,
        ddp_find_unused_parameters=False,
        ddp_broadcast_buffers=False,
        bf16=parallel.precision == "bf16",
        fp16=parallel.precision == "fp16",
        activation_checkpointing=parallel.gradient_checkpointing,
        dataloader_pin_memory=not on_cpu,
        deepspeed=deepspeed_config(optimization, parallel, other_world=other_world)
        if parallel.engine == "deepspeed"
        else None,
    )
    if arguments.world_size != world:
        raise UsageError(
            f"{world} ranks were started, but the Trainer joined {arguments.world_size}",
            remedy="parallel.device=cpu",
        )
    if parallel.engine == "deepspeed":
        import deepspeed

        # ZeRO 3 asks DeepSpeed for the ranks while it builds
        deepspeed.init_distributed("gloo" if on_cpu else None, verbose=False)
    return arguments


def deepspeed_config(
    optimization: TokenOptimizationSection,
    parallel: LlmParallelSection,
    *,
    other_world: bool = False,
) -> dict[str, Any]:
    """DeepSpeed's configuration; `auto` is filled in by the Trainer.

    Bucket sizes and overlap are those of the published run (AILab-CVC/SEED@93b3cf4,
    MultiModalLLM/configs/deepspeed/stage2_bf16.json).
    """
    if parallel.offload_parameters and parallel.zero_stage != 3:
        raise UsageError(
            f"parallel.offload_parameters needs zero_stage 3, found {parallel.zero_stage}",
            remedy="parallel.zero_stage=3",
        )
    zero: dict[str, Any] = {"stage": parallel.zero_stage}
    if parallel.zero_stage:
        zero |= {
            "overlap_comm": True,
            "reduce_bucket_size": 200_000_000,
            "contiguous_gradients": True,
        }
    if parallel.zero_stage in (1, 2):
        zero |= {"allgather_bucket_size": 200_000_000}
    if parallel.zero_stage == 3:
        zero |= {
            "stage3_prefetch_bucket_size": "auto",
            "stage3_param_persistence_threshold": "auto",
        }
    if parallel.offload_optimizer:
        zero |= {"offload_optimizer": {"device": "cpu", "pin_memory": torch.cuda.is_available()}}
    if parallel.offload_parameters:
        zero |= {"offload_param": {"device": "cpu", "pin_memory": torch.cuda.is_available()}}
    config: dict[str, Any] = {
        "train_micro_batch_size_per_gpu": "auto",
        "gradient_accumulation_steps": "auto",
        "train_batch_size": "auto",
        "gradient_clipping": optimization.gradient_clip,
        "zero_optimization": zero,
        "zero_allow_untested_optimizer": True,
        "zero_force_ds_cpu_optimizer": False,
        "bf16": {"enabled": "auto"},
        "fp16": {"enabled": "auto"},
        "steps_per_print": 1_000_000_000,
    }
    if other_world:
        config["checkpoint"] = {"load_universal": True}
    return config


def parameter_groups(
    model: nn.Module, optimization: TokenOptimizationSection
) -> list[dict[str, Any]]:
    """Trained parameters in two groups, with and without weight decay.

    `decay_norms` decays everything, as the official run did (Hugging Face 4.30 exempted
    only nn.LayerNorm and biases, which Llama does not have); without it norms, embeddings
    and biases are exempt.
    """
    spared: set[int] = set()
    if not optimization.decay_norms:
        spared |= {
            id(parameter)
            for parameter in model.parameters()
            if getattr(parameter, "ds_shape", parameter.shape).__len__() < 2
        }
        spared |= {
            id(module.weight) for module in model.modules() if isinstance(module, nn.Embedding)
        }
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    groups = [
        {
            "params": [parameter for parameter in trained if id(parameter) not in spared],
            "weight_decay": optimization.weight_decay,
        },
        {
            "params": [parameter for parameter in trained if id(parameter) in spared],
            "weight_decay": 0.0,
        },
    ]
    return [group for group in groups if group["params"]]


def build_adamw(
    model: nn.Module, optimization: TokenOptimizationSection, parallel: LlmParallelSection
) -> torch.optim.Optimizer:
    """AdamW with the recipe's values; with moments in the host's memory
    DeepSpeed's, which computes there.
    """
    settings = {
        "lr": optimization.learning_rate,
        "betas": optimization.betas,
        "eps": optimization.adam_epsilon,
    }
    groups = parameter_groups(model, optimization)
    if parallel.engine == "deepspeed" and parallel.offload_optimizer:
        from deepspeed.ops.adam import DeepSpeedCPUAdam

        return DeepSpeedCPUAdam(groups, adamw_mode=True, **settings)
    return torch.optim.AdamW(groups, fused=True, **settings)


@torch.no_grad()
def whole_model(
    trained: nn.Module,
    build_model: Callable[[torch.device], nn.Module],
    *,
    engine: str,
    is_main: bool,
) -> nn.Module | None:
    """The trained model with all parameters whole, trained ones from their fp32 master weights,
    frozen ones as they were before.

    DeepSpeed's own module has neither: in half precision its parameters are rounded, frozen ones
    too, and ZeRO 3 spreads them. So rank 0 builds the model once more, on the host, and takes the
    master weights over one by one. Every rank must call this.

    Returns:
        On rank 0 the model; None on the others under DeepSpeed.
    """
    if engine != "deepspeed":
        return trained
    from deepspeed.utils import safe_get_full_fp32_param

    unset_hf_deepspeed_config()  # else transformers would spread this one, too
    whole = build_model(torch.device("cpu")) if is_main else None
    for name, parameter in trained.named_parameters():
        if not parameter.requires_grad:
            continue
        master = safe_get_full_fp32_param(parameter)
        with contextlib.nullcontext() if master is not None else _gathered([parameter]):
            if whole is not None:
                whole.get_parameter(name).copy_(parameter if master is None else master)
    return whole


def gather_parameters(parameters: list[nn.Parameter]) -> AbstractContextManager:
    """Makes parameters that ZeRO 3 shards whole on every rank for as long as the context lasts;
    what rank 0 changes is kept.
    """
    return _gathered(parameters) if is_deepspeed_zero3_enabled() else contextlib.nullcontext()


def _gathered(parameters: list[nn.Parameter]) -> AbstractContextManager:
    from deepspeed.runtime.zero import GatheredParameters

    # does nothing to parameters that are whole
    return GatheredParameters(parameters, modifier_rank=0)
