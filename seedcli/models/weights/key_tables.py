"""Released key names -> our key names, by explicit tables made from the configuration.

Source: AILab-CVC/SEED@93b3cf4, models/seed_qformer/ (facts: names, shapes).
"""

from __future__ import annotations

from collections.abc import Iterable

from seedcli.models.visual.config import SeedModelConfig

_BOTH = ("weight", "bias")


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
