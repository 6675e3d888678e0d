"""Random start weights and vocabularies for tokenizers trained from scratch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from tokenizers.implementations import BertWordPieceTokenizer
from torch import nn

from seedcli.console import Reporter
from seedcli.errors import DataError, RecipeError
from seedcli.models.visual.captions import clean_caption
from seedcli.models.visual.config import SeedModelConfig, config_from_dict, config_to_dict
from seedcli.models.visual.model import SeedModel
from seedcli.models.weights.convert import convert_vision
from seedcli.models.weights.key_tables import quantizer_table, text_table
from seedcli.models.weights.load import load_seed_model
from seedcli.models.weights.locate import ModelFiles
from seedcli.models.weights.tensors import read_tensors


@torch.no_grad()
def initialize_tokenizer(tokenizer: SeedModel, *, seed: int) -> None:
    """BERT's and ViT's usual start: matrices and tables from N(0, 0.02), biases 0, norms 1; queries
    from N(0, 1), so that they start apart.

    The codebook's and code decoder's matrices keep PyTorch's own start, as published for stage II.
    """
    generator = torch.Generator().manual_seed(seed)
    for part in (tokenizer.vision, tokenizer.qformer, tokenizer.text_branch):
        for module in part.modules():
            if isinstance(module, (nn.Linear, nn.Conv2d, nn.Embedding)):
                module.weight.normal_(0, 0.02, generator=generator)
            if isinstance(module, (nn.Linear, nn.Conv2d)) and module.bias is not None:
                module.bias.zero_()
    tokenizer.vision.class_token.normal_(0, 0.02, generator=generator)
    tokenizer.vision.position_embedding.normal_(0, 0.02, generator=generator)
    tokenizer.qformer.query_tokens.normal_(0, 1, generator=generator)


@torch.no_grad()
def start_from_blip2(tokenizer: SeedModel, *, vision: Path, blip2: Path) -> None:
    """Published start of stage I: EVA-CLIP-g's ViT, and BLIP-2's stage 1 Q-Former, `ln_vision`,
    text branch, projections and temperature.

    The BLIP-2 file names its tensors as the released tokenizer does, so the same table reads it;
    codebook and code decoder keep theirs.

    Raises:
        DataError: A file is damaged, or a tensor is missing or has another shape.
    """
    config = tokenizer.config
    table = {
        released: ours
        for released, ours in (quantizer_table(config) | text_table(config)).items()
        if ours.startswith(("qformer.", "vision_norm.", "text_branch."))
    }
    found = read_tensors(blip2)
    state = tokenizer.state_dict()
    faults = [
        name
        for name, ours in table.items()
        if name not in found or found[name].shape != state[ours].shape
    ]
    if faults:
        raise DataError(
            f"{blip2} is no BLIP-2 stage 1 checkpoint for {config.name}: "
            f"{', '.join(faults[:5])} missing or misshapen ({len(faults)} in all)"
        )
    start = convert_vision(read_tensors(vision), config, file=vision) | {
        ours: found[name] for name, ours in table.items()
    }
    for name, tensor in start.items():
        state[name].copy_(tensor)


@torch.no_grad()
def start_from_model(tokenizer: SeedModel, files: ModelFiles, *, reporter: Reporter) -> None:
    """Starts from another tokenizer of the same shape: a folder of ours, the
    released files, or a hub id.

    Raises:
        DataError: It cannot be read, or its shape is another one.
    """
    other = load_seed_model(files, text_branch=True, reporter=reporter)
    state, found = tokenizer.state_dict(), other.state_dict()
    faults = [name for name in state if name not in found or found[name].shape != state[name].shape]
    if faults:
        raise DataError(
            f"model.start = {files.model!r} has another shape: {', '.join(faults[:5])} "
            f"({len(faults)} in all)"
        )
    for name, tensor in found.items():
        state[name].copy_(tensor)


def train_wordpiece(texts: Sequence[str], *, vocab_size: int) -> list[str]:
    """Texts -> WordPiece vocabulary, `vocab_size` pieces at most; the same in every process.

    The trainer numbers letters in the order of a hash table, another one in each process, and ties
    between merges go by number. So the letters get their numbers beforehand; ranks and resumed runs
    then learn the same vocabulary.
    """
    cleaned = [clean_caption(text) for text in texts]
    tokenizer = BertWordPieceTokenizer(lowercase=True)
    normalize = tokenizer._tokenizer.normalizer.normalize_str
    letters = sorted(
        {letter for text in cleaned for letter in normalize(text) if not letter.isspace()}
    )
    known = [
        "[PAD]",
        "[UNK]",
        "[CLS]",
        "[SEP]",
        "[MASK]",
        *letters,
        *(f"##{letter}" for letter in letters),
    ]
    tokenizer.train_from_iterator(
        cleaned, vocab_size=vocab_size, min_frequency=2, special_tokens=known, show_progress=False
    )
    ids = tokenizer.get_vocab()
    return sorted(ids, key=ids.__getitem__)


def overlay_shape(
    config: SeedModelConfig, shape: Mapping[str, Mapping[str, Any]]
) -> SeedModelConfig:
    """Preset and overrides by section, e.g. {"vision": {"depth": 2}} -> configuration.

    Raises:
        RecipeError: No such section or field.
    """
    values = config_to_dict(config)
    try:
        for section, overrides in shape.items():
            values[section] = values[section] | dict(overrides)
        return config_from_dict(SeedModelConfig, values)
    except (KeyError, TypeError, ValueError) as error:
        raise RecipeError(
            f"model.shape: {error}", remedy=f"sections are {', '.join(values)}"
        ) from None
