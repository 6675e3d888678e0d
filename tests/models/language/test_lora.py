"""LoRA with whole-trained modules: the published list of parameters, nothing else trainable, a
merge that changes no logit.
"""

from __future__ import annotations

import pytest
import torch
from peft import PeftModel
from torch import nn
from transformers import LlamaConfig, LlamaForCausalLM

from seedcli.errors import NumericalError, UsageError
from seedcli.models.language.lora import (
    attach_lora,
    merge_lora,
    untie_embeddings,
)

LINEARS = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]
WHOLE = ["embed_tokens", "lm_head", "input_layernorm", "post_attention_layernorm", "norm"]
PUBLISHED = {"rank": 16, "alpha": 32.0, "dropout": 0.05, "targets": LINEARS, "trained_whole": WHOLE}


def tiny(tied: bool = False) -> LlamaForCausalLM:
    torch.manual_seed(0)
    shape = {
        "hidden_size": 32,
        "intermediate_size": 64,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "vocab_size": 100,
    }
    return LlamaForCausalLM(LlamaConfig(**shape, tie_word_embeddings=tied)).eval()


def probe() -> torch.Tensor:
    return torch.arange(48).view(2, 24)


def moved(model: PeftModel) -> PeftModel:
    """Every trainable parameter somewhere else, as after training."""
    torch.manual_seed(1)
    for parameter in model.parameters():
        if parameter.requires_grad:
            parameter.data += 0.05 * torch.randn_like(parameter)
    return model.eval()


def counted(model: nn.Module, *, trained: bool) -> dict[str, int]:
    """Name -> number of elements of every parameter that learns, or that does not."""
    return {
        name: parameter.numel()
        for name, parameter in model.named_parameters()
        if parameter.requires_grad is trained
    }


def test_the_published_set_of_a_7b_model() -> None:
    """spec: vicuna_7b_lora.yaml on 40194 rows; no memory is touched."""
    with torch.device("meta"):
        model = LlamaForCausalLM(LlamaConfig(vocab_size=40194))
        assert sum(parameter.numel() for parameter in model.parameters()) == 6_805_540_864
        peft_model = attach_lora(model, **PUBLISHED)
    trained = counted(peft_model, trained=True)
    adapters = {name: count for name, count in trained.items() if "lora_" in name}
    rows = {
        name: count
        for name, count in trained.items()
        if "embed_tokens" in name or "lm_head" in name
    }
    norms = {name: count for name, count in trained.items() if "norm" in name}
    assert (len(adapters), sum(adapters.values())) == (32 * 7 * 2, 39_976_960)
    assert (len(rows), sum(rows.values())) == (2, 329_269_248)
    assert (len(norms), sum(norms.values())) == (65, 266_240)
    assert sum(trained.values()) == 369_512_448
    assert len(trained) == len(adapters) + len(rows) + len(norms)
    assert sum(counted(peft_model, trained=False).values()) == 6_805_540_864 - 329_269_248 - 266_240


@pytest.mark.parametrize("tied", [False, True])
def test_attaching_changes_no_logit_and_keeps_no_second_copy(tied: bool) -> None:
    model = tiny(tied)
    before = model(input_ids=probe()).logits.detach()
    whole = sum(parameter.numel() for parameter in model.parameters()) + (100 * 32 if tied else 0)
    peft_model = attach_lora(model, **PUBLISHED).eval()
    assert torch.equal(peft_model(input_ids=probe()).logits, before)
    counts = counted(peft_model, trained=True) | counted(peft_model, trained=False)
    assert sum(count for name, count in counts.items() if "lora_" not in name) == whole
    assert not [name for name in counts if "original_module" in name]


def test_tied_embeddings_are_trained_apart() -> None:
    peft_model = attach_lora(tiny(tied=True), **PUBLISHED)
    peft_model(input_ids=probe(), labels=probe()).loss.backward()
    embedding, head = (
        peft_model.get_input_embeddings().weight,
        peft_model.get_output_embeddings().weight,
    )
    assert embedding.data_ptr() != head.data_ptr()
    assert (
        embedding.grad is not None
        and head.grad is not None
        and not torch.equal(embedding.grad, head.grad)
    )


