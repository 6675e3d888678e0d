"""A LoRA adapter's folder as PEFT saves it: the base model that it names, and what decides how it
changes that. Torch-free. On the path: before the language model.

PEFT imports modules that a configuration names and builds what it says before weights are seen. So
its own reader is not used: known keys are taken, and what else would count is refused.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from seedcli.errors import DataError
from seedcli.files import read_json

ADAPTER_FILE = "adapter_config.json"
_WEIGHTS = ("adapter_model.safetensors", "adapter_model.bin")
MERGE_BY_HAND = (
    'python -c "from peft import AutoPeftModelForCausalLM as A; '
    "A.from_pretrained('ADAPTER').merge_and_unload().save_pretrained('MERGED')\", and copy the "
    "tokenizer's files"
)
# Settings that decide what an adapter computes, with the kinds of their values.
_TAKEN: dict[str, tuple[type, ...]] = {
    "r": (int,),
    "lora_alpha": (int, float),
    "target_modules": (list,),
    "exclude_modules": (list,),
    "modules_to_save": (list,),
    "layers_to_transform": (list, int),
    "layers_pattern": (list, str),
    "rank_pattern": (dict,),
    "alpha_pattern": (dict,),
    "fan_in_fan_out": (bool,),
    "use_rslora": (bool,),
    "use_dora": (bool,),
}
# What counted while it was trained, or says nothing to a language model of the Llama family.
_PAST = {
    "auto_mapping",
    "base_model_name_or_path",
    "eva_config",
    "inference_mode",
    "lora_dropout",
    "megatron_core",
    "peft_type",
    "peft_version",
    "qalora_group_size",
    "revision",
    "runtime_config",
    "task_type",
}


@dataclass(frozen=True)
class LoraAdapter:
    """What an adapter's folder says.

    Attributes:
        folder: It.
        base: Name of the model that it changes: a preset, a folder or a hub id.
        settings: Arguments of PEFT's LoraConfig.
        weights: Its tensors.
    """

    folder: Path
    base: str
    settings: dict[str, Any]
    weights: Path


def is_adapter(folder: Path) -> bool:
    """Whether a folder holds an adapter."""
    return (folder / ADAPTER_FILE).is_file()


def read_adapter(folder: Path) -> LoraAdapter:
    """Folder -> its description.

    Raises:
        DataError: The configuration is unreadable, of another method than LoRA, names no base, or
            sets what is not read here; or there are no weights.
    """
    path = folder / ADAPTER_FILE
    config = read_json(path)
    base = config.get("base_model_name_or_path")
    if not isinstance(base, str) or not base:
        raise DataError(
            f"{path} names no base model (base_model_name_or_path is {base!r})",
            remedy="write the preset, folder or hub id there that the adapter was trained on",
        )
    weights = next((folder / name for name in _WEIGHTS if (folder / name).is_file()), None)
    if weights is None:
        raise DataError(f"{folder} has no {_WEIGHTS[0]}", remedy="copy the whole adapter folder")
    neutral = {"bias": ("none", None), "init_lora_weights": (True, False, "gaussian", None)}
    if config.get("peft_type") != "LORA":
        raise _not_read(path, "peft_type", config.get("peft_type"))
    settings: dict[str, Any] = {}
    for key, value in config.items():
        kinds = _TAKEN.get(key)
        of_numbers = key not in ("rank_pattern", "alpha_pattern") or _are_numbers(value)
        if kinds is not None and isinstance(value, kinds) and of_numbers:
            settings[key] = value
        elif value and key not in _PAST and value not in neutral.get(key, ()):
            raise _not_read(path, key, value)
    if settings.get("r", 0) < 1:
        raise _not_read(path, "r", config.get("r"))
    return LoraAdapter(folder, base, settings, weights)


def _are_numbers(value: Any) -> bool:
    return isinstance(value, dict) and all(type(each) in (int, float) for each in value.values())


def _not_read(path: Path, key: str, value: Any) -> DataError:
    return DataError(
        f"{path}: {key} is {value!r:.60}, which is not read here",
        remedy=f"where you trust it, merge it into its base model first: {MERGE_BY_HAND}",
    )


def refuse_adapter(names: Iterable[str], where: object, *, remedy: str | None = None) -> None:
    """Refuses an adapter where a whole language model is expected: transformers would load the base
    model that it names, from wherever that says.

    Raises:
        DataError: There is one; says how to merge it.
    """
    if ADAPTER_FILE in set(names):
        raise DataError(
            f"{where} holds a LoRA adapter ({ADAPTER_FILE}), expected a whole language model",
            remedy=remedy or f"merge it into its base model first: {MERGE_BY_HAND}",
        )
