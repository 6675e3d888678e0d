"""The model core against arrays that the official code computed on seeded weights (see
data/README.md for their origin).

Measured worst case: activations 2.1e-5 (perturbed causal embeddings), so 1e-4 has
room; codes are equal, or, with the kernels of a CPU without AVX-512, one of 192 is the
other of two that lie equally near.
"""

from __future__ import annotations

import dataclasses

import pytest
import torch

from seedcli.models.visual.model import SeedModel
from seedcli.models.weights.load import load_seed_model
from seedcli.models.weights.locate import locate

ATOL = 1e-4


@pytest.fixture(scope="module")
def tokenizer(tiny_tokenizer_folder) -> SeedModel:
    return load_seed_model(locate(str(tiny_tokenizer_folder)), text_branch=True)


@pytest.fixture(scope="module")
def arrays(tiny_arrays):
    return tiny_arrays


def close(ours: torch.Tensor, official: torch.Tensor, *, atol: float = ATOL) -> None:
    torch.testing.assert_close(ours, official, atol=atol, rtol=0)


def same_codes(tokenizer: SeedModel, pixels: torch.Tensor, official: torch.Tensor) -> None:
    """Equal codes, but for near-ties: the official code is as near as ours within the tolerance of
    distances themselves.
    """
    ours = tokenizer.encode(pixels)
    distances = tokenizer.codebook.distances(
        tokenizer.code_inputs(tokenizer.causal_embeddings(pixels))
    ).view(*ours.shape, -1)
    further = (
        distances.gather(-1, official[..., None]) - distances.gather(-1, ours[..., None])
    ).abs()[..., 0]
    assert (further[ours != official] <= 2 * ATOL).all()
    assert (ours != official).float().mean() <= 0.01


@torch.no_grad()
def test_only_near_ties_count_as_the_same(tokenizer, arrays):
    codes = arrays["out.codes"].clone()
    same_codes(tokenizer, arrays["in.pixels"], codes)
    codes[0, 0] = (codes[0, 0] + 1) % 64
    with pytest.raises(AssertionError):
        same_codes(tokenizer, arrays["in.pixels"], codes)


@torch.no_grad()
def test_vision_arrows(tokenizer, arrays):
    seen = []
    handles = [
        block.register_forward_hook(lambda module, inputs, output: seen.append(output))
        for block in tokenizer.vision.blocks
    ]
    features = tokenizer.features(arrays["in.pixels"])
    for handle in handles:
        handle.remove()
    close(tokenizer.vision.patch_embedding(arrays["in.pixels"]), arrays["out.vit.patch_embed"])
    assert len(seen) == 3
    for number, output in enumerate(seen):
        close(output, arrays[f"out.vit.block_{number}"])
    close(tokenizer.vision(arrays["in.pixels"]), arrays["out.vit.output"])
    close(features, arrays["out.ln_vision.output"])


@torch.no_grad()
def test_qformer_arrows(tokenizer, arrays):
    qformer, features = tokenizer.qformer, arrays["out.ln_vision.output"]
    x = qformer.embedding_norm(qformer.query_tokens).expand(4, -1, -1)
    close(x, arrays["out.qformer.embeddings"])
    for number, layer in enumerate(qformer.layers):
        x = layer(x, features)
        close(x, arrays[f"out.qformer.layer_{number}"])
    close(tokenizer.causal_embeddings(arrays["in.pixels"]), arrays["out.causal_embeddings"])


@torch.no_grad()
def test_codebook_arrows(tokenizer, arrays):
    code_inputs = tokenizer.code_inputs(arrays["out.causal_embeddings"])
    close(code_inputs, arrays["out.z"])
    # Distances reach 82 and the reference is fp64; measured 1.8e-5.
    torch.testing.assert_close(
        tokenizer.codebook.distances(arrays["out.z"]), arrays["out.distances"], atol=ATOL, rtol=1e-5
    )
    assert torch.equal(tokenizer.codes(arrays["out.z"]), arrays["out.codes"])
    same_codes(tokenizer, arrays["in.pixels"], arrays["out.codes"])
    close(tokenizer.codebook.code_vectors(arrays["out.codes"]), arrays["out.quantized"], atol=0)


@torch.no_grad()
def test_decoder_arrows(tokenizer, arrays):
    decoder = tokenizer.decoder
    expanded = decoder.expand(arrays["out.quantized"])
    close(expanded, arrays["out.decode_task_layer"])
    first = decoder.generation.blocks[0](expanded + decoder.generation.position_embedding)
    close(first, arrays["out.blocks_image.0"])
    close(decoder.generation(expanded), arrays["out.blocks_image.output"])
    close(decoder.head(arrays["out.blocks_image.output"]), arrays["out.image_down"])
    close(tokenizer.decode(arrays["out.codes"]), arrays["out.generation_embedding"])
    close(tokenizer.decode(arrays["in.ids_random"]), arrays["out.generation_embedding_random"])
    close(tokenizer.reconstruct(arrays["out.codes"]), arrays["out.recon"])


