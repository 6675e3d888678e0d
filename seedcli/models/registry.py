"""Which files a `--model` means, and the tokenizer made of them.

`--model` is a preset, a folder of ours (`seed_tokenizer.json` + `model.safetensors`), a folder with the two released files
(`eva_vit_g.pth`, `seed_quantizer.pt`, or the same as .safetensors; with a `seed_tokenizer.json` beside them if they are not seed-2's size),
or a hub id with either layout. Torch-free until weights are wanted. On the path: before everything else.
"""

from __future__ import annotations

import difflib
import hashlib
import json
import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from seedcli.console import Reporter
from seedcli.errors import DataError, UsageError
from seedcli.models.config import PRESETS, Numerics, SeedTokenizerConfig
from seedcli.models.description import ModelFacts, fingerprint, read_model_facts
from seedcli.models.sources import BERT_VOCABULARY, CLIP_H, QUANTIZER, UNCLIP, VIT_G, Source

if TYPE_CHECKING:
    import torch

    from seedcli.models.seed_tokenizer import SeedTokenizer

BUNDLED_NANO = Path(__file__).parents[1] / "bundled" / "nano"
DEFAULT_MODEL = "seed-nano"
_HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*/[\w.-]+")
_RELEASED = (("eva_vit_g.pth", "eva_vit_g.safetensors"), ("seed_quantizer.pt", "seed_quantizer.safetensors"))


@dataclass(frozen=True)
class ModelFiles:
    """The files behind one `--model`.

    Attributes:
        model: What the user said.
        folder: The model's own folder, or None for files from several places.
        weights: Our `model.safetensors`; or the ViT's file and the quantizer's.
        described: A `seed_tokenizer.json` lies in the folder.
    """

    model: str
    folder: Path | None
    weights: tuple[Path, ...]
    described: bool

    @property
    def released(self) -> bool:
        """Whether the weights are the two released files."""
        return len(self.weights) == 2


def locate(model: str = DEFAULT_MODEL, *, reporter: Reporter | None = None) -> ModelFiles:
    """Finds the files of a model; downloads what a preset or hub id lacks.

    Raises:
        UsageError: No preset, folder or hub id has this name.
        DataError: The folder holds no model, or nothing could be downloaded.
    """
    reporter = reporter or Reporter()
    path = Path(model).expanduser()
    if model in PRESETS and not path.is_dir():
        if model == "seed-2":
            from seedcli.models.download import fetch

            return ModelFiles(model, None, (fetch(VIT_G, reporter=reporter), fetch(QUANTIZER, reporter=reporter)), described=False)
        if not (BUNDLED_NANO / "seed_tokenizer.json").is_file():
            raise DataError(
                f"this installation has no bundled {model} (looked in {BUNDLED_NANO})",
                remedy="seed train-tokenizer writes a model folder that --model takes; or say --model seed-2 for the published weights",
            )
        return _locate_folder(BUNDLED_NANO, model)
    if path.is_dir():
        return _locate_folder(path, model)
    if path.exists():
        raise DataError(f"--model {model} is a file, expected a folder", remedy=f"--model {path.parent}")
    if names_a_path(model):
        raise DataError(f"no folder at {path}", remedy=f"--model takes a preset ({', '.join(PRESETS)}), a folder or a hub id")
    if _HUB_ID.fullmatch(model):
        return _locate_hub(model, reporter)
    near = difflib.get_close_matches(model, PRESETS, n=1)
    raise UsageError(
        f"no model is called {model!r}" + (f"; did you mean {near[0]}?" if near else ""),
        remedy=f"--model takes a preset ({', '.join(PRESETS)}), a folder or a hub id (owner/name)",
    )


def names_a_path(model: str) -> bool:
    """What stands for a model can only be a path on this disk."""
    return model.startswith((".", "/", "~")) or model.count("/") > 1 or os.sep + os.sep in model


