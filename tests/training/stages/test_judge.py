"""The judge's stage writes what open_clip itself can read."""

from __future__ import annotations

import pytest
import torch

from seedcli.console import Reporter
from seedcli.data.emoji import read_emoji
from seedcli.data.images.images import open_image
from seedcli.errors import DataError
from seedcli.models.drawing.judge import _wants_quick_gelu, load_judge
from seedcli.recipe.read import load_recipe
from seedcli.training.ranks import Ranks
from seedcli.workflows.train.tokenizer import build_stage, run

TINY = [
    "optimization.steps=2",
    "optimization.batch_size=8",
    "optimization.warmup_steps=1",
    "model.vision_width=8",
    "model.text_width=32",
    "model.text_depth=1",
    "model.embedding_dim=16",
    "model.vocab_size=600",
    "data.split=unseen",
]


def test_a_trained_judge_scores_pictures_and_words(tmp_path):
    result = run(load_recipe("nano-judge", TINY, command="train-tokenizer"), tmp_path)
    judge = load_judge(result["model"])
    pictures = [open_image(picture.image) for picture in read_emoji("unseen")[:5]]
    images, texts = (
        judge.image_features(pictures, batch_size=2),
        judge.text_features(["a dog", "a very " * 40]),
    )
    assert images.shape == (5, 16) and texts.shape == (2, 16)
    torch.testing.assert_close(images.norm(dim=1), torch.ones(5))
    torch.testing.assert_close(images, judge.image_features(pictures), atol=1e-5, rtol=0)


def test_blurred_pictures_are_one_concept_of_their_own(tmp_path):
    changes = [*TINY, "blur.share=0.5", "optimization.batch_size=32"]
    stage = build_stage(load_recipe("nano-judge", changes), Ranks(), tmp_path, Reporter())
    torch.manual_seed(0)
    batch = stage.batch(0)
    blurred = batch["concepts"] == -1
    assert 8 < int(blurred.sum()) < 24
    said = {
        stage.tokenizer.decode(ids, skip_special_tokens=True) for ids in batch["text_ids"][blurred]
    }
    assert {text.strip() for text in said} == {"a blurred picture"}
    edges = (batch["views"][..., 1:] - batch["views"][..., :-1]).abs().amax((1, 2, 3))
    # measured on five batches: at most 0.12 where blurred; others, but for one, 0.26 at least
    assert edges[blurred].max() < 0.15 < edges[~blurred].median()


@pytest.mark.parametrize("name", ["ViT-B-32", "no-such-model/openai"])
def test_a_judge_that_cannot_be_had_is_named(name):
    with pytest.raises(DataError, match=name):
        load_judge(name)


@pytest.mark.parametrize(
    ("architecture", "weights", "wanted"),
    [
        ("ViT-L-14", "openai", True),
        ("ViT-L-14-quickgelu", "openai", True),
        ("ViT-B-32", "laion2b_s34b_b79k", False),
        ("local-dir:x", None, False),
    ],
)
def test_weights_get_the_activation_that_they_were_trained_with(architecture, weights, wanted):
    assert _wants_quick_gelu(architecture, weights) is wanted
