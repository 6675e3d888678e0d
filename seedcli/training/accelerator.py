"""A recipe's [parallel] section -> Accelerate and DeepSpeed: how processes join, what DeepSpeed is
told, and the whole model that ZeRO spreads.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from typing import Any

import torch
from accelerate import Accelerator, DistributedDataParallelKwargs
from accelerate.state import AcceleratorState
from accelerate.utils import (
    DeepSpeedPlugin,
    GradientAccumulationPlugin,
    InitProcessGroupKwargs,
)
from torch import nn
from transformers.integrations import (
    HfDeepSpeedConfig,
    is_deepspeed_zero3_enabled,
    unset_hf_deepspeed_config,
)

from seedcli.errors import UsageError
from seedcli.recipe.language import LlmParallelSection
from seedcli.recipe.pictures import ParallelSection
from seedcli.training.checkpoints import uses_deepspeed

_ONE_PROCESS = {
    "RANK": "0",
    "LOCAL_RANK": "0",
    "WORLD_SIZE": "1",
    "MASTER_ADDR": "127.0.0.1",
    "MASTER_PORT": "0",
}


def build_accelerator(parallel: ParallelSection | LlmParallelSection) -> Accelerator:
    """Accelerate set up from the recipe; joins the process group that torchrun or `launcher`
    describes. One for all trainings of a process, which `begin_training` tells apart.

    Raises:
        UsageError: Parameters are to be kept in the host's memory without ZeRO 3; DeepSpeed is to
            use the CPU beside a GPU; or the ranks did not find each other.
    """
    deepspeed = parallel.engine == "deepspeed"
    on_cpu = parallel.device == "cpu" or not torch.cuda.is_available()
    if not torch.cuda.is_available():
        # what DeepSpeed, which Accelerate imports in any case, would find, and warn of
        os.environ.setdefault("DS_ACCELERATOR", "cpu")
    if deepspeed and "RANK" not in os.environ:
        os.environ.update(_ONE_PROCESS)
    world = int(os.environ.get("WORLD_SIZE", "1"))
    if deepspeed and on_cpu and torch.cuda.is_available():
        raise UsageError(
            "DeepSpeed takes this machine's GPU; found parallel.device=cpu",
            remedy="parallel.engine=ddp, or hide the GPU with CUDA_VISIBLE_DEVICES=",
        )
    # Moving averages are buffers that a stage itself keeps equal on all ranks; broadcasting them
    # every step would only cost time.
    handlers: list[Any] = [
        DistributedDataParallelKwargs(
            broadcast_buffers=False,
            find_unused_parameters=getattr(parallel, "find_unused_parameters", False),
        )
    ]
    if on_cpu and (deepspeed or world > 1):
        handlers.append(InitProcessGroupKwargs(backend="gloo"))
    precision = {"fp32": "no"}.get(parallel.precision, parallel.precision)
    if AcceleratorState._shared_state and AcceleratorState().mixed_precision != precision:
        # A notebook trains one model after another: the precision of the one that has ended would
        # hold for the whole process. The group of processes stays.
        AcceleratorState._reset_state(reset_partial_state=False)
    try:
        accelerator = Accelerator(
            # Without a GPU, Accelerate joins the process group only when it is told that the CPU is
            # meant; when it is told, it takes no DeepSpeed, which finds the CPU by itself.
            cpu=on_cpu and not deepspeed and (parallel.device == "cpu" or world > 1),
            mixed_precision=precision,
            deepspeed_plugin=(
                DeepSpeedPlugin(hf_ds_config=deepspeed_config(parallel)) if deepspeed else None
            ),
            gradient_accumulation_plugin=GradientAccumulationPlugin(
                # DeepSpeed decides by itself when gradients are exchanged
                num_steps=1,
                sync_with_dataloader=False,
                sync_each_batch=deepspeed,
            ),
            kwargs_handlers=handlers,
        )
    except (ValueError, NotImplementedError) as error:
        raise UsageError(
            f"Accelerate refuses parallel.engine={parallel.engine}, "
            f"precision={parallel.precision}, device={parallel.device}: {error}",
            remedy="train in a process of its own",
        ) from error
    if accelerator.num_processes != world:
        raise UsageError(
            f"{world} ranks were started, but Accelerate joined {accelerator.num_processes}",
            remedy="parallel.device=cpu",
        )
    return accelerator


def begin_training(
    accelerator: Accelerator,
    *,
    micro_batch: int,
    accumulation: int,
    gradient_clip: float,
    other_world: bool = False,
) -> None:
    """Tells Accelerate and DeepSpeed of one training: what an earlier one left behind is freed.

    Args:
        micro_batch: Rows, or images, that a process computes at once.
        accumulation: Micro-batches of a process in one update.
        gradient_clip: Largest gradient norm; 0 turns clipping off.
        other_world: A DeepSpeed checkpoint of another number of processes is to be read.
    """
    accelerator.free_memory()
    accelerator.gradient_accumulation_steps = accumulation
    if not uses_deepspeed(accelerator):
        return
    config = accelerator.state.deepspeed_plugin.deepspeed_config
    config |= {
        "train_micro_batch_size_per_gpu": micro_batch,
        "gradient_accumulation_steps": accumulation,
        "train_batch_size": micro_batch * accumulation * accelerator.num_processes,
        "gradient_clipping": gradient_clip,
        "checkpoint": {"load_universal": other_world},
    }


def deepspeed_config(parallel: ParallelSection | LlmParallelSection) -> dict[str, Any]:
    """DeepSpeed's configuration, but for what `begin_training` adds.

    Bucket sizes are those of the official run (AILab-CVC/SEED@93b3cf4,
    MultiModalLLM/configs/deepspeed/stage2_bf16.json).

    Raises:
        UsageError: Parameters are to be kept in the host's memory without ZeRO 3.
    """
    offload_parameters = getattr(parallel, "offload_parameters", False)
    if offload_parameters and parallel.zero_stage != 3:
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
    host = {"device": "cpu", "pin_memory": torch.cuda.is_available()}
    if parallel.offload_optimizer:
        zero |= {"offload_optimizer": host}
    if offload_parameters:
        zero |= {"offload_param": host}
    return {
        "zero_optimization": zero,
        "zero_allow_untested_optimizer": True,
        "zero_force_ds_cpu_optimizer": False,
        "bf16": {"enabled": parallel.precision == "bf16"},
        "fp16": {"enabled": parallel.precision == "fp16"},
        "gradient_accumulation_steps": 1,
        "gradient_clipping": 0.0,
    }


@contextlib.contextmanager
def spread_while_building(accelerator: Accelerator) -> Iterator[None]:
    """While the context lasts, transformers builds models in shards if this run uses ZeRO 3."""
    plugin = accelerator.state.deepspeed_plugin if uses_deepspeed(accelerator) else None
    unset_hf_deepspeed_config()
    # transformers keeps a weak reference: it spreads models for as long as this object lives
    alive = HfDeepSpeedConfig(dict(plugin.deepspeed_config)) if plugin else None
    try:
        yield
    finally:
        del alive
        unset_hf_deepspeed_config()


@torch.no_grad()
def whole_model(
    trained: nn.Module,
    build_model: Callable[[torch.device], nn.Module],
    accelerator: Accelerator,
) -> nn.Module | None:
    """The trained model with all parameters whole, trained ones from their fp32 master weights,
    frozen ones as they were before.

    DeepSpeed's own module has neither: in half precision its parameters are rounded, frozen ones
    too, and ZeRO 3 spreads them. So rank 0 builds the model once more, on the host, and takes the
    master weights over one by one. Every rank must call this.

    Returns:
        On rank 0 the model; None on the others under DeepSpeed.
    """
    if not uses_deepspeed(accelerator):
        return trained
    from deepspeed.utils import safe_get_full_fp32_param

    whole = build_model(torch.device("cpu")) if accelerator.is_main_process else None
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