def _locate_folder(folder: Path, model: str) -> ModelFiles:
    described = (folder / "seed_tokenizer.json").is_file()
    if described and (folder / "model.safetensors").is_file():
        return ModelFiles(model, folder, (folder / "model.safetensors",), described)
    released = [next((folder / name for name in names if (folder / name).is_file()), None) for names in _RELEASED]
    if released[0] and released[1]:
        return ModelFiles(model, folder, (released[0], released[1]), described)
    here = ", ".join(sorted(path.name for path in folder.iterdir())[:12]) or "nothing"
    if any(released):
        absent = next(names[0] for names, path in zip(_RELEASED, released, strict=True) if path is None)
        raise DataError(
            f"{folder} has one of the two released files but no {absent}; found {here}",
            remedy=f"the published weights are two files; seed models ls says where {absent} is",
        )
    raise DataError(
        f"{folder} holds no model: expected seed_tokenizer.json + model.safetensors, or eva_vit_g.pth + seed_quantizer.pt; found {here}",
        remedy="seed models pull seed-2 --to FOLDER lays out the published weights",
    )


def _locate_hub(repo: str, reporter: Reporter) -> ModelFiles:
    from seedcli.models.download import fetch, fetch_source, list_source

    source = Source(repo=repo)
    names = list_source(source)
    if "seed_tokenizer.json" in names and "model.safetensors" in names:
        wanted = [
            name for name in names if name in ("seed_tokenizer.json", "model.safetensors", "vocab.txt") or name.startswith("decoder/")
        ]
        files = [fetch_source(source, name, reporter=reporter) for name in wanted]
        return _locate_folder(next(file.parent for file in files if file.name == "seed_tokenizer.json"), repo)
    if "seed_quantizer.pt" in names:
        vision = fetch_source(source, "eva_vit_g.pth", reporter=reporter) if "eva_vit_g.pth" in names else fetch(VIT_G, reporter=reporter)
        return ModelFiles(repo, None, (vision, fetch_source(source, "seed_quantizer.pt", reporter=reporter)), described=False)
    here = ", ".join(sorted(names)[:12]) or "nothing"
    raise DataError(
        f"hub repository {repo} holds no tokenizer: expected seed_tokenizer.json + model.safetensors, or seed_quantizer.pt; found {here}",
        remedy=f"--model takes a preset ({', '.join(PRESETS)}), a folder or a hub id",
    )


def describe(model: str = DEFAULT_MODEL, *, reporter: Reporter | None = None) -> ModelFacts:
    """What is known of a model without torch and without its weights; a preset that is not on the disk is not downloaded for it.

    Raises:
        UsageError: No preset, folder or hub id has this name.
        DataError: The folder holds no model, or its description is unreadable.
    """
    if model == "seed-2" and not Path(model).is_dir():
        return ModelFacts(config=PRESETS[model])
    files = locate(model, reporter=reporter)
    config, facts = PRESETS["seed-2"], {}
    if files.described and files.folder is not None:
        config, facts = read_model_facts(files.folder)
    digest = stored_digest(files)
    return ModelFacts(config=config, fingerprint=digest and fingerprint(config, digest), trained=facts.get("trained", {}))


def load_seed_tokenizer(
    model: str = DEFAULT_MODEL,
    *,
    device: str = "cpu",
    dtype: str = "auto",
    numerics: Numerics = "default",
    text_branch: bool = False,
    reporter: Reporter | None = None,
) -> SeedTokenizer:
    """Loads a visual tokenizer, in eval mode and without gradients, its `fingerprint` set.

    On the CPU weights stay memory-mapped in the dtype of their file, the ViT of the release in fp16, and are cast when they are used.

    Args:
        model: Preset, folder or hub id; see the module.
        device: `auto`, or a torch device.
        dtype: Dtype of the arithmetic before the codebook; `auto` is fp32 everywhere, so that codes agree between devices.
        numerics: `official-fp16` for codes as the official script makes them on a GPU.
        text_branch: Load the text side, for retrieval and stage I.
        reporter: Hears of downloads.

    Raises:
        UsageError: Unknown model or dtype.
        DataError: Files are missing, damaged, or do not fit.
    """
    import torch

    from seedcli.models.allocator import keep_freed_memory
    from seedcli.models.weights import build_with

    keep_freed_memory()
    files = locate(model, reporter=reporter)
    config, tensors = read_model(files, text_branch=text_branch)
    tokenizer = build_with(config, tensors, text_branch=text_branch, file=files.folder or files.weights[-1])
    tokenizer.fingerprint = _fingerprint(files, config, tensors)
    tokenizer.set_numerics(numerics, torch.float32 if dtype == "auto" else _float_dtype(dtype))
    return tokenizer.to(pick_device(device))


