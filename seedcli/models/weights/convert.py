"""Released key names <-> our key names, by an explicit table made from the configuration; and the
census of a released file.

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

FileRole = Literal["vision", "quantizer"]
VISION_FILE, QUANTIZER_FILE = "eva_vit_g.pth", "seed_quantizer.pt"
# a buffer counting 0, 1, 2, ...; ours needs none
POSITION_IDS = "Qformer.bert.embeddings.position_ids"
_BOTH = ("weight", "bias")

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


def _pairs(ours: str, released: str, names: Iterable[str] = _BOTH) -> dict[str, str]:
    return {f"{released}.{name}": f"{ours}.{name}" for name in names}


def vision_table(config: SeedModelConfig) -> dict[str, str]:
    """Key of `eva_vit_g.pth` -> our key, for every tensor of the ViT (511 at full size)."""
    table = {"cls_token": "vision.class_token", "pos_embed": "vision.position_embedding"} | _pairs(
        "vision.patch_embedding", "patch_embed.proj"
    )
    for i in range(config.vision.depth):
        released, ours = f"blocks.{i}", f"vision.blocks.{i}"
        table |= _pairs(f"{ours}.attention_norm", f"{released}.norm1")
        table |= _pairs(f"{ours}.attention.qkv", f"{released}.attn.qkv", ("weight",))
        table |= {
            f"{released}.attn.q_bias": f"{ours}.attention.query_bias",
            f"{released}.attn.v_bias": f"{ours}.attention.value_bias",
        }
        table |= _pairs(f"{ours}.attention.output", f"{released}.attn.proj")
        table |= _pairs(f"{ours}.mlp_norm", f"{released}.norm2")
        table |= _pairs(f"{ours}.mlp.fc1", f"{released}.mlp.fc1") | _pairs(
            f"{ours}.mlp.fc2", f"{released}.mlp.fc2"
        )
    return table


def _attention_table(ours: str, released: str) -> dict[str, str]:
    table: dict[str, str] = {}
    for name in ("query", "key", "value"):
        table |= _pairs(f"{ours}.{name}", f"{released}.self.{name}")
    return (
        table
        | _pairs(f"{ours}.output", f"{released}.output.dense")
        | _pairs(f"{ours}.norm", f"{released}.output.LayerNorm")
    )


def _feed_forward_table(ours: str, layer: str, suffix: str) -> dict[str, str]:
    return (
        _pairs(f"{ours}.mlp.fc1", f"{layer}.intermediate{suffix}.dense")
        | _pairs(f"{ours}.mlp.fc2", f"{layer}.output{suffix}.dense")
        | _pairs(f"{ours}.norm", f"{layer}.output{suffix}.LayerNorm")
    )


def quantizer_table(config: SeedModelConfig) -> dict[str, str]:
    """Key of `seed_quantizer.pt` -> our key, text branch excluded (369 at full size; `position_ids`
    makes the 370 of the census).
    """
    table = {
        "query_tokens": "qformer.query_tokens",
        "quantize.embedding.weight": "codebook.embedding",
        "pos_embed": "decoder.reconstruction.position_embedding",
        "pos_embed_image": "decoder.generation.position_embedding",
    }
    table |= _pairs("vision_norm", "ln_vision") | _pairs(
        "qformer.embedding_norm", "Qformer.bert.embeddings.LayerNorm"
    )
    for i in range(config.qformer.depth):
        released, ours = f"Qformer.bert.encoder.layer.{i}", f"qformer.layers.{i}"
        table |= _attention_table(f"{ours}.self_attention", f"{released}.attention")
        if i % config.qformer.cross_attention_every == 0:
            table |= _attention_table(f"{ours}.cross_attention", f"{released}.crossattention")
        table |= _feed_forward_table(f"{ours}.feed_forward", released, "_query")
    for i in (0, 2):
        table |= _pairs(f"codebook.encoder.{i}", f"encode_task_layer.{i}") | _pairs(
            f"decoder.expand.{i}", f"decode_task_layer.{i}"
        )
    for tower, name in (("reconstruction", "blocks"), ("generation", "blocks_image")):
        for i in range(config.generation.depth):
            released, ours = f"{name}.{i}", f"decoder.{tower}.blocks.{i}"
            table |= _pairs(f"{ours}.attention_norm", f"{released}.norm1") | _pairs(
                f"{ours}.mlp_norm", f"{released}.norm2"
            )
            table |= _pairs(f"{ours}.qkv", f"{released}.attn.qkv") | _pairs(
                f"{ours}.output", f"{released}.attn.proj"
            )
            table |= _pairs(f"{ours}.mlp.fc1", f"{released}.mlp.fc1") | _pairs(
                f"{ours}.mlp.fc2", f"{released}.mlp.fc2"
            )
    for i in (0, 2, 4):
        table |= _pairs(f"decoder.head.{i}", f"image_down.{i}", ("weight",))
    return table | _pairs("decoder.projection", "distill_image_proj")


def text_table(config: SeedModelConfig) -> dict[str, str]:
    """Key of `seed_quantizer.pt` -> our key for the text branch, its two projections and the
    temperature (74 + 5 at full size).
    """
    embeddings = "Qformer.bert.embeddings"
    table = {
        f"{embeddings}.word_embeddings.weight": "text_branch.word_embedding.weight",
        f"{embeddings}.position_embeddings.weight": "text_branch.position_embedding.weight",
    }
    for i in range(config.qformer.depth):
        table |= _feed_forward_table(
            f"text_branch.feed_forwards.{i}", f"Qformer.bert.encoder.layer.{i}", ""
        )
    table |= _pairs("text_branch.text_projection", "text_proj") | _pairs(
        "text_branch.image_projection", "vision_proj"
    )
    return table | {"temp": "text_branch.temperature"}


def blip2_vision_table(config: SeedModelConfig) -> dict[str, str]:
    """Key of a transformers BLIP-2 file (`Salesforce/blip2-itm-vit-g`), its `qkv.bias` split as
    below -> our key for its ViT.

    Its `post_layernorm` is BLIP-2's own and not the `ln_vision` of SEED, which was trained further.
    """
    embeddings = "vision_model.embeddings"
    table = {
        f"{embeddings}.class_embedding": "vision.class_token",
        f"{embeddings}.position_embedding": "vision.position_embedding",
    }
    table |= _pairs("vision.patch_embedding", f"{embeddings}.patch_embedding")
    for i in range(config.vision.depth):
        released, ours = f"vision_model.encoder.layers.{i}", f"vision.blocks.{i}"
        table |= _pairs(f"{ours}.attention_norm", f"{released}.layer_norm1") | _pairs(
            f"{ours}.mlp_norm", f"{released}.layer_norm2"
        )
        table |= _pairs(f"{ours}.attention.qkv", f"{released}.self_attn.qkv", ("weight",))
        table |= {
            f"{released}.self_attn.query_bias": f"{ours}.attention.query_bias",
            f"{released}.self_attn.value_bias": f"{ours}.attention.value_bias",
        }
        table |= _pairs(f"{ours}.attention.output", f"{released}.self_attn.projection")
        table |= _pairs(f"{ours}.mlp.fc1", f"{released}.mlp.fc1") | _pairs(
            f"{ours}.mlp.fc2", f"{released}.mlp.fc2"
        )
    return table


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


def to_released(
    state: Mapping[str, Tensor], config: SeedModelConfig
) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """Our tensors -> those of the two released files under the official names, the text branch if
    `state` has it; inverse of loading.
    """
    quantizer = quantizer_table(config)
    if any(key.startswith("text_branch.") for key in state):
        quantizer |= text_table(config)
    return (
        {key: state[ours] for key, ours in vision_table(config).items()},
        {key: state[ours] for key, ours in quantizer.items()},
    )
