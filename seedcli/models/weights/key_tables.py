"""Released key names -> our key names, by explicit tables made from the configuration. `*` stands
for weight and bias.

Source: AILab-CVC/SEED@93b3cf4, models/seed_qformer/ (facts: names, shapes).
"""

from __future__ import annotations

from collections.abc import Mapping

from seedcli.models.visual.config import SeedModelConfig

_VIT_BLOCK = {
    "norm1.*": "attention_norm.*",
    "attn.qkv.weight": "attention.qkv.weight",
    "attn.q_bias": "attention.query_bias",
    "attn.v_bias": "attention.value_bias",
    "attn.proj.*": "attention.output.*",
    "norm2.*": "mlp_norm.*",
    "mlp.fc1.*": "mlp.fc1.*",
    "mlp.fc2.*": "mlp.fc2.*",
}
_BLIP2_BLOCK = {
    "layer_norm1.*": "attention_norm.*",
    "layer_norm2.*": "mlp_norm.*",
    "self_attn.qkv.weight": "attention.qkv.weight",
    "self_attn.query_bias": "attention.query_bias",
    "self_attn.value_bias": "attention.value_bias",
    "self_attn.projection.*": "attention.output.*",
    "mlp.fc1.*": "mlp.fc1.*",
    "mlp.fc2.*": "mlp.fc2.*",
}
_ATTENTION = {
    "self.query.*": "query.*",
    "self.key.*": "key.*",
    "self.value.*": "value.*",
    "output.dense.*": "output.*",
    "output.LayerNorm.*": "norm.*",
}
_DECODER_BLOCK = {
    "norm1.*": "attention_norm.*",
    "norm2.*": "mlp_norm.*",
    "attn.qkv.*": "qkv.*",
    "attn.proj.*": "output.*",
    "mlp.fc1.*": "mlp.fc1.*",
    "mlp.fc2.*": "mlp.fc2.*",
}


def _below(released: str, ours: str, names: Mapping[str, str]) -> dict[str, str]:
    """A table's names behind the names of what they are parts of."""
    return {
        (released + theirs).replace("*", end): (ours + mine).replace("*", end)
        for theirs, mine in names.items()
        for end in (("weight", "bias") if "*" in theirs else ("",))
    }


def vision_table(config: SeedModelConfig) -> dict[str, str]:
    """Key of `eva_vit_g.pth` -> our key, for every tensor of the ViT (511 at full size)."""
    names = {
        "cls_token": "class_token",
        "pos_embed": "position_embedding",
        "patch_embed.proj.*": "patch_embedding.*",
    }
    table = _below("", "vision.", names)
    for i in range(config.vision.depth):
        table |= _below(f"blocks.{i}.", f"vision.blocks.{i}.", _VIT_BLOCK)
    return table


def blip2_vision_table(config: SeedModelConfig) -> dict[str, str]:
    """Key of a transformers BLIP-2 file (`Salesforce/blip2-itm-vit-g`), its `qkv.bias` split by
    `split_blip2_bias` -> our key for its ViT.

    Its `post_layernorm` is BLIP-2's own and not the `ln_vision` of SEED, which was trained further.
    """
    names = {
        "class_embedding": "class_token",
        "position_embedding": "position_embedding",
        "patch_embedding.*": "patch_embedding.*",
    }
    table = _below("vision_model.embeddings.", "vision.", names)
    for i in range(config.vision.depth):
        released = f"vision_model.encoder.layers.{i}."
        table |= _below(released, f"vision.blocks.{i}.", _BLIP2_BLOCK)
    return table


def quantizer_table(config: SeedModelConfig) -> dict[str, str]:
    """Key of `seed_quantizer.pt` -> our key, text branch excluded (369 at full size; `position_ids`
    makes the 370 of the census).
    """
    names = {
        "query_tokens": "qformer.query_tokens",
        "quantize.embedding.weight": "codebook.embedding",
        "pos_embed": "decoder.reconstruction.position_embedding",
        "pos_embed_image": "decoder.generation.position_embedding",
        "ln_vision.*": "vision_norm.*",
        "Qformer.bert.embeddings.LayerNorm.*": "qformer.embedding_norm.*",
    }
    table = _below("", "", names)
    for i in range(config.qformer.depth):
        released, ours = f"Qformer.bert.encoder.layer.{i}.", f"qformer.layers.{i}."
        table |= _below(f"{released}attention.", f"{ours}self_attention.", _ATTENTION)
        if i % config.qformer.cross_attention_every == 0:
            table |= _below(f"{released}crossattention.", f"{ours}cross_attention.", _ATTENTION)
        table |= _below(released, f"{ours}feed_forward.", _feed_forward("_query"))
    for i in (0, 2):
        table |= _below(f"encode_task_layer.{i}.", f"codebook.encoder.{i}.", {"*": "*"})
        table |= _below(f"decode_task_layer.{i}.", f"decoder.expand.{i}.", {"*": "*"})
    for tower, name in (("reconstruction", "blocks"), ("generation", "blocks_image")):
        for i in range(config.generation.depth):
            table |= _below(f"{name}.{i}.", f"decoder.{tower}.blocks.{i}.", _DECODER_BLOCK)
    table |= {f"image_down.{i}.weight": f"decoder.head.{i}.weight" for i in (0, 2, 4)}
    return table | _below("distill_image_proj.", "decoder.projection.", {"*": "*"})


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
        released = f"Qformer.bert.encoder.layer.{i}."
        table |= _below(released, f"text_branch.feed_forwards.{i}.", _feed_forward(""))
    projections = {"text_proj.*": "text_projection.*", "vision_proj.*": "image_projection.*"}
    return table | _below("", "text_branch.", projections | {"temp": "temperature"})


def _feed_forward(suffix: str) -> dict[str, str]:
    """The Q-Former's: `_query` is that of the pictures, the bare one that of the text branch."""
    return {
        f"intermediate{suffix}.dense.*": "mlp.fc1.*",
        f"output{suffix}.dense.*": "mlp.fc2.*",
        f"output{suffix}.LayerNorm.*": "norm.*",
    }
