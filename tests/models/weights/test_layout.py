"""Which of a repository's files are fetched, by the names that published ones have."""

from __future__ import annotations

import pytest

from seedcli.errors import DataError
from seedcli.models.weights.layout import choose_files, tokenizer_roles
from seedcli.models.weights.published import ROLES, UNCLIP, language_model
from tests.published_repositories import (
    ADAPTER,
    LLAMA_2_7B,
    SEED_BUNDLE,
    SEED_LLAMA_8B_SFT,
    VICUNA_7B,
    pipeline_names,
    shards,
)

ANY = language_model("owner/name")
SOURCE = ANY.sources[0]


def test_pytorch_files_where_there_are_no_others():
    _, chosen = choose_files(ANY, SOURCE, VICUNA_7B)
    assert set(chosen) == set(VICUNA_7B) - {".gitattributes", "README.md"}
    _, chosen = choose_files(ANY, SOURCE, SEED_LLAMA_8B_SFT)
    assert [name for name in chosen if name.endswith(".bin")] == shards("pytorch_model", ".bin", 3)[
        1:
    ]
    _, chosen = choose_files(ANY, SOURCE, ["config.json", "pytorch_model.bin", "training_args.bin"])
    assert chosen == ["config.json", "pytorch_model.bin"]


def test_safetensors_alone_where_there_are_both():
    _, chosen = choose_files(ANY, SOURCE, LLAMA_2_7B)
    assert set(shards("model", ".safetensors", 2)) <= set(chosen)
    assert not [name for name in chosen if name.endswith((".bin", ".pth")) or "/" in name]


def test_a_bundle_of_several_models_gives_the_one_that_is_meant():
    role = ROLES["seed-llama-8b-pretrain"]
    folder, chosen = choose_files(role, role.sources[1], SEED_BUNDLE)
    assert folder == "seed_llama_8b_pretrain/"
    assert len(chosen) == 6
    assert all(name.startswith(folder) for name in chosen)
    with pytest.raises(DataError, match="no config.json"):
        choose_files(ANY, SOURCE, SEED_BUNDLE)


@pytest.mark.parametrize(
    ("names", "said"),
    [
        (
            [name for name in VICUNA_7B if "00002-of" not in name],
            "not complete: no pytorch_model-00002-of-00002.bin",
        ),
        (["config.json", "vicuna.q4_0.gguf"], "no weights .* found .*gguf"),
        (["README.md"], "no config.json; found README.md"),
        (ADAPTER, "LoRA adapter"),
        ([*ADAPTER, "config.json"], "LoRA adapter"),
    ],
)
def test_what_is_no_whole_language_model_is_refused(names, said):
    with pytest.raises(DataError, match=said):
        choose_files(ANY, SOURCE, names)


def test_model_of_ours_brings_its_visual_tokenizer():
    inside = ["config.json", "model.safetensors", "seed.json", "tokenizer.json"]
    beside = ["seed_tokenizer.json", "model.safetensors", "vocab.txt", "decoder/unet/config.json"]
    names = [*(f"llm/{name}" for name in inside), *beside, "judge/open_clip_model.safetensors"]
    folder, chosen = choose_files(ANY, SOURCE, names)
    assert folder == "llm/"
    assert set(chosen) == set(names) - {"judge/open_clip_model.safetensors"}


def test_decoder_without_its_image_encoder_and_in_half_precision_where_it_is_published():
    everything = pipeline_names(suffixes=(".safetensors", ".fp16.safetensors", ".bin"))
    _, chosen = choose_files(UNCLIP, UNCLIP.sources[0], everything)
    assert not [name for name in chosen if name.startswith("image_encoder")]
    assert [name for name in chosen if name.endswith((".safetensors", ".bin", ".ckpt"))] == [
        "image_normalizer/diffusion_pytorch_model.fp16.safetensors",
        "text_encoder/model.fp16.safetensors",
        "unet/diffusion_pytorch_model.fp16.safetensors",
        "vae/diffusion_pytorch_model.fp16.safetensors",
    ]
    assert {"tokenizer/vocab.json", "tokenizer/merges.txt", "unet/config.json"} <= set(chosen)
    _, chosen = choose_files(UNCLIP, UNCLIP.sources[0], pipeline_names(suffixes=(".bin",)))
    assert "text_encoder/pytorch_model.bin" in chosen


def test_decoder_of_configurations_alone_is_none():
    with pytest.raises(DataError, match="no weights of unet, vae, text_encoder, image_normalizer"):
        choose_files(UNCLIP, UNCLIP.sources[2], pipeline_names(suffixes=()))
    names = [name for name in pipeline_names(suffixes=(".safetensors",)) if name[:3] != "vae"]
    with pytest.raises(DataError, match="no weights of vae"):
        choose_files(UNCLIP, UNCLIP.sources[2], names)


def test_visual_tokenizer_in_a_folder_of_a_bundle():
    vision, quantizer = tokenizer_roles("AILab-CVC/SEED", SEED_BUNDLE)
    assert vision.name == "vit-g"
    assert choose_files(quantizer, quantizer.sources[0], SEED_BUNDLE)[1] == [
        "seed_tokenizer/seed_quantizer.pt"
    ]
    assert tokenizer_roles("lmsys/vicuna-7b-v1.1", VICUNA_7B) == []
