"""`seed_tokenizer.json`: what a model folder says of itself; torch-free, so that commands can check
codes before they load weights.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from seedcli.errors import DataError
from seedcli.files import parse_json
from seedcli.models.visual.config import SeedModelConfig, config_from_dict

FORMAT_VERSION = 1
_TEXT_FIELDS = ("vocab_size", "max_positions", "projection_dim", "max_text_tokens", "dropout")
CONFIG_FILE, WEIGHTS_FILE, VOCAB_FILE, DECODER_FOLDER = (
    "seed_tokenizer.json",
    "model.safetensors",
    "vocab.txt",
    "decoder",
)


@dataclass(frozen=True, kw_only=True)
class ModelFacts:
    """What is known of a model without its weights.

    Attributes:
        config: Its configuration.
        fingerprint: None where it takes the weights to know it: published weights that
            were never loaded here.
        trained: Free-form facts of its training; empty for published weights.
    """

    config: SeedModelConfig
    fingerprint: str | None = None
    trained: dict[str, Any] = field(default_factory=dict)


def read_description(path: Path, version: int) -> dict[str, Any]:
    """`seed_tokenizer.json` or `seed.json` -> all that it states.

    Raises:
        DataError: The file is missing, is no JSON object, or has another format version.
    """
    try:
        content = parse_json(path.read_bytes())
        found = content.get("format_version", version)
    except (OSError, ValueError, AttributeError) as error:
        raise _unreadable(path, error) from None
    if found != version:
        raise DataError(
            f"{path} has format version {found}, this program reads {version}",
            remedy="pip install --upgrade seedcli",
        )
    return content


def read_model_facts(folder: Path) -> tuple[SeedModelConfig, dict[str, Any]]:
    """`seed_tokenizer.json` of a folder -> configuration and everything in it.

    Raises:
        DataError: As `read_description`; or a configuration with unknown or missing fields.
    """
    path = folder / CONFIG_FILE
    facts = read_description(path, FORMAT_VERSION)
    try:
        return config_from_dict(SeedModelConfig, facts["config"]), facts
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise _unreadable(path, error) from None


def _unreadable(path: Path, error: Exception) -> DataError:
    return DataError(
        f"{path} is not readable as a model's description: {type(error).__name__}: {error}"
    )


def fingerprint(config: SeedModelConfig, weights_digest: str) -> str:
    """Configuration, preprocessing for codes and digest of the weights -> 16 hex digits that say
    what a model's codes mean.

    Names, words, training, retrieval and sampling settings are left out: they change no
    code. So are values that are their field's default: a field that is added later must not
    rename existing models.
    """
    facts = {
        "vision": _choices(config.vision),
        "qformer": {
            name: value
            for name, value in _choices(config.qformer).items()
            if name not in _TEXT_FIELDS
        },
        "codebook": _choices(config.codebook),
        "generation": _choices(config.generation),
        "codes": _choices(config.preprocess.codes),
        "weights": weights_digest,
    }
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()[:16]


def decoder_fingerprint(folder: Path) -> str | None:
    """Decoder folder -> 16 hex digits of everything that its pictures depend on: configurations and
    weights; None where there is none.
    """
    files = sorted(path for path in folder.rglob("*") if path.suffix in (".json", ".safetensors"))
    if not files:
        return None
    digest = hashlib.sha256()
    for path in files:
        digest.update(path.relative_to(folder).as_posix().encode())
        with open(path, "rb") as file:
            digest.update(hashlib.file_digest(file, "sha256").digest())
    return digest.hexdigest()[:16]


def _choices(config: Any) -> dict[str, Any]:
    return {
        each.name: value
        for each in dataclasses.fields(config)
        if (value := getattr(config, each.name)) != each.default
    }
