"""The files of a model -> the tokenizer made of them, and the parts that belong to it. Torch-free
until weights are wanted.
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

from seedcli.console import Reporter
from seedcli.errors import DataError
from seedcli.files import parse_json
from seedcli.models.device import compute_dtype, pick_device
from seedcli.models.visual.config import Numerics, SeedModelConfig
from seedcli.models.weights.description import ModelFacts, fingerprint
from seedcli.models.weights.digest import store_digest, stored_digest
from seedcli.models.weights.locate import (
    DEFAULT_MODEL,
    ModelFiles,
    locate,
    made_by_a_recipe,
    with_weights,
)
from seedcli.models.weights.published import BERT_VOCABULARY, CLIP_H, UNCLIP

if TYPE_CHECKING:
    import torch

    from seedcli.models.visual.model import SeedModel


def describe(files: ModelFiles) -> ModelFacts:
    """What is known of a model without torch and without its weights."""
    digest = stored_digest(files)
    return ModelFacts(
        config=files.config,
        fingerprint=digest and fingerprint(files.config, digest),
        trained=files.stated.get("trained", {}),
    )


def load_seed_model(
    files: ModelFiles,
    *,
    device: str = "cpu",
    dtype: str = "auto",
    numerics: Numerics = "default",
    text_branch: bool = False,
    reporter: Reporter | None = None,
) -> SeedModel:
    """Loads a visual tokenizer, in eval mode and without gradients, its `fingerprint` set.

    On the CPU weights stay memory-mapped in the dtype of their file, the ViT of the release in
    fp16, and are cast when they are used.

    Args:
        files: What `locate` found.
        device: `auto`, or a torch device.
        dtype: Dtype of the arithmetic before the codebook; `auto` is fp32 everywhere, so that codes
            agree between devices.
        numerics: `official-fp16` for codes as the official script makes them on a GPU.
        text_branch: Load the text side, for retrieval and stage I.
        reporter: Hears of downloads.

    Raises:
        UsageError: Unknown device or dtype.
        DataError: Files are missing, damaged, or do not fit.
    """
    from seedcli.models.device import keep_freed_memory
    from seedcli.models.weights.tensors import build_with

    keep_freed_memory()
    files = with_weights(files, reporter=reporter)
    config, tensors = read_model(files, text_branch=text_branch)
    model = build_with(
        config, tensors, text_branch=text_branch, file=files.folder or files.weights[-1]
    )
    model.fingerprint = _fingerprint(files, config, tensors)
    model.set_numerics(numerics, compute_dtype(dtype))
    return model.to(pick_device(device))


def read_model(
    files: ModelFiles, *, text_branch: bool
) -> tuple[SeedModelConfig, dict[str, torch.Tensor]]:
    """Files of a model -> its configuration and its tensors under our key names, memory-mapped.

    Raises:
        DataError: A file is damaged or does not fit.
    """
    from seedcli.models.weights.convert import convert_quantizer, convert_vision, fit_vocabulary
    from seedcli.models.weights.tensors import read_tensors

    config = files.config
    if not files.released:
        return config, read_tensors(files.weights[0])
    vision, quantizer = (read_tensors(path) for path in files.weights)
    config = fit_vocabulary(config, quantizer)
    tensors = convert_vision(vision, config, file=files.weights[0])
    return config, tensors | convert_quantizer(
        quantizer, config, text_branch=text_branch, file=files.weights[1]
    )


def _fingerprint(
    files: ModelFiles, config: SeedModelConfig, tensors: dict[str, torch.Tensor]
) -> str:
    """What the model's codes mean: from the stored digest, or computed and, for
    released weights, stored.
    """
    from seedcli.models.weights.tensors import weights_digest

    digest = stored_digest(files)
    computed = digest or weights_digest(tensors)
    found = fingerprint(config, computed)
    stated = files.stated.get("fingerprint")
    if stated and found != stated:
        raise DataError(
            f"{files.folder} states fingerprint {stated}, but its configuration and weights make "
            f"{found}: something was changed by hand",
            remedy="undo the change; or remove `fingerprint` and `weights_digest` from "
            "seed_tokenizer.json, and it is a new model",
        )
    if digest is None and files.released:
        store_digest(files, computed, found)
    return found


def find_vocab(files: ModelFiles, *, reporter: Reporter | None = None) -> Path:
    """WordPiece vocabulary of a model's text branch: its own `vocab.txt`, or BERT's
    for published weights.

    Raises:
        DataError: A model of ours has none, or it could not be downloaded.
    """
    from seedcli.models.weights.download import fetch

    if files.folder is not None and (files.folder / "vocab.txt").is_file():
        return files.folder / "vocab.txt"
    if not files.released:
        raise DataError(
            f"{files.folder} has no vocab.txt, so it cannot read captions",
            remedy="retrieval needs a model that was saved with its vocabulary",
        )
    return fetch(BERT_VOCABULARY, reporter=reporter or Reporter())


def find_decoder(files: ModelFiles, *, reporter: Reporter | None = None) -> Path:
    """Folder of the diffusers pipeline that draws a model's generation embeddings: its own
    `decoder/`, or the published unCLIP.

    Raises:
        DataError: There is none, or its image encoder has another width than the generation
            embedding (stable-unCLIP `-small`).
    """
    from seedcli.models.weights.download import fetch

    width = files.config.generation.generation_dim
    if files.folder is not None and (files.folder / "decoder" / "model_index.json").is_file():
        check_decoder(files.folder / "decoder", width)
        return files.folder / "decoder"
    if not files.released:
        raise DataError(
            f"{files.folder} has no picture decoder (no decoder/model_index.json)",
            remedy="put a diffusers unCLIP pipeline folder there",
        )
    return fetch(
        UNCLIP, reporter=reporter or Reporter(), check=lambda folder: check_decoder(folder, width)
    )


def find_target(target: str, *, reporter: Reporter | None = None) -> Path:
    """Folder of the CLIP whose image embedding is the generation target: `clip-h` (published),
    `seed-nano` (bundled), or a folder.

    Raises:
        DataError: No such folder, or the published one could not be downloaded.
    """
    from seedcli.models.weights.download import fetch

    if target == CLIP_H.name:
        return fetch(CLIP_H, reporter=reporter or Reporter())
    if Path(target).is_dir():
        return Path(target)
    if target == DEFAULT_MODEL:
        return find_decoder(locate(target), reporter=reporter) / "image_encoder"
    raise DataError(
        f"no target at {target}",
        remedy=made_by_a_recipe(Path(target))
        or f"name the folder of a trained target (stage `target`), {CLIP_H.name}, or "
        f"{DEFAULT_MODEL}",
    )


def find_autoencoder(autoencoder: str, *, reporter: Reporter | None = None) -> Path:
    """Folder of the autoencoder whose latents are drawn: `seed-nano` (bundled), a folder of its
    own, or one of a stable-unCLIP pipeline.

    Raises:
        DataError: No such folder.
    """
    if Path(autoencoder).is_dir():
        inside = Path(autoencoder) / "vae"
        return inside if inside.is_dir() else Path(autoencoder)
    if autoencoder == DEFAULT_MODEL:
        return find_decoder(locate(autoencoder), reporter=reporter) / "vae"
    raise DataError(
        f"no autoencoder at {autoencoder}",
        remedy=made_by_a_recipe(Path(autoencoder))
        or f"name the folder of a trained one (stage `autoencoder`), or {DEFAULT_MODEL}",
    )


def check_decoder(folder: Path, generation_dim: int) -> None:
    """Refuses, by its configuration files alone, a pipeline that does not draw embeddings as wide
    as the generation embedding.

    Raises:
        DataError: Not a stable-unCLIP pipeline, or one of another width; says both. The 768-wide
            `-small` pipelines are the usual mistake.
    """
    facts: dict[str, Any] = {}
    for name, key in (
        ("model_index.json", "_class_name"),
        ("image_normalizer/config.json", "embedding_dim"),
        ("unet/config.json", "projection_class_embeddings_input_dim"),
    ):
        try:
            facts[key] = parse_json((folder / name).read_bytes())[key]
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise DataError(
                f"{folder / name} does not say `{key}`: {type(error).__name__}",
                remedy="this is no complete unCLIP pipeline folder",
            ) from None
    kind, width, input_dim = facts.values()
    if kind != "StableUnCLIPImg2ImgPipeline":
        raise DataError(
            f"{folder} holds a diffusers {kind}, expected a StableUnCLIPImg2ImgPipeline"
        )
    refuse_other_parts(folder / "model_index.json")
    if (width, input_dim) != (generation_dim, 2 * generation_dim):
        raise DataError(
            f"the decoder in {folder} takes embeddings of width {width} (UNet input {input_dim}), "
            f"this tokenizer makes {generation_dim}",
            remedy=(
                "stable-diffusion-2-1-unclip-small is the 768-wide variant; the one that fits is "
            )
            + UNCLIP.sources[0].name,
        )


# Parts of the pipeline and the classes that they may be of; `[library, class]` in model_index.json
# is what diffusers imports.
_PARTS = {
    "feature_extractor": r"transformers CLIP(ImageProcessor|FeatureExtractor)",
    "image_encoder": r"transformers CLIPVisionModelWithProjection",
    "image_normalizer": r"stable_diffusion StableUnCLIPImageNormalizer",
    "image_noising_scheduler": r"diffusers \w+Scheduler",
    "scheduler": r"diffusers \w+Scheduler",
    "text_encoder": r"transformers CLIPTextModel",
    "tokenizer": r"transformers CLIPTokenizer(Fast)?",
    "unet": r"diffusers UNet2DConditionModel",
    "vae": r"diffusers AutoencoderKL",
}


def refuse_other_parts(index: Path) -> None:
    """Refuses a pipeline whose index names classes that a stable-unCLIP pipeline does not have: by
    them a folder could have its own Python files run.

    Raises:
        DataError: It does.
    """
    other = {
        name: part
        for name, part in parse_json(index.read_bytes()).items()
        if (not name.startswith("_") or (name == "_class_name" and not isinstance(part, str)))
        and part not in (None, [None, None])
        and not (
            isinstance(part, list)
            and all(isinstance(word, str) for word in part)
            and re.fullmatch(_PARTS.get(name, "(?!)"), " ".join(part))
        )
    }
    if other:
        raise DataError(
            f"{index} is refused: {json.dumps(other)[:200]} is no part of a stable-unCLIP pipeline",
            remedy="take the pipeline from its published source: seed models pull unclip",
        )
