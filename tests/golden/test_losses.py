"""Losses of a tiny tokenizer trained for three steps from scratch; they change only with a
**Numerics** line in the changelog.
"""

from __future__ import annotations

import dataclasses

import pytest
import torch

from seedcli.data.images.captioned import read_pictures
from seedcli.data.mixtures.pairs import Mixture, PicturePairs
from seedcli.models.visual.captions import CaptionTokenizer
from seedcli.models.visual.config import PRESETS
from seedcli.models.visual.model import SeedModel
from seedcli.recipe.pictures import PicturesSection
from seedcli.recipe.tokenizer import CausalQFormerLossSection
from seedcli.training.initialize import initialize_tokenizer, train_wordpiece
from seedcli.training.stages.causal_qformer import CausalQFormerStage
from tests.emoji_texts import train_texts

NANO = PRESETS["seed-nano"]
SMALL = dataclasses.replace(
    NANO,
    vision=dataclasses.replace(NANO.vision, width=32, depth=1, mlp_dim=64),
    qformer=dataclasses.replace(NANO.qformer, width=32, depth=2, mlp_dim=64, projection_dim=16),
    generation=dataclasses.replace(NANO.generation, depth=1, generation_dim=16),
)
GOLDEN = {
    "contrastive": [2.772701, 2.772758, 2.772807],
    "prefix": [5.525358, 4.519627, 3.903452],
    "tile": [2.873368, 2.838942, 2.700814],
}


def test_three_steps_of_stage1():
    tokenizer = SeedModel(SMALL, text_branch=True)
    initialize_tokenizer(tokenizer, seed=7)
    loss = CausalQFormerLossSection(
        label_smoothing=0.1,
        gather_gradient=True,
        temperature=0.0,
        prefix_weight=0.5,
        tile_weight=8.0,
    )
    captions = CaptionTokenizer(train_wordpiece(train_texts(), vocab_size=SMALL.qformer.vocab_size))
    pictures = read_pictures(PicturesSection(path="emoji", split="train"))
    preprocess = SMALL.preprocess.training
    pairs = Mixture([(PicturePairs(pictures), 1.0)], seed=7, preprocess=preprocess)
    torch.manual_seed(7)
    stage = CausalQFormerStage(
        tokenizer,
        pairs=pairs,
        captions=captions,
        loss=loss,
        train_vision=True,
        batch_size=16,
        save=lambda trained, folder: None,
    )
    optimizer = torch.optim.AdamW([p for p in stage.model.parameters() if p.requires_grad], lr=1e-3)
    found = {name: [] for name in GOLDEN}
    for step in range(3):
        torch.manual_seed(step)
        losses = stage.losses(stage.batch(step))
        losses["loss"].backward()
        optimizer.step()
        optimizer.zero_grad()
        for name in GOLDEN:
            found[name].append(float(losses[name]))
    # Room for the rounding of another CPU; equal to all digits on the one that made them.
    assert found == {name: pytest.approx(values, rel=1e-4) for name, values in GOLDEN.items()}
