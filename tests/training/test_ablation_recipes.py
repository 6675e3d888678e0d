"""The recipes of the ablations: what they change and what they keep, and that the mask goes through
both stages into the codes.
"""

from __future__ import annotations

import pytest
import torch

from seedcli.console import Reporter
from seedcli.models.weights.load import find_target, load_seed_model
from seedcli.models.weights.locate import BUNDLED_NANO, locate
from seedcli.recipe.layers import dotted
from seedcli.recipe.read import leaves, load_recipe
from seedcli.training.ranks import Ranks
from seedcli.workflows.train.build_stage import build_stage
from seedcli.workflows.train.parts import find_parts

SMALL = [
    f'model.vocab="{BUNDLED_NANO / "vocab.txt"}"',
    "model.shape.vision={width = 32, depth = 1, mlp_dim = 64}",
    "model.shape.qformer={width = 32, depth = 2, mlp_dim = 64, projection_dim = 16}",
    "model.shape.generation={depth = 1}",
]


def differences(first: str, second: str) -> set[str]:
    one, other = (
        {
            dotted(loc): value
            for _, loc, value in leaves(
                load_recipe(name).model_dump(mode="json", exclude_none=True)
            )
        }
        for name in (first, second)
    )
    return {key for key in one.keys() | other.keys() if one.get(key) != other.get(key)}


def test_twins_differ_in_the_mask_and_in_what_follows_from_it():
    assert differences("nano-causal-qformer", "nano-bilateral-qformer") == {"model.mask"}
    assert differences("nano-codebook", "nano-bilateral-codebook") == {"tokenizer", "target"}
    assert differences("nano-pretrain", "nano-bilateral-pretrain") == {"tokenizer"}


def test_lora_alone_makes_as_many_updates_as_both_phases():
    alone, both = load_recipe("nano-lora-only"), load_recipe("nano-pretrain")
    changed = {"lora.optimization.steps", "lora.optimization.min_learning_rate"}
    assert {
        key for key in differences("nano-pretrain", "nano-lora-only") if not key.startswith("full.")
    } == changed
    assert alone.full is None
    assert (
        alone.lora.optimization.steps == both.lora.optimization.steps + both.full.optimization.steps
    )
    assert alone.lora.optimization.min_learning_rate == both.full.optimization.min_learning_rate


@pytest.mark.parametrize(
    ("recipe", "mask"), [("nano-causal-qformer", "causal"), ("nano-bilateral-qformer", "bilateral")]
)
@torch.no_grad()
def test_only_the_twins_codes_depend_on_later_queries(tmp_path, recipe, mask):
    qformer = load_recipe(recipe, SMALL)
    first = build_stage(qformer, find_parts(qformer, Reporter()), Ranks(), Reporter())
    first.save(tmp_path / "first")
    codebook = load_recipe("nano-bilateral-codebook", [f"tokenizer={tmp_path / 'first'}"])
    second = build_stage(codebook, find_parts(codebook, Reporter()), Ranks(), Reporter())
    tokenizer = second.model.tokenizer
    # Weights well above those of a start, so that the attention between queries shows; a codebook
    # that lies where the code inputs lie.
    generator = torch.Generator().manual_seed(3)
    for parameter in tokenizer.qformer.parameters():
        parameter.copy_(torch.randn(parameter.shape, generator=generator) * 0.5)
    pixels = torch.randn(8, 3, 64, 64, generator=generator)
    spread = tokenizer.code_inputs(tokenizer.causal_embeddings(pixels)).flatten(0, 1)
    second.model.ema_sum.copy_(spread.repeat(2, 1))
    second.save(tmp_path / "second")

    saved = load_seed_model(locate(str(tmp_path / "second")))
    assert saved.config.qformer.mask == mask
    before = saved.encode(pixels)
    query_tokens = saved.qformer.query_tokens.clone()
    query_tokens[0, 20:] = torch.randn(query_tokens[0, 20:].shape, generator=generator)
    saved.qformer.query_tokens = torch.nn.Parameter(query_tokens, requires_grad=False)
    after = saved.encode(pixels)
    assert not torch.equal(after[:, 20:], before[:, 20:])
    assert torch.equal(after[:, :20], before[:, :20]) == (mask == "causal")


def test_the_bundled_decoders_own_target_is_a_target():
    assert find_target("seed-nano") == BUNDLED_NANO / "decoder" / "image_encoder"
