"""Tensors of released files -> ours, by the tables of `key_tables`; and the census of such a file.

A released SEED-2 tokenizer is two files: the ViT of LAVIS (`eva_vit_g.pth`, bare names, one block
more than is used) and everything else (`seed_quantizer.pt`, 590 keys of which 370 are used).
Nothing is loaded by luck: a key is used, accounted for, or unknown; one that is needed and not
there, or has another shape, is refused by name. Source: AILab-CVC/SEED@93b3cf4,
models/seed_qformer/ (facts: names, shapes).
"""

from __future__ import annotations

import dataclasses
import fnmatch
import functools
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode

from seedcli.errors import DataError
from seedcli.models.visual.config import SeedModelConfig
from seedcli.models.visual.model import SeedModel
from seedcli.models.weights.key_tables import (
    blip2_vision_table,
    quantizer_table,
    text_table,
    vision_table,
)

FileRole = Literal["vision", "quantizer"]
# a buffer counting 0, 1, 2, ...; ours needs none
POSITION_IDS = "Qformer.bert.embeddings.position_ids"

# Keys that a released file carries beyond what is loaded, first match wins. Names of the
# text-distillation head follow the training code of HEAD; SEED-1 called the same head
# `Reverse_Qformer` / `reverse_tokens`.
ACCOUNTED_FOR: tuple[tuple[str, str], ...] = (
    ("pos_embed_text", "text-distillation head"),
    ("blocks_text.*", "text-distillation head"),
    ("reverse_tokens*", "text-distillation head"),
    ("Reverse_Qformer*", "text-distillation head"),
    ("distill_text_proj.*", "text-distillation head"),
    ("itm_head.*", "image-text heads"),
    ("Qformer.cls.*", "caption head"),
)
VISION_ACCOUNTED_FOR: tuple[tuple[str, str], ...] = (
    ("norm.*", "final norm"),
    ("fc_norm.*", "final norm"),
    ("head.*", "classifier head"),
    ("mask_token", "masked-image-modelling token"),
    ("lm_head.*", "masked-image-modelling token"),
)
BLIP2_ACCOUNTED_FOR: tuple[tuple[str, str], ...] = (
    ("vision_model.post_layernorm.*", "final norm"),
    *(
        (f"{name}*", "rest of BLIP-2")
        for name in (
            "query_tokens",
            "qformer.",
            "embeddings.",
            "language_",
            "text_projection.",
            "vision_projection.",
            "itm_head.",
        )
    ),
)


