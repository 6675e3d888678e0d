"""Names of a repository's files -> those that are fetched, or why it holds no such model.
Torch-free; asks nobody.

Published folders differ: safetensors, PyTorch files only, both, several precisions, shards. What is
chosen is a list of known names, so that nothing else of a repository (code, optimizer states, other
frameworks' copies) is ever fetched. On the path: before everything else.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

from seedcli.errors import DataError
from seedcli.models.weights.adapter import refuse_adapter
from seedcli.models.weights.published import VIT_G, Role, Source

_WORDS = (
    "generation_config.json",
    "tokenizer.json",
    "tokenizer.model",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "chat_template.jinja",
    "seed.json",
)
_SHARD = re.compile(r"-(\d{5})-of-(\d{5})$")
LLM_FOLDER = "llm"  # a language model inside its visual tokenizer's folder
_TOKENIZER_FILES = ("seed_tokenizer.json", "model.safetensors", "vocab.txt")

RELEASED_FILES = (
    ("eva_vit_g.pth", "eva_vit_g.safetensors"),
    ("seed_quantizer.pt", "seed_quantizer.safetensors"),
)

# Parts of a stable-unCLIP pipeline and the name of their weights. Its image encoder (2.5 GB) is not
# among them: the generation embedding stands in for what it makes.
_WEIGHTED = {
    "unet": ("diffusion_pytorch_model", "diffusion_pytorch_model"),
    "vae": ("diffusion_pytorch_model", "diffusion_pytorch_model"),
    "text_encoder": ("model", "pytorch_model"),
    "image_normalizer": ("diffusion_pytorch_model", "diffusion_pytorch_model"),
}
_WEIGHTLESS = ("tokenizer", "scheduler", "image_noising_scheduler", "feature_extractor")


def choose_files(role: Role, source: Source, names: Iterable[str]) -> tuple[str, list[str]]:
    """Names of all files of a source -> the folder of it that the role means (`""` or ending in
    `/`), and the names of the files to fetch, small ones first.

    Raises:
        DataError: The source does not have them all; says which are missing.
    """
    held = set(names)
    match role.kind:
        case "language-model":
            return _language_model(source.folder, held)
        case "pipeline":
            return source.folder, _pipeline(source.folder, held)
        case _:
            wanted = [source.folder + name for name in source.files]
            if absent := [name for name in wanted if name not in held]:
                raise DataError(f"the repository has no {', '.join(absent)}")
            return source.folder, wanted


def tokenizer_roles(repo: str, names: Iterable[str]) -> list[Role]:
    """What is fetched of a hub repository that holds a visual tokenizer: our folder, or the ViT and
    the quantizer of the release, in this order and wherever in the repository they lie (the
    authors' bundle has a folder for them). Empty where it holds none.
    """
    held = sorted(names)
    title, lay_out = "visual tokenizer", "say --model FOLDER"
    if {"seed_tokenizer.json", "model.safetensors"} <= set(held):
        files = [name for name in _TOKENIZER_FILES if name in held] + _decoder_files(held)
        source = Source(repo=repo, files=tuple(files))
        return [Role(name=repo, title=title, kind="files", sources=(source,), lay_out=lay_out)]
    vision, quantizer = (
        next((name for name in held if name.rpartition("/")[2] in wanted), None)
        for wanted in RELEASED_FILES
    )
    if quantizer is None:
        return []
    roles = []
    for name in (vision, quantizer):
        folder, slash, file = (name or "").rpartition("/")
        source = Source(repo=repo, folder=folder + slash, files=(file,))
        roles.append(
            Role(name=repo, title=title, kind="file", sources=(source,), lay_out=lay_out)
            if name
            else VIT_G
        )
    return roles


def _decoder_files(held: Iterable[str]) -> list[str]:
    return sorted(
        name
        for name in held
        if name.startswith("decoder/") and name.endswith((".json", ".txt", ".safetensors"))
    )


def _language_model(folder: str, held: set[str]) -> tuple[str, list[str]]:
    """A Hugging Face folder: configuration, words, and weights as safetensors where there are any,
    else as PyTorch files.
    """
    beside: list[str] = []
    if f"{folder}config.json" not in held and f"{LLM_FOLDER}/config.json" in held and not folder:
        folder = f"{LLM_FOLDER}/"
        beside = [name for name in _TOKENIZER_FILES if name in held]
        beside += _decoder_files(held)
    inside = {name.removeprefix(folder) for name in held if name.startswith(folder)}
    fetched = "hf download REPOSITORY --local-dir FOLDER, and name that folder with --model"
    refuse_adapter(inside, folder or "the repository", remedy=fetched)
    if "config.json" not in inside:
        raise DataError(f"holds no language model: no config.json; found {_some(inside)}")
    for stem, suffix in (("model", ".safetensors"), ("pytorch_model", ".bin")):
        if weights := _weights(inside, stem, suffix):
            small = ["config.json", *(name for name in _WORDS if name in inside)]
            return folder, [*(folder + name for name in [*small, *weights]), *beside]
    raise DataError(
        "holds no weights as safetensors or PyTorch files (model.safetensors, pytorch_model.bin, "
        f"or their shards); found {_some(inside)}"
    )


def _weights(inside: set[str], stem: str, suffix: str) -> list[str]:
    """One file, or the index and every shard that the shards' own names count."""
    if stem + suffix in inside:
        return [stem + suffix]
    shards = sorted(
        name
        for name in inside
        if name.startswith(f"{stem}-")
        and name.endswith(suffix)
        and _SHARD.search(name.removesuffix(suffix))
    )
    if not shards:
        return []
    count = _SHARD.search(shards[0].removesuffix(suffix))
    total = count[2] if count else ""
    wanted = [
        f"{stem}{suffix}.index.json",
        *(f"{stem}-{number:05d}-of-{total}{suffix}" for number in range(1, int(total) + 1)),
    ]
    if absent := [name for name in wanted if name not in inside]:
        raise DataError(f"its weights are not complete: no {', '.join(absent[:3])}")
    return wanted


def _pipeline(folder: str, held: set[str]) -> list[str]:
    """A diffusers stable-unCLIP folder: configurations, and of each part one precision of weights,
    fp16 where all large parts have it: the official code computes in it.
    """
    inside = {name.removeprefix(folder) for name in held if name.startswith(folder)}
    if "model_index.json" not in inside:
        raise DataError(f"holds no pipeline: no model_index.json; found {_some(inside)}")
    chosen = ["model_index.json"]
    for part in (*_WEIGHTED, *_WEIGHTLESS):
        chosen += sorted(
            name
            for name in inside
            if name.rpartition("/")[0] == part
            and name.endswith((".json", ".txt"))
            and ".index." not in name
        )
    for kind, suffix in ((0, ".safetensors"), (1, ".bin")):
        files = {
            precision: {
                part: name
                for part, stems in _WEIGHTED.items()
                if (name := f"{part}/{stems[kind]}{precision}{suffix}") in inside
            }
            for precision in (".fp16", "")
        }
        # the normaliser is two vectors, and often stored in one precision only
        half = {"unet", "vae", "text_encoder"} <= files[".fp16"].keys()
        weights = files[""] | files[".fp16"] if half else files[""]
        if weights.keys() == _WEIGHTED.keys():
            return [folder + name for name in [*chosen, *sorted(weights.values())]]
    absent = [
        part
        for part in _WEIGHTED
        if not any(
            name.startswith(f"{part}/") and name.endswith((".safetensors", ".bin"))
            for name in inside
        )
    ]
    raise DataError(
        f"holds no weights of {', '.join(absent)}"
        if absent
        else "holds weights of its parts in different formats or precisions only"
    )


def _some(names: Iterable[str]) -> str:
    return ", ".join(sorted(names)[:12]) or "nothing"
