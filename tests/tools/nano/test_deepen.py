"""A deeper language model says what the one it was made of says."""

from __future__ import annotations

import torch
from transformers import LlamaConfig, LlamaForCausalLM

from tools.nano.deepen import deepen


def test_deepened_model_has_twice_the_layers_and_the_same_outputs(tmp_path):
    shape = LlamaConfig(
        vocab_size=20,
        hidden_size=16,
        intermediate_size=24,
        num_hidden_layers=3,
        num_attention_heads=2,
        max_position_embeddings=16,
    )
    torch.manual_seed(0)
    model, ids = LlamaForCausalLM(shape).eval(), torch.randint(0, 20, (2, 9))
    before = model(ids).logits

    deepen(model)
    model.save_pretrained(tmp_path)
    loaded = LlamaForCausalLM.from_pretrained(tmp_path).eval()

    assert loaded.config.num_hidden_layers == 6
    torch.testing.assert_close(loaded(ids).logits, before)
    # with the cache of an answer too, whose layers are told apart by their numbers
    generated = loaded.generate(ids, max_new_tokens=3, do_sample=False)
    again = loaded.generate(ids, max_new_tokens=3, do_sample=False, use_cache=False)
    assert generated.tolist() == again.tolist()
