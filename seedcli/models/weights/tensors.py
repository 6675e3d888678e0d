"""Weight files on disk: reading without running anything, placing tensors in a model without
initialising it, fingerprint, model folder.

Everything is memory-mapped where the format allows it: a tokenizer of 1.15 G parameters is ready
when its keys are matched, and a page is read when arithmetic first needs it. On the path: before
everything else; `registry` decides which files, `convert` which key is which.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import pickle
import shutil
import warnings
import zipfile
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import safetensors
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from seedcli.errors import DataError
from seedcli.files import publish_json, published
from seedcli.models.visual.config import SeedModelConfig, config_to_dict
from seedcli.models.visual.model import SeedModel
from seedcli.models.weights.convert import build_hollow
from seedcli.models.weights.description import (
    CONFIG_FILE,
    FORMAT_VERSION,
    VOCAB_FILE,
    WEIGHTS_FILE,
    fingerprint,
)

# What codes and pictures do not depend on: words, the retrieval-only tower, and the
# filler of `--codes-only`.
_OUTSIDE_FINGERPRINT = ("text_branch.", "decoder.reconstruction.", "codebook.position_mean")
# 16 MiB as fp32: keeps hashing in cache-sized steps instead of copying a tensor whole
_CHUNK_ELEMENTS = 1 << 22
_HASHING_THREADS = 2


# What the libraries raise for files that are damaged, missing, of another kind, or that ask for a
# package that is not there: anything, since a configuration's values reach all of their code.
UNREADABLE = (Exception,)


def reason(error: BaseException) -> str:
    """One of `UNREADABLE` in a line. PyTorch's own words for a refused pickle say how to run it."""
    if isinstance(error, pickle.UnpicklingError):
        words = str(error).split("Please use")[0].split("\n")
        detail = next((line for line in words if "Unsupported" in line), words[0]).strip()
        return (
            "its pickle is damaged or asks for more than tensors; nothing in it was executed "
            f"({detail})"
        )
    said = (str(error).strip() or type(error).__name__).splitlines()[0][:300]
    known = isinstance(error, OSError | ValueError | RuntimeError | ImportError)
    return said if known else f"{type(error).__name__}: {said}"


def read_tensors(path: Path) -> dict[str, Tensor]:
    """Weight file (.safetensors, .pth, .pt, .bin) -> its tensors, memory-mapped and untouched; code
    in the file is never run.

    PyTorch's format before 1.6 cannot be mapped: such a file is read whole.

    Raises:
        DataError: The file is missing, damaged, no flat table of tensors, or a pickle that asks
            for anything but tensors.
    """
    if not path.is_file():
        raise DataError(f"no weight file at {path}")
    if path.stat().st_size == 0:
        raise DataError(f"{path} is empty", remedy="download it again: seed models pull")
    if path.suffix == ".safetensors":
        try:
            return load_file(path)
        except (safetensors.SafetensorError, ValueError) as error:
            raise DataError(
                f"{path} is no complete safetensors file: {error}",
                remedy="download it again: seed models pull",
            ) from None
    try:
        with warnings.catch_warnings():
            # about pickle protocols; what matters is whether the file loads
            warnings.simplefilter("ignore", UserWarning)
            tensors = torch.load(
                path, map_location="cpu", mmap=zipfile.is_zipfile(path), weights_only=True
            )
    except pickle.UnpicklingError as error:
        raise DataError(
            f"{path} is refused: {reason(error)}",
            remedy="take the file from the published source: seed models pull",
        ) from None
    except UNREADABLE as error:
        raise DataError(
            f"{path} is no readable PyTorch file: {reason(error)}",
            remedy="download it again: seed models pull",
        ) from None
    if (
        isinstance(tensors, Mapping)
        and set(tensors) <= {"model", "state_dict", "module"}
        and len(tensors) == 1
    ):
        tensors = next(iter(tensors.values()))
    if not isinstance(tensors, Mapping) or not all(
        isinstance(tensor, Tensor) for tensor in tensors.values()
    ):
        raise DataError(f"{path} holds {type(tensors).__name__}, expected a flat table of tensors")
    return dict(tensors)


