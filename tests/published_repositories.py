"""File names of hub repositories as they are published, for the loopback hub."""

from __future__ import annotations

import json
import os


def shards(stem: str, suffix: str, count: int) -> list[str]:
    return [
        f"{stem}{suffix}.index.json",
        *(f"{stem}-{number:05d}-of-{count:05d}{suffix}" for number in range(1, count + 1)),
    ]


_CARD = [".gitattributes", "README.md"]
_LLAMA_WORDS = ["special_tokens_map.json", "tokenizer.model", "tokenizer_config.json"]
_CONFIG = ["config.json", "generation_config.json"]

SEED_LLAMA_8B_SFT = [*_CARD, *_CONFIG, *shards("pytorch_model", ".bin", 3)]
VICUNA_7B = [*_CARD, *_CONFIG, *_LLAMA_WORDS, *shards("pytorch_model", ".bin", 2)]
LLAMA_2_7B = [
    *VICUNA_7B,
    *shards("model", ".safetensors", 2),
    "LICENSE.txt",
    "USE_POLICY.md",
    "tokenizer.json",
    "original/consolidated.00.pth",
    "original/params.json",
]
SEED_BUNDLE = [
    *_CARD,
    *(f"seed_llama_8b_pretrain/{name}" for name in SEED_LLAMA_8B_SFT if name not in _CARD),
    "seed_llama_8b_pretrain/trainer_state.json",
    *(
        f"seed_tokenizer/{name}"
        for name in [*_LLAMA_WORDS, "added_tokens.json", "seed_quantizer.pt"]
    ),
]
ADAPTER = [*_CARD, "adapter_config.json", "adapter_model.safetensors"]
_WEIGHTS = {
    "unet": "diffusion_pytorch_model",
    "vae": "diffusion_pytorch_model",
    "image_normalizer": "diffusion_pytorch_model",
    "text_encoder": "model",
    "image_encoder": "model",
}


def pipeline_names(*, suffixes: tuple[str, ...]) -> list[str]:
    """Stable-unCLIP as its hub copies lay it out, with weights of the given endings."""
    names = [
        *_CARD,
        "model_index.json",
        "sd21-unclip-h.ckpt",
        "feature_extractor/preprocessor_config.json",
        "image_noising_scheduler/scheduler_config.json",
        "scheduler/scheduler_config.json",
        *(f"{part}/config.json" for part in _WEIGHTS),
        *(
            f"tokenizer/{name}"
            for name in (
                "merges.txt",
                "special_tokens_map.json",
                "tokenizer_config.json",
                "vocab.json",
            )
        ),
    ]
    for part, stem in _WEIGHTS.items():
        for suffix in suffixes:
            pickled = suffix.endswith(".bin") and stem == "model"
            names.append(f"{part}/{'pytorch_model' if pickled else stem}{suffix}")
    return names


def pipeline_files(
    *, width: int, suffixes: tuple[str, ...] = (".safetensors",)
) -> dict[str, bytes]:
    """The same with what its configurations say of its width."""
    facts = {
        "model_index.json": {"_class_name": "StableUnCLIPImg2ImgPipeline"},
        "image_normalizer/config.json": {"embedding_dim": width},
        "unet/config.json": {"projection_class_embeddings_input_dim": 2 * width},
    }
    return {name: os.urandom(100) for name in pipeline_names(suffixes=suffixes)} | {
        name: json.dumps(content).encode() for name, content in facts.items()
    }
