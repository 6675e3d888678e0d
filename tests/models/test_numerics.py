"""Which arithmetic happens in which dtype, in the default numerics and in
the official fp16 ones.
"""

from __future__ import annotations

import pytest
import torch

from seedcli.models.visual.layers import LayerNorm, Linear, attend
from seedcli.models.weights.load import load_seed_model
from seedcli.models.weights.locate import locate


@torch.no_grad()
def test_half_weights_give_the_codes_of_the_same_weights_in_fp32(
    tiny_tokenizer_folder, tiny_arrays
):
    stored = load_seed_model(locate(str(tiny_tokenizer_folder)))
    stored.half()
    upcast = load_seed_model(locate(str(tiny_tokenizer_folder)))
    upcast.load_state_dict(
        {key: tensor.float() for key, tensor in stored.state_dict().items()}, assign=True
    )
    assert stored.vision.blocks[0].mlp.fc1.weight.dtype == torch.float16
    pixels = tiny_arrays["in.pixels"]
    assert torch.equal(stored.causal_embeddings(pixels), upcast.causal_embeddings(pixels))
    assert stored.causal_embeddings(pixels).dtype == torch.float32
    assert torch.equal(stored.encode(pixels), upcast.encode(pixels))


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32])
@torch.no_grad()
def test_look_up_is_fp32_whatever_the_dtype_around_it(tiny_tokenizer_folder, tiny_arrays, dtype):
    tokenizer = load_seed_model(locate(str(tiny_tokenizer_folder)))
    tokenizer.set_numerics("default", dtype)
    code_inputs = tokenizer.code_inputs(tokenizer.causal_embeddings(tiny_arrays["in.pixels"]))
    assert code_inputs.dtype == dtype
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert tokenizer.codebook.distances(code_inputs).dtype == torch.float32


@torch.no_grad()
def test_official_fp16_casts_everything(tiny_tokenizer_folder, tiny_arrays):
    tokenizer = load_seed_model(locate(str(tiny_tokenizer_folder)), numerics="official-fp16")
    seen = {}
    for name in ("vision.blocks.0", "vision_norm", "qformer.layers.0", "codebook.encoder"):
        tokenizer.get_submodule(name).register_forward_hook(
            lambda module, inputs, output, name=name: seen.update({name: output.dtype})
        )
    codes = tokenizer.encode(tiny_arrays["in.pixels"])
    assert set(seen.values()) == {torch.float16} and len(seen) == 4
    assert all(parameter.dtype == torch.float16 for parameter in tokenizer.parameters())
    assert (
        tokenizer.codebook.distances(torch.zeros(1, 32, 32, dtype=torch.float16)).dtype
        == torch.float16
    )
    # fp16 may flip a code; measured on this fixture: 128 of 128 stay.
    assert (codes == tiny_arrays["out.codes"]).float().mean() > 0.9


def test_layer_norm_of_half_inputs_is_computed_in_fp32():
    norm = LayerNorm(8).half()
    # the squares overflow fp16
    x = torch.tensor([[60000.0, -60000.0, 1, 2, 3, 4, 5, 6]], dtype=torch.float16)
    expected = torch.nn.functional.layer_norm(x.float(), (8,)).half()
    assert torch.equal(norm(x), expected)


def test_linear_follows_its_input():
    linear = Linear(4, 4).half()
    assert linear(torch.zeros(1, 4)).dtype == torch.float32
    assert linear(torch.zeros(1, 4, dtype=torch.float16)).dtype == torch.float16


@pytest.mark.parametrize("scale_first", [True, False])
@pytest.mark.parametrize("causal", [True, False])
def test_spelled_out_attention_agrees_with_the_fused_one(causal, scale_first):
    torch.manual_seed(0)
    query, key, value = torch.randn(3, 2, 6, 8).half()
    mask = None if causal else torch.tensor([[1, 1, 1, 1, 1, 0], [1, 1, 0, 0, 0, 0]])
    half = attend(query, key, value, 2, causal=causal, mask=mask, scale_first=scale_first)
    fused = attend(query.float(), key.float(), value.float(), 2, causal=causal, mask=mask)
    torch.testing.assert_close(half.float(), fused, atol=4e-3, rtol=0)  # measured 6.5e-4
    # bf16 that learns on a CPU is spelled out as well
    learns = [each.bfloat16().requires_grad_() for each in (query, key, value)]
    spelled = attend(*learns, 2, causal=causal, mask=mask, scale_first=scale_first)
    torch.testing.assert_close(spelled.float(), fused, atol=4e-2, rtol=0)  # measured 7.5e-3
