"""The layout of the two released files at any size, filled with seeded random numbers: tiny for
tests, full size for `make bench`.
"""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor

from seedcli.models.visual.config import SeedModelConfig
from seedcli.models.weights.convert import expected_shapes
from seedcli.models.weights.key_tables import quantizer_table, text_table, vision_table

Shapes = dict[str, tuple[int, ...]]


def _layer(name: str, width: int, memory_width: int, mlp_dim: int, *, crosses: bool) -> Shapes:
    shapes: Shapes = {}
    for attention, source_width in (("attention", width), ("crossattention", memory_width))[
        : 2 if crosses else 1
    ]:
        for part, columns in (("query", width), ("key", source_width), ("value", source_width)):
            shapes |= {
                f"{name}.{attention}.self.{part}.weight": (width, columns),
                f"{name}.{attention}.self.{part}.bias": (width,),
            }
        shapes |= {
            f"{name}.{attention}.output.dense.weight": (width, width),
            f"{name}.{attention}.output.dense.bias": (width,),
        }
        shapes |= {
            f"{name}.{attention}.output.LayerNorm.{part}": (width,) for part in ("weight", "bias")
        }
    shapes |= {
        f"{name}.intermediate_query.dense.weight": (mlp_dim, width),
        f"{name}.intermediate_query.dense.bias": (mlp_dim,),
    }
    shapes |= {
        f"{name}.output_query.dense.weight": (width, mlp_dim),
        f"{name}.output_query.dense.bias": (width,),
    }
    return shapes | {
        f"{name}.output_query.LayerNorm.{part}": (width,) for part in ("weight", "bias")
    }


def text_head_shapes(config: SeedModelConfig) -> Shapes:
    """The text-distillation head that the released file carries and nobody reads (139 keys at full
    size), and the matching head (2).
    """
    width, mlp_dim, num_queries = (
        config.qformer.width,
        config.qformer.mlp_dim,
        config.qformer.num_queries,
    )
    shapes: Shapes = {
        "pos_embed_text": (1, num_queries, width),
        "reverse_tokens_text": (1, 77, width),
    }
    for i in range(config.generation.depth):
        block = f"blocks_text.{i}"
        shapes |= {
            f"{block}.{norm}.{part}": (width,)
            for norm in ("norm1", "norm2")
            for part in ("weight", "bias")
        }
        for layer, rows, columns in (
            ("attn.qkv", 3 * width, width),
            ("attn.proj", width, width),
            ("mlp.fc1", 4 * width, width),
            ("mlp.fc2", width, 4 * width),
        ):
            shapes |= {f"{block}.{layer}.weight": (rows, columns), f"{block}.{layer}.bias": (rows,)}
    head = "Reverse_Qformer_text.bert"
    shapes |= {f"{head}.embeddings.LayerNorm.{part}": (width,) for part in ("weight", "bias")}
    shapes |= {f"{head}.embeddings.position_ids": (1, config.qformer.max_positions)}
    for i in range(4):
        shapes |= _layer(f"{head}.encoder.layer.{i}", width, width, mlp_dim, crosses=i % 2 == 0)
    shapes |= {"distill_text_proj.weight": (width, width), "distill_text_proj.bias": (width,)}
    return shapes | {"itm_head.weight": (2, width), "itm_head.bias": (2,)}


def released_shapes(config: SeedModelConfig) -> tuple[Shapes, Shapes]:
    """Key -> shape of `eva_vit_g.pth` (one block more than is used, norm, head) and of
    `seed_quantizer.pt` (590 keys at full size).
    """
    ours = {key: tuple(shape) for key, shape in expected_shapes(config).items()}
    vision = {key: ours[name] for key, name in vision_table(config).items()}
    last, extra = f"blocks.{config.vision.depth - 1}.", f"blocks.{config.vision.depth}."
    vision |= {
        key.replace(last, extra): shape for key, shape in vision.items() if key.startswith(last)
    }
    vision |= {f"norm.{part}": (config.vision.width,) for part in ("weight", "bias")}
    vision |= {
        "head.weight": (config.generation.generation_dim, config.vision.width),
        "head.bias": (config.generation.generation_dim,),
    }
    quantizer = {
        key: ours[name] for key, name in (quantizer_table(config) | text_table(config)).items()
    }
    quantizer |= {"Qformer.bert.embeddings.position_ids": (1, config.qformer.max_positions)}
    return vision, quantizer | text_head_shapes(config)


def random_tensors(
    shapes: Shapes, *, seed: int, dtype: torch.dtype = torch.float32
) -> dict[str, Tensor]:
    """Norms near one, everything else normal with the spread 0.02 (the codebook 0.2),
    position ids counting.
    """
    generator = torch.Generator().manual_seed(seed)
    tensors = {}
    for key, shape in shapes.items():
        if key.endswith("position_ids"):
            tensors[key] = torch.arange(shape[1])[None]
            continue
        values = torch.randn(shape, generator=generator) * (
            0.2 if key.startswith("quantize.") else 0.02
        )
        is_norm = "norm" in key.lower() or key.startswith("ln_")
        tensors[key] = (
            values + 1
            if is_norm and key.endswith("weight")
            else values.abs() + 0.05
            if key == "temp"
            else values
        ).to(dtype)
    return tensors


def write_released_weights(folder: Path, config: SeedModelConfig, *, seed: int = 0) -> None:
    """Writes `eva_vit_g.pth` (fp16) and `seed_quantizer.pt` (fp32) as released, 2.0 and 1.2 GB at
    full size, and a vocabulary.
    """
    folder.mkdir(parents=True, exist_ok=True)
    vision, quantizer = released_shapes(config)
    for name, shapes, dtype in (
        ("eva_vit_g.pth", vision, torch.float16),
        ("seed_quantizer.pt", quantizer, torch.float32),
    ):
        partial = folder / f"{name}.partial"
        torch.save(random_tensors(shapes, seed=seed, dtype=dtype), partial)
        partial.rename(folder / name)
    write_vocabulary(folder / "vocab.txt", config.qformer.vocab_size - 1)


def write_vocabulary(path: Path, size: int) -> None:
    """Stand-in for BERT's vocabulary: its special ids, letters that spell every
    lower-case word, and fillers.
    """
    letters = [chr(code) for code in range(ord("a"), ord("z") + 1)]
    pieces = [
        "[PAD]",
        *(f"[unused{i}]" for i in range(99)),
        "[UNK]",
        "[CLS]",
        "[SEP]",
        "[MASK]",
        *letters,
        *(f"##{letter}" for letter in letters),
    ]
    pieces += [f"[filler{i}]" for i in range(size - len(pieces) - 4)] + [
        "cat",
        "dog",
        "red",
        "face",
    ]
    path.write_text("\n".join(pieces) + "\n", encoding="utf-8")
