"""Checkpoints of a run: what training changes, written whole or not at all,
and read back exactly.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from accelerate.utils import DistributedType
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from seedcli.errors import DataError, UsageError
from seedcli.files import parse_json, raise_if_full, size_bytes


def newest_checkpoint(checkpoints: Path) -> Path | None:
    """Folder of the newest complete checkpoint, or None; incomplete ones carry another
    name and are never seen.
    """
    found = sorted(checkpoints.glob("step-*"))
    return found[-1] if found else None


def read_progress(checkpoint: Path) -> dict[str, Any]:
    """What a checkpoint says of itself: `step`, `world`, and the run's position."""
    return parse_json((checkpoint / "progress.json").read_bytes())


def changing_state(module: nn.Module) -> dict[str, Tensor]:
    """What training changes: trainable parameters and all persistent buffers, by name."""
    frozen = {name for name, parameter in module.named_parameters() if not parameter.requires_grad}
    return {name: tensor for name, tensor in module.state_dict().items() if name not in frozen}


def save_checkpoint(
    checkpoints: Path,
    step: int,
    accelerator: Accelerator,
    module: nn.Module,
    optimizer: torch.optim.Optimizer,
    *,
    keep: int,
    position: dict[str, Any] | None = None,
) -> None:
    """Writes `checkpoints/step-NNNNNNNN` (every rank calls this) and deletes all
    but the newest `keep`.

    `position` is what else the run must know to go on, as JSON: where it stands in its data.
    """
    final = checkpoints / f"step-{step:08d}"
    partial = checkpoints / f"partial-{step:08d}"
    try:
        _write_checkpoint(partial, step, accelerator, module, optimizer, position or {})
    except BaseException as error:
        written = size_bytes(partial)
        shutil.rmtree(partial, ignore_errors=True)
        raise_if_full(error, final, written)
        raise
    if accelerator.is_main_process:
        if final.exists():
            shutil.rmtree(final)
        partial.rename(final)
        for old in sorted(checkpoints.glob("step-*"))[:-keep]:
            shutil.rmtree(old)
    accelerator.wait_for_everyone()


def _write_checkpoint(
    partial: Path,
    step: int,
    accelerator: Accelerator,
    module: nn.Module,
    optimizer: torch.optim.Optimizer,
    position: dict[str, Any],
) -> None:
    if accelerator.is_main_process:
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir(parents=True)
    accelerator.wait_for_everyone()
    if uses_deepspeed(accelerator):
        module.save_checkpoint(str(partial), tag="deepspeed", exclude_frozen_parameters=True)
    elif accelerator.is_main_process:
        state = changing_state(accelerator.unwrap_model(module))
        # Cloned, because safetensors refuses tensors that share memory (tied weights).
        save_file(
            {name: tensor.detach().cpu().clone().contiguous() for name, tensor in state.items()},
            partial / "state.safetensors",
        )
        # through a file of ours: torch's own says nothing of a full disk
        with open(partial / "optimizer.pt", "wb") as file:
            torch.save(optimizer.state_dict(), file)
    accelerator.wait_for_everyone()
    if accelerator.is_main_process:
        (partial / "progress.json").write_text(
            json.dumps({"step": step, "world": accelerator.num_processes} | position) + "\n"
        )
        for path in partial.rglob("*"):
            if path.is_file():
                with open(path, "rb") as handle:
                    os.fsync(handle.fileno())


def load_checkpoint(
    folder: Path, accelerator: Accelerator, module: nn.Module, optimizer: torch.optim.Optimizer
) -> int:
    """Puts a checkpoint's weights and moments in place; returns its step.

    Raises:
        UsageError: Written by another number of processes under DeepSpeed, which was not configured
            for that, or by DeepSpeed when this run does not use it.
        DataError: It belongs to another model.
    """
    progress = read_progress(folder)
    if uses_deepspeed(accelerator):
        tag = "deepspeed"
        if progress["world"] != accelerator.num_processes and module.zero_optimization_stage():
            if not module.load_universal_checkpoint():
                raise UsageError(
                    f"{folder} was written by {progress['world']} processes under DeepSpeed, this "
                    f"run has {accelerator.num_processes}",
                    remedy=f"resume with --nproc {progress['world']}",
                )
            tag = "universal"
            _write_universal(folder, accelerator)
        module.load_checkpoint(str(folder), tag=tag, load_module_strict=False)
        if tag == "universal":
            accelerator.wait_for_everyone()
            if accelerator.is_main_process:
                shutil.rmtree(folder / tag)
        return progress["step"]
    if not (folder / "state.safetensors").is_file():
        raise UsageError(
            f"{folder} was written by DeepSpeed",
            remedy="resume with parallel.engine=deepspeed, as the run began",
        )
    target = accelerator.unwrap_model(module)
    state = load_file(folder / "state.safetensors")
    missing, unexpected = (
        set(changing_state(target)) - set(state),
        set(state) - set(changing_state(target)),
    )
    if missing or unexpected:
        raise DataError(
            f"{folder} does not fit this recipe: missing {sorted(missing)[:3]}, unknown "
            f"{sorted(unexpected)[:3]}"
        )
    target.load_state_dict(state, strict=False)
    optimizer.load_state_dict(
        torch.load(folder / "optimizer.pt", weights_only=True, map_location="cpu")
    )
    return progress["step"]


def _write_universal(folder: Path, accelerator: Accelerator) -> None:
    """DeepSpeed's checkpoint of some number of ranks -> `universal` beside it, which any
    number of ranks reads.
    """
    if accelerator.is_main_process:
        from deepspeed.checkpoint import ds_to_universal

        shutil.rmtree(folder / "universal", ignore_errors=True)
        wishes = {
            "num_extract_workers": 1,
            "num_merge_workers": 1,
            "keep_temp_folder": False,
            "strict": True,
            "inject_missing_state": True,
        }
        ds_to_universal.main(
            argparse.Namespace(
                input_folder=str(folder / "deepspeed"),
                output_folder=str(folder / "universal"),
                **wishes,
            )
        )
    accelerator.wait_for_everyone()


def uses_deepspeed(accelerator: Accelerator) -> bool:
    """Whether the recipe's engine is DeepSpeed, which writes its own checkpoints and
    clips gradients itself.
    """
    return accelerator.distributed_type == DistributedType.DEEPSPEED