@torch.no_grad()
def test_text_and_image_features(tokenizer, arrays):
    hidden = tokenizer.text_branch.hidden_states(
        tokenizer.qformer, arrays["in.text_ids"], arrays["in.text_mask"]
    )
    real = arrays["in.text_mask"].bool()
    close(hidden[real], arrays["out.text.last_hidden_state"][real])
    text = tokenizer.text_features(arrays["in.text_ids"], arrays["in.text_mask"])
    close(text, arrays["out.text.features"])
    image = tokenizer.image_features(arrays["out.causal_embeddings"])
    close(image, arrays["out.image_feats"])
    close(tokenizer.image_features(arrays["out.recon"]), arrays["out.image_feats_recon"])
    close(image[:, -1] @ text.mT, arrays["out.similarity_image_text"])


@torch.no_grad()
def test_padding_length_does_not_matter(tokenizer, arrays):
    mask = arrays["in.text_mask"][[1, 4, 5]]
    longest = int(mask.sum(1).max())
    short = tokenizer.text_features(arrays["in.text_ids"][[1, 4, 5], :longest], mask[:, :longest])
    close(short, arrays["out.text.features"][[1, 4, 5]])


@torch.no_grad()
def test_layer_norm_epsilons(tokenizer, arrays):
    # Inputs of scale 1e-3, where each of the three epsilons shows. Measured difference: 0.
    probe = arrays["probe.in"]
    close(tokenizer.vision_norm(probe), arrays["probe.ln_vision"], atol=1e-6)
    close(tokenizer.vision.blocks[0].attention_norm(probe), arrays["probe.vit_norm1"], atol=1e-6)
    close(tokenizer.qformer.embedding_norm(probe), arrays["probe.qformer_layernorm"], atol=1e-6)
    close(
        tokenizer.decoder.generation.blocks[0].attention_norm(probe),
        arrays["probe.blocks_image_norm1"],
        atol=1e-6,
    )


@torch.no_grad()
def test_perturbed_query(tiny_tokenizer_folder, arrays):
    tokenizer = load_seed_model(locate(str(tiny_tokenizer_folder)))
    before = tokenizer.causal_embeddings(arrays["in.pixels"])
    query_tokens = tokenizer.qformer.query_tokens.clone()
    query_tokens[0, 20] += arrays["in.query20_delta"]
    tokenizer.qformer.query_tokens = torch.nn.Parameter(query_tokens, requires_grad=False)
    after = tokenizer.causal_embeddings(arrays["in.pixels"])
    assert torch.equal(after[:, :20], before[:, :20])
    close(after, arrays["perturbed.causal_embeddings"])
    same_codes(tokenizer, arrays["in.pixels"], arrays["perturbed.codes"])
    close(tokenizer.decode(arrays["perturbed.codes"]), arrays["perturbed.generation_embedding"])


def with_queries(config, num_queries: int, mask: str):
    return dataclasses.replace(
        config,
        qformer=dataclasses.replace(
            config.qformer, num_queries=num_queries, mask=mask, dropout=0.0
        ),
    )


@pytest.mark.parametrize("num_queries", [1, 5, 31, 32, 33])
@torch.no_grad()
def test_causal_for_any_number_of_queries(tiny_config, num_queries):
    torch.manual_seed(num_queries)
    tokenizer = SeedModel(with_queries(tiny_config, num_queries, "causal")).eval()
    features = torch.randn(2, 17, 96)
    tokenizer.qformer.query_tokens.normal_()
    before = tokenizer.qformer(features)
    for changed in range(num_queries):
        keep = tokenizer.qformer.query_tokens[0, changed].clone()
        tokenizer.qformer.query_tokens[0, changed] += torch.randn(96)
        after = tokenizer.qformer(features)
        tokenizer.qformer.query_tokens[0, changed] = keep
        assert torch.equal(after[:, :changed], before[:, :changed])
        assert all(
            not torch.equal(after[:, later], before[:, later])
            for later in range(changed, num_queries)
        )


@torch.no_grad()
def test_bilateral_sees_all_queries(tiny_config):
    torch.manual_seed(0)
    tokenizer = SeedModel(with_queries(tiny_config, 8, "bilateral")).eval()
    tokenizer.qformer.query_tokens.normal_()
    features = torch.randn(1, 17, 96)
    before = tokenizer.qformer(features)
    tokenizer.qformer.query_tokens[0, 7] += 1.0
    after = tokenizer.qformer(features)
    assert all(not torch.equal(after[:, query], before[:, query]) for query in range(8))


def test_codes_of_the_wrong_shape_or_range_are_refused(tokenizer):
    with pytest.raises(ValueError, match="expected integers"):
        tokenizer.decode(torch.zeros(32, dtype=torch.int64))
    with pytest.raises(ValueError, match="expected integers"):
        tokenizer.decode(torch.zeros(1, 32))
    with pytest.raises(ValueError, match=r"0\.\.64, expected 0\.\.63"):
        tokenizer.decode(torch.arange(33, 65)[None] * torch.tensor([0] * 31 + [1]))


def test_pixels_of_another_size_are_refused(tokenizer):
    with pytest.raises(ValueError, match="expected \\[B, 3, 56, 56\\]"):
        tokenizer.encode(torch.zeros(1, 3, 64, 64))