def read_model(files: ModelFiles, *, text_branch: bool) -> tuple[SeedTokenizerConfig, dict[str, torch.Tensor]]:
    """Files of a model -> its configuration and its tensors under our key names, memory-mapped.

    Raises:
        DataError: A file is damaged or does not fit.
    """
    from seedcli.models.convert import convert_quantizer, convert_vision, fit_vocabulary
    from seedcli.models.weights import read_tensors

    config = model_config(files)
    if not files.released:
        return config, read_tensors(files.weights[0])
    vision, quantizer = (read_tensors(path) for path in files.weights)
    config = fit_vocabulary(config, quantizer)
    tensors = convert_vision(vision, config, file=files.weights[0])
    return config, tensors | convert_quantizer(quantizer, config, text_branch=text_branch, file=files.weights[1])


def model_config(files: ModelFiles) -> SeedTokenizerConfig:
    """The configuration beside the weights, else that of seed-2.

    Raises:
        DataError: `seed_tokenizer.json` is unreadable.
    """
    return read_model_facts(files.folder)[0] if files.described and files.folder is not None else PRESETS["seed-2"]


def _fingerprint(files: ModelFiles, config: SeedTokenizerConfig, tensors: dict[str, torch.Tensor]) -> str:
    """What the model's codes mean: from the stored digest, or computed and, for released weights, stored."""
    from seedcli.models.weights import weights_digest

    digest = stored_digest(files)
    computed = digest or weights_digest(tensors)
    found = fingerprint(config, computed)
    stated = read_model_facts(files.folder)[1].get("fingerprint") if files.described and files.folder is not None else None
    if stated and found != stated:
        raise DataError(
            f"{files.folder} states fingerprint {stated}, but its configuration and weights make {found}: something was changed by hand",
            remedy="undo the change; or remove `fingerprint` and `weights_digest` from seed_tokenizer.json, and it is a new model",
        )
    if digest is None and files.released:
        store_digest(files, computed, found)
    return found


def stored_digest(files: ModelFiles) -> str | None:
    """The digest of a model's weights as stored beside them, or None: published weights that were never loaded here, changed files."""
    if not files.released and files.folder is not None:
        return read_model_facts(files.folder)[1].get("weights_digest")
    stamp = _stamp(files)
    for path in _digest_files(files, stamp):
        try:
            stored = json.loads(path.read_text(encoding="utf-8"))
            if stored["files"] == stamp:
                return str(stored["weights_digest"])
        except (OSError, ValueError, KeyError, TypeError):
            continue
    return None


def store_digest(files: ModelFiles, digest: str, fingerprint: str) -> None:
    """Keeps the digest of released weights: beside them, or in our cache where that folder is read-only or the hub's."""
    stamp = _stamp(files)
    for path in _digest_files(files, stamp):
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(
                json.dumps({"files": stamp, "weights_digest": digest, "fingerprint": fingerprint}, indent=2) + "\n", encoding="utf-8"
            )
            return
        except OSError:
            continue


def _stamp(files: ModelFiles) -> list[list[Any]]:
    return [[path.name, path.stat().st_size, path.stat().st_mtime_ns] for path in files.weights]


def _digest_files(files: ModelFiles, stamp: list[list[Any]]) -> list[Path]:
    name = hashlib.sha256(json.dumps(stamp).encode()).hexdigest()[:24]
    beside = [] if files.folder is None else [files.folder / "seed_fingerprint.json"]
    return [*beside, cache_folder() / "fingerprints" / f"{name}.json"]


def cache_folder() -> Path:
    """`seedcli/` in Hugging Face's cache folder: for files from outside the hub, and for what is computed about read-only files."""
    home = os.environ.get("HF_HOME") or Path(os.environ.get("XDG_CACHE_HOME", "~/.cache")).expanduser() / "huggingface"
    return Path(home).expanduser() / "seedcli"


def find_vocab(model: str = DEFAULT_MODEL, *, reporter: Reporter | None = None) -> Path:
    """WordPiece vocabulary of a model's text branch: its own `vocab.txt`, or BERT's for published weights.

    Raises:
        DataError: A model of ours has none, or it could not be downloaded.
    """
    from seedcli.models.download import fetch

    files = None if model == "seed-2" else locate(model, reporter=reporter)
    if files is not None and files.folder is not None and (files.folder / "vocab.txt").is_file():
        return files.folder / "vocab.txt"
    if files is not None and not files.released:
        raise DataError(
            f"{files.folder} has no vocab.txt, so it cannot read captions",
            remedy="retrieval needs a model that was saved with its vocabulary",
        )
    return fetch(BERT_VOCABULARY, reporter=reporter or Reporter())