def split_blip2_bias(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """BLIP-2's `qkv.bias` [3V] -> query bias [V] and value bias [V]; the middle third, the keys'
    bias, is zero by construction.

    Raises:
        DataError: The keys' bias is not zero, so these are other weights. (Not looked
            at on the meta device.)
    """
    split: dict[str, Tensor] = {}
    for key, tensor in tensors.items():
        if not key.endswith("self_attn.qkv.bias"):
            split[key] = tensor
            continue
        query_bias, key_bias, value_bias = tensor.chunk(3)
        if not tensor.is_meta and key_bias.count_nonzero():
            raise DataError(
                f"{key} has a bias for keys; the ViT of SEED has none, so these are other weights"
            )
        (
            split[key.replace("qkv.bias", "query_bias")],
            split[key.replace("qkv.bias", "value_bias")],
        ) = query_bias, value_bias
    return split


@dataclass(frozen=True)
class Census:
    """Every key of one released file, sorted.

    Attributes:
        used: Group -> keys that the model takes.
        accounted_for: Group -> keys that are known and not taken.
        unknown: Keys that no table knows.
        missing: Keys that the model needs and the file lacks.
        misshapen: One line a key: name, shape found, shape expected.
    """

    used: dict[str, list[str]]
    accounted_for: dict[str, list[str]]
    unknown: list[str]
    missing: list[str]
    misshapen: list[str]

    @property
    def num_used(self) -> int:
        """Keys that the model takes."""
        return sum(map(len, self.used.values()))

    @property
    def num_accounted_for(self) -> int:
        """Keys that are known and not taken."""
        return sum(map(len, self.accounted_for.values()))

    def require_complete(self, file: object) -> None:
        """Refuses a file that lacks keys or has them in other shapes.

        Raises:
            DataError: Names the keys, ten at most of each kind.
        """
        if not self.missing and not self.misshapen:
            return
        faults = [f"  missing    {key}" for key in self.missing[:10]] + [
            f"  misshapen  {line}" for line in self.misshapen[:10]
        ]
        more = len(self.missing) + len(self.misshapen) - len(faults)
        hint = ""
        if any(key.startswith("image_down") for key in self.missing) and any(
            key.startswith("Reverse_Qformer.") for g in self.accounted_for.values() for key in g
        ):
            hint = (
                "\nIt has the Reverse Q-Former head of today's training code;"
                " published and supported is the MLP head (`image_down`)."
            )
        raise DataError(
            (
                f"{file} does not fit: {len(self.missing)} keys missing, {len(self.misshapen)} of "
                "another shape\n"
            )
            + "\n".join(faults)
            + (f"\n  ... and {more} more" if more else "")
            + hint,
            remedy="seed models audit FOLDER lists every key. Other sizes than seed-2's need a "
            "seed_tokenizer.json with their config.",
        )


@functools.lru_cache(maxsize=8)
def expected_shapes(config: SeedModelConfig) -> dict[str, torch.Size]:
    """Our key -> shape, text branch included; nothing is allocated."""
    return {
        key: tensor.shape
        for key, tensor in build_hollow(config, text_branch=True).state_dict().items()
    }


def build_hollow(config: SeedModelConfig, *, text_branch: bool) -> SeedModel:
    """A tokenizer of tensors that have shapes and no storage, ready for
    `load_state_dict(assign=True)`.

    Initialisers are skipped: on the meta device they do nothing, but the normal one imports a
    symbolic compiler first (2 s).
    """
    with torch.device("meta"), _SkipInit():
        return SeedModel(config, text_branch=text_branch)


class _SkipInit(TorchFunctionMode):
    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if getattr(func, "__module__", None) == "torch.nn.init":
            return (kwargs or {}).get("tensor", args[0] if args else None)
        return func(*args, **(kwargs or {}))


def fit_vocabulary(config: SeedModelConfig, tensors: Mapping[str, Tensor]) -> SeedModelConfig:
    """The configuration with the file's number of word embeddings: the released file has 30,522
    rows, or 30,523 with BLIP-2's `[DEC]`.
    """
    words = tensors.get("Qformer.bert.embeddings.word_embeddings.weight")
    if words is None or len(words) != config.qformer.vocab_size - 1:
        return config
    return dataclasses.replace(
        config, qformer=dataclasses.replace(config.qformer, vocab_size=len(words))
    )


def census(
    tensors: Mapping[str, Tensor],
    config: SeedModelConfig,
    *,
    role: FileRole,
    text_branch: bool = False,
) -> Census:
    """Sorts every key of a released file.

    Args:
        tensors: Key -> tensor of one file; only shapes are looked at, so the meta device will do.
        config: What the file should hold.
        role: Which of the two files it is.
        text_branch: Count the text branch as used instead of accounted for.
    """
    if role == "quantizer":
        table, spare, patterns = quantizer_table(config), text_table(config), ACCOUNTED_FOR
        if text_branch:
            table, spare = table | spare, {}
    elif is_blip2_file(tensors):
        tensors = split_blip2_bias(tensors)
        table, spare, patterns = blip2_vision_table(config), {}, BLIP2_ACCOUNTED_FOR
    else:
        unused_block = f"block {config.vision.depth}"  # the feature is the penultimate block's
        table, spare, patterns = (
            vision_table(config),
            {},
            (*VISION_ACCOUNTED_FOR, (f"blocks.{config.vision.depth}.*", unused_block)),
        )
    expected = expected_shapes(config)
    used: dict[str, list[str]] = {}
    accounted_for: dict[str, list[str]] = {}
    unknown, misshapen = [], []
    for key, tensor in tensors.items():
        ours = table.get(key) or spare.get(key)
        if ours is not None and tensor.shape != expected[ours]:
            misshapen.append(f"{key}: {list(tensor.shape)}, expected {list(expected[ours])}")
        group = next(
            (group for pattern, group in patterns if fnmatch.fnmatchcase(key, pattern)), None
        )
        if key in table:
            used.setdefault(_part(table[key]), []).append(key)
        elif key == POSITION_IDS and role == "quantizer":
            used.setdefault("qformer", []).append(key)
        elif key in spare:
            accounted_for.setdefault(_part(spare[key]), []).append(key)
        elif group is not None:
            accounted_for.setdefault(group, []).append(key)
        else:
            unknown.append(key)
    missing = [key for key in table if key not in tensors]
    return Census(
        used=used,
        accounted_for=accounted_for,
        unknown=sorted(unknown),
        missing=missing,
        misshapen=misshapen,
    )


def _part(ours: str) -> str:
    parts = ours.split(".")
    if parts[0] == "text_branch":
        return (
            "image-text heads"
            if parts[1] in ("text_projection", "image_projection", "temperature")
            else "text branch"
        )
    return ".".join(parts[:2]) if parts[0] == "decoder" else parts[0]


def is_blip2_file(keys: Iterable[str]) -> bool:
    """Whether these are the keys of a transformers BLIP-2 file."""
    return any(key.startswith("vision_model.") for key in keys)


def convert_vision(
    tensors: Mapping[str, Tensor], config: SeedModelConfig, *, file: object
) -> dict[str, Tensor]:
    """Tensors of a ViT file -> ours, not copied.

    Raises:
        DataError: A key is missing or misshapen.
    """
    census(tensors, config, role="vision").require_complete(file)
    if is_blip2_file(tensors):
        tensors, table = split_blip2_bias(tensors), blip2_vision_table(config)
    else:
        table = vision_table(config)
    return {ours: tensors[key] for key, ours in table.items()}


def convert_quantizer(
    tensors: Mapping[str, Tensor], config: SeedModelConfig, *, text_branch: bool, file: object
) -> dict[str, Tensor]:
    """Tensors of the SEED file -> ours, not copied, plus `codebook.position_mean` [Q,E], which the
    release lacks: the mean of the codebook.

    Raises:
        DataError: A key is missing or misshapen, or text positions are permuted.
    """
    census(tensors, config, role="quantizer", text_branch=text_branch).require_complete(file)
    positions = tensors.get(POSITION_IDS)
    if positions is not None and not torch.equal(
        positions.flatten(), torch.arange(positions.numel())
    ):
        raise DataError(
            f"{file}: {POSITION_IDS} does not count 0, 1, 2, ...; text positions of these weights "
            "are permuted in a way that is not known"
        )
    table = quantizer_table(config) | (text_table(config) if text_branch else {})
    converted = {ours: tensors[key] for key, ours in table.items()}
    mean = converted["codebook.embedding"].float().mean(0, keepdim=True)
    return converted | {
        "codebook.position_mean": mean.expand(config.qformer.num_queries, -1).contiguous()
    }
