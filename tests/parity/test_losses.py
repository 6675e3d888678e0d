"""Losses and gradients of stages I and II against the official code on seeded weights; 1e-3
relative, measured worst case 3.4e-5.
"""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
import torch.multiprocessing as multiprocessing
from safetensors.torch import load_file

from seedcli.models.weights.key_tables import quantizer_table, text_table
from seedcli.models.weights.load import load_seed_model
from seedcli.models.weights.locate import locate
from seedcli.recipe.tokenizer import (
    CausalQFormerLossSection,
    CodebookLearningSection,
    CodebookLossSection,
)
from seedcli.training.ranks import Ranks
from seedcli.training.stages.causal_qformer import CausalQFormerStage
from seedcli.training.stages.codebook import CodebookStage
from seedcli.training.stages.features import StreamedFeatures

DATA = Path(__file__).parent / "data"
FACTS = json.loads((DATA / "losses_tiny.json").read_text())
ARRAYS = load_file(DATA / "losses_tiny.safetensors")
RTOL = 1e-3
PUBLISHED = {"label_smoothing": 0.1, "temperature": 0.0, "prefix_weight": 0.0, "tile_weight": 0.0}


def trainable_tokenizer(folder: Path):
    tokenizer = load_seed_model(locate(str(folder)), text_branch=True)
    tokenizer.load_state_dict(
        {name: tensor.clone() for name, tensor in tokenizer.state_dict().items()}, assign=True
    )
    return tokenizer.requires_grad_(True)


def contrastive_stage(
    folder: Path, *, gather_gradient: bool, ranks: Ranks = Ranks()
) -> CausalQFormerStage:
    tokenizer = trainable_tokenizer(folder)
    loss = CausalQFormerLossSection(gather_gradient=gather_gradient, **PUBLISHED)
    stage = CausalQFormerStage(
        tokenizer,
        pairs=None,
        captions=None,
        loss=loss,
        train_vision=False,
        batch_size=8,
        save=lambda tokenizer, folder: None,
        ranks=ranks,
    )
    tokenizer.eval()  # no dropout, as in the fixture
    return stage


def stage1_batch(rows: slice = slice(None)) -> dict[str, torch.Tensor]:
    return {name: ARRAYS[f"stage1.in.{name}"][rows] for name in ("pixels", "text_ids", "text_mask")}


def our_gradients(tokenizer) -> dict[str, torch.Tensor]:
    """Official name -> our gradient."""
    table = quantizer_table(tokenizer.config) | text_table(tokenizer.config)
    parameters = dict(tokenizer.named_parameters())
    return {
        official: parameters[ours].grad
        for official, ours in table.items()
        if parameters[ours].grad is not None
    }


def check_gradients(
    gradients: dict[str, torch.Tensor], norms: dict[str, float], prefix: str
) -> None:
    assert set(norms) <= set(gradients)
    largest = max(norms.values())
    for name, norm in norms.items():
        assert float(gradients[name].norm()) == pytest.approx(norm, rel=RTOL, abs=RTOL * largest), (
            name
        )
    arrays = {
        name.removeprefix(prefix): array
        for name, array in ARRAYS.items()
        if name.startswith(prefix)
    }
    assert arrays
    for name, array in arrays.items():
        torch.testing.assert_close(
            gradients[name], array, rtol=RTOL, atol=RTOL * float(array.abs().max()), msg=name
        )


def test_stage1_as_published(tiny_tokenizer_folder):
    stage = contrastive_stage(tiny_tokenizer_folder, gather_gradient=False)
    losses = stage.losses(stage1_batch())
    losses["loss"].backward()
    assert float(losses["loss"].detach()) == pytest.approx(FACTS["stage1"]["loss_itc"], rel=1e-5)
    gradients = our_gradients(stage.model.tokenizer)
    assert set(gradients) == set(FACTS["stage1"]["grad_norms"])
    check_gradients(gradients, FACTS["stage1"]["grad_norms"], "stage1.grad.")


def test_stage1_with_gradient_through_the_gathered_side(tiny_tokenizer_folder):
    stage = contrastive_stage(tiny_tokenizer_folder, gather_gradient=True)
    losses = stage.losses(stage1_batch())
    losses["loss"].backward()
    expected = FACTS["stage1"]["variant_full_gradient"]
    assert float(losses["loss"].detach()) == pytest.approx(expected["loss_itc"], rel=1e-5)
    gradients = our_gradients(stage.model.tokenizer)
    largest = max(expected["grad_norms"].values())
    for name, norm in expected["grad_norms"].items():
        assert float(gradients[name].norm()) == pytest.approx(norm, rel=RTOL, abs=RTOL * largest), (
            name
        )