def find_decoder(model: str = DEFAULT_MODEL, *, reporter: Reporter | None = None) -> Path:
    """Folder of the diffusers pipeline that draws a model's generation embeddings: its own `decoder/`, or the published unCLIP.

    Raises:
        DataError: There is none, or its image encoder has another width than the generation embedding (stable-unCLIP `-small`).
    """
    from seedcli.models.download import fetch

    files = None if model == "seed-2" else locate(model, reporter=reporter)
    width = PRESETS["seed-2"].generation.generation_dim
    if files is not None and files.folder is not None:
        if files.described:
            width = read_model_facts(files.folder)[0].generation.generation_dim
        if (files.folder / "decoder" / "model_index.json").is_file():
            check_decoder(files.folder / "decoder", width)
            return files.folder / "decoder"
    if files is not None and not files.released:
        raise DataError(
            f"{files.folder} has no picture decoder (no decoder/model_index.json)", remedy="put a diffusers unCLIP pipeline folder there"
        )
    return fetch(UNCLIP, reporter=reporter or Reporter(), check=lambda folder: check_decoder(folder, width))


def find_target(target: str, *, reporter: Reporter | None = None) -> Path:
    """Folder of the CLIP whose image embedding is the generation target: `clip-h` (published), `seed-nano` (bundled), or a folder.

    Raises:
        DataError: No such folder, or the published one could not be downloaded.
    """
    from seedcli.models.download import fetch

    if target == CLIP_H.name:
        return fetch(CLIP_H, reporter=reporter or Reporter())
    if Path(target).is_dir():
        return Path(target)
    if target == DEFAULT_MODEL:
        return find_decoder(target, reporter=reporter) / "image_encoder"
    raise DataError(
        f"no target at {target}", remedy=f"name the folder of a trained target (stage `target`), {CLIP_H.name}, or {DEFAULT_MODEL}"
    )


def check_decoder(folder: Path, generation_dim: int) -> None:
    """Refuses, by its configuration files alone, a pipeline that does not draw embeddings as wide as the generation embedding.

    Raises:
        DataError: Not a stable-unCLIP pipeline, or one of another width; says both. The 768-wide `-small` pipelines are the usual mistake.
    """
    facts = {}
    for name, key in (
        ("model_index.json", "_class_name"),
        ("image_normalizer/config.json", "embedding_dim"),
        ("unet/config.json", "projection_class_embeddings_input_dim"),
    ):
        try:
            facts[key] = json.loads((folder / name).read_text(encoding="utf-8"))[key]
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise DataError(
                f"{folder / name} does not say `{key}`: {type(error).__name__}", remedy="this is no complete unCLIP pipeline folder"
            ) from None
    kind, width, input_dim = facts.values()
    if "StableUnCLIPImg2Img" not in kind:
        raise DataError(f"{folder} holds a diffusers {kind}, expected a StableUnCLIPImg2ImgPipeline")
    if (width, input_dim) != (generation_dim, 2 * generation_dim):
        raise DataError(
            f"the decoder in {folder} takes embeddings of width {width} (UNet input {input_dim}), this tokenizer makes {generation_dim}",
            remedy="stable-diffusion-2-1-unclip-small is the 768-wide variant; the one that fits is " + UNCLIP.sources[0].name,
        )


def pick_device(device: str) -> torch.device:
    """`auto` -> CUDA, Apple's GPU or the CPU, in this order; anything else as torch names it.

    Raises:
        UsageError: torch does not know the device, or this machine does not have it.
    """
    import torch

    if device == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else "cpu")
    try:
        picked = torch.device(device)
        torch.empty(0, device=picked)
    except (RuntimeError, AssertionError) as error:
        raise UsageError(
            f"--device {device}: {str(error).splitlines()[0]}", remedy="--device auto, cpu, cuda or mps; seed doctor shows what is here"
        ) from None
    return picked


def _float_dtype(name: str) -> torch.dtype:
    import torch

    dtypes = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}
    if name not in dtypes:
        raise UsageError(f"--dtype {name}: expected auto, {', '.join(dtypes)}")
    return dtypes[name]