def test_an_update_changes_exactly_the_trainable_parameters() -> None:
    peft_model = attach_lora(tiny(), **PUBLISHED)
    for name, parameter in peft_model.named_parameters():
        if "lora_B" in name:
            nn.init.normal_(parameter)  # at zero it would keep lora_A's gradient at zero
    old = {name: parameter.detach().clone() for name, parameter in peft_model.named_parameters()}
    peft_model(input_ids=probe(), labels=probe()).loss.backward()
    torch.optim.SGD(peft_model.parameters(), lr=1.0).step()
    changed = {
        name
        for name, parameter in peft_model.named_parameters()
        if not torch.equal(parameter, old[name])
    }
    assert changed == set(counted(peft_model, trained=True))


def test_merging_keeps_the_logits_and_gives_a_plain_model(tmp_path) -> None:
    peft_model = moved(attach_lora(tiny(tied=True), **PUBLISHED))
    logits = peft_model(input_ids=probe()).logits.detach()
    merged, difference = merge_lora(peft_model, probe())
    assert type(merged) is LlamaForCausalLM
    assert set(dict(merged.named_parameters())) == set(dict(tiny().named_parameters()))
    assert all(parameter.requires_grad for parameter in merged.parameters())
    assert 0 < difference < 1e-5  # measured 2e-6 of logits up to 1.5
    merged.save_pretrained(tmp_path)
    again = LlamaForCausalLM.from_pretrained(tmp_path).eval()
    # as above
    torch.testing.assert_close(again(input_ids=probe()).logits, logits, rtol=0, atol=1e-5)


def test_a_bf16_model_is_merged_in_fp32() -> None:
    peft_model = moved(attach_lora(tiny().bfloat16(), **PUBLISHED))
    merged, difference = merge_lora(peft_model, probe())
    assert merged.dtype == torch.float32 and difference < 1e-5  # as above; bf16 would be at 1e-2


def test_a_wrong_merge_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    peft_model = moved(attach_lora(tiny(), **PUBLISHED))
    forget = peft_model.base_model.model.model.layers[1].self_attn.q_proj
    monkeypatch.setattr(forget, "get_delta_weight", lambda adapter: torch.zeros_like(forget.weight))
    with pytest.raises(NumericalError, match="merged weights give other logits"):
        merge_lora(peft_model, probe())


def test_nan_is_refused() -> None:
    peft_model = attach_lora(tiny(), **PUBLISHED)
    peft_model.get_output_embeddings().weight.data[3, 3] = float("nan")
    with pytest.raises(NumericalError, match="differ by nan"):
        merge_lora(peft_model, probe())


def test_trained_parameters_survive_the_adapter_s_own_files(tmp_path) -> None:
    """A trainer's checkpoint of a PEFT model holds the adapter's files only: they must hold what
    is trained whole, too.
    """
    peft_model = moved(attach_lora(tiny(), **PUBLISHED))
    logits = peft_model(input_ids=probe()).logits.detach()
    peft_model.save_pretrained(tmp_path, save_embedding_layers=False)  # of those trained whole
    fresh = attach_lora(tiny(), **PUBLISHED)
    fresh.load_adapter(tmp_path, "default", is_trainable=True)
    assert counted(fresh, trained=True) == counted(peft_model, trained=True)
    assert torch.equal(fresh.eval()(input_ids=probe()).logits, logits)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"targets": ["q_proj", "query"]}, r"adapter.targets: the model has no query"),
        ({"trained_whole": ["embeddings"]}, r"adapter.trained_whole: the model has no embeddings"),
        ({"trained_whole": ["q_proj"]}, r"q_proj: in both"),
    ],
)
def test_wrong_names_are_named(changes: dict, message: str) -> None:
    with pytest.raises(UsageError, match=message) as refused:
        attach_lora(tiny(), **{**PUBLISHED, **changes})
    assert refused.value.remedy


def test_nothing_whole() -> None:
    peft_model = attach_lora(tiny(), **{**PUBLISHED, "trained_whole": []})
    assert all("lora_" in name for name in counted(peft_model, trained=True))


def test_untying_says_whether_it_did() -> None:
    model = tiny(tied=True)
    assert (untie_embeddings(model), untie_embeddings(model)) == (True, False)
