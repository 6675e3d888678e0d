"""`seed_tokenizer.json`: what a model folder says of itself; torch-free, so that commands can check codes before they load weights."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from seedcli.errors import DataError
from seedcli.models.config import SeedTokenizerConfig, config_from_dict

FORMAT_VERSION = 1
CONFIG_FILE, WEIGHTS_FILE, VOCAB_FILE, DECODER_FOLDER = "seed_tokenizer.json", "model.safetensors", "vocab.txt", "decoder"


@dataclass(frozen=True, kw_only=True)
class ModelFacts:
    """What is known of a model without its weights.

    Attributes:
        config: Its configuration.
        fingerprint: None where it takes the weights to know it: published weights that were never loaded here.
        trained: Free-form facts of its training; empty for published weights.
    """

    config: SeedTokenizerConfig
    fingerprint: str | None = None
    trained: dict[str, Any] = field(default_factory=dict)


def read_model_facts(folder: Path) -> tuple[SeedTokenizerConfig, dict[str, Any]]:
    """`seed_tokenizer.json` of a folder -> configuration and everything in it.

    Raises:
        DataError: The file is missing, is no JSON, has another format version, or a configuration with unknown or missing fields.
    """
    path = folder / CONFIG_FILE
    try:
        facts = json.loads(path.read_text(encoding="utf-8"))
        version = facts.get("format_version", FORMAT_VERSION)
        if version != FORMAT_VERSION:
            raise DataError(
                f"{path} has format version {version}, this program reads {FORMAT_VERSION}", remedy="pip install --upgrade seedcli"
            )
        return config_from_dict(SeedTokenizerConfig, facts["config"]), facts
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise DataError(f"{path} is not readable as a model's description: {type(error).__name__}: {error}") from None