def run_rank(rank: int, folder: Path, init: str, gather_gradient: bool) -> None:
    torch.set_num_threads(1)
    torch.distributed.init_process_group("gloo", init_method=init, rank=rank, world_size=2)
    ranks = Ranks(rank, 2)
    stage = contrastive_stage(folder, gather_gradient=gather_gradient, ranks=ranks)
    losses = stage.losses(stage1_batch(ranks.rows(8)))
    losses["loss"].backward()
    means = {}
    for name, gradient in our_gradients(stage.model.tokenizer).items():
        torch.distributed.all_reduce(gradient)
        means[name] = gradient / 2
    each = [torch.zeros(()) for _ in range(2)]
    torch.distributed.all_gather(each, losses["loss"].detach())
    if rank == 0:
        torch.save(
            {"losses": each, "gradients": means},
            Path(init.removeprefix("file://")).parent / "out.pt",
        )
    torch.distributed.destroy_process_group()


@pytest.mark.parametrize("gather_gradient", [False, True])
def test_stage1_on_two_ranks_equals_one(tiny_tokenizer_folder, tmp_path, gather_gradient):
    multiprocessing.spawn(
        run_rank, (tiny_tokenizer_folder, f"file://{tmp_path}/init", gather_gradient), nprocs=2
    )
    result = torch.load(tmp_path / "out.pt", weights_only=True)
    facts = FACTS["stage1"]["world_size_2"]
    assert [float(loss) for loss in result["losses"]] == pytest.approx(
        facts["loss_itc_per_rank"], rel=1e-5
    )
    if not gather_gradient:
        check_gradients(
            result["gradients"], facts["grad_norms_of_rank_mean"], "stage1.world2.grad."
        )
        return
    stage = contrastive_stage(tiny_tokenizer_folder, gather_gradient=True)
    stage.losses(stage1_batch())["loss"].backward()
    for name, gradient in our_gradients(stage.model.tokenizer).items():
        torch.testing.assert_close(
            result["gradients"][name],
            gradient,
            rtol=RTOL,
            atol=1e-6 + RTOL * float(gradient.abs().max()),
            msg=name,
        )


def test_stage2_as_published(tiny_tokenizer_folder):
    tokenizer = trainable_tokenizer(tiny_tokenizer_folder)
    learning = CodebookLearningSection(
        start="uniform",
        start_vectors=1,
        rule="gradient",
        ema_decay=0.0,
        revival_usage=0.0,
        collapse_perplexity=0.0,
        collapse_after_steps=0,
    )
    weights = CodebookLossSection(
        commitment_weight=5.0,
        codebook_weight=1.25,
        reconstruction="cosine",
        reconstruction_weight=2.0,
        generation_weight=0.5,
        prefix_share=0.0,
    )
    features = StreamedFeatures(
        lambda pixels: (
            tokenizer.causal_embeddings(pixels).detach(),
            ARRAYS["stage2.in.clip_image_embeds"],
        ),
        pairs=None,
    )
    stage = CodebookStage(
        tokenizer,
        features=features,
        learning=learning,
        losses=weights,
        batch_size=6,
        seed=0,
        save=lambda tokenizer, folder: None,
    )
    with torch.no_grad():
        causal_embeddings = tokenizer.causal_embeddings(ARRAYS["stage2.in.pixels"])
    torch.testing.assert_close(
        causal_embeddings, ARRAYS["stage2.out.causal_embeddings"], atol=1e-4, rtol=0
    )
    losses = stage.losses({"pixels": ARRAYS["stage2.in.pixels"]})
    losses["loss"].backward()
    expected = FACTS["stage2"]
    assert float(losses["loss"].detach()) == pytest.approx(expected["loss_total"], rel=1e-5)
    assert 1.25 * float(losses["commitment"]) == pytest.approx(
        expected["unweighted"]["L_vq"], rel=1e-5
    )
    assert float(losses["reconstruction"]) == pytest.approx(
        expected["unweighted"]["L_rec"], rel=1e-5
    )
    assert float(losses["generation"]) == pytest.approx(expected["unweighted"]["L_img"], rel=1e-5)
    assert torch.equal(
        tokenizer.codes(tokenizer.code_inputs(causal_embeddings)), ARRAYS["stage2.out.codes"]
    )
    gradients = our_gradients(tokenizer)
    assert set(gradients) == set(expected["grad_norms"])
    check_gradients(gradients, expected["grad_norms"], "stage2.grad.")