def build_with(
    config: SeedModelConfig, tensors: Mapping[str, Tensor], *, text_branch: bool, file: object
) -> SeedModel:
    """Builds a tokenizer around existing tensors, in eval mode and without gradients; nothing is
    initialised, copied or cast.

    Args:
        config: The configuration.
        tensors: Every tensor under our key names, in any float dtype. Those of the text branch are
            left out without `text_branch`.
        text_branch: Build the text side too.
        file: Named in errors.

    Raises:
        DataError: Keys are missing, unknown or misshapen.
    """
    _refuse_depths(config, tensors, file)
    tokenizer = build_hollow(config, text_branch=text_branch)
    if not text_branch:
        tensors = {
            key: tensor for key, tensor in tensors.items() if not key.startswith("text_branch.")
        }
    expected = {key: tensor.shape for key, tensor in tokenizer.state_dict().items()}
    faults = [f"  missing    {key}" for key in expected if key not in tensors]
    faults += [f"  unknown    {key}" for key in tensors if key not in expected]
    faults += [
        f"  misshapen  {key}: {list(tensor.shape)}, expected {list(expected[key])}"
        for key, tensor in tensors.items()
        if key in expected and tensor.shape != expected[key]
    ]
    if faults:
        more = f"\n  ... and {len(faults) - 20} more" if len(faults) > 20 else ""
        hint = (
            "it was saved without its text branch"
            if all("text_branch." in fault for fault in faults)
            else f"it is not {config.name}"
        )
        raise DataError(f"{file} does not fit ({hint}):\n" + "\n".join(faults[:20]) + more)
    tokenizer.load_state_dict(dict(tensors), strict=True, assign=True)
    return tokenizer.eval().requires_grad_(False)


def _refuse_depths(config: SeedModelConfig, tensors: Mapping[str, Tensor], file: object) -> None:
    """Refuses layers that the file does not have before they are built: a million of them take all
    memory. What else does not fit has a shape, and takes none.
    """
    for part, depth, prefix in (
        ("vision", config.vision.depth, "vision.blocks"),
        ("qformer", config.qformer.depth, "qformer.layers"),
        ("generation", config.generation.depth, "decoder.generation.blocks"),
    ):
        held = {
            key.removeprefix(prefix + ".").partition(".")[0]
            for key in tensors
            if key.startswith(prefix + ".")
        }
        if len(held) != depth:
            raise DataError(
                f"{file} does not fit (it is not {config.name}): it has {len(held)} layers of "
                f"{part}, the configuration says {depth}"
            )


def _digest(item: tuple[str, Tensor]) -> tuple[str, str]:
    key, tensor = item
    digest = hashlib.sha256(f"{key} {list(tensor.shape)}".encode())
    flat = tensor.detach().cpu().reshape(-1)
    for start in range(0, flat.numel(), _CHUNK_ELEMENTS):
        digest.update(flat[start : start + _CHUNK_ELEMENTS].float().contiguous().numpy().data)
    return key, digest.hexdigest()


def weights_digest(tensors: Mapping[str, Tensor]) -> str:
    """Our tensors -> sha256 of all that influence codes and pictures, as fp32 values: order, file
    format and stored dtype do not matter.
    """
    items = [
        (key, tensor) for key, tensor in tensors.items() if not key.startswith(_OUTSIDE_FINGERPRINT)
    ]
    with ThreadPoolExecutor(_HASHING_THREADS) as pool:
        digests = sorted(pool.map(_digest, sorted(items, key=lambda item: -item[1].numel())))
    return hashlib.sha256(json.dumps(digests).encode()).hexdigest()


def save_tokenizer_folder(
    tokenizer: SeedModel,
    folder: Path,
    *,
    name: str,
    trained: Mapping[str, Any],
    vocab: Path | None = None,
    dtype: torch.dtype | None = None,
) -> str:
    """Writes a model folder that `--model FOLDER` takes, and returns its fingerprint.

    Args:
        tokenizer: The trained tokenizer; its text branch is written when it has one.
        folder: Created if need be; files of the same names are replaced.
        name: Name of the model, as outputs show it.
        trained: Free-form facts: recipe, data, steps, scores.
        vocab: WordPiece vocabulary of the text branch, copied to `vocab.txt`.
        dtype: Rounds the weights first, say to fp16; codes and fingerprint are those of the rounded
            ones, so score the saved folder. None keeps what the tokenizer has.
    """
    folder.mkdir(parents=True, exist_ok=True)
    (folder / CONFIG_FILE).unlink(missing_ok=True)  # an interrupted save must not look like a model
    config = dataclasses.replace(tokenizer.config, name=name)
    tensors = {
        key: tensor.detach().cpu().to(dtype or tensor.dtype).contiguous()
        for key, tensor in tokenizer.state_dict().items()
    }
    digest = weights_digest(tensors)
    facts = {
        "format_version": FORMAT_VERSION,
        "name": name,
        "fingerprint": fingerprint(config, digest),
        "weights_digest": digest,
        "config": config_to_dict(config),
        "trained": dict(trained),
    }
    with published(folder / WEIGHTS_FILE) as partial:
        save_file(tensors, partial, metadata={"format": "pt"})
    publish_json(folder / CONFIG_FILE, facts)
    if vocab is not None and vocab.resolve() != (folder / VOCAB_FILE).resolve():
        shutil.copyfile(vocab, folder / VOCAB_FILE)
    return str(facts["fingerprint"])
