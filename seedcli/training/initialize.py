"""Random start weights and vocabularies for tokenizers trained from scratch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from tokenizers.implementations import BertWordPieceTokenizer
from torch import nn

from seedcli.errors import RecipeError
from seedcli.models.captions import clean_caption
from seedcli.models.config import SeedTokenizerConfig, config_from_dict, config_to_dict
from seedcli.models.seed_tokenizer import SeedTokenizer


@torch.no_grad()
def initialize_tokenizer(tokenizer: SeedTokenizer, *, seed: int, temperature: float) -> None:
    """BERT's and ViT's usual start: matrices and tables from N(0, 0.02), biases 0, norms 1; queries from N(0, 1), so that they start apart.

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
    tokenizer.text_branch.temperature.fill_(temperature)


def train_wordpiece(texts: Sequence[str], *, vocab_size: int) -> list[str]:
    """Texts -> WordPiece vocabulary, `vocab_size` pieces at most."""
    tokenizer = BertWordPieceTokenizer(lowercase=True)
    tokenizer.train_from_iterator([clean_caption(text) for text in texts], vocab_size=vocab_size, min_frequency=2, show_progress=False)
    ids = tokenizer.get_vocab()
    return sorted(ids, key=ids.__getitem__)


def overlay_shape(config: SeedTokenizerConfig, shape: Mapping[str, Mapping[str, Any]]) -> SeedTokenizerConfig:
    """Preset and overrides by section, e.g. {"vision": {"depth": 2}} -> configuration.

    Raises:
        RecipeError: No such section or field.
    """
    values = config_to_dict(config)
    try:
        for section, overrides in shape.items():
            values[section] = values[section] | dict(overrides)
        return config_from_dict(SeedTokenizerConfig, values)
    except (KeyError, TypeError, ValueError) as error:
        raise RecipeError(f"model.shape: {error}", remedy=f"sections are {', '.join(values)}") from None
